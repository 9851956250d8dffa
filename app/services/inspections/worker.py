"""Performs inspections: manifests are fetched from registries and parsed."""

from __future__ import annotations

import asyncio

from app.errors import BrokerError
from app.lists.inspections import Inspection, InspectionOutcome, InspectionSource, VerboseImage
from app.oci.descriptor import Descriptor
from app.oci.inspect import verbose_document
from app.oci.manifest import ImageManifest, Index, Manifest
from app.oci.reference import Reference, parse_reference
from app.oci.strict_json import loads
from app.operations.progress import Progress, ProgressStep
from app.operations.request_codec import decode_request
from app.operations.requests import InspectImageRequest, InspectImagesRequest
from app.registry.client import RegistryClient
from app.services.manifest_limit import ManifestLimit
from app.services.operations.attempts import Attempt
from app.services.operations.credentials import Credentials
from app.services.source_reader import Reader
from app.store.codec.inspections import encode_inspection, encode_outcomes
from app.store.database import Database


class InspectionWorker:
    """Performs the inspections that `Inspections` accepts."""

    def __init__(self, database: Database, client: RegistryClient, credentials: Credentials) -> None:
        self._database = database
        self._client = client
        self._credentials = credentials

    async def perform(self, attempt: Attempt) -> None:
        wanted = decode_request(InspectImageRequest, attempt.operation.request)
        reader = self._reader(attempt, insecure=wanted.insecure)
        inspection = await self._inspect(reader, wanted, ManifestLimit())
        async with self._database.transaction(attempt.operation.project_id) as tx:
            await attempt.succeed(tx, encode_inspection(inspection))

    async def perform_many(self, attempt: Attempt) -> None:
        """Each reference gets its own result or problem."""
        wanted = decode_request(InspectImagesRequest, attempt.operation.request).inspections
        readers = {insecure: self._reader(attempt, insecure=insecure) for insecure in (False, True)}
        limit = ManifestLimit()
        done = 0

        async def inspect(each: InspectImageRequest) -> InspectionOutcome:
            nonlocal done
            result: Inspection | BrokerError
            try:
                result = await self._inspect(readers[each.insecure], each, limit)
            except BrokerError as error:
                result = error
            done += 1
            attempt.progress(Progress((ProgressStep("inspections", done, len(wanted)),)))
            return InspectionOutcome(parse_reference(each.reference), result)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(inspect(each)) for each in wanted]
        async with self._database.transaction(attempt.operation.project_id) as tx:
            await attempt.succeed(tx, encode_outcomes(task.result() for task in tasks))

    def _reader(self, attempt: Attempt, *, insecure: bool) -> Reader:
        operation = attempt.operation
        own = self._credentials.decrypt(operation.id, attempt.secret)
        return Reader(self._client, self._credentials.access(operation.project_id, own, insecure=insecure))

    async def _inspect(self, reader: Reader, wanted: InspectImageRequest, limit: ManifestLimit) -> Inspection:
        """Inspect one reference; a repeated manifest counts each time, as the limit is for the answer."""
        reference = parse_reference(wanted.reference)
        found = await reader.manifest(reference)
        limit.add(found.manifest, reference)
        images = None
        if wanted.verbose and isinstance(found, Index):
            images = await self._members(reference, found, reader, limit)
        elif wanted.verbose and isinstance(found, ImageManifest):
            images = [await self._image(reference, found, reader)]
        content = await self._client.parse(loads, found.manifest.raw, what=str(reference))
        return Inspection(
            reference,
            InspectionSource.REGISTRY,
            found.manifest,
            content,
            tuple(images) if images is not None else None,
        )

    async def _image(self, reference: Reference, image: ImageManifest, reader: Reader) -> VerboseImage:
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
        self, reference: Reference, index: Index, reader: Reader, limit: ManifestLimit
    ) -> list[VerboseImage]:
        """Every manifest of the index, with the platform that the index gives it."""

        async def member(described: Descriptor) -> VerboseImage | BrokerError:
            at = reference.at(described.digest)
            try:
                manifest = (await reader.manifest(at, described.media_type)).manifest
                limit.add(manifest, at)
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


def _verbose(raw: bytes, media_type: str, reference: str, descriptor: Descriptor) -> VerboseImage:
    return verbose_document(reference, descriptor, Manifest(media_type, raw, descriptor.digest))
