"""The one way in which a changed list is stored: its revision, its state, and the push that is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from app.lists.draft import Draft, Entry, ListState
from app.lists.verdict import Verdict, judge
from app.services.callers import Call
from app.services.pushes import Pushes, PushRequest
from app.store.database import Transaction
from app.store.lists import save_list, save_state


async def save_changed(tx: Transaction, pushes: Pushes, call: Call, before: Draft, after: Draft) -> Draft:
    """Store a list read with `lock=True`; a repeat that changes nothing leaves revision and push alone.

    A list that says `push_when_complete` and has become complete, or another index, is pushed: the operation
    is enqueued in this transaction.
    """
    is_changed = not before.revision or _says(before) != _says(after)
    if not is_changed and before.state is not ListState.FAILED:
        renewed = replace(before, options=after.options)
        if before.options.expires_at != after.options.expires_at:
            await save_state(tx, call.project_id, renewed)
        return renewed
    now = datetime.now(UTC)
    after = replace(after, revision=before.revision + is_changed, updated_at=now)
    after = await _follow(tx, pushes, call, after, judge(before, after, now))
    await save_list(tx, call.project_id, before, after)
    return after


async def save_late(tx: Transaction, pushes: Pushes, call: Call, draft: Draft) -> Draft:
    """Store what a deadline that is over makes of a list read with `lock=True`."""
    now = datetime.now(UTC)
    after = await _follow(tx, pushes, call, replace(draft, updated_at=now), judge(draft, draft, now))
    await save_state(tx, call.project_id, after)
    return after


async def _follow(tx: Transaction, pushes: Pushes, call: Call, draft: Draft, verdict: Verdict) -> Draft:
    problem = verdict.failure.document() if verdict.failure is not None else None
    draft = replace(draft, state=verdict.state, problem=problem)
    if not verdict.is_push_due:
        return draft
    operation = await pushes.enqueue(tx, call, draft, PushRequest(insecure=draft.options.insecure))
    return replace(draft, push_operation_id=operation.id)


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
