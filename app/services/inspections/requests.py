"""Inspections: lists are read directly; inspections of registries are accepted as operations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from uuid import UUID

from app.lists.assessment import build_draft_index
from app.lists.draft import Entry
from app.lists.inspections import Inspection, InspectionSource
from app.lists.origins.entry_order import in_order
from app.oci.reference import Reference, parse_reference
from app.oci.strict_json import loads
from app.operations.operation import Operation
from app.operations.request_codec import OperationRequest
from app.operations.requests import InspectImageRequest, InspectImagesRequest
from app.registry.client import RegistryClient
from app.services.callers import Call
from app.services.lists.requests import find_entry
from app.services.operations.accept import OperationAcceptor, OperationSpec
from app.store.database import Database, Transaction
from app.store.lists import find_list, get_list
from app.store.manifests import load_manifests

# Manifests up to this size are read without a limit, and this many larger ones at a time.
_SMALL = 64 * 1024
_LARGE_ONES = 4

# Renders an entry with the bytes of its manifest and their media type; a large one in another process.
RenderEntry = Callable[[bytes, Entry, str], bytes]


@dataclass(frozen=True, slots=True)
class FoundList:
    """The inspection of a list, with its images rendered if the caller requested them."""

    inspection: Inspection
    images: Sequence[bytes] | None


class Inspections:
    """Reads lists, and leaves registries to `InspectionWorker`."""

    def __init__(self, database: Database, client: RegistryClient, acceptor: OperationAcceptor) -> None:
        self._database = database
        self._client = client
        self._acceptor = acceptor
        self._large_ones = asyncio.Semaphore(_LARGE_ONES)

    async def find_list(
        self, project_id: UUID, reference: Reference, session: str, *, render: RenderEntry | None
    ) -> FoundList | None:
        """The list of that name as its push would put it, even before it is pushed.

        With `render`, the result has each of its images as well.
        """
        async with self._database.snapshot(project_id) as tx:
            draft = await find_list(tx, project_id, reference, session)
        if draft is None:
            return None
        index = build_draft_index(draft)
        content = loads(index.raw, what=str(draft.reference))
        inspection = Inspection(draft.reference, InspectionSource.LIST, index, content, list_id=draft.id)
        images = None
        if render is not None:
            images = [await self._read(project_id, entry, render) for entry in in_order(draft)]
        return FoundList(inspection, images)

    async def find_entry(
        self, project_id: UUID, list_id: UUID, entry_id: UUID, render: RenderEntry
    ) -> tuple[int, bytes]:
        """One entry with its exact manifest, and the revision of its list."""
        async with self._database.snapshot(project_id) as tx:
            draft = await get_list(tx, project_id, list_id)
        entry = find_entry(draft, entry_id)
        return draft.revision, await self._read(project_id, entry, render)

    async def _read(self, project_id: UUID, entry: Entry, render: RenderEntry) -> bytes:
        """Render large manifests off the event loop, and only a few of them at the same time."""
        slot = self._large_ones if entry.descriptor.size > _SMALL else nullcontext()
        async with slot:
            async with self._database.snapshot(project_id) as tx:
                manifest = (await load_manifests(tx, project_id, [entry.digest]))[entry.digest]
            return await self._client.parse(render, manifest.raw, entry, manifest.media_type)

    async def request(self, call: Call, wanted: InspectImageRequest) -> Operation:
        """Accept an inspection at a registry."""
        return await self._accept(call, wanted, [wanted])

    async def request_many(self, call: Call, wanted: Sequence[InspectImageRequest]) -> Operation:
        return await self._accept(call, InspectImagesRequest(wanted), wanted)

    async def _accept(
        self, call: Call, request: OperationRequest, wanted: Sequence[InspectImageRequest]
    ) -> Operation:
        spec = OperationSpec(request, [parse_reference(each.reference).registry for each in wanted])

        async def decide(_tx: Transaction, _operation_id: UUID) -> OperationSpec:
            return spec

        return await self._acceptor.accept(call, decide)
