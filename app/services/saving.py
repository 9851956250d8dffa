"""The one way in which a changed list is stored: its revision, its state, and the push that completes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from app.lists.draft import Draft, Entry, ListState
from app.lists.push_plan import build_draft_index
from app.lists.readiness import Severity, find_findings, is_complete
from app.oci.digest import Digest
from app.services.callers import Call
from app.services.pushes import Pushes, PushRequest
from app.store.database import Transaction
from app.store.lists import save_list


async def save_changed(
    tx: Transaction, pushes: Pushes, call: Call, before: Draft, after: Draft, *, removed: Iterable[UUID] = ()
) -> Draft:
    """Store a list read with `lock=True`; a repeat that changes nothing leaves revision and push alone.

    A list that says `push_when_complete` and has become complete, or another index, is pushed: the operation
    is enqueued in this transaction.
    """
    if before.revision and _says(before) == _says(after):
        return before
    same_index = before.revision > 0 and find_digest(before) == find_digest(after)
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


def find_digest(draft: Draft) -> Digest | None:
    """The digest of the index that a push would put; None while it can't be pushed."""
    return build_draft_index(draft).digest if is_pushable(draft) else None


def is_pushable(draft: Draft) -> bool:
    return all(finding.severity is not Severity.ERROR for finding in find_findings(draft))


def _wants_push(draft: Draft) -> bool:
    return draft.options.push_when_complete and is_complete(draft) and is_pushable(draft)


def _says(draft: Draft) -> object:
    return draft.options, sorted((_facts(entry) for entry in draft.entries), key=str)


def _facts(entry: Entry) -> tuple[object, ...]:
    """What an entry is, without who added it and when."""
    annotations = sorted(entry.annotations.items())
    override = sorted(entry.override.members.items())
    return str(entry.reference), str(entry.digest), entry.resolved_platform, override, annotations
