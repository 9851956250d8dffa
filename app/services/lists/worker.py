"""Performs create, add and refresh: sources are resolved in parallel, then merged in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.lists.additions import Addition, CreateOptions
from app.lists.draft import Draft, Given
from app.lists.findings.list_findings import refuse_mixed_revisions
from app.lists.refreshing import plan_refresh, refresh
from app.lists.source import Source, parse_sources
from app.lists.views import RefreshedListView
from app.oci.manifest import Manifest
from app.oci.reference import parse_reference
from app.operations.progress import Progress, ProgressStep
from app.operations.request_codec import decode_request
from app.operations.requests import AddEntriesRequest, CreateListRequest, RefreshListRequest
from app.registry.client import RegistryClient
from app.services.callers import Call
from app.services.lists.merge import Leg, ListKey, ListMerger, ListName
from app.services.lists.resolve import Resolved, Resolver
from app.services.lists.save import ListWriter
from app.services.manifest_limit import ManifestLimit
from app.services.operations.attempts import Attempt
from app.services.operations.credentials import Credentials
from app.services.source_reader import Reader
from app.store import lists as stored
from app.store.codec.lists import encode_refreshed_view
from app.store.database import Database
from app.store.manifests import keep_manifests


class ListWorker:
    """Performs the operations that `Lists` accepts."""

    def __init__(
        self, database: Database, client: RegistryClient, credentials: Credentials, lists: ListWriter
    ) -> None:
        self._database = database
        self._client = client
        self._credentials = credentials
        self._lists = lists
        self._merger = ListMerger(database, lists)

    async def perform_create(self, attempt: Attempt) -> None:
        """Add all entries or none: if one source fails, the list stays as it was."""
        request = decode_request(CreateListRequest, attempt.operation.request)
        call = self._call(attempt)
        sources = parse_sources(request.sources)
        resolved = await self._resolve(
            attempt, call, sources, insecure=request.insecure, awaits_tags=_is_of_leg(request)
        )
        name = ListName(parse_reference(request.reference), request.session)
        create = CreateOptions(request.amend, request.insecure, request.options)
        await self._merger.add(ListKey(call.project_id, name), _leg(attempt, call, _flat(resolved), create))

    async def perform_add(self, attempt: Attempt) -> None:
        request = decode_request(AddEntriesRequest, attempt.operation.request)
        call = self._call(attempt)
        sources = parse_sources(request.sources)
        async with self._database.transaction(call.project_id) as tx:
            draft = await stored.get_list(tx, call.project_id, request.list_id)
        resolved = await self._resolve(
            attempt, call, sources, insecure=request.insecure, awaits_tags=_has_legs(draft)
        )
        await self._merger.add(
            ListKey(call.project_id, request.list_id), _leg(attempt, call, _flat(resolved))
        )

    async def perform_refresh(self, attempt: Attempt) -> None:
        """Refresh the list; changes that were made to it meanwhile stay."""
        request = decode_request(RefreshListRequest, attempt.operation.request)
        call, list_id = self._call(attempt), request.list_id
        async with self._database.transaction(call.project_id) as tx:
            sources = plan_refresh(await stored.get_list(tx, call.project_id, list_id))
        resolved = await self._resolve(attempt, call, sources, insecure=request.insecure)
        async with self._database.transaction(call.project_id) as tx:
            await attempt.hold(tx)
            draft = await stored.get_list(tx, call.project_id, list_id, lock=True)
            await keep_manifests(tx, call.project_id, _manifests(_flat(resolved)))
            entries = [[each.entry for each in found] for found in resolved]
            after, refreshed = refresh(draft, sources, entries)
            refuse_mixed_revisions(after)
            saved = await self._lists.save_changed(tx, call, draft, after)
            view = RefreshedListView(saved.view, refreshed)
            await attempt.succeed(tx, encode_refreshed_view(view))

    async def _resolve(
        self,
        attempt: Attempt,
        call: Call,
        sources: Sequence[Source],
        *,
        insecure: bool,
        awaits_tags: bool = False,
    ) -> list[list[Resolved]]:
        """Resolve the sources. `awaits_tags` retries missing tags; missing digests are always retried."""
        access = self._credentials.access(call.project_id, call.credentials, insecure=insecure)
        done = 0

        def on_done() -> None:
            nonlocal done
            done += 1
            attempt.progress(Progress((ProgressStep("sources", done, len(sources)),)))

        attempt.progress(Progress((ProgressStep("sources", 0, len(sources)),)))
        registries = {source.reference.registry for source in sources}
        reader = Reader(
            self._client,
            access,
            among=registries,
            limit=ManifestLimit(),
            is_patient=True,
            awaits_tags=awaits_tags,
        )
        return _given(sources, await Resolver(reader, call.by).resolve(sources, on_done))

    def _call(self, attempt: Attempt) -> Call:
        operation = attempt.operation
        own = self._credentials.decrypt(operation.id, attempt.secret)
        return Call(operation.project_id, operation.created_by, token_id=operation.token_id, credentials=own)


def _is_of_leg(request: CreateListRequest) -> bool:
    """Whether the call comes from one leg of a build, which has just pushed the image that it names.

    For any other caller, a missing tag is more likely a misspelling.
    """
    return bool(request.session or request.options.get("expected_platforms"))


def _has_legs(draft: Draft) -> bool:
    return bool(draft.session or draft.options.expected_platforms)


def _leg(
    attempt: Attempt, call: Call, resolved: Sequence[Resolved], create: CreateOptions | None = None
) -> Leg:
    entries = tuple(each.entry for each in resolved)
    addition = Addition(attempt.operation.id, call.by, entries, create)
    return Leg(attempt, call, addition, _manifests(resolved))


def _manifests(resolved: Sequence[Resolved]) -> list[Manifest]:
    return list({each.digest: each for found in resolved for each in found.manifests}.values())


def _given(sources: Sequence[Source], resolved: Sequence[Sequence[Resolved]]) -> list[list[Resolved]]:
    """The entries with the order in which the caller gave them, and what the caller said of each source."""
    return [
        [
            replace(
                each,
                entry=replace(each.entry, given=Given(position, member, source.override, source.platforms)),
            )
            for member, each in enumerate(found)
        ]
        for position, (source, found) in enumerate(zip(sources, resolved, strict=True))
    ]


def _flat(resolved: Sequence[Sequence[Resolved]]) -> list[Resolved]:
    return [each for found in resolved for each in found]
