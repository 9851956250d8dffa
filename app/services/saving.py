"""The one way in which a changed list is stored: its revision, its state, and the push that completes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from app.lists.draft import Draft, Entry, ListState
from app.lists.push_plan import find_index
from app.lists.readiness import is_complete, is_pushable
from app.services.callers import Call
from app.services.pushes import Pushes, PushRequest
from app.store.database import Transaction
from app.store.lists import save_list, save_state


async def save_changed(
    tx: Transaction, pushes: Pushes, call: Call, before: Draft, after: Draft, *, removed: Iterable[UUID] = ()
) -> Draft:
    """Store a list read with `lock=True`; a repeat that changes nothing leaves revision and push alone.

    A list that says `push_when_complete` and has become complete, or another index, is pushed: the operation
    is enqueued in this transaction.
    """
    if before.revision and _says(before) == _says(after):
        renewed = replace(before, options=after.options)
        if before.options.expires_at != after.options.expires_at:
            await save_state(tx, call.project_id, renewed)
        return renewed
    same_index = before.revision > 0 and find_index(before) == find_index(after)
    after = replace(
        after,
        revision=before.revision + 1,
        state=before.state if same_index else ListState.OPEN,
        updated_at=datetime.now(UTC),
    )
    if _wants_push(after) and not (same_index and before.push_operation_id):
        operation = await pushes.enqueue(tx, call, after, PushRequest(insecure=after.options.insecure))
        after = replace(after, push_operation_id=operation.id)
    await save_list(tx, call.project_id, after, removed=removed)
    return after


def _wants_push(draft: Draft) -> bool:
    return draft.options.push_when_complete and is_complete(draft) and is_pushable(draft)


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
