"""The one way in which a list is changed or removed: its revision and state, what is due, and who is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from app.lists.draft import Draft, Entry, ListState
from app.lists.events import EventKind
from app.lists.readiness import is_complete
from app.lists.verdict import Verdict, judge
from app.services.callers import Call
from app.services.documents import list_event
from app.services.events.log import Events
from app.services.pushes.requests import Pushes, PushRequest
from app.store.database import Transaction
from app.store.lists import delete_list, lock_expired_list, save_list, save_state


class Saving:
    """Used inside the transactions of those who decide a change."""

    def __init__(self, pushes: Pushes, events: Events) -> None:
        self._pushes = pushes
        self._events = events

    async def save_changed(self, tx: Transaction, call: Call, before: Draft, after: Draft) -> Draft:
        """Store a list read with `lock=True`; a repeat that changes nothing leaves revision and push alone.

        A list that says `push_when_complete` and has become complete, or another index, is pushed: the
        operation is enqueued in this transaction. Nothing else is locked after it.
        """
        is_changed = not before.revision or _says(before) != _says(after)
        if not is_changed and before.state is not ListState.FAILED:
            renewed = replace(before, options=after.options)
            if before.options.expires_at != after.options.expires_at:
                await save_state(tx, call.project_id, renewed)
            return renewed
        now = datetime.now(UTC)
        after = replace(after, revision=before.revision + is_changed, updated_at=now)
        after = await self._follow(tx, call, after, judge(before, after, now))
        await save_list(tx, call.project_id, before, after)
        await self._tell(tx, call, before, after)
        return after

    async def save_late(self, tx: Transaction, call: Call, draft: Draft) -> Draft:
        """Store what a deadline that is over makes of a list read with `lock=True`."""
        now = datetime.now(UTC)
        after = await self._follow(tx, call, replace(draft, updated_at=now), judge(draft, draft, now))
        await save_state(tx, call.project_id, after)
        await self._tell(tx, call, draft, after)
        return after

    async def remove(self, tx: Transaction, project_id: UUID, draft: Draft) -> bool:
        """Whether it was there to be removed."""
        if not await delete_list(tx, project_id, draft.id):
            return False
        await self._record(tx, project_id, EventKind.LIST_REMOVED, draft)
        return True

    async def remove_expired(self, tx: Transaction) -> bool:
        """One that was to be kept no longer; whether there may be more."""
        expired = await lock_expired_list(tx)
        return expired is not None and await self.remove(tx, *expired)

    async def _follow(self, tx: Transaction, call: Call, draft: Draft, verdict: Verdict) -> Draft:
        problem = verdict.failure.document() if verdict.failure is not None else None
        draft = replace(draft, state=verdict.state, problem=problem)
        if not verdict.is_push_due:
            return draft
        operation = await self._pushes.enqueue(tx, call, draft, PushRequest(insecure=draft.options.insecure))
        return replace(draft, push_operation_id=operation.id)

    async def _tell(self, tx: Transaction, call: Call, before: Draft, after: Draft) -> None:
        for kind in _news(before, after):
            await self._record(tx, call.project_id, kind, after)

    async def _record(self, tx: Transaction, project_id: UUID, kind: EventKind, draft: Draft) -> None:
        await self._events.record(tx, project_id, kind, list_event(draft), list_id=draft.id)


def _news(before: Draft, after: Draft) -> list[EventKind]:
    news = []
    if after.revision != before.revision:
        news.append(EventKind.LIST_CHANGED if before.revision else EventKind.LIST_CREATED)
    if _meets_expectations(after) and not (before.revision and _meets_expectations(before)):
        news.append(EventKind.LIST_COMPLETED)
    if after.problem is not None and after.problem != before.problem:
        news.append(EventKind.LIST_FAILED)
    return news


def _meets_expectations(draft: Draft) -> bool:
    return bool(draft.options.expected_platforms) and is_complete(draft)


def _says(draft: Draft) -> object:
    # Every leg of a build says anew how long the draft may live; that is no change to what it says.
    return replace(draft.options, expires_at=None), sorted(
        (_facts(entry) for entry in draft.entries), key=str
    )


def _facts(entry: Entry) -> tuple[object, ...]:
    """What an entry is, without who added it and when."""
    annotations = sorted(entry.annotations.items())
    override = sorted(entry.override.members.items())
    return str(entry.reference), str(entry.digest), entry.resolved_platform, override, annotations
