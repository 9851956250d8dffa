"""Records the end of a push: its history, its tag heads, its list, and the events that follow."""

from __future__ import annotations

from dataclasses import replace

from app.errors import OperationCancelled, Superseded, revive
from app.lists.events import EventKind, PushEvent
from app.lists.pushes import Push, PushState, view_push
from app.operations.operation import Operation
from app.operations.request_codec import decode_request
from app.operations.requests import PushListRequest
from app.operations.states import State
from app.services.events.log import Events
from app.services.lists.save import ListWriter
from app.store import pushes as stored
from app.store.codec.pushes import encode_reached
from app.store.database import Transaction
from app.store.heads import TagHead, save_head
from app.store.lists import find_due_push


class PushOutcomes:
    """Used in the transaction that ends the operation, whose row is locked before all others."""

    def __init__(self, lists: ListWriter, events: Events) -> None:
        self._lists = lists
        self._events = events

    async def check(self, tx: Transaction, operation: Operation, push: Push) -> None:
        """Before tags move, check that a push that a list's completion started is still due.

        Raises the problem of a list that has failed since, or Superseded if a newer push of it is due.
        """
        if push.list_id is None or not decode_request(PushListRequest, operation.request).follows:
            return
        now = await find_due_push(tx, operation.project_id, push.list_id)
        if now is None:
            # A list that was removed does not stop its push.
            return
        if now.problem is not None:
            raise revive({"list_id": str(push.list_id), **now.problem})
        if now.push_operation_id != operation.id:
            raise Superseded(
                f"The list {push.reference} has changed and is pushed again.",
                reference=str(push.reference),
                list_id=str(push.list_id),
            )

    async def succeeded(self, tx: Transaction, operation: Operation, push: Push) -> None:
        """`push` has its result."""
        await stored.end_push(
            tx, operation.project_id, push.id, push.state, ended_at=push.ended_at, result=push.result
        )
        moved = push.result.moved if push.result is not None else ()
        await save_head(tx, operation.project_id, moved, _head(push))
        purge = decode_request(PushListRequest, operation.request).purge
        purged = await self._lists.settle_pushed(tx, operation.project_id, push, purge=purge)
        await self._record(tx, operation, EventKind.LIST_PUSHED, push)
        if purged is not None:
            await self._lists.record(tx, operation.project_id, EventKind.LIST_REMOVED, purged)

    async def failed(self, tx: Transaction, operation: Operation, push: Push) -> None:
        """Record the failure or cancellation of the operation, and how far each target came."""
        outcome = PushState.CANCELLED if operation.state is State.CANCELLED else PushState.FAILED
        problem = operation.problem or OperationCancelled("The push was cancelled.").document()
        if push.reached:
            problem = {"targets": encode_reached(push.reached), **problem}
        ended = replace(push, state=outcome, problem=problem, ended_at=operation.ended_at)
        await stored.end_push(
            tx, operation.project_id, push.id, outcome, ended_at=ended.ended_at, problem=problem
        )
        # Some tags may have moved, and older runs must see that.
        await save_head(tx, operation.project_id, push.perhaps_moved, _head(push))
        failed = await self._lists.settle_failed(tx, operation.project_id, push, problem)
        await self._record(tx, operation, EventKind.PUSH_FAILED, ended)
        if failed is not None:
            await self._lists.record(tx, operation.project_id, EventKind.LIST_FAILED, failed)

    async def _record(self, tx: Transaction, operation: Operation, kind: EventKind, push: Push) -> None:
        await self._events.record(tx, operation.project_id, kind, PushEvent(view_push(push)))


def _head(push: Push) -> TagHead:
    list_id = push.list_id if push.restores is None else None
    return TagHead(push.plan.order, list_id, push.id, push.plan.index.digest)
