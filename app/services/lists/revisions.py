"""A list, for a change by someone who may have said which revision they saw."""

from __future__ import annotations

from uuid import UUID

from app.errors import RevisionChanged
from app.lists.draft import Draft
from app.store.database import Transaction
from app.store.lists import get_list

# Those that a caller may have seen; None for whatever there is.
Revisions = frozenset[int] | None


async def open_list(tx: Transaction, project_id: UUID, list_id: UUID, revisions: Revisions = None) -> Draft:
    """Locked until the transaction ends; RevisionChanged if it is not as the caller saw it."""
    return _as_seen(await get_list(tx, project_id, list_id, lock=True), revisions)


async def find_seen(tx: Transaction, project_id: UUID, list_id: UUID, revisions: Revisions) -> Draft:
    """Not locked: for what is only accepted now, and done later to the list as it is then."""
    return _as_seen(await get_list(tx, project_id, list_id), revisions)


def _as_seen(draft: Draft, revisions: Revisions) -> Draft:
    if revisions is not None and draft.revision not in revisions:
        raise RevisionChanged(
            f"The list is at revision {draft.revision}. Read it again, then repeat the change.",
            list_id=str(draft.id),
        )
    return draft
