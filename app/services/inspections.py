"""Inspections: what `docker manifest inspect` prints, as data."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.errors import BrokerError
from app.lists.assessment import build_draft_index
from app.lists.draft import Entry
from app.lists.views import view_entry
from app.oci.descriptor import Descriptor
from app.oci.inspect import verbose_document
from app.oci.manifest import ImageManifest, Index, Manifest
from app.oci.reference import Reference, parse_reference
from app.oci.strict_json import Json, loads
from app.operations.operation import Operation
from app.operations.progress import Progress, ProgressStep
from app.operations.request_codec import OperationRequest, decode_request
from app.operations.requests import InspectImageRequest, InspectImagesRequest
from app.registry.client import RegistryClient
from app.services.allowance import Allowance
from app.services.callers import Call
from app.services.lists.requests import find_entry
from app.services.operations.accept import OperationAcceptor, OperationSpec
from app.services.operations.attempts import Attempt
from app.services.operations.credentials import Credentials
from app.services.source_reader import Reader
from app.store.codec.lists import encode_entry_view
from app.store.database import Database, Transaction
from app.store.lists import find_list, get_list
from app.store.manifests import load_manifests

# What is read at once, and how many of the larger ones may be in memory.
_SMALL = 64 * 1024
_LARGE_ONES = 4


@dataclass(frozen=True, slots=True)
class FoundList:
    """A list's document, and in JSON each image of it if they were asked for."""

    document: dict[str, Any]
    images: Sequence[bytes] | None

    @property
    def json(self) -> bytes:
        if self.images is None:
            return _json(self.document)
        return _json(self.document)[:-1] + b',"images":[' + b",".join(self.images) + b"]}"


