"""Deliveries stay as long as their events; the operations that brought them go sooner."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.errors import DeliveryFailed, DeliveryNotFound
from app.lists.events import EventKind
from app.operations.capacity import FreeSlots
from app.operations.states import Kind
from app.outbound.client import OutboundClient
from app.outbound.limits import OutboundLimits
from app.outbound.policy import AccessPolicy
from app.projects.deliveries import Delivery
from app.projects.webhooks import NewWebhook, Webhook
from app.services.encryption import SecretBox
from app.services.operations.attempts import Attempt
from app.services.webhooks.deliveries import Deliveries, begin
from app.services.webhooks.sender import WebhookSender
from app.services.webhooks.signing import Secrets
from app.store import deliveries, events, queue, webhooks
from app.store.database import Database
from tests.support.operation_queue import enqueued


def unopened_sender() -> WebhookSender:
    return WebhookSender(OutboundClient(AccessPolicy(), OutboundLimits()))


async def hook_of(database: Database, project_id: UUID) -> Webhook:
    new = NewWebhook(
        id=uuid4(),
        project_id=project_id,
        url="https://receiver.example.com/",
        kinds=(),
        description="",
        enabled=True,
        secret=b"sealed",
        created_by="tests",
    )
    async with database.transaction() as tx:
        return await webhooks.insert_webhook(tx, new)


async def begun(database: Database, hook: Webhook) -> Delivery:
    async with database.transaction() as tx:
        event = await events.record(tx, hook.project_id, EventKind.LIST_PUSHED, {})
        delivery_id = await begin(tx, hook, event.id)
        return await deliveries.get_delivery(tx, hook.project_id, hook.id, delivery_id)


async def page(database: Database, hook: Webhook) -> list[UUID]:
    async with database.transaction() as tx:
        found = await deliveries.page_deliveries(tx, hook.project_id, hook.id, before=None, limit=10)
        return [delivery.id for delivery in found]


async def test_operations_of_old_deliveries_are_removed(database: Database, project_id: UUID) -> None:
    hook = await hook_of(database, project_id)
    old, young, waiting = [await begun(database, hook) for _ in range(3)]
    other = await enqueued(database, project_id, kind=Kind.PUSH_LIST)
    async with database.transaction() as tx:
        for operation_id, days in ((old.operation_id, 8), (young.operation_id, 6), (other.id, 8)):
            await tx.execute(
                text(
                    "UPDATE operations SET state = 'succeeded',"
                    " ended_at = now() - :days * interval '1 day' WHERE id = :id"
                ),
                {"days": days, "id": operation_id},
            )
    async with database.transaction() as tx:
        assert await deliveries.forget_old_deliveries(tx) == 1
        left = (await tx.execute(text("SELECT id FROM operations"))).scalars().all()
    assert set(left) == {young.operation_id, waiting.operation_id, other.id}
    assert set(await page(database, hook)) == {old.id, young.id, waiting.id}


async def test_a_delivery_is_found_under_its_own_webhook_alone(database: Database, project_id: UUID) -> None:
    hook, other = await hook_of(database, project_id), await hook_of(database, project_id)
    delivery = await begun(database, hook)
    async with database.transaction() as tx:
        assert await deliveries.get_delivery(tx, project_id, hook.id, delivery.id) == delivery
        with pytest.raises(DeliveryNotFound):
            await deliveries.get_delivery(tx, project_id, other.id, delivery.id)
        with pytest.raises(DeliveryNotFound):
            await deliveries.get_delivery(tx, other.id, hook.id, delivery.id)


async def test_deliveries_are_removed_with_their_events_and_with_their_webhook(
    database: Database, project_id: UUID
) -> None:
    hook, other = await hook_of(database, project_id), await hook_of(database, project_id)
    first, second = await begun(database, hook), await begun(database, hook)
    kept = await begun(database, other)
    async with database.transaction() as tx:
        await tx.execute(
            text("UPDATE project_events SET created_at = now() - interval '31 days' WHERE id = :id"),
            {"id": first.event_id},
        )
        assert await events.forget_old_events(tx) == 1
    assert await page(database, hook) == [second.id]
    async with database.transaction() as tx:
        await webhooks.delete_webhook(tx, project_id, hook.id)
    assert await page(database, hook) == []
    assert await page(database, other) == [kept.id]


async def test_an_internal_failure_of_a_delivery_is_retried(database: Database, project_id: UUID) -> None:
    secrets = Secrets(SecretBox(b"k" * 32))
    hook = await hook_of(database, project_id)
    delivery = await begun(database, hook)
    # A client that was not opened: nothing that a receiver did.
    service = Deliveries(database, unopened_sender(), secrets)
    async with database.transaction() as tx:
        (claimed,) = await queue.claim(tx, worker="tests", free=FreeSlots(1), lease=timedelta(minutes=1))
    with pytest.raises(DeliveryFailed) as caught:
        await service.perform(Attempt(database, claimed.operation))
    assert caught.value.retryable
    async with database.transaction() as tx:
        found = await deliveries.get_delivery(tx, project_id, hook.id, delivery.id)
    assert (found.state, found.attempts, found.problem) == ("pending", 1, caught.value.document())


async def test_waiting_deliveries_are_begun_by_housekeeping(database: Database, project_id: UUID) -> None:
    hook = await hook_of(database, project_id)
    delivery = await begun(database, hook)
    async with database.transaction() as tx:
        # As when everyone before it ended at the moment in which it joined.
        await deliveries.restart(tx, delivery.id)
    service = Deliveries(database, unopened_sender(), Secrets(SecretBox(None)))
    async with database.transaction() as tx:
        await service.go_on(tx)
        moved = await deliveries.get_delivery(tx, project_id, hook.id, delivery.id)
    assert moved.operation_id not in {None, delivery.operation_id}
    assert moved.next_at is not None


async def test_deliveries_that_wait_for_a_retry_do_not_delay_others_up_to_a_bound(
    database: Database, project_id: UUID
) -> None:
    hook = await hook_of(database, project_id)
    first, second, third = [await begun(database, hook) for _ in range(3)]
    async with database.transaction() as tx:
        for delivery in (second, third):
            await deliveries.restart(tx, delivery.id)
        assert await deliveries.begin_due(tx, hook.id, window=1, most=9) == []
        await tx.execute(
            text("UPDATE operations SET run_at = now() + interval '1 hour' WHERE id = :id"),
            {"id": first.operation_id},
        )
        assert await deliveries.begin_due(tx, hook.id, window=1, most=1) == []
        (turn,) = await deliveries.begin_due(tx, hook.id, window=1, most=9)
    assert turn.delivery_id == second.id


async def test_a_waiting_delivery_fails_a_day_before_its_event_is_removed(
    database: Database, project_id: UUID
) -> None:
    hook = await hook_of(database, project_id)
    in_line, tried, young = [await begun(database, hook) for _ in range(3)]
    service = Deliveries(database, unopened_sender(), Secrets(SecretBox(None)))
    async with database.transaction() as tx:
        for delivery, days in ((in_line, 29.1), (tried, 28), (young, 1)):
            await deliveries.restart(tx, delivery.id)
            await tx.execute(
                text(
                    "UPDATE webhook_deliveries SET created_at = now() - :age * interval '1 day'"
                    " WHERE id = :id"
                ),
                {"age": days, "id": delivery.id},
            )
        await service.go_on(tx)
        lasts = (
            "SELECT round(extract(epoch FROM deadline_at - now()) / 86400, 2) FROM operations WHERE id = :id"
        )
        found = [
            await deliveries.get_delivery(tx, project_id, hook.id, each.id)
            for each in (in_line, tried, young)
        ]
        days_left = [
            (await tx.execute(text(lasts), {"id": each.operation_id})).scalar_one() for each in found[1:]
        ]
    assert [each.state for each in found] == ["failed", "pending", "pending"]
    assert found[0].problem is not None
    assert found[0].problem["code"] == "deadline-exceeded"
    assert [float(each) for each in days_left] == [1.0, 3.0]


async def test_a_webhook_receives_its_kinds_and_no_others(database: Database, project_id: UUID) -> None:
    hook = await hook_of(database, project_id)
    async with database.transaction() as tx:
        for kinds, told in (([], True), (["list.pushed"], True), (["push.failed", "list.failed"], False)):
            await webhooks.update_webhook(tx, project_id, hook.id, {"types": kinds})
            found = await webhooks.wanting(tx, project_id, EventKind.LIST_PUSHED)
            assert [each.id for each in found] == ([hook.id] if told else [])
        await webhooks.update_webhook(tx, project_id, hook.id, {"types": [], "enabled": False})
        assert await webhooks.wanting(tx, project_id, EventKind.LIST_PUSHED) == []


async def test_the_end_of_a_delivery_does_not_wait_for_its_webhook(
    database: Database, project_id: UUID
) -> None:
    """A removal locks the webhook before its deliveries, so a wait for it could be a deadlock."""
    hook = await hook_of(database, project_id)
    delivered, failed = [await begun(database, hook) for _ in range(2)]
    problem = DeliveryFailed("Answered 500.").document()
    async with database.transaction() as removal:
        await removal.execute(text("SELECT 1 FROM webhooks WHERE id = :id FOR UPDATE"), {"id": hook.id})
        # A wait would end with the server's lock_timeout, as Unavailable.
        async with database.transaction() as tx:
            await deliveries.mark_delivered(tx, delivered.id, status=204)
            await deliveries.count_failure(tx, failed.id, status=500, problem=problem)
    async with database.transaction() as tx:
        ended = await deliveries.get_delivery(tx, project_id, hook.id, delivered.id)
    assert (ended.state, ended.attempts, ended.last_status) == ("delivered", 1, 204)
