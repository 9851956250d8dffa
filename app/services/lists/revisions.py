"""Reads a list for a change, and checks the revisions that the caller sent (If-Match)."""

from __future__ import annotations

from uuid import UUID

from app.errors import RevisionChanged
from app.lists.draft import Draft
from app.store.database import Transaction
from app.store.lists import get_list

# The revisions that the caller accepts; None for any.
Revisions = frozenset[int] | None


async def open_list(tx: Transaction, project_id: UUID, list_id: UUID, revisions: Revisions = None) -> Draft:
    """The list, locked until the transaction ends. Raises RevisionChanged for another revision."""
    return _as_seen(await get_list(tx, project_id, list_id, lock=True), revisions)


async def find_seen(tx: Transaction, project_id: UUID, list_id: UUID, revisions: Revisions) -> Draft:
    """The list without a lock, for operations that are accepted now and change the list later."""
    return _as_seen(await get_list(tx, project_id, list_id), revisions)


def _as_seen(draft: Draft, revisions: Revisions) -> Draft:
    if revisions is not None and draft.revision not in revisions:
        raise RevisionChanged(
            f"The list is at revision {draft.revision}. Read it again, then repeat the change.",
            list_id=str(draft.id),
        )
    return draft
