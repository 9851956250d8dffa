"""The runner: operations are carried out, tried again, cancelled and given back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.errors import OperationEnded, RateLimited, RegistryUnavailable, SourceNotFound, Unavailable
from app.operations.operation import Operation
from app.operations.progress import Progress, ProgressStep
from app.operations.retries import RetryPolicy
from app.operations.states import Kind, State
from app.runner.runner import Runner
from app.services.operations.attempts import Attempt, Handler
from app.services.operations.wait import Operations
from app.store import queue
from app.store.database import Database, Transaction
from app.store.notifications import Notifications
from tests.support.operation_queue import (
    HOUR,
    ended,
    enqueued,
    event_kinds,
    lapse,
    listening,
    new_project,
    read,
    running,
    succeeding,
    until,
)
from tests.support.postgres import execute
from tests.support.restartable_postgres import restartable_postgres
from tests.support.stalling_proxy import stalling_proxy

PUSH = Kind.PUSH_LIST


class Work:
    """A handler that lasts until it is released, and remembers what it met."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.started = asyncio.Event()
        self.released = asyncio.Event()
        self.attempts: list[int] = []
        self.interrupted: list[int] = []
        self.ended: list[tuple[UUID, State]] = []
        self.handler = Handler(self.perform, self.note_end)

    async def perform(self, attempt: Attempt) -> None:
        self.attempts.append(attempt.operation.attempt)
        self.started.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.interrupted.append(attempt.operation.attempt)
            raise
        async with self.database.transaction() as tx:
            await attempt.succeed(tx, {"attempt": attempt.operation.attempt})

    async def note_end(self, tx: Transaction, operation: Operation, state: State) -> None:
        self.ended.append((operation.id, state))


@pytest.fixture
async def work(database: Database) -> Work:
    return Work(database)


def failing(*failures: Exception, database: Database) -> Handler:
    """Fails once with each, and then succeeds."""
    pending = list(failures)

    async def perform(attempt: Attempt) -> None:
        if pending:
            raise pending.pop(0)
        async with database.transaction() as tx:
            await attempt.succeed(tx, {})

    return Handler(perform)