class Inspections:
    """Of lists at once, of registries as operations."""

    def __init__(
        self,
        database: Database,
        client: RegistryClient,
        credentials: Credentials,
        acceptor: OperationAcceptor,
    ) -> None:
        self._database = database
        self._client = client
        self._credentials = credentials
        self._acceptor = acceptor
        self._turns = asyncio.Semaphore(_LARGE_ONES)

    async def find_list(
        self, project_id: UUID, reference: Reference, session: str, *, verbose: bool
    ) -> FoundList | None:
        """The list of that name as its push would put it, whether or not it was pushed."""
        async with self._database.snapshot() as tx:
            draft = await find_list(tx, project_id, reference, session)
        if draft is None:
            return None
        index = build_draft_index(draft)
        content = loads(index.raw, what=str(draft.reference))
        document = _document(str(draft.reference), "list", index, content, None)
        images = None
        if verbose:
            images = [await self._read(project_id, entry, _verbose_json) for entry in draft.in_order]
        return FoundList({**document, "list_id": str(draft.id)}, images)

    async def find_entry(self, project_id: UUID, list_id: UUID, entry_id: UUID) -> tuple[int, bytes]:
        """One entry with its exact manifest, as JSON, and the revision of its list."""
        async with self._database.snapshot() as tx:
            draft = await get_list(tx, project_id, list_id)
        entry = find_entry(draft, entry_id)
        return draft.revision, await self._read(project_id, entry, _entry_json)

    async def _read(
        self, project_id: UUID, entry: Entry, render: Callable[[bytes, Entry, str], bytes]
    ) -> bytes:
        """Large manifests are read elsewhere than on the loop, and few are here at the same time."""
        turn = self._turns if entry.descriptor.size > _SMALL else nullcontext()
        async with turn:
            async with self._database.snapshot() as tx:
                manifest = (await load_manifests(tx, project_id, [entry.digest]))[entry.digest]
            return await self._client.parse(render, manifest.raw, entry, manifest.media_type)

    async def request(self, call: Call, wanted: InspectImageRequest) -> Operation:
        """Accept an inspection of what a registry has."""
        return await self._accept(call, wanted, [wanted])

    async def request_many(self, call: Call, wanted: Sequence[InspectImageRequest]) -> Operation:
        return await self._accept(call, InspectImagesRequest(wanted), wanted)

    async def perform(self, attempt: Attempt) -> None:
        wanted = decode_request(InspectImageRequest, attempt.operation.request)
        reader = self._reader(attempt, insecure=wanted.insecure)
        document = await self._inspect(reader, wanted, Allowance())
        async with self._database.transaction() as tx:
            await attempt.succeed(tx, document)

    async def perform_many(self, attempt: Attempt) -> None:
        """Each reference gets its own result or problem; what fails takes nothing from the rest."""
        wanted = decode_request(InspectImagesRequest, attempt.operation.request).inspections
        readers = {insecure: self._reader(attempt, insecure=insecure) for insecure in (False, True)}
        allowance = Allowance()
        done = 0

        async def inspect(each: InspectImageRequest) -> dict[str, Any]:
            nonlocal done
            try:
                result = await self._inspect(readers[each.insecure], each, allowance)
                outcome = {"reference": each.reference, "result": result}
            except BrokerError as error:
                outcome = {"reference": each.reference, "problem": error.document()}
            done += 1
            attempt.progress(Progress((ProgressStep("inspections", done, len(wanted)),)))
            return outcome

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(inspect(each)) for each in wanted]
        async with self._database.transaction() as tx:
            await attempt.succeed(tx, {"results": [task.result() for task in tasks]})

    async def _accept(
        self, call: Call, request: OperationRequest, wanted: Sequence[InspectImageRequest]
    ) -> Operation:
        spec = OperationSpec(request, [parse_reference(each.reference).registry for each in wanted])

        async def decide(_tx: Transaction, _operation_id: UUID) -> OperationSpec:
            return spec

        return await self._acceptor.accept(call, decide, reads_alone=True)

    def _reader(self, attempt: Attempt, *, insecure: bool) -> Reader:
        operation = attempt.operation
        own = self._credentials.open(operation.id, attempt.secret)
        return Reader(self._client, self._credentials.access(operation.project_id, own, insecure=insecure))

    async def _inspect(
        self, reader: Reader, wanted: InspectImageRequest, allowance: Allowance
    ) -> dict[str, Any]:
        """What is shown twice counts twice: the allowance is for the answer."""
        reference = parse_reference(wanted.reference)
        found = await reader.manifest(reference)
        allowance.take(found.manifest, reference)
        images = None
        if wanted.verbose and isinstance(found, Index):
            images = await self._members(reference, found, reader, allowance)
        elif wanted.verbose and isinstance(found, ImageManifest):
            images = [await self._image(reference, found, reader)]
        document = await self._client.parse(loads, found.manifest.raw, what=str(reference))
        return _document(str(reference), "registry", found.manifest, document, images)

    async def _image(self, reference: Reference, image: ImageManifest, reader: Reader) -> dict[str, Any]:
        """Docker takes an image's platform from its config; an artifact's config has none."""
        manifest = image.manifest
        platform = None
        if not image.is_artifact:
            platform = (await reader.image_config(reference.repository, image.config)).platform
        descriptor = Descriptor(manifest.media_type, manifest.digest, manifest.size, platform=platform)
        return await self._client.parse(
            _verbose, manifest.raw, manifest.media_type, str(reference), descriptor
        )

    async def _members(
        self, reference: Reference, index: Index, reader: Reader, allowance: Allowance
    ) -> list[dict[str, Any]]:
        """Every manifest of the index, with the platform that the index gives it."""

        async def member(described: Descriptor) -> dict[str, Any] | BrokerError:
            at = reference.at(described.digest)
            try:
                manifest = (await reader.manifest(at)).manifest
                allowance.take(manifest, at)
                return await self._client.parse(
                    _verbose, manifest.raw, manifest.media_type, str(at), described
                )
            except BrokerError as error:
                return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(member(each)) for each in index.manifests]
        outcomes = [task.result() for task in tasks]
        for outcome in outcomes:
            if isinstance(outcome, BrokerError):
                raise outcome
        return [outcome for outcome in outcomes if not isinstance(outcome, BrokerError)]


def _entry_json(raw: bytes, entry: Entry, media_type: str) -> bytes:
    """One entry with its exact manifest: `docker manifest inspect LIST MANIFEST`, plain and -v."""
    return _json(
        {
            **encode_entry_view(view_entry(entry)),
            "manifest": loads(raw, what=str(entry.reference)),
            "raw": base64.b64encode(raw).decode(),
            "inspection": _verbose_entry(raw, entry, media_type),
        }
    )


def _verbose_json(raw: bytes, entry: Entry, media_type: str) -> bytes:
    return _json(_verbose_entry(raw, entry, media_type))


def _verbose_entry(raw: bytes, entry: Entry, media_type: str) -> dict[str, Any]:
    manifest = Manifest(media_type, raw, entry.digest)
    return verbose_document(str(entry.reference), entry.descriptor, manifest)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _verbose(raw: bytes, media_type: str, reference: str, descriptor: Descriptor) -> dict[str, Any]:
    return verbose_document(reference, descriptor, Manifest(media_type, raw, descriptor.digest))


def _document(
    reference: str, origin: str, manifest: Manifest, content: Json, images: list[dict[str, Any]] | None
) -> dict[str, Any]:
    document = {
        "reference": reference,
        "from": origin,
        "digest": str(manifest.digest),
        "media_type": manifest.media_type,
        "manifest": content,
        "raw": base64.b64encode(manifest.raw).decode(),
    }
    return {**document, "images": images} if images is not None else document
