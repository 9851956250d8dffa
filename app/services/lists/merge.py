"""Adds the resolved entries of creates and adds to their list; concurrent legs share a transaction."""

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
class ListName:
    """The unique name of a list, which may not exist yet."""

    reference: Reference
    session: str


@dataclass(frozen=True, slots=True)
class ListKey:
    """The list that receives an addition."""

    project_id: UUID
    wanted: UUID | ListName


@dataclass(frozen=True, slots=True)
class Leg:
    """One operation with its addition and the manifests to keep for it."""

    attempt: Attempt
    call: Call
    addition: Addition
    manifests: Sequence[Manifest]


class ListMerger:
    """Merges the additions to one list in batches, because all legs of a build write the same row.

    Legs wait here without a database connection, and waiting legs form one batch: the row is locked, read
    and written once for all of them. Between processes, the lock of the row serialises the batches.
    """

    def __init__(self, database: Database, lists: ListWriter) -> None:
        self._database = database
        self._lists = lists
        self._batcher = Batcher(self._add_all)

    async def add(self, key: ListKey, leg: Leg) -> None:
        """Add all entries of the leg, or none of them, and end its operation."""
        await self._batcher.run(key, leg)

    async def _add_all(self, key: ListKey, legs: Sequence[Leg]) -> Outcomes:
        try:
            return await self._add_batch(key, legs)
        except Unavailable:
            raise
        except Exception:
            if len(legs) == 1:
                raise
            logger.warning("%d additions to one list are merged one by one", len(legs), exc_info=True)
        # One faulty addition must not fail the others.
        return [await self._add_one(key, each) for each in legs]

    async def _add_one(self, key: ListKey, leg: Leg) -> Exception | None:
        try:
            (outcome,) = await self._add_batch(key, [leg])
        except Exception as failure:  # noqa: BLE001 - the addition caused it
            return failure
        return outcome

    async def _add_batch(self, key: ListKey, legs: Sequence[Leg]) -> Outcomes:
        async with self._database.transaction(key.project_id) as tx:
            ours = await hold_all(tx, [each.attempt for each in legs])
            held = [each for each in legs if each.attempt.operation.id in ours]
            refused = await self._merge(tx, key, held) if held else {}
        return [_outcome(each.attempt, ours, refused) for each in legs]

    async def _merge(self, tx: Transaction, key: ListKey, legs: Sequence[Leg]) -> Mapping[UUID, BrokerError]:
        """The errors of the operations whose additions were refused; the others have ended."""
        merged = await _merge_into(tx, key, legs)
        if not merged.replaced:
            return merged.refused
        if not merged.before.revision and not await stored.insert_list(tx, key.project_id, merged.before):
            # Another process has created the list meanwhile.
            merged = await _merge_into(tx, key, legs)
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


async def _merge_into(tx: Transaction, key: ListKey, legs: Sequence[Leg]) -> Merged:
    draft = await _find_or_create(tx, key, legs[0].call)
    return merge_additions(draft, [leg.addition for leg in legs], datetime.now(UTC))


async def _find_or_create(tx: Transaction, key: ListKey, call: Call) -> Draft:
    """The list, locked until the transaction ends, or a new one that is not stored yet."""
    match key.wanted:
        case UUID() as list_id:
            return await stored.get_list(tx, key.project_id, list_id, lock=True)
        case ListName(reference, session):
            found = await stored.find_list(tx, key.project_id, reference, session, lock=True)
            return found or new_list(reference, session, call.by, datetime.now(UTC))
        case _:
            assert_never(key.wanted)
