"""The queue: who may claim what, and whose writes count."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from app.operations.capacity import FreeSlots
from app.operations.operation import Operation
from app.operations.progress import Progress, ProgressStep
from app.operations.states import Kind, State
from app.store import operation_changes, queue
from app.store import operations as store
from app.store.database import Database, Transaction
from app.store.operation_changes import Ending, LostLease
from app.store.queue import Claimed
from app.store.tables import operations
from tests.support.operation_queue import (
    HOUR,
    enqueued,
    event_kinds,
    lapse,
    new_project,
    read,
    until,
    wanted,
)

LEASE = timedelta(seconds=60)
WAITING = text(
    "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
    " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
)

BLOCKED = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)

Write = Callable[[Transaction], Awaitable[object]]


async def claim(database: Database, limit: int = 10, worker: str = "one", max_lost: int = 5) -> list[Claimed]:
    async with database.transaction() as tx:
        return await queue.claim(tx, worker=worker, free=FreeSlots(limit), lease=LEASE, max_lost=max_lost)


async def claim_one(database: Database, worker: str = "one") -> Operation:
    (claimed,) = await claim(database, worker=worker)
    return claimed.operation


async def succeed(database: Database, operation: Operation) -> Operation:
    async with database.transaction() as tx:
        return await queue.succeed(tx, operation.id, operation.attempt, {"done": True})


async def end_overdue(database: Database) -> list[Operation]:
    async with database.transaction() as tx:
        return await queue.end_overdue(tx)


def ids(claimed: Sequence[Claimed]) -> list[UUID]:
    return [each.operation.id for each in claimed]


async def test_the_oldest_operation_is_claimed_first(database: Database, project_id: UUID) -> None:
    accepted = [(await enqueued(database, project_id)).id for _ in range(5)]
    assert ids(await claim(database, limit=2)) == accepted[:2]
    assert ids(await claim(database)) == accepted[2:]


async def test_a_lower_priority_number_comes_before_age(database: Database, project_id: UUID) -> None:
    later = await enqueued(database, project_id, priority=1)
    sooner = await enqueued(database, project_id, priority=-1)
    assert ids(await claim(database)) == [sooner.id, later.id]


async def test_a_claim_returns_the_secret_and_the_end_removes_it(
    database: Database, project_id: UUID
) -> None:
    await enqueued(database, project_id, secret=b"sealed")
    (claimed,) = await claim(database)
    assert claimed.secret == b"sealed"
    assert claimed.counted == 1
    assert timedelta(minutes=59) < claimed.time_left <= HOUR
    await succeed(database, claimed.operation)
    async with database.transaction() as tx:
        assert (await tx.execute(select(operations.c.secret))).scalar_one() is None


async def test_a_rollback_enqueues_nothing(database: Database, project_id: UUID) -> None:
    async def enqueue_and_fail() -> None:
        async with database.transaction() as tx:
            await operation_changes.enqueue(tx, wanted(project_id))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await enqueue_and_fail()
    assert await claim(database) == []


async def test_an_operation_is_not_claimed_before_it_is_due(database: Database, project_id: UUID) -> None:
    await enqueued(database, project_id)
    operation = await claim_one(database)
    async with database.transaction() as tx:
        await queue.give_back(tx, operation.id, operation.attempt, timedelta(minutes=5))
    assert await claim(database) == []
    async with database.transaction() as tx:
        due = await queue.next_due(tx)
    assert due is not None
    assert timedelta(minutes=4) < due <= timedelta(minutes=5)


async def test_a_worker_claims_only_the_kinds_it_knows(database: Database, project_id: UUID) -> None:
    await enqueued(database, project_id, kind=Kind.INSPECT_IMAGE)
    async with database.transaction() as tx:
        assert (
            await queue.claim(tx, worker="one", free=FreeSlots(1), lease=LEASE, kinds=[Kind.PUSH_LIST]) == []
        )


async def test_operations_that_share_a_key_run_one_at_a_time_in_order(
    database: Database, project_id: UUID
) -> None:
    first = await enqueued(database, project_id, keys=("a",))
    second = await enqueued(database, project_id, keys=("b", "a"))
    third = await enqueued(database, project_id, keys=("b",))
    for expected in (first, second, third):
        claimed = await claim(database)
        assert ids(claimed) == [expected.id]
        await succeed(database, claimed[0].operation)


async def test_a_key_of_one_project_does_not_delay_operations_of_another(
    database: Database, project_id: UUID
) -> None:
    other_project = await new_project(database)
    first = await enqueued(database, project_id, keys=("a",))
    await enqueued(database, project_id, keys=("a",))
    other = await enqueued(database, other_project, keys=("a",))
    await enqueued(database, other_project, keys=("a", "b"))
    assert ids(await claim(database)) == [first.id, other.id]
    async with database.transaction() as tx:
        await queue.give_back(tx, first.id, 1, timedelta(minutes=5))
    await succeed(database, await read(database, other))
    (next_one,) = await claim(database)
    assert next_one.operation.project_id == other_project


async def test_a_key_that_an_operation_names_twice_counts_once(database: Database, project_id: UUID) -> None:
    operation = await enqueued(database, project_id, keys=("a", "a"))
    assert ids(await claim(database)) == [operation.id]


async def test_a_key_does_not_delay_operations_without_it(database: Database, project_id: UUID) -> None:
    first = await enqueued(database, project_id, keys=("a",))
    await enqueued(database, project_id, keys=("a",))
    other = await enqueued(database, project_id, keys=("b",))
    without = await enqueued(database, project_id)
    assert ids(await claim(database)) == [first.id, other.id, without.id]


async def test_a_newer_operation_does_not_overtake_one_of_its_key_that_waits_for_a_retry(
    database: Database, project_id: UUID
) -> None:
    first = await enqueued(database, project_id, keys=("a",))
    await enqueued(database, project_id, keys=("a",))
    operation = await claim_one(database)
    async with database.transaction() as tx:
        await queue.give_back(tx, first.id, operation.attempt, timedelta(minutes=5))
    assert await claim(database) == []


async def test_an_operation_that_commits_late_waits_and_blocks_no_other_for_ever(
    database: Database, project_id: UUID
) -> None:
    async with database.transaction() as slow:
        older = await operation_changes.enqueue(slow, wanted(project_id, keys=("a",)))
        await enqueued(database, project_id, keys=("a",))
        younger = await claim_one(database)
    assert await claim(database) == []
    # The younger one's worker dies: it must be able to go on, although the older one is queued.
    await lapse(database, younger)
    again = await claim_one(database)
    assert again.id == younger.id
    await succeed(database, again)
    assert ids(await claim(database)) == [older.id]


async def test_four_workers_that_claim_at_once_never_run_two_operations_of_a_key(
    database: Database, project_id: UUID
) -> None:
    for number in range(60):
        await enqueued(database, project_id, keys=(f"key {number % 3}", f"other {number % 5}"))
    spans: list[tuple[tuple[str, ...], float, float]] = []
    clock = asyncio.get_running_loop().time

    async def work(worker: str) -> None:
        while len(spans) < 60:
            for claimed in await claim(database, limit=3, worker=worker):
                started = clock()
                await asyncio.sleep(0.001)
                spans.append((claimed.operation.keys, started, clock()))
                await succeed(database, claimed.operation)

    async with asyncio.TaskGroup() as group:
        for worker in ("one", "two", "three", "four"):
            group.create_task(work(worker))
    assert len(spans) == 60
    for key in {key for keys, _, _ in spans for key in keys}:
        mine = sorted((start, end) for keys, start, end in spans if key in keys)
        assert all(before[1] <= after[0] for before, after in pairwise(mine))


async def test_a_claim_waits_for_a_concurrent_claim_and_sees_its_result(
    database: Database, project_id: UUID
) -> None:
    async with database.transaction() as slow:
        await operation_changes.enqueue(slow, wanted(project_id, keys=("a",)))
        younger = await enqueued(database, project_id, keys=("a",))
        async with database.transaction() as tx:
            (taken,) = await queue.claim(tx, worker="one", free=FreeSlots(9), lease=LEASE)
            # Now the older one appears, and nothing but the uncommitted claim speaks against it.
            await slow.commit()
            second = asyncio.create_task(claim(database, worker="two"))
            await until(lambda: waits_for_lock(database))
    assert taken.operation.id == younger.id
    assert await second == []


async def waits_for_lock(database: Database) -> bool:
    async with database.transaction() as tx:
        return bool((await tx.execute(WAITING)).scalar_one())


async def test_no_operation_is_claimed_twice(database: Database, project_id: UUID) -> None:
    accepted = {(await enqueued(database, project_id)).id for _ in range(40)}
    batches = await asyncio.gather(*(claim(database, limit=7, worker=str(number)) for number in range(8)))
    taken = [each for batch in batches for each in ids(batch)]
    assert len(taken) == len(set(taken)) == 40
    assert set(taken) == accepted


async def test_a_lost_lease_is_claimed_by_another_worker_as_the_next_attempt(
    database: Database, project_id: UUID
) -> None:
    await enqueued(database, project_id, keys=("a",))
    first = await claim_one(database)
    assert await claim(database, worker="two") == []
    await lapse(database, first)
    second = await claim_one(database, worker="two")
    assert (second.id, second.attempt) == (first.id, 2)
    assert second.started_at == first.started_at


async def test_a_stalled_attempt_writes_nothing_once_another_owns_the_operation(
    database: Database, project_id: UUID
) -> None:
    await enqueued(database, project_id)
    stale = await claim_one(database)
    await lapse(database, stale)
    owner = await claim_one(database, worker="two")
    before = await read(database, owner)
    id_, attempt = stale.id, stale.attempt
    writes: list[Write] = [
        lambda tx: queue.record_progress(tx, id_, attempt, Progress(bytes_done=1)),
        lambda tx: queue.succeed(tx, id_, attempt, {}),
        lambda tx: queue.fail(tx, id_, attempt, {}),
        lambda tx: queue.cancelled(tx, id_, attempt),
        lambda tx: queue.give_back(tx, id_, attempt, timedelta(0)),
    ]
    for write in writes:
        with pytest.raises(LostLease):
            async with database.transaction() as tx:
                await write(tx)
    async with database.transaction() as tx:
        assert await queue.beat(tx, [(id_, attempt)], LEASE) == []
    assert await read(database, owner) == before
    assert (await succeed(database, owner)).state is State.SUCCEEDED


async def test_an_operation_ends_once(database: Database, project_id: UUID) -> None:
    await enqueued(database, project_id)
    operation = await claim_one(database)
    await succeed(database, operation)
    writes: list[Write] = [
        lambda tx: queue.succeed(tx, operation.id, operation.attempt, {}),
        lambda tx: queue.fail(tx, operation.id, operation.attempt, {}),
        lambda tx: queue.give_back(tx, operation.id, operation.attempt, timedelta(0)),
    ]
    for write in writes:
        with pytest.raises(LostLease):
            async with database.transaction() as tx:
                await write(tx)
    assert await event_kinds(database, operation) == ["queued", "running", "succeeded"]


async def test_a_locked_row_does_not_keep_other_leases_from_being_renewed(
    database: Database, project_id: UUID
) -> None:
    busy, free = [await enqueued(database, project_id) for _ in range(2)]
    async with database.transaction() as tx:
        await queue.claim(tx, worker="one", free=FreeSlots(2), lease=LEASE)
    async with database.transaction() as other:
        await queue.hold(other, busy.id, 1)
        async with database.transaction() as tx:
            beats = await queue.beat(tx, [(busy.id, 1), (free.id, 1)], LEASE)
    assert {beat.id: beat.renewed for beat in beats} == {busy.id: False, free.id: True}


async def test_a_beat_renews_owned_leases_and_reports_cancellations(
    database: Database, project_id: UUID
) -> None:
    kept, unwanted = await enqueued(database, project_id), await enqueued(database, project_id)
    gone = uuid4()
    await claim(database)
    await lapse(database, kept)
    async with database.transaction() as tx:
        await operation_changes.request_cancel(tx, project_id, unwanted.id)
        beats = await queue.beat(tx, [(kept.id, 1), (unwanted.id, 1), (gone, 1)], LEASE)
    assert {beat.id: beat.cancel_requested for beat in beats} == {kept.id: False, unwanted.id: True}
    assert await claim(database) == []


async def test_progress_is_stored_and_recorded_as_an_event(database: Database, project_id: UUID) -> None:
    await enqueued(database, project_id)
    operation = await claim_one(database)
    progress = Progress((ProgressStep("blobs", 1, 2),), 10, 20)
    async with database.transaction() as tx:
        await queue.record_progress(tx, operation.id, operation.attempt, progress)
    assert (await read(database, operation)).progress == progress.document()
    async with database.transaction() as tx:
        last = (await store.events_after(tx, project_id, operation.id, 0, 10))[-1]
    assert (last.kind, last.data["progress"]) == ("progress", progress.document())


async def test_operations_that_succeed_together_have_one_result_and_their_own_progress(
    database: Database, project_id: UUID
) -> None:
    operations = [await enqueued(database, project_id) for _ in range(3)]
    await claim(database)
    list_id, progress = uuid4(), Progress(bytes_done=7).document()
    endings = [Ending(each.id, 1, progress if each is operations[0] else None) for each in operations]
    async with database.transaction() as tx:
        await operation_changes.succeed_all(tx, endings, {"done": True}, list_id=list_id)
    first, *others = [await read(database, each) for each in operations]
    assert {(each.state, each.list_id) for each in (first, *others)} == {(State.SUCCEEDED, list_id)}
    assert (first.result, first.progress) == ({"done": True}, progress)
    assert await event_kinds(database, first) == ["queued", "running", "progress", "succeeded"]
    assert await event_kinds(database, others[0]) == ["queued", "running", "succeeded"]


async def test_operations_that_succeed_together_lose_their_secrets(
    database: Database, project_id: UUID
) -> None:
    accepted = [await enqueued(database, project_id, secret=b"sealed") for _ in range(2)]
    assert {claimed.secret for claimed in await claim(database)} == {b"sealed"}
    async with database.transaction() as tx:
        endings = [Ending(each.id, 1) for each in accepted]
        await operation_changes.succeed_all(tx, endings, {}, list_id=uuid4())
        assert set((await tx.execute(select(operations.c.secret))).scalars()) == {None}


async def test_operations_do_not_succeed_together_with_a_lost_one(
    database: Database, project_id: UUID
) -> None:
    ours, lost = await enqueued(database, project_id), await enqueued(database, project_id)
    await claim(database)
    endings = [Ending(ours.id, 1), Ending(lost.id, 2)]
    with pytest.raises(LostLease):
        async with database.transaction() as tx:
            await operation_changes.succeed_all(tx, endings, {}, list_id=uuid4())
    assert (await read(database, ours)).state is State.RUNNING
    async with database.transaction() as tx:
        assert await queue.hold_all(tx, [(ours.id, 1), (lost.id, 2)]) == {ours.id}


async def test_progress_never_waits_for_a_locked_row(database: Database, project_id: UUID) -> None:
    await enqueued(database, project_id)
    operation = await claim_one(database)
    id_, attempt = operation.id, operation.attempt
    async with database.transaction() as holder:
        await queue.hold(holder, id_, attempt)
        async with asyncio.timeout(120), database.transaction() as tx:
            assert not await queue.record_progress(tx, id_, attempt, Progress(bytes_done=1))
        ended = await queue.succeed(holder, id_, attempt, {}, progress=Progress(bytes_done=2))
    assert ended.progress["bytes_done"] == 2
    assert await event_kinds(database, operation) == ["queued", "running", "progress", "succeeded"]


async def test_an_operation_whose_workers_all_died_ends_as_failed(
    database: Database, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id, keys=("a",))
    for _ in range(5):
        await claim_one(database)
        await lapse(database, operation)
    assert await claim(database) == []
    (ended,) = await end_overdue(database)
    assert ended.state is State.FAILED
    assert ended.problem is not None
    assert ended.problem["code"] == "attempts-exhausted"
    assert await end_overdue(database) == []


async def test_only_lost_attempts_count_against_the_limit_of_lost_attempts(
    database: Database, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id)
    for _ in range(9):
        tried = await claim_one(database)
        async with database.transaction() as tx:
            await queue.give_back(tx, tried.id, tried.attempt, timedelta(0))
    await claim_one(database)
    await lapse(database, operation)
    assert await end_overdue(database) == []
    (again,) = await claim(database)
    assert again.counted == 11


async def test_an_excused_attempt_has_a_number_and_does_not_count(
    database: Database, project_id: UUID
) -> None:
    await enqueued(database, project_id)
    for number in range(1, 9):
        (claimed,) = await claim(database)
        assert (claimed.operation.attempt, claimed.counted) == (number, 1)
        async with database.transaction() as tx:
            await queue.give_back(tx, claimed.operation.id, number, timedelta(0), excused=True)


async def test_an_operation_that_waited_past_its_deadline_fails_without_an_attempt(
    database: Database, project_id: UUID
) -> None:
    operation = await enqueued(database, project_id, deadline_in=timedelta(seconds=-1))
    assert await claim(database) == []
    (ended,) = await end_overdue(database)
    assert (ended.id, ended.state) == (operation.id, State.FAILED)
    assert ended.problem is not None
    assert ended.problem["code"] == "deadline-exceeded"


async def test_a_cancellation_takes_effect_after_the_worker_has_died(
    database: Database, project_id: UUID
) -> None:
    await enqueued(database, project_id)
    operation = await claim_one(database)
    async with database.transaction() as tx:
        await operation_changes.request_cancel(tx, project_id, operation.id)
    await lapse(database, operation)
    assert await claim(database) == []
    (ended,) = await end_overdue(database)
    assert ended.state is State.CANCELLED


async def test_an_operation_that_is_given_back_after_a_cancellation_is_cancelled(
    database: Database, project_id: UUID
) -> None:
    await enqueued(database, project_id)
    operation = await claim_one(database)
    async with database.transaction() as tx:
        await operation_changes.request_cancel(tx, project_id, operation.id)
        outcome = await queue.give_back(tx, operation.id, operation.attempt, timedelta(0))
    assert outcome.state is State.CANCELLED
    assert await event_kinds(database, operation) == ["queued", "running", "cancel_requested", "cancelled"]


async def test_characters_that_postgres_can_not_store_are_replaced_in_outcomes(
    database: Database, project_id: UUID
) -> None:
    await enqueued(database, project_id)
    operation = await claim_one(database)
    async with database.transaction() as tx:
        await queue.fail(
            tx, operation.id, operation.attempt, {"detail": "a\0b\ud800c \\u0000 é 🙂", "n": [1, None]}
        )
    assert (await read(database, operation)).problem == {
        "detail": "a\ufffdb\ufffdc \\u0000 é 🙂",
        "n": [1, None],
    }


async def test_the_search_for_due_operations_skips_later_ones(database: Database, project_id: UUID) -> None:
    await enqueued(database, project_id)
    async with database.transaction() as tx:
        await tx.execute(
            text(
                "INSERT INTO operations (id, project_id, kind, request, run_at, deadline_at, created_by)"
                " SELECT gen_random_uuid(), project_id, kind, request, now() + interval '1 hour',"
                " now() + interval '1 day', created_by FROM operations, generate_series(1, 5000)"
            )
        )
    async with database.transaction() as tx:
        await tx.execute(text("ANALYZE operations"))
    async with database.transaction() as tx:
        claimed = await queue.claim(tx, worker="one", free=FreeSlots(10), lease=LEASE)
        await queue.next_due(tx)
        await queue.end_overdue(tx)
        read = (
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'operations'"
        )
        assert (await tx.execute(text(read))).scalar_one() < 500
    assert len(claimed) == 1


async def test_events_of_old_operations_are_removed(database: Database, project_id: UUID) -> None:
    await enqueued(database, project_id)
    done = await claim_one(database)
    await succeed(database, done)
    waiting = await enqueued(database, project_id)
    async with database.transaction() as tx:
        assert await store.forget_events(tx, timedelta(days=1)) == 0
        await tx.execute(text("UPDATE operations SET ended_at = ended_at - interval '2 days'"))
        assert await store.forget_events(tx, timedelta(days=1)) == 3
    assert await event_kinds(database, waiting) == ["queued"]


async def test_a_repeated_cancellation_is_recorded_once(database: Database, project_id: UUID) -> None:
    await enqueued(database, project_id)
    operation = await claim_one(database)
    async with database.transaction() as tx:
        await operation_changes.request_cancel(tx, project_id, operation.id)
        again = await operation_changes.request_cancel(tx, project_id, operation.id)
    assert (again.state, again.cancel_requested) == (State.RUNNING, True)
    assert await event_kinds(database, operation) == ["queued", "running", "cancel_requested"]


async def test_a_cancellation_during_a_claim_reaches_the_worker(database: Database, project_id: UUID) -> None:
    """It was queued when it was looked at, and runs by the time that it is to be changed."""
    operation = await enqueued(database, project_id)

    async def cancel() -> Operation:
        async with database.transaction() as tx:
            return await operation_changes.request_cancel(tx, project_id, operation.id)

    async def is_blocked() -> bool:
        async with database.transaction() as tx:
            return bool((await tx.execute(BLOCKED)).scalar_one())

    async with asyncio.TaskGroup() as group, database.transaction() as tx:
        await queue.claim(tx, worker="one", free=FreeSlots(1), lease=LEASE)
        cancelling = group.create_task(cancel())
        await until(is_blocked)
    cancelled = cancelling.result()
    assert (cancelled.state, cancelled.cancel_requested) == (State.RUNNING, True)
