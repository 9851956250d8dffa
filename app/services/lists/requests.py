"""Lists: created, amended, annotated, read and removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from typing import Any, assert_never
from uuid import UUID

from app.errors import (
    BrokerError,
    EntryNotFound,
    InvalidInput,
    InvalidReference,
    ListNotFound,
    ListNotPushable,
    revive,
)
from app.errors.collecting import Mistakes
from app.lists.additions import list_exists
from app.lists.assessment import assess
from app.lists.draft import Draft, Entry, ListState
from app.lists.entry_changes import EntryChanges, annotate, remove
from app.lists.options import Options, apply_changes
from app.lists.refreshing import plan_refresh
from app.lists.source import Source, parse_sources
from app.lists.verdict import is_ready, retract
from app.lists.views import ListFilter, ListView, view_list
from app.oci.manifest import Manifest
from app.oci.reference import Reference, parse_reference
from app.operations.operation import Operation
from app.operations.requests import AddEntriesRequest, CreateListRequest, RefreshListRequest
from app.projects.paging import Position
from app.registry.policy import RegistryPolicy
from app.services.callers import Call
from app.services.lists.revisions import Revisions, find_seen, open_list
from app.services.lists.save import ListWriter
from app.services.operations.accept import OperationAcceptor, OperationSpec
from app.store import lists as stored
from app.store.database import Database, Transaction
from app.store.notifications import LIST_CHANGED, Notifications

POLL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class DeletionOutcome:
    """The outcome for one list of several to delete: its name in the request, and its error."""

    target: str
    problem: BrokerError | None = None


class Goal(StrEnum):
    """The state of a list that a caller waits for."""

    COMPLETE = "complete"
    PUSHED = "pushed"

    def is_reached(self, draft: Draft) -> bool:
        match self:
            case Goal.COMPLETE:
                return draft.state is ListState.PUSHED or is_ready(draft, datetime.now(UTC))
            case Goal.PUSHED:
                return draft.state is ListState.PUSHED
            case _:
                assert_never(self)


class Lists:
    """All operations on lists. Those that need a registry are accepted here and performed by `ListWorker`."""

    def __init__(
        self,
        database: Database,
        notifications: Notifications,
        acceptor: OperationAcceptor,
        writer: ListWriter,
        policy: RegistryPolicy,
        *,
        poll: float = POLL_SECONDS,
    ) -> None:
        self._database = database
        self._notifications = notifications
        self._acceptor = acceptor
        self._writer = writer
        self._policy = policy
        self._poll = poll

    async def create(self, call: Call, request: CreateListRequest) -> Operation:
        """Accept a creation; everything that can be refused without a registry is refused here."""
        reference, sources, options = _read(request)
        registries = [source.reference.registry for source in sources]
        mistakes = Mistakes()
        with mistakes.at("/reference"):
            self._policy.check_registry(reference.registry)
        with mistakes.at(""):
            self._check_targets(options)
        mistakes.raise_all()

        async def decide(tx: Transaction, _operation_id: UUID) -> OperationSpec:
            present = await stored.find_list_id(tx, call.project_id, reference, request.session)
            if present is not None and not request.amend:
                raise list_exists(reference, present)
            named = {each.registry for each in (reference, *options.targets)}
            if present is not None and call.registry_auth:
                named |= (await stored.get_list(tx, call.project_id, present)).registries
            return OperationSpec(request, registries, list_id=present, named=named)

        # The worker repeats these checks under the lock of the list.
        return await self._acceptor.accept(call, decide)

    async def add(self, call: Call, request: AddEntriesRequest, *, revisions: Revisions = None) -> Operation:
        """Accept sources for an existing list."""
        registries = [source.reference.registry for source in parse_sources(request.sources)]

        async def decide(tx: Transaction, _operation_id: UUID) -> OperationSpec:
            draft = await find_seen(tx, call.project_id, request.list_id, revisions)
            return OperationSpec(request, registries, list_id=request.list_id, named=draft.registries)

        return await self._acceptor.accept(call, decide)

    async def refresh(
        self, call: Call, request: RefreshListRequest, *, revisions: Revisions = None
    ) -> Operation:
        """Accept a refresh, which resolves every source with a tag again."""

        async def decide(tx: Transaction, _operation_id: UUID) -> OperationSpec:
            draft = await find_seen(tx, call.project_id, request.list_id, revisions)
            registries = [source.reference.registry for source in plan_refresh(draft)]
            return OperationSpec(request, registries, list_id=request.list_id, named=draft.registries)

        return await self._acceptor.accept(call, decide)

    async def get(self, project_id: UUID, list_id: UUID) -> ListView:
        return _view(await self._get(project_id, list_id))

    async def get_index(self, project_id: UUID, list_id: UUID) -> tuple[Manifest, int]:
        """The index that a push would put now, and the revision of the list."""
        draft = await self._get(project_id, list_id)
        index = assess(draft).index
        if index is None:
            raise ListNotPushable(
                "The list has no index yet. Its findings give the reasons.", list_id=str(draft.id)
            )
        return index, draft.revision

    async def _get(self, project_id: UUID, list_id: UUID) -> Draft:
        async with self._database.snapshot(project_id) as tx:
            return await stored.get_list(tx, project_id, list_id)

    async def wait(
        self, project_id: UUID, list_id: UUID, goal: Goal, seconds: float
    ) -> tuple[ListView, bool]:
        """The list once it reaches the goal, or as it is after `seconds`, and whether it reached the goal.

        Raises the problem of a list that has failed.
        """
        give_up = monotonic() + seconds
        async with self._notifications.subscribe(LIST_CHANGED, str(list_id)) as change:
            while not self._notifications.closing and not await self._is_over(project_id, list_id, goal):
                if (left := give_up - monotonic()) <= 0:
                    break
                await change.wait(min(left, self._poll))
        draft = await self._get(project_id, list_id)
        if draft.problem is not None:
            raise revive({"list_id": str(list_id), **draft.problem})
        return _view(draft), goal.is_reached(draft)

    async def _is_over(self, project_id: UUID, list_id: UUID, goal: Goal) -> bool:
        """Whether to stop waiting; a cheap check, since each change of the list wakes every waiting call."""
        async with self._database.transaction(project_id) as tx:
            state = await stored.get_state(tx, project_id, list_id)
        if state is ListState.FAILED or goal is Goal.PUSHED:
            return state is not ListState.OPEN
        return goal.is_reached(await self._get(project_id, list_id))

    async def page(
        self, project_id: UUID, wanted: ListFilter, *, before: Position | None, limit: int
    ) -> list[ListView]:
        async with self._database.snapshot(project_id) as tx:
            found = await stored.page_lists(tx, project_id, wanted, before=before, limit=limit)
        return [_view(draft) for draft in found]

    async def update(
        self, call: Call, list_id: UUID, changes: Mapping[str, Any], *, revisions: Revisions = None
    ) -> ListView:
        """Change the options of a list; if this completes it, it is pushed if it has `push_when_complete`."""
        async with self._database.transaction(call.project_id) as tx:
            draft = await open_list(tx, call.project_id, list_id, revisions)
            kept = retract(draft, changes.get("failures"))
            options = apply_changes(draft.options, changes)
            if "targets" in changes:
                self._check_targets(options)
            changed = replace(kept, options=options)
            call.check_places(changed.registries)
            saved = await self._writer.save_changed(tx, call, draft, changed)
        return saved.view

    def _check_targets(self, options: Options) -> None:
        """Refuse forbidden registries now, before any leg builds images for them."""
        mistakes = Mistakes()
        for position, target in enumerate(options.targets):
            with mistakes.at(f"/targets/{position}"):
                self._policy.check_registry(target.registry)
        mistakes.raise_all()

    async def annotate(
        self,
        call: Call,
        list_id: UUID,
        entry_id: UUID,
        changes: EntryChanges,
        *,
        revisions: Revisions = None,
    ) -> ListView:
        async with self._database.transaction(call.project_id) as tx:
            draft = await open_list(tx, call.project_id, list_id, revisions)
            call.check_places(draft.registries)
            entries = annotate(
                draft.entries,
                find_entry(draft, entry_id),
                changes,
                allow_duplicate_platforms=draft.options.allow_duplicate_platforms,
            )
            saved = await self._writer.save_changed(tx, call, draft, replace(draft, entries=entries))
        return saved.view

    async def remove_entry(
        self, call: Call, list_id: UUID, entry_id: UUID, *, revisions: Revisions = None
    ) -> ListView:
        async with self._database.transaction(call.project_id) as tx:
            draft = await open_list(tx, call.project_id, list_id, revisions)
            call.check_places(draft.registries)
            entries = remove(draft.entries, find_entry(draft, entry_id))
            saved = await self._writer.save_changed(tx, call, draft, replace(draft, entries=entries))
        return saved.view

    async def delete(self, project_id: UUID, list_id: UUID, *, revisions: Revisions = None) -> None:
        async with self._database.transaction(project_id) as tx:
            draft = await open_list(tx, project_id, list_id, revisions)
            await self._writer.remove(tx, project_id, draft)

    async def delete_many(
        self, project_id: UUID, references: Sequence[str], ids: Sequence[str], session: str
    ) -> list[DeletionOutcome]:
        """Delete each list in its own transaction: as in `docker manifest rm`, a failure stops no other."""
        outcomes = [await self._delete_one(project_id, text, session) for text in references]
        return outcomes + [await self._delete_id(project_id, text) for text in ids]

    async def _delete_id(self, project_id: UUID, text: str) -> DeletionOutcome:
        try:
            await self.delete(project_id, UUID(text))
        except ValueError:
            return DeletionOutcome(text, InvalidInput(f"{text} is not the id of a list."))
        except ListNotFound as problem:
            return DeletionOutcome(text, problem)
        return DeletionOutcome(text)

    async def _delete_one(self, project_id: UUID, text: str, session: str) -> DeletionOutcome:
        try:
            reference = parse_reference(text)
        except InvalidReference as problem:
            return DeletionOutcome(text, problem)
        async with self._database.transaction(project_id) as tx:
            draft = await stored.find_list(tx, project_id, reference, session, lock=True)
            if draft is None or not await self._writer.remove(tx, project_id, draft):
                return DeletionOutcome(text, no_such_list(reference))
        return DeletionOutcome(text)


def _read(request: CreateListRequest) -> tuple[Reference, Sequence[Source], Options]:
    """The parts of a creation; the error names each that can't be read."""
    mistakes = Mistakes()
    with mistakes.at("/reference"):
        reference = parse_reference(request.reference)
    with mistakes.at(""):
        sources = parse_sources(request.sources)
    with mistakes.at(""):
        options = apply_changes(Options(), request.options)
    mistakes.raise_all()
    return reference, sources, options


def _view(draft: Draft) -> ListView:
    return view_list(draft, assess(draft))


def find_entry(draft: Draft, entry_id: UUID) -> Entry:
    for entry in draft.entries:
        if entry.id == entry_id:
            return entry
    raise EntryNotFound(f"The list {draft.reference} has no entry {entry_id}.", list_id=str(draft.id))


def no_such_list(reference: Reference) -> ListNotFound:
    return ListNotFound(f"No such manifest: {reference}", reference=str(reference))
