"""Merges the additions of several callers into one list, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from app.errors import BrokerError, ListExists
from app.lists.draft import Draft, Entry, ListState, find_counting
from app.lists.entry_changes import amend
from app.lists.findings.list_findings import refuse_mixed_revisions
from app.lists.options import Options, amend_options, forget_failures
from app.lists.verdict import retract
from app.oci.digest import Digest
from app.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """The options of a create; `patch` has the list's own options that it sent."""

    amend: bool = False
    insecure: bool = False
    patch: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Addition:
    """The entries that one operation adds; a create has options for the list as well."""

    operation_id: UUID
    by: str
    entries: tuple[Entry, ...]
    create: CreateOptions | None = None


@dataclass(frozen=True, slots=True)
class Merged:
    """The list before and after the additions.

    `replaced` has, for each operation whose entries were added, the digests that they replaced, by entry id.
    `refused` has the errors of the other operations.
    """

    before: Draft
    after: Draft
    replaced: Mapping[UUID, Mapping[UUID, Digest]]
    refused: Mapping[UUID, BrokerError]


def new_list(reference: Reference, session: str, by: str, now: datetime) -> Draft:
    """A list that is not stored yet; saving it makes its first revision."""
    return Draft(
        id=uuid4(),
        reference=reference,
        session=session,
        revision=0,
        state=ListState.OPEN,
        options=Options(),
        entries=(),
        created_by=by,
        created_at=now,
        updated_at=now,
    )


def merge_additions(before: Draft, additions: Sequence[Addition], now: datetime) -> Merged:
    """Merge one addition after the other; a refused addition does not affect the others."""
    draft = before
    replaced: dict[UUID, Mapping[UUID, Digest]] = {}
    refused: dict[UUID, BrokerError] = {}
    for addition in additions:
        exists = bool(before.revision or replaced)
        if not exists:
            # A refused caller creates no list.
            before = draft = replace(before, created_by=addition.by)
        try:
            draft, replaced[addition.operation_id] = _add(draft, addition, now, exists=exists)
        except BrokerError as problem:
            refused[addition.operation_id] = problem
    return Merged(before, draft, replaced, refused)


def _add(
    draft: Draft, addition: Addition, now: datetime, *, exists: bool
) -> tuple[Draft, Mapping[UUID, Digest]]:
    after = draft
    if (create := addition.create) is not None:
        if exists and not create.amend:
            raise list_exists(draft.reference, draft.id)
        after = _with_options(draft, create, now)
    amended = amend(
        after.entries,
        addition.entries,
        allow_duplicate_platforms=after.options.allow_duplicate_platforms,
    )
    options = forget_failures(
        after.options,
        built=[entry.platform for entry in find_counting(amended.added)],
        present=[entry.platform for entry in find_counting(amended.entries)],
    )
    after = replace(after, entries=amended.entries, options=options)
    refuse_mixed_revisions(after)
    return after, amended.replaced


def _with_options(draft: Draft, create: CreateOptions, now: datetime) -> Draft:
    patch = create.patch or {}
    after = retract(draft, patch.get("failures"))
    # A later leg may set insecure: the push that follows needs it.
    insecure = draft.options.insecure or create.insecure
    options = amend_options(draft.options, patch, now)
    return replace(after, options=replace(options, insecure=insecure))


def list_exists(reference: Reference, list_id: UUID) -> ListExists:
    return ListExists(
        f"The list {reference} already exists. Set amend to add to it, name a session, or delete it.",
        list_id=str(list_id),
        reference=str(reference),
    )
