"""Notifications wake those who wait, and no one waits for ever for one that was lost."""

from __future__ import annotations

from app.store.database import Database
from app.store.notifications import OPERATION_CHANGED, Notifications, Subscription, notify
from tests.support.operation_queue import PATIENCE_SECONDS, listening, until
from tests.support.postgres import execute


async def heard(subscription: Subscription) -> bool:
    return await subscription.wait(PATIENCE_SECONDS)


async def silent(subscription: Subscription) -> bool:
    return not await subscription.wait(0.05)


async def connect(notifications: Notifications) -> None:
    await until(lambda: notifications.listening)


async def test_a_commit_wakes_the_subscriptions_of_its_payload_and_of_its_channel(
    database: Database, database_url: str
) -> None:
    async with listening(database_url) as notifications:
        await connect(notifications)
        async with (
            notifications.subscribe(OPERATION_CHANGED, "a") as mine,
            notifications.subscribe(OPERATION_CHANGED, "b") as other,
            notifications.subscribe(OPERATION_CHANGED) as every,
        ):
            async with database.transaction() as tx:
                await notify(tx, OPERATION_CHANGED, "a")
            assert await heard(mine)
            assert await heard(every)
            assert await silent(other)


async def test_a_rollback_sends_no_notification(database: Database, database_url: str) -> None:
    async with listening(database_url) as notifications:
        await connect(notifications)
        async with notifications.subscribe(OPERATION_CHANGED, "a") as mine:
            async with database.transaction() as tx:
                await notify(tx, OPERATION_CHANGED, "a")
                await tx.rollback()
            assert await silent(mine)


async def test_a_notification_between_a_read_and_the_wait_is_not_missed(
    database: Database, database_url: str
) -> None:
    async with listening(database_url) as notifications:
        await connect(notifications)
        async with (
            notifications.subscribe(OPERATION_CHANGED, "a") as mine,
            notifications.subscribe(OPERATION_CHANGED, "a") as other,
        ):
            async with database.transaction() as tx:
                await notify(tx, OPERATION_CHANGED, "a")
            assert await heard(other)
            assert await mine.wait(0)
            assert await silent(mine)


async def test_a_lost_connection_is_replaced_and_wakes_every_subscription(
    database: Database, database_url: str
) -> None:
    async with listening(database_url) as notifications:
        await connect(notifications)
        async with notifications.subscribe(OPERATION_CHANGED, "a") as mine:
            await execute(
                database_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            assert await heard(mine)
            await connect(notifications)
            async with database.transaction() as tx:
                await notify(tx, OPERATION_CHANGED, "a")
            assert await heard(mine)


async def test_a_subscription_times_out_without_a_connection(database_url: str) -> None:
    async with Notifications(database_url).subscribe(OPERATION_CHANGED, "a") as mine:
        assert await silent(mine)
        mine.wake()
        assert await heard(mine)
