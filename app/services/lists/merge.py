"""What create and add have resolved, put into its list; of those who come at once, all in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import assert_never
from uuid import UUID, uuid4

from app.concurrency.batching import Batcher, Outcomes
from app.errors import BrokerError, Unavailable
from app.lists import draft as drafts
from app.lists.draft import Draft, ListState
from app.lists.findings import refuse_mixed_revisions
from app.lists.options import Options, amend_options, forget_failures
from app.lists.verdict import retract
from app.oci.digest import Digest
from app.oci.reference import Reference
from app.operations.requests import CreateListRequest
from app.services.callers import Call
from app.services.lists.requests import list_exists
from app.services.lists.resolve import Resolved
from app.services.lists.save import ListWriter
from app.services.operations.attempts import Attempt, hold_all, succeed_all
from app.store import lists as stored
from app.store.codec.lists import encode_list_view
from app.store.database import Database, Transaction
from app.store.manifests import keep_manifests
from app.store.operation_changes import LostLease

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Name:
    """What a list is one of a kind by; there may be none yet."""

    reference: Reference
    session: str


@dataclass(frozen=True, slots=True)
class Place:
    """The list that something is added to."""

    project_id: UUID
    wanted: UUID | Name


@dataclass(frozen=True, slots=True)
class Addition:
    """What one operation adds; `request` is that of a create."""

    attempt: Attempt
    call: Call
    resolved: Sequence[Resolved]
    request: CreateListRequest | None = None


@dataclass(frozen=True, slots=True)
class _Added:
    addition: Addition
    replaced: Mapping[UUID, Digest]


@dataclass(frozen=True, slots=True)
class _Merged:
    """The list as it was, the list with all that could be added, and by operation why the rest could not."""

    before: Draft
    after: Draft
    added: Sequence[_Added]
    refused: Mapping[UUID, BrokerError]


class ListMerger:
    """Twenty legs of a build want one row at the same moment.

    Here they take turns without a connection to the database, and those who wait go together: the row is
    locked, read and written once for all of them. Between processes its lock decides.
    """

    def __init__(self, database: Database, lists: ListWriter) -> None:
        self._database = database
        self._lists = lists
        self._batcher = Batcher(self._add_all)

    async def add(self, place: Place, addition: Addition) -> None:
        """Ends the operation of the addition; all of what it adds is in the list then, or nothing is."""
        await self._batcher.run(place, addition)

    async def _add_all(self, place: Place, additions: Sequence[Addition]) -> Outcomes:
        try:
            return await self._round(place, additions)
        except Unavailable:
            raise
        except Exception:
            if len(additions) == 1:
                raise
            logger.warning("%d additions to one list are made one by one", len(additions), exc_info=True)
        # Whatever is wrong with one of them is not to be the others' matter.
        return [await self._alone(place, each) for each in additions]

    async def _alone(self, place: Place, addition: Addition) -> Exception | None:
        try:
            (outcome,) = await self._round(place, [addition])
        except Exception as failure:  # noqa: BLE001 - it is the addition's own
            return failure
        return outcome

    async def _round(self, place: Place, additions: Sequence[Addition]) -> Outcomes:
        async with self._database.transaction() as tx:
            ours = await hold_all(tx, [each.attempt for each in additions])
            held = [each for each in additions if each.attempt.operation.id in ours]
            refused = await self._add_held(tx, place, held) if held else {}
        return [_outcome(each.attempt, ours, refused) for each in additions]

    async def _add_held(
        self, tx: Transaction, place: Place, additions: Sequence[Addition]
    ) -> Mapping[UUID, BrokerError]:
        merged = _merge(await _open(tx, place, additions[0].call), additions)
        if not merged.added:
            return merged.refused
        if not merged.before.revision and not await stored.insert_list(tx, place.project_id, merged.before):
            # Another process was first.
            merged = _merge(await _open(tx, place, additions[0].call), additions)
            if not merged.before.revision:
                raise Unavailable(
                    "The list changed too often during the request. Send the request again.", retry_after=1
                )
        if merged.added:
            await self._save(tx, merged)
        return merged.refused

    async def _save(self, tx: Transaction, merged: _Merged) -> None:
        calls = [each.addition.call for each in merged.added]
        manifests = [each.manifest for added in merged.added for each in added.addition.resolved]
        await keep_manifests(tx, calls[0].project_id, manifests)
        # A push that is due now goes with what the last of them brought who brought credentials.
        call = next((each for each in reversed(calls) if each.credentials), calls[-1])
        saved = await self._lists.save_changed(tx, call, merged.before, merged.after)
        view = saved.view
        if plain := [each.addition.attempt for each in merged.added if not each.replaced]:
            await succeed_all(tx, plain, encode_list_view(view), list_id=saved.draft.id)
        for each in merged.added:
            if each.replaced:
                result = encode_list_view(view.with_replaced(each.replaced))
                await each.addition.attempt.succeed(tx, result, list_id=saved.draft.id)


def _outcome(attempt: Attempt, ours: set[UUID], refused: Mapping[UUID, BrokerError]) -> Exception | None:
    operation = attempt.operation
    if operation.id not in ours:
        return LostLease(f"Attempt {operation.attempt} of operation {operation.id} has no lease.")
    return refused.get(operation.id)


async def _open(tx: Transaction, place: Place, call: Call) -> Draft:
    """The list, which nobody else changes before the transaction ends, or a new one, not stored yet."""
    match place.wanted:
        case UUID() as list_id:
            return await stored.get_list(tx, place.project_id, list_id, lock=True)
        case Name(reference, session):
            found = await stored.find_list(tx, place.project_id, reference, session, lock=True)
            return found or _new_list(reference, session, call)
        case _:
            assert_never(place.wanted)


def _new_list(reference: Reference, session: str, call: Call) -> Draft:
    now = datetime.now(UTC)
    return Draft(
        id=uuid4(),
        reference=reference,
        session=session,
        # Its first revision is the one that is saved now.
        revision=0,
        state=ListState.OPEN,
        options=Options(),
        entries=(),
        created_by=call.by,
        created_at=now,
        updated_at=now,
    )


def _merge(before: Draft, additions: Sequence[Addition]) -> _Merged:
    """One after the other; what one of them may not add keeps none of the others from it."""
    draft = before
    added: list[_Added] = []
    refused: dict[UUID, BrokerError] = {}
    for addition in additions:
        exists = bool(before.revision or added)
        if not exists:
            # Whoever is refused has made no list.
            before = draft = replace(before, created_by=addition.call.by)
        try:
            draft, replaced = _add(draft, addition, exists=exists)
        except BrokerError as problem:
            refused[addition.attempt.operation.id] = problem
        else:
            added.append(_Added(addition, replaced))
    return _Merged(before, draft, added, refused)


def _add(draft: Draft, addition: Addition, *, exists: bool) -> tuple[Draft, Mapping[UUID, Digest]]:
    after = draft
    if (request := addition.request) is not None:
        if exists and not request.amend:
            raise list_exists(draft.reference, draft.id)
        after = _said(draft, request)
    amended = drafts.amend(
        after.entries,
        [each.entry for each in addition.resolved],
        allow_duplicate_platforms=after.options.allow_duplicate_platforms,
    )
    options = forget_failures(after.options, [entry.platform for entry in amended.added])
    after = replace(after, entries=amended.entries, options=options)
    refuse_mixed_revisions(after)
    return after, amended.replaced


def _said(draft: Draft, request: CreateListRequest) -> Draft:
    """With what a create says of the whole list."""
    after = retract(draft, request.options.get("failures"))
    # A leg may say insecure although the first one did not: the push that follows needs it.
    insecure = draft.options.insecure or request.insecure
    options = amend_options(draft.options, request.options, datetime.now(UTC))
    return replace(after, options=replace(options, insecure=insecure))