async def test_an_operation_is_carried_out_and_its_result_stored(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    async with running(database, notifications, {PUSH: succeeding(database)}):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert (outcome.state, outcome.result, outcome.problem) == (State.SUCCEEDED, {"attempt": 1}, None)
    assert await event_kinds(database, outcome) == ["queued", "running", "succeeded"]


async def test_concurrency_bounds_the_running_operations(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    now, most = 0, 0

    async def perform(attempt: Attempt) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        async with database.transaction() as tx:
            await attempt.succeed(tx, {})

    operations = [await enqueued(database, project_id) for _ in range(10)]
    async with running(database, notifications, {PUSH: Handler(perform)}, concurrency=3, poll=HOUR):
        for operation in operations:
            await ended(database, notifications, operation)
    assert most == 3


async def test_a_transient_failure_is_retried_and_recorded_as_an_event(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    handler = failing(RegistryUnavailable("503", registry="r"), RateLimited("429"), database=database)
    async with running(database, notifications, {PUSH: handler}):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert (outcome.state, outcome.attempt) == (State.SUCCEEDED, 3)
    expected = ["queued", "running", "retrying", "running", "retrying", "running", "succeeded"]
    assert await event_kinds(database, outcome) == expected
    events = [event async for event in Operations(database, notifications).stream(project_id, outcome.id)]
    assert events[2].data["problem"]["code"] == "registry-unavailable"
    assert events[2].data["retry_in"] < 1


async def test_a_retry_starts_when_it_is_due_without_waiting_for_a_poll(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    handler = failing(RateLimited("429", retry_after=0.2), database=database)
    async with running(database, notifications, {PUSH: handler}, poll=timedelta(hours=1)):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert outcome.state is State.SUCCEEDED


async def test_the_last_failure_is_the_problem(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    failures = [RegistryUnavailable(f"failure {number}", registry="r.example") for number in range(1, 9)]
    handler = failing(*failures, database=database)
    policy = RetryPolicy(max_attempts=3, base=0.001)
    async with running(database, notifications, {PUSH: handler}, policy=policy):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert (outcome.state, outcome.attempt) == (State.FAILED, 3)
    assert outcome.problem == failures[2].document()


async def test_a_final_failure_is_not_retried_and_its_handler_follows_in_the_same_transaction(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    async def perform(attempt: Attempt) -> None:
        raise SourceNotFound("gone", reference="a/b:c")

    async def note(tx: Transaction, operation: Operation, state: State) -> None:
        await tx.execute(text("UPDATE projects SET name = :state"), {"state": state})

    async with running(database, notifications, {PUSH: Handler(perform, note)}):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert (outcome.state, outcome.attempt) == (State.FAILED, 1)
    assert outcome.problem is not None
    assert (outcome.problem["code"], outcome.problem["reference"]) == ("source-not-found", "a/b:c")
    async with database.transaction() as tx:
        assert (await tx.execute(text("SELECT name FROM projects"))).scalar_one() == "failed"


async def test_an_operation_ends_even_if_its_handler_fails_afterwards(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    async def perform(attempt: Attempt) -> None:
        raise SourceNotFound("gone")

    async def fail(tx: Transaction, operation: Operation, state: State) -> None:
        await tx.execute(text("SELECT 1 / 0"))

    async with running(database, notifications, {PUSH: Handler(perform, fail)}):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert outcome.state is State.FAILED


async def test_an_unexpected_failure_is_recorded_without_its_text(
    database: Database, notifications: Notifications, project_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    handler = failing(ValueError("password hunter2"), database=database)
    async with running(database, notifications, {PUSH: handler}):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert outcome.state is State.FAILED
    assert outcome.problem is not None
    assert outcome.problem["code"] == "internal"
    assert "hunter2" not in str(outcome.problem)
    assert "ValueError" in caplog.text


async def test_a_handler_that_returns_without_a_result_has_failed(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    async def perform(attempt: Attempt) -> None:
        return

    async with running(database, notifications, {PUSH: Handler(perform)}):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert outcome.state is State.FAILED


async def test_of_the_failures_in_a_task_group_a_final_one_decides(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    failures = ExceptionGroup(
        "group", [RegistryUnavailable("503"), ExceptionGroup("", [SourceNotFound("404")])]
    )
    async with running(database, notifications, {PUSH: failing(failures, database=database)}):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert outcome.problem is not None
    assert outcome.problem["code"] == "source-not-found"


async def test_work_that_cancels_itself_is_retried(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    calls = 0

    async def perform(attempt: Attempt) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        async with database.transaction() as tx:
            await attempt.succeed(tx, {})

    async with running(database, notifications, {PUSH: Handler(perform)}, policy=RetryPolicy(base=0.001)):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert (outcome.state, calls) == (State.SUCCEEDED, 2)


async def test_the_last_progress_is_written_before_the_end(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    async def perform(attempt: Attempt) -> None:
        for done in range(1, 1001):
            attempt.progress(Progress((ProgressStep("blobs", done, 1000),)))
            await asyncio.sleep(0)
        async with database.transaction() as tx:
            await attempt.succeed(tx, {})

    async with running(database, notifications, {PUSH: Handler(perform)}):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert outcome.progress["steps"] == [{"name": "blobs", "done": 1000, "total": 1000}]
    kinds = await event_kinds(database, outcome)
    assert kinds[-2:] == ["progress", "succeeded"]
    # A thousand steps are not a thousand writes.
    assert kinds.count("progress") < 100


async def test_the_progress_of_a_failed_attempt_is_stored(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    async def perform(attempt: Attempt) -> None:
        attempt.progress(Progress(bytes_done=5))
        raise SourceNotFound("gone")

    async with running(database, notifications, {PUSH: Handler(perform)}):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert outcome.progress["bytes_done"] == 5


async def test_a_queued_operation_is_cancelled_at_once_and_never_starts(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    service = Operations(database, notifications, {PUSH: work.handler})
    operation = await enqueued(database, project_id)
    assert (await service.cancel(project_id, operation.id)).state is State.CANCELLED
    assert work.ended == [(operation.id, State.CANCELLED)]
    with pytest.raises(OperationEnded):
        await service.cancel(project_id, operation.id)
    async with running(database, notifications, {PUSH: work.handler}):
        work.released.set()
        await ended(database, notifications, await enqueued(database, project_id))
    assert len(work.attempts) == 1


async def test_a_running_operation_is_interrupted_and_cancelled_without_waiting_for_a_beat(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    service = Operations(database, notifications, {PUSH: work.handler})
    async with running(
        database, notifications, {PUSH: work.handler}, beat=timedelta(hours=1), lease=timedelta(hours=2)
    ):
        operation = await enqueued(database, project_id)
        await work.started.wait()
        assert (await service.cancel(project_id, operation.id)).state is State.RUNNING
        outcome = await ended(database, notifications, operation)
    assert outcome.state is State.CANCELLED
    assert work.interrupted == [1]
    assert work.ended == [(operation.id, State.CANCELLED)]


async def test_a_stop_lets_running_operations_finish(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    async with running(database, notifications, {PUSH: work.handler}) as runner:
        operation = await enqueued(database, project_id)
        await work.started.wait()
        runner.stop()
        late = await enqueued(database, project_id)
        work.released.set()
    assert (await read(database, operation)).state is State.SUCCEEDED
    assert (await read(database, late)).state is State.QUEUED


async def test_operations_that_exceed_the_grace_period_are_given_back(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    async with running(
        database, notifications, {PUSH: work.handler}, grace=timedelta(seconds=0.05)
    ) as runner:
        operation = await enqueued(database, project_id)
        await work.started.wait()
        runner.stop()
    assert (await read(database, operation)).state is State.QUEUED
    assert work.interrupted == [1]
    async with running(database, notifications, {PUSH: work.handler}):
        work.released.set()
        outcome = await ended(database, notifications, operation)
    assert (outcome.state, outcome.attempt) == (State.SUCCEEDED, 2)


async def test_stopping_a_worker_never_uses_up_the_attempts(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    operation = await enqueued(database, project_id)
    for _ in range(7):
        work.started.clear()
        async with running(database, notifications, {PUSH: work.handler}, grace=timedelta(0)):
            await work.started.wait()
    assert work.attempts == [1, 2, 3, 4, 5, 6, 7]
    handler = failing(RegistryUnavailable("503"), database=database)
    async with running(database, notifications, {PUSH: handler}):
        outcome = await ended(database, notifications, operation)
    assert (outcome.state, outcome.attempt) == (State.SUCCEEDED, 9)


async def test_a_cancelled_worker_gives_back_its_operations(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    runner = Runner(database, notifications, {PUSH: work.handler})
    task = asyncio.create_task(runner.run())
    operation = await enqueued(database, project_id)
    await work.started.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert (await read(database, operation)).state is State.QUEUED
    assert work.ended == []


async def test_a_worker_that_lost_its_lease_stops_the_work_and_leaves_it_to_the_new_owner(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    other = Work(database)
    operation = await enqueued(database, project_id)
    # Neither takes more than one, so the first can't take back what the second has taken from it.
    async with running(database, notifications, {PUSH: work.handler}, concurrency=1):
        await work.started.wait()
        async with running(database, notifications, {PUSH: other.handler}, concurrency=1):
            while not other.started.is_set():
                await lapse(database, operation, attempt=1)
                await asyncio.sleep(0.01)
            await until(lambda: work.interrupted == [1])
            other.released.set()
            outcome = await ended(database, notifications, operation)
    assert (outcome.state, outcome.result) == (State.SUCCEEDED, {"attempt": 2})
    assert other.interrupted == []
    assert (await event_kinds(database, operation)).count("succeeded") == 1


async def test_an_operation_that_every_worker_loses_fails_and_its_handler_follows(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    operation = await enqueued(database, project_id)
    async with database.transaction() as tx:
        await tx.execute(
            text(
                "UPDATE operations SET state = 'running', attempt = 5, lost = 4, worker = 'dead',"
                " lease_until = clock_timestamp()"
            )
        )
    async with running(database, notifications, {PUSH: work.handler}):
        outcome = await ended(database, notifications, operation)
    assert outcome.state is State.FAILED
    assert outcome.problem is not None
    assert outcome.problem["code"] == "attempts-exhausted"
    assert work.attempts == []
    assert work.ended == [(operation.id, State.FAILED)]


async def test_work_that_is_still_running_at_its_deadline_fails(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    async with running(database, notifications, {PUSH: work.handler}):
        operation = await enqueued(database, project_id, deadline_in=timedelta(seconds=1))
        outcome = await ended(database, notifications, operation)
    assert outcome.state is State.FAILED
    assert outcome.problem is not None
    assert outcome.problem["code"] == "deadline-exceeded"


async def test_operations_of_one_key_run_in_order_one_at_a_time_across_workers(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    order: list[UUID] = []
    busy = 0

    async def perform(attempt: Attempt) -> None:
        nonlocal busy
        busy += 1
        assert busy == 1
        await asyncio.sleep(0.002)
        order.append(attempt.operation.id)
        busy -= 1
        async with database.transaction() as tx:
            await attempt.succeed(tx, {})

    handlers = {PUSH: Handler(perform)}
    operations = [await enqueued(database, project_id, keys=("tag",)) for _ in range(20)]
    async with running(database, notifications, handlers), running(database, notifications, handlers):
        for operation in operations:
            assert (await ended(database, notifications, operation)).state is State.SUCCEEDED
    assert order == [operation.id for operation in operations]


async def test_the_bulkhead_limit_bounds_the_operations_of_one_registry(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    busy, most = 0, 0

    async def perform(attempt: Attempt) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.01)
        busy -= 1
        async with database.transaction() as tx:
            await attempt.succeed(tx, {})

    accepted = [await enqueued(database, project_id, registries=("slow.example",)) for _ in range(6)]
    settings = {"concurrency": 8, "bulkhead_limit": 1}
    async with running(database, notifications, {PUSH: Handler(perform)}, **settings):
        for operation in accepted:
            assert (await ended(database, notifications, operation)).state is State.SUCCEEDED
    assert most == 1


async def test_work_that_another_worker_has_claimed_stops_at_the_next_beat(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    """However long its lease would have lasted by the clock here."""
    operation = await enqueued(database, project_id)
    async with running(database, notifications, {PUSH: work.handler}, lease=HOUR):
        await work.started.wait()
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE operations SET attempt = attempt + 1, worker = 'other'"))
        await until(lambda: work.interrupted == [1])
    found = await read(database, operation)
    assert (found.state, found.attempt) == (State.RUNNING, 2)
    assert work.ended == []


async def test_an_operation_starts_as_soon_as_its_key_is_free(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    handlers = {PUSH: succeeding(database)}
    accepted = [await enqueued(database, project_id, keys=("tag",)) for _ in range(3)]
    async with running(database, notifications, handlers, poll=HOUR, lease=HOUR):
        for operation in accepted:
            assert (await ended(database, notifications, operation)).state is State.SUCCEEDED


async def test_a_lost_notification_delays_an_operation_only_until_the_next_poll(
    database: Database, database_url: str, project_id: UUID
) -> None:
    deaf = Notifications(database_url)
    async with (
        listening(database_url) as notifications,
        running(database, deaf, {PUSH: succeeding(database)}),
    ):
        outcome = await ended(database, notifications, await enqueued(database, project_id))
    assert outcome.state is State.SUCCEEDED


async def test_a_notification_starts_an_operation_long_before_the_next_poll(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    async with running(database, notifications, {PUSH: succeeding(database)}, poll=timedelta(hours=1)):
        for _ in range(3):
            outcome = await ended(database, notifications, await enqueued(database, project_id))
            assert outcome.state is State.SUCCEEDED


async def test_a_worker_claims_no_kind_without_a_handler(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    foreign = await enqueued(database, project_id, kind=Kind.CREATE_LIST)
    async with running(database, notifications, {PUSH: succeeding(database)}):
        await ended(database, notifications, await enqueued(database, project_id))
    assert (await read(database, foreign)).state is State.QUEUED


async def test_an_outcome_outlives_an_outage_of_the_database_that_ends_before_the_lease(
    database: Database, database_url: str, notifications: Notifications, project_id: UUID
) -> None:
    attempts: list[Any] = []

    async def perform(attempt: Attempt) -> None:
        attempts.append(attempt)
        await cut(database)
        raise SourceNotFound("gone")

    async with running(database, notifications, {PUSH: Handler(perform)}):
        operation = await enqueued(database, project_id)

        async def failed() -> bool:
            with suppress(Unavailable):
                return (await read(database, operation)).state is State.FAILED
            return False

        await until(failed)
    assert len(attempts) == 1


@pytest.mark.slow
async def test_work_stops_when_its_lease_can_not_be_renewed_and_is_repeated_later(
    work: Work,
) -> None:
    async with restartable_postgres() as server:
        work.database = database = Database(server.url)
        project_id = await new_project(database)
        async with (
            listening(server.url) as notifications,
            running(database, notifications, {PUSH: work.handler}),
        ):
            operation = await enqueued(database, project_id)
            await work.started.wait()
            await server.stop()
            await until(lambda: work.interrupted == [1])
            await server.start()
            work.released.set()
            outcome = await ended(database, notifications, operation)
        assert (outcome.state, outcome.attempt) == (State.SUCCEEDED, 2)
        await database.dispose()


async def cut(database: Database) -> None:
    """All connections but this one are gone, as when the server restarts."""
    async with database.transaction() as tx:
        await tx.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


@pytest.mark.slow
async def test_a_runner_claims_again_after_its_database_did_not_answer(
    database_url: str, database: Database, notifications: Notifications, project_id: UUID
) -> None:
    async with stalling_proxy(database_url) as line:
        own = Database(line.url, command_seconds=0.3)
        async with running(own, notifications, {PUSH: succeeding(own)}):
            await ended(database, notifications, await enqueued(database, project_id))
            line.stall()
            waiting = await enqueued(database, project_id)
            await asyncio.sleep(1)
            line.resume()
            assert (await ended(database, notifications, waiting)).state is State.SUCCEEDED
        await own.dispose()


@pytest.mark.slow
async def test_a_runner_continues_after_any_failure_of_the_database(
    database_url: str, database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    async with running(database, notifications, {PUSH: work.handler}, lease=timedelta(minutes=1)):
        operation = await enqueued(database, project_id)
        await work.started.wait()
        await execute(database_url, "ALTER TABLE operations RENAME TO hidden")
        # A beat and a claim or more fall into this; the lease is longer.
        await asyncio.sleep(1)
        await execute(database_url, "ALTER TABLE hidden RENAME TO operations")
        later = await enqueued(database, project_id)
        work.released.set()
        assert (await ended(database, notifications, operation)).attempt == 1
        assert (await ended(database, notifications, later)).state is State.SUCCEEDED


async def test_a_migration_of_the_next_version_costs_a_running_worker_no_attempt(
    database_url: str, database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    one = Database(database_url, pool_size=1)
    async with running(one, notifications, {PUSH: work.handler}, concurrency=1):
        work.released.set()
        for _ in range(3):
            await ended(database, notifications, await enqueued(database, project_id))
        work.started.clear()
        work.released.clear()
        operation = await enqueued(database, project_id)
        await work.started.wait()
        await execute(database_url, "ALTER TABLE operations ADD COLUMN later text")
        work.released.set()
        assert (await ended(database, notifications, operation)).attempt == 1
        next_one = await ended(database, notifications, await enqueued(database, project_id))
        assert (next_one.state, next_one.attempt) == (State.SUCCEEDED, 1)
    await one.dispose()


@pytest.mark.slow
async def test_a_locked_row_does_not_cost_other_operations_their_leases(
    database: Database, notifications: Notifications, project_id: UUID, work: Work
) -> None:
    other = Work(database)
    handlers = {PUSH: work.handler, Kind.CREATE_LIST: other.handler}
    async with running(database, notifications, handlers):
        operation = await enqueued(database, project_id)
        locked = await enqueued(database, project_id, kind=Kind.CREATE_LIST)
        await work.started.wait()
        await other.started.wait()
        async with database.transaction() as tx:
            await queue.hold(tx, locked.id, 1)
            await until(lambda: other.interrupted == [1])
            assert not work.interrupted
        work.released.set()
        other.released.set()
        assert (await ended(database, notifications, operation)).attempt == 1
        await ended(database, notifications, locked)
