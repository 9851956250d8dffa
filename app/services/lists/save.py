"""The one writer of lists: revision, state, the push that is due, and the events that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.errors import ListNotFound
from app.lists.assessment import Assessment, assess, is_complete
from app.lists.draft import Draft, Entry, ListState
from app.lists.events import EventKind, describe_list
from app.lists.origins.entry_order import in_order
from app.lists.pushes import Push
from app.lists.verdict import judge
from app.lists.views import ListView, view_list
from app.projects.quotas import Quota, refuse_large_list
from app.services.callers import Call
from app.services.events.log import Events
from app.services.pushes.requests import Pushes
from app.services.quotas import Quotas
from app.store.database import Transaction
from app.store.lists import delete_list, get_list, lock_expired_list, save_list, save_state, with_copied
from app.store.row_security.scopes import acting_for


@dataclass(frozen=True, slots=True)
class SavedList:
    """A list as it is stored, with its assessment."""

    draft: Draft
    assessment: Assessment

    @property
    def view(self) -> ListView:
        return view_list(self.draft, self.assessment)


class ListWriter:
    """Used in the transactions of the services that decide a change; the list is read with `lock=True`."""

    def __init__(self, pushes: Pushes, events: Events, quotas: Quotas) -> None:
        self._pushes = pushes
        self._events = events
        self._quotas = quotas

    async def save_changed(self, tx: Transaction, call: Call, before: Draft, after: Draft) -> SavedList:
        """Store a change; a repeat that changes nothing leaves revision and push alone.

        If the list has `push_when_complete`, and has become complete or has a new index, its push is enqueued
        in this transaction. Nothing else is locked after that.
        """
        is_changed = not before.revision or _content(before) != _content(after)
        if not is_changed and before.state is not ListState.FAILED:
            renewed = replace(before, options=after.options)
            if before.options.expires_at != after.options.expires_at:
                await save_state(tx, call.project_id, renewed)
            return SavedList(renewed, assess(renewed))
        now = datetime.now(UTC)
        after = replace(after, revision=before.revision + is_changed, updated_at=now)
        after = await with_copied(tx, call.project_id, after)
        saved = await self._judge(tx, call, before, after, now)
        await save_list(tx, call.project_id, before, saved.draft)
        grown = _grown(before, after)
        if Quota.METADATA in grown:
            refuse_large_list(_metadata_size(after))
        await self._quotas.check(tx, call.project_id, grown)
        await self._record_news(tx, call.project_id, before, saved)
        return saved

    async def save_late(self, tx: Transaction, call: Call, draft: Draft) -> None:
        """Store the consequences of a deadline that has passed."""
        now = datetime.now(UTC)
        late = replace(draft, updated_at=now)
        saved = await self._judge(tx, call, late, late, now)
        await save_state(tx, call.project_id, saved.draft)
        await self._record_news(tx, call.project_id, draft, saved)

    async def skip_late(self, tx: Transaction, project_id: UUID, draft: Draft) -> None:
        """Leave a list as it is although its deadline has passed; the search for late lists then skips it."""
        await save_state(tx, project_id, replace(draft, updated_at=datetime.now(UTC)))

    async def settle_pushed(
        self, tx: Transaction, project_id: UUID, push: Push, *, purge: bool
    ) -> SavedList | None:
        """Mark a list that has not changed since as pushed, or with `purge` remove and return it."""
        draft = await _find_pushed(tx, project_id, push)
        if draft is None:
            return None
        assessment = assess(draft)
        is_same = assessment.index == push.plan.index and assessment.references <= set(push.plan.references)
        if is_same and purge:
            await delete_list(tx, project_id, draft.id)
            return SavedList(draft, assessment)
        settled = replace(draft, state=ListState.PUSHED, problem=None) if is_same else draft
        await save_state(tx, project_id, replace(settled, last_push_id=push.id))
        return None

    async def settle_failed(
        self, tx: Transaction, project_id: UUID, push: Push, problem: Mapping[str, Any]
    ) -> SavedList | None:
        """Mark a list whose completion started the push as failed, unless the list has changed since.

        The caller of a requested push sees the failure in its operation.
        """
        draft = await _find_pushed(tx, project_id, push)
        if draft is None or draft.push_operation_id != push.operation_id or draft.state is not ListState.OPEN:
            return None
        assessment = assess(draft)
        if assessment.index != push.plan.index:
            return None
        failed = replace(draft, state=ListState.FAILED, problem=problem)
        await save_state(tx, project_id, failed)
        return SavedList(failed, assessment)

    async def remove(self, tx: Transaction, project_id: UUID, draft: Draft) -> bool:
        """Remove the list; return whether it existed."""
        if not await delete_list(tx, project_id, draft.id):
            return False
        await self.record(tx, project_id, EventKind.LIST_REMOVED, SavedList(draft, assess(draft)))
        return True

    async def remove_expired(self, tx: Transaction) -> bool:
        """Remove one expired list; return whether there may be more."""
        expired = await lock_expired_list(tx)
        if expired is None:
            return False
        async with acting_for(tx, expired[0]):
            return await self.remove(tx, *expired)

    async def record(self, tx: Transaction, project_id: UUID, kind: EventKind, saved: SavedList) -> None:
        """Record an event of a list: the last step of a transaction, after all locks."""
        facts = describe_list(saved.draft, saved.assessment)
        await self._events.record(tx, project_id, kind, facts)

    async def _judge(
        self, tx: Transaction, call: Call, before: Draft, after: Draft, now: datetime
    ) -> SavedList:
        """The list with its new state, and with its push if one is due."""
        assessment = assess(after)
        verdict = judge(before, after, assessment, now)
        problem = verdict.failure.document() if verdict.failure is not None else None
        after = replace(after, state=verdict.state, problem=problem)
        if verdict.is_push_due:
            operation = await self._pushes.accept_due(tx, call, after, assessment)
            after = replace(after, push_operation_id=operation.id)
        return SavedList(after, assessment)

    async def _record_news(self, tx: Transaction, project_id: UUID, before: Draft, saved: SavedList) -> None:
        for kind in _news(before, saved):
            await self.record(tx, project_id, kind, saved)


async def _find_pushed(tx: Transaction, project_id: UUID, push: Push) -> Draft | None:
    if push.list_id is None:
        return None
    try:
        return await get_list(tx, project_id, push.list_id, lock=True)
    except ListNotFound:
        return None


def _news(before: Draft, saved: SavedList) -> list[EventKind]:
    after = saved.draft
    news = []
    if after.revision != before.revision:
        news.append(EventKind.LIST_CHANGED if before.revision else EventKind.LIST_CREATED)
    is_met = bool(after.options.expected_platforms) and saved.assessment.is_complete
    if is_met and not (before.revision and _meets_expectations(before)):
        news.append(EventKind.LIST_COMPLETED)
    if after.problem is not None and after.problem != before.problem:
        news.append(EventKind.LIST_FAILED)
    return news


def _meets_expectations(draft: Draft) -> bool:
    return bool(draft.options.expected_platforms) and is_complete(draft)


def _grown(before: Draft, after: Draft) -> set[Quota]:
    """The quotas whose usage the change increases."""
    known = {entry.digest for entry in before.entries}
    return {
        quota
        for quota, has_grown in {
            Quota.LISTS: not before.revision,
            Quota.METADATA: _metadata_size(after) > (_metadata_size(before) if before.revision else 0),
            Quota.MANIFESTS: any(entry.digest not in known for entry in after.entries),
        }.items()
        if has_grown
    }


def _metadata_size(draft: Draft) -> int:
    named = [draft.options.labels, draft.options.annotations, *(entry.annotations for entry in draft.entries)]
    return sum(len(name) + len(value) for each in named for name, value in each.items())


def _content(draft: Draft) -> object:
    # Each leg of a build renews how long the draft may live; that does not change its content.
    return replace(draft.options, expires_at=None), [_facts(entry) for entry in in_order(draft)]


def _facts(entry: Entry) -> tuple[object, ...]:
    """The content of an entry, without the caller and the time of its addition."""
    annotations = sorted(entry.annotations.items())
    override = sorted(entry.override.members.items())
    index = str(entry.listing.index) if entry.listing is not None else ""
    return str(entry.reference), str(entry.digest), entry.resolved_platform, override, annotations, index
