"""Deliveries: each event is sent to each webhook that subscribes to it, at least once."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from app.errors import (
    BrokerError,
    DeadlineExceeded,
    DeliveryFailed,
    DeliveryPending,
    OperationCancelled,
    ReceiverForbidden,
    ReceiverGone,
    WebhookDisabled,
    WebhookNotFound,
)
from app.lists.events import ProjectEvent
from app.logs import current_trace
from app.oci.timestamps import rfc3339
from app.operations.operation import NewOperation, Operation
from app.operations.request_codec import decode_request, encode_request
from app.operations.requests import DeliverRequest
from app.operations.states import Kind, State
from app.outbound.url import Url, origin_of
from app.projects.deliveries import Delivery, DeliveryState
from app.projects.paging import Position
from app.projects.webhooks import Webhook
from app.services.operations.attempts import Attempt
from app.services.webhooks.sender import Post, Receipt, WebhookSender, budget_name
from app.services.webhooks.signing import Secrets, utc_now
from app.store import deliveries as stored
from app.store import events, operation_changes, webhooks
from app.store.database import Database, Transaction
from app.store.deliveries import DueDelivery
from app.store.row_security.scopes import acting_for

logger = logging.getLogger(__name__)

# The longest outage of a receiver. Deliveries that fail can be replayed as long as their events are kept.
DEADLINE = timedelta(days=3)
# Operations that callers wait for come first.
PRIORITY = 1
# The shortest time for attempts, even for a replay shortly before its event is removed.
SHORTEST = timedelta(hours=1)
# The deliveries of one webhook that may be due at the same time. Those that wait for a retry don't count:
# otherwise a hundred events that a receiver refuses would block all later ones.
WINDOW = 100
# The deliveries of one webhook that are in the operation queue, including those that wait for a retry. The
# others stay out of the queue, so that a long outage of one receiver doesn't fill it.
MOST = 1_000


@dataclass(frozen=True, slots=True)
class _Job:
    """A delivery with its webhook and its event."""

    delivery: Delivery
    webhook: Webhook
    event: ProjectEvent


async def begin(tx: Transaction, webhook: Webhook, event_id: int) -> UUID:
    """Insert a delivery, and enqueue its operation if its turn has come."""
    delivery_id = await stored.insert_delivery(tx, webhook.project_id, webhook.id, event_id)
    await _advance(tx, webhook)
    return delivery_id


async def _advance(tx: Transaction, webhook: Webhook) -> None:
    """Enqueue the deliveries whose turn has come."""
    for turn in await stored.begin_due(tx, webhook.id, window=WINDOW, most=MOST):
        await operation_changes.enqueue(tx, _operation(webhook, turn))


def _operation(webhook: Webhook, turn: DueDelivery) -> NewOperation:
    return NewOperation(
        id=turn.operation_id,
        project_id=webhook.project_id,
        kind=Kind.DELIVER,
        request=encode_request(DeliverRequest(turn.delivery_id)),
        created_by=webhook.created_by,
        deadline_in=max(SHORTEST, min(DEADLINE, turn.time_left)),
        registries=(_budget_name(webhook),),
        priority=PRIORITY,
        trace=current_trace(),
    )


def _budget_name(webhook: Webhook) -> str:
    """The name of the budget that all webhooks of a project at one origin share."""
    return budget_name(origin_of(webhook.url), str(webhook.project_id))


class Deliveries:
    """Looks up, performs and replays deliveries."""

    def __init__(self, database: Database, sender: WebhookSender, secrets: Secrets) -> None:
        self._database = database
        self._sender = sender
        self._secrets = secrets

    async def get(self, project_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        async with self._database.transaction(project_id) as tx:
            await webhooks.get_webhook(tx, project_id, webhook_id)
            return await stored.get_delivery(tx, project_id, webhook_id, delivery_id)

    async def page(
        self,
        project_id: UUID,
        webhook_id: UUID,
        *,
        state: DeliveryState | None,
        before: Position | None,
        limit: int,
    ) -> list[Delivery]:
        async with self._database.transaction(project_id) as tx:
            await webhooks.get_webhook(tx, project_id, webhook_id)
            return await stored.page_deliveries(
                tx, project_id, webhook_id, state=state, before=before, limit=limit
            )

    async def replay(self, project_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Send the same event under the same id again."""
        async with self._database.transaction(project_id) as tx:
            webhook = await _enabled(tx, project_id, webhook_id, lock=True)
            delivery = await stored.get_delivery(tx, project_id, webhook_id, delivery_id, lock=True)
            if delivery.state is DeliveryState.PENDING:
                raise DeliveryPending(f"Delivery {delivery_id} has not ended yet.")
            await stored.restart(tx, delivery.id)
            await _advance(tx, webhook)
            return await stored.get_delivery(tx, project_id, webhook_id, delivery_id)

    async def replay_many(
        self,
        project_id: UUID,
        webhook_id: UUID,
        states: Collection[DeliveryState],
        *,
        since: int | datetime | None,
        limit: int,
    ) -> tuple[int, int | None]:
        """The number of replayed deliveries, oldest first, and the next event id if the limit was reached."""
        async with self._database.transaction(project_id) as tx:
            webhook = await _enabled(tx, project_id, webhook_id, lock=True)
            found = await stored.to_replay(tx, project_id, webhook_id, states, since=since, limit=limit + 1)
            for delivery in found[:limit]:
                await stored.restart(tx, delivery.id)
            await _advance(tx, webhook)
        return len(found[:limit]), found[limit].event_id if len(found) > limit else None

    async def perform(self, attempt: Attempt) -> None:
        """Send one request; every attempt has the same body and the same message id."""
        job = await self._load(attempt.operation)
        try:
            receipt = await self._send(job)
        except (DeliveryFailed, ReceiverForbidden) as failure:
            await self._record_failure(attempt, job, failure)
            raise
        async with self._database.transaction(attempt.operation.project_id) as tx:
            await attempt.succeed(tx, {"delivery_id": str(job.delivery.id), "status": receipt.status})
            await stored.mark_delivered(tx, job.delivery.id, status=receipt.status)
            await _advance(tx, job.webhook)

    async def ended(self, tx: Transaction, operation: Operation, state: State) -> None:
        """Mark a delivery whose operation failed or was cancelled as failed; it can be replayed."""
        problem = operation.problem
        if state is State.CANCELLED or problem is None:
            problem = OperationCancelled("The delivery was cancelled.").document()
        delivery_id = _delivery_id(operation)
        await stored.mark_failed(tx, delivery_id, operation.id, problem)
        delivery = await stored.find_delivery(tx, operation.project_id, delivery_id)
        if delivery is not None:
            await self._go_on(tx, operation.project_id, delivery.webhook_id)

    async def go_on(self, tx: Transaction) -> None:
        """Enqueue waiting deliveries whose turn has come; fail those whose events are removed soon."""
        late = DeadlineExceeded("The delivery waited behind others until its event was about to be removed.")
        await stored.fail_overdue(tx, late.document())
        for project_id, webhook_id in await stored.webhooks_with_waiting(tx):
            async with acting_for(tx, project_id):
                await self._go_on(tx, project_id, webhook_id)

    async def _go_on(self, tx: Transaction, project_id: UUID, webhook_id: UUID) -> None:
        webhook = await webhooks.get_webhook(tx, project_id, webhook_id)
        if webhook.enabled:
            await _advance(tx, webhook)
        else:
            await stored.fail_waiting(tx, webhook_id, _disabled(webhook_id).document())

    async def _load(self, operation: Operation) -> _Job:
        async with self._database.transaction(operation.project_id) as tx:
            delivery = await stored.find_delivery(tx, operation.project_id, _delivery_id(operation))
            if delivery is None:
                raise WebhookNotFound("The webhook was removed.")
            webhook = await _enabled(tx, operation.project_id, delivery.webhook_id)
            event = await events.get(tx, operation.project_id, delivery.event_id)
        return _Job(delivery, webhook, event)

    async def _send(self, job: _Job) -> Receipt:
        url = self._sender.parse_receiver(job.webhook.url)
        receipt = await self._post(job, url)
        if receipt.is_success:
            return receipt
        failure = ReceiverGone if receipt.status == HTTPStatus.GONE else DeliveryFailed
        raise failure(
            f"{url.origin} answered {receipt.status}.",
            upstream_status=receipt.status,
            retry_after=receipt.retry_after,
        )

    async def _post(self, job: _Job, url: Url) -> Receipt:
        body = event_body(job.event)

        def sign() -> Mapping[str, str]:
            headers = self._secrets.headers(job.webhook, str(job.delivery.id), body, utc_now())
            return {**headers, "Content-Type": "application/json"}

        try:
            return await self._sender.post(Post(url, _budget_name(job.webhook), body, sign))
        except BrokerError:
            raise
        except Exception as error:
            # Retryable: an unexpected failure may be temporary, and nothing else would repeat the delivery.
            logger.exception("Delivery %s failed unexpectedly", job.delivery.id)
            raise DeliveryFailed("The broker failed. The reason is in its log.") from error

    async def _record_failure(self, attempt: Attempt, job: _Job, failure: BrokerError) -> None:
        status = failure.upstream_status if isinstance(failure, DeliveryFailed) else None
        async with self._database.transaction(attempt.operation.project_id) as tx:
            await attempt.hold(tx)
            await stored.count_failure(tx, job.delivery.id, status=status, problem=failure.document())
            # This delivery waits for its retry now, and leaves its place in the window to the next one.
            await _advance(tx, job.webhook)
        if isinstance(failure, ReceiverGone):
            # In its own transaction: a removal locks the webhook before its deliveries, so locking it
            # after them could deadlock.
            async with self._database.transaction(attempt.operation.project_id) as tx:
                await webhooks.disable(tx, job.webhook)


def event_body(event: ProjectEvent) -> bytes:
    """The exact bytes to send and sign: a pure function of the stored event."""
    document: dict[str, Any] = {
        "type": event.kind.value,
        "timestamp": rfc3339(event.created_at),
        "data": event.data,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


async def _enabled(tx: Transaction, project_id: UUID, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    """The webhook, or WebhookDisabled. Set `lock` in a transaction that locks its deliveries afterwards."""
    webhook = await webhooks.get_webhook(tx, project_id, webhook_id, lock=lock)
    if not webhook.enabled:
        raise _disabled(webhook_id)
    return webhook


def _disabled(webhook_id: UUID) -> WebhookDisabled:
    return WebhookDisabled(f"Webhook {webhook_id} is disabled.")


def _delivery_id(operation: Operation) -> UUID:
    return decode_request(DeliverRequest, operation.request).delivery_id
