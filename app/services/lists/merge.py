"""Puts what create and add have resolved into their list; legs that come at once share a transaction."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never
from uuid import UUID

from app.concurrency.batching import Batcher, Outcomes
from app.errors import BrokerError, Unavailable
from app.lists.additions import Addition, Merged, merge_additions, new_list
from app.lists.draft import Draft
from app.oci.manifest import Manifest
from app.oci.reference import Reference
from app.services.callers import Call
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
class Leg:
    """One operation with what it adds, and the manifests that are kept for it."""

    attempt: Attempt
    call: Call
    addition: Addition
    manifests: Sequence[Manifest]


class ListMerger:
    """Twenty legs of a build want one row at the same moment.

    Here they take turns without a connection to the database, and those who wait go together: the row is
    locked, read and written once for all of them. Between processes its lock decides.
    """

    def __init__(self, database: Database, lists: ListWriter) -> None:
        self._database = database
        self._lists = lists
        self._batcher = Batcher(self._add_all)

    async def add(self, place: Place, leg: Leg) -> None:
        """Ends the operation of the addition; all of what it adds is in the list then, or nothing is."""
        await self._batcher.run(place, leg)

    async def _add_all(self, place: Place, legs: Sequence[Leg]) -> Outcomes:
        try:
            return await self._round(place, legs)
        except Unavailable:
            raise
        except Exception:
            if len(legs) == 1:
                raise
            logger.warning("%d additions to one list are merged one by one", len(legs), exc_info=True)
        # Whatever is wrong with one of them is not to be the others' matter.
        return [await self._alone(place, each) for each in legs]

    async def _alone(self, place: Place, leg: Leg) -> Exception | None:
        try:
            (outcome,) = await self._round(place, [leg])
        except Exception as failure:  # noqa: BLE001 - it is the addition's own
            return failure
        return outcome

    async def _round(self, place: Place, legs: Sequence[Leg]) -> Outcomes:
        async with self._database.transaction() as tx:
            ours = await hold_all(tx, [each.attempt for each in legs])
            held = [each for each in legs if each.attempt.operation.id in ours]
            refused = await self._merge(tx, place, held) if held else {}
        return [_outcome(each.attempt, ours, refused) for each in legs]

    async def _merge(self, tx: Transaction, place: Place, legs: Sequence[Leg]) -> Mapping[UUID, BrokerError]:
        """The errors of the operations whose additions were refused; the others have ended."""
        merged = await _merge_into(tx, place, legs)
        if not merged.replaced:
            return merged.refused
        if not merged.before.revision and not await stored.insert_list(tx, place.project_id, merged.before):
            # Another process was first.
            merged = await _merge_into(tx, place, legs)
            if not merged.before.revision:
                raise Unavailable(
                    "The list changed too often during the request. Send the request again.", retry_after=1
                )
        if merged.replaced:
            added = [leg for leg in legs if leg.addition.operation_id in merged.replaced]
            await self._save(tx, merged, added)
        return merged.refused

    async def _save(self, tx: Transaction, merged: Merged, legs: Sequence[Leg]) -> None:
        calls = [leg.call for leg in legs]
        await keep_manifests(tx, calls[0].project_id, [each for leg in legs for each in leg.manifests])
        # A push that is due now uses the credentials of the last leg that brought any.
        call = next((each for each in reversed(calls) if each.credentials), calls[-1])
        saved = await self._lists.save_changed(tx, call, merged.before, merged.after)
        view = saved.view
        plain = [leg.attempt for leg in legs if not merged.replaced[leg.addition.operation_id]]
        if plain:
            await succeed_all(tx, plain, encode_list_view(view), list_id=saved.draft.id)
        for leg in legs:
            if replaced := merged.replaced[leg.addition.operation_id]:
                result = encode_list_view(view.with_replaced(replaced))
                await leg.attempt.succeed(tx, result, list_id=saved.draft.id)


def _outcome(attempt: Attempt, ours: set[UUID], refused: Mapping[UUID, BrokerError]) -> Exception | None:
    operation = attempt.operation
    if operation.id not in ours:
        return LostLease(f"Attempt {operation.attempt} of operation {operation.id} has no lease.")
    return refused.get(operation.id)


async def _merge_into(tx: Transaction, place: Place, legs: Sequence[Leg]) -> Merged:
    draft = await _open(tx, place, legs[0].call)
    return merge_additions(draft, [leg.addition for leg in legs], datetime.now(UTC))


async def _open(tx: Transaction, place: Place, call: Call) -> Draft:
    """The list, locked until the transaction ends, or a new one, not stored yet."""
    match place.wanted:
        case UUID() as list_id:
            return await stored.get_list(tx, place.project_id, list_id, lock=True)
        case Name(reference, session):
            found = await stored.find_list(tx, place.project_id, reference, session, lock=True)
            return found or new_list(reference, session, call.by, datetime.now(UTC))
        case _:
            assert_never(place.wanted)
