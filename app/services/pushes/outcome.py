"""What the end of a push means for its history, its tags, its list, and those who are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.errors import ListNotFound, OperationCancelled, Superseded, revive
from app.lists.draft import Draft, ListState
from app.lists.events import EventKind
from app.lists.push_plan import find_index, goes_to
from app.operations.operation import Operation
from app.operations.request_codec import decode_request
from app.operations.requests import PushListRequest
from app.operations.states import State
from app.services.documents import list_event, push_event
from app.services.events.log import Events
from app.services.pushes.result import moved_references, perhaps_moved
from app.store import lists
from app.store import pushes as stored
from app.store.database import Transaction
from app.store.heads import TagHead, save_head
from app.store.pushes import Push, PushState


class PushOutcomes:
    """Used in the transaction that ends the operation, whose row is locked before all others."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def check(self, tx: Transaction, operation: Operation, push: Push) -> None:
        """Before its tags move: a push that followed from a list's completion is still what the list wants.

        Raises the problem of a list that has failed since, or Superseded if it wants another push by now.
        """
        if push.list_id is None or not decode_request(PushListRequest, operation.request).follows:
            return
        now = await lists.find_push_state(tx, operation.project_id, push.list_id)
        if now is None:
            # It has been removed, which takes nothing back of what was asked for.
            return
        if now.problem is not None:
            raise revive({"list_id": str(push.list_id), **now.problem})
        if now.push_operation_id != operation.id:
            raise Superseded(
                f"The list {push.reference} has changed since, and is pushed anew",
                reference=push.reference,
                list_id=str(push.list_id),
            )

    async def succeeded(self, tx: Transaction, operation: Operation, push: Push) -> None:
        """`push` has its result."""
        result = push.result or {}
        await stored.end_push(
            tx, operation.project_id, push.id, push.state, ended_at=push.ended_at, result=result
        )
        await save_head(tx, operation.project_id, moved_references(result), _head(push))
        purged = await _settle_list(tx, operation, push)
        await self._tell(tx, operation, EventKind.LIST_PUSHED, push)
        if purged is not None:
            await self._tell_of_list(tx, operation, EventKind.LIST_REMOVED, purged)

    async def failed(self, tx: Transaction, operation: Operation, push: Push) -> None:
        """Of an operation that failed or was cancelled: its push says so too, and where everything is."""
        outcome = PushState.CANCELLED if operation.state is State.CANCELLED else PushState.FAILED
        problem = operation.problem or OperationCancelled("The push was cancelled").document()
        if push.reached:
            problem = {"targets": push.reached, **problem}
        ended = replace(push, state=outcome, problem=problem, ended_at=operation.ended_at)
        await stored.end_push(
            tx, operation.project_id, push.id, outcome, ended_at=ended.ended_at, problem=problem
        )
        # Some tags may have moved, and older runs must find that out.
        await save_head(tx, operation.project_id, perhaps_moved(push), _head(push))
        failed = await _fail_list(tx, operation, push, problem)
        await self._tell(tx, operation, EventKind.PUSH_FAILED, ended)
        if failed is not None:
            await self._tell_of_list(tx, operation, EventKind.LIST_FAILED, failed)

    async def _tell(self, tx: Transaction, operation: Operation, kind: EventKind, push: Push) -> None:
        await self._events.record(
            tx, operation.project_id, kind, push_event(push), list_id=push.list_id, push_id=push.id
        )

    async def _tell_of_list(
        self, tx: Transaction, operation: Operation, kind: EventKind, draft: Draft
    ) -> None:
        await self._events.record(tx, operation.project_id, kind, list_event(draft), list_id=draft.id)


async def _settle_list(tx: Transaction, operation: Operation, push: Push) -> Draft | None:
    """A list that is still what was pushed says so, or is removed and returned if purge was asked."""
    draft = await _find_list(tx, operation, push)
    if draft is None:
        return None
    same = find_index(draft) == push.plan.index and goes_to(draft) <= push.plan.references
    if same and decode_request(PushListRequest, operation.request).purge:
        await lists.delete_list(tx, operation.project_id, draft.id)
        return draft
    settled = replace(draft, state=ListState.PUSHED, problem=None) if same else draft
    await lists.save_state(tx, operation.project_id, replace(settled, last_push_id=push.id))
    return None


async def _fail_list(
    tx: Transaction, operation: Operation, push: Push, problem: Mapping[str, Any]
) -> Draft | None:
    """A list whose completion started the push has failed with it; of one pushed by hand its caller knows."""
    draft = await _find_list(tx, operation, push)
    if draft is None or draft.push_operation_id != operation.id or draft.state is not ListState.OPEN:
        return None
    if find_index(draft) != push.plan.index:
        # It has changed since, and waits for something else.
        return None
    failed = replace(draft, state=ListState.FAILED, problem=problem)
    await lists.save_state(tx, operation.project_id, failed)
    return failed


async def _find_list(tx: Transaction, operation: Operation, push: Push) -> Draft | None:
    if push.list_id is None:
        return None
    try:
        return await lists.get_list(tx, operation.project_id, push.list_id, lock=True)
    except ListNotFound:
        return None


def _head(push: Push) -> TagHead:
    list_id = push.list_id if push.restores is None else None
    return TagHead(push.plan.order, list_id, push.id, push.plan.index.digest)
