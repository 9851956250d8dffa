"""Streams of a project's events: each event once and in order, even after lost notifications."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from app.lists.events import ALL, EventFilter, EventKind, ProjectEvent
from app.services.callers import Caller
from app.services.events.log import Events
from app.services.tokens import Tokens
from app.store.database import Database, Transaction
from app.store.notifications import Notifications
from app.store.row_security.scopes import Scope
from tests.support.operation_queue import PATIENCE_SECONDS, listening, until
from tests.support.projects import named_event

WRITERS, EACH = 12, 25
CHANGED, PUSHED = EventKind.LIST_CHANGED, EventKind.LIST_PUSHED


@pytest.fixture
def events(database: Database, notifications: Notifications) -> Events:
    return Events(database, notifications)


@pytest.fixture
async def caller(database: Database) -> Caller:
    return await create_caller(database, "team")


async def create_caller(database: Database, project: str) -> Caller:
    tokens = Tokens(database)
    await tokens.ensure_project(project)
    _, text = await tokens.create(project, "ci", admin=False)
    return await tokens.identify(text)


async def record(
    database: Database, project_id: UUID, *names: str, kind: EventKind = CHANGED, session: str = ""
) -> None:
    """Record one event for each name, all in one transaction."""
    async with database.transaction() as tx:
        for name in names:
            facts = named_event(name, session=session)
            await Events(database, Notifications("")).record(tx, project_id, kind, facts)


async def follow(
    events: Events, caller: Caller, number: int, after: int = 0, wanted: EventFilter = ALL
) -> list[ProjectEvent]:
    """Read this many events, then close the stream."""
    found: list[ProjectEvent] = []
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(events.stream(caller, after, wanted)) as stream:
        async for event in stream:
            found.append(event)
            if len(found) == number:
                break
    return found


def names(found: list[ProjectEvent]) -> list[str]:
    return [event.data["labels"]["name"] for event in found]


@pytest.mark.slow
async def test_a_reader_that_reconnects_at_random_sees_each_event_once_and_in_order(
    database_url: str, database: Database, events: Events, caller: Caller
) -> None:
    dice = random.Random(4)

    async def write(writer: int) -> None:
        for number in range(EACH):
            await asyncio.sleep(dice.random() * 0.02)
            await record(database, caller.project_id, f"{writer}.{number}")

    async def read(processes: list[Events]) -> list[ProjectEvent]:
        """Read in pieces, each from a random process."""
        seen: list[ProjectEvent] = []
        while len(seen) < WRITERS * EACH:
            number = min(dice.randrange(1, 20), WRITERS * EACH - len(seen))
            after = seen[-1].id if seen else 0
            seen += await follow(dice.choice(processes), caller, number, after)
        return seen

    other = Database(database_url)
    async with listening(database_url) as notifications, asyncio.TaskGroup() as group:
        processes = [events, Events(other, notifications)]
        readers = [group.create_task(read(processes)) for _ in range(3)]
        for writer in range(WRITERS):
            group.create_task(write(writer))
    await other.dispose()
    for reader in readers:
        seen = reader.result()
        assert [event.id for event in seen] == sorted({event.id for event in seen})
        for writer in range(WRITERS):
            of_writer = [name for name in names(seen) if name.startswith(f"{writer}.")]
            assert of_writer == [f"{writer}.{number}" for number in range(EACH)]


async def test_an_event_whose_notification_was_lost_is_seen_at_the_next_poll(
    database: Database, database_url: str, caller: Caller
) -> None:
    deaf = Events(database, Notifications(database_url), poll=0.05)
    reader = asyncio.create_task(follow(deaf, caller, 2))
    await record(database, caller.project_id, "a")
    await asyncio.sleep(0)
    await record(database, caller.project_id, "b")
    assert names(await reader) == ["a", "b"]


async def test_a_stream_of_many_events_has_every_event(
    database: Database, events: Events, caller: Caller
) -> None:
    expected = [str(number) for number in range(250)]
    await record(database, caller.project_id, *expected)
    assert names(await follow(events, caller, 250)) == expected


async def test_a_stream_has_only_the_events_of_its_filter(
    database: Database, events: Events, caller: Caller
) -> None:
    for name, kind, session in (("a", CHANGED, "1"), ("b", PUSHED, "1"), ("c", PUSHED, "2")):
        await record(database, caller.project_id, name, kind=kind, session=session)
    pushed = EventFilter(frozenset({PUSHED}))
    assert names(await follow(events, caller, 2, wanted=pushed)) == ["b", "c"]
    assert names(await follow(events, caller, 1, wanted=replace(pushed, session="2"))) == ["c"]


async def test_a_stream_from_the_shared_feed_has_only_the_events_of_its_filter(
    database: Database, notifications: Notifications, caller: Caller
) -> None:
    """The feed filters as the database does."""
    events, wanted_list, other_list = Events(database, notifications, poll=0.05), uuid4(), uuid4()
    wanted = EventFilter(frozenset({CHANGED}), wanted_list, "1")
    not_wanted = [(PUSHED, wanted_list, "1"), (CHANGED, other_list, "1"), (CHANGED, uuid4(), "1")]
    not_wanted.append((CHANGED, wanted_list, "2"))
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(events.stream(caller, 0, wanted)) as stream:
        for name in ("a", "b", "c"):
            async with database.transaction() as tx:
                for kind, list_id, session in (*not_wanted, (CHANGED, wanted_list, "1")):
                    facts = named_event(name, list_id=list_id, session=session)
                    await events.record(tx, caller.project_id, kind, facts)
            found = await anext(stream)
            assert (names([found]), found.kind, found.list_id) == ([name], CHANGED, wanted_list)


async def test_a_new_stream_begins_after_the_newest_event(
    database: Database, events: Events, caller: Caller
) -> None:
    assert await events.find_start(caller.project_id, None) == 0
    await record(database, caller.project_id, "before")
    start = await events.find_start(caller.project_id, None)
    reader = asyncio.create_task(follow(events, caller, 1, start))
    await record(database, caller.project_id, "after")
    assert names(await reader) == ["after"]


async def test_a_stream_resumes_after_a_known_id_and_begins_at_the_newest_event_after_a_future_id(
    database: Database, events: Events, caller: Caller
) -> None:
    await record(database, caller.project_id, "first", "second")
    newest = await events.find_start(caller.project_id, None)
    assert await events.find_start(caller.project_id, newest - 1) == newest - 1
    assert await events.find_start(caller.project_id, newest + 1) == newest


async def test_callers_see_only_the_events_of_their_own_project(
    database: Database, events: Events, caller: Caller
) -> None:
    stranger = await create_caller(database, "other")
    await record(database, caller.project_id, "mine")
    await record(database, stranger.project_id, "theirs")
    await record(database, caller.project_id, "mine, too")
    assert names(await follow(events, caller, 2)) == ["mine", "mine, too"]
    assert names(await follow(events, stranger, 1)) == ["theirs"]
    assert names(await events.page(stranger.project_id, ALL, before=None, limit=10)) == ["theirs"]


async def test_a_stream_ends_when_its_token_is_revoked(
    database: Database, notifications: Notifications, caller: Caller
) -> None:
    events = Events(database, notifications, poll=0.05)
    reader = asyncio.create_task(follow(events, caller, 2))
    await record(database, caller.project_id, "seen")
    await Tokens(database).revoke(caller.token_id)
    found = names(await reader)
    await record(database, caller.project_id, "not seen")
    assert found in ([], ["seen"])


async def test_a_new_stream_with_a_revoked_token_has_no_events(
    database: Database, events: Events, caller: Caller
) -> None:
    """Earlier events are read from the database for this stream alone, which also checks the token."""
    await record(database, caller.project_id, "not seen")
    await Tokens(database).revoke(caller.token_id)
    assert await follow(events, caller, 1) == []


async def test_a_running_stream_gets_no_events_after_its_token_is_revoked(
    database: Database, notifications: Notifications, caller: Caller
) -> None:
    """The feed that all streams share checks the token of each."""
    events = Events(database, notifications, poll=0.05)
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(events.stream(caller, 0)) as stream:
        for name in ("a", "b", "c"):
            await record(database, caller.project_id, name)
            assert names([await anext(stream)]) == [name]
        await Tokens(database).revoke(caller.token_id)
        await record(database, caller.project_id, "not seen")
        assert [event async for event in stream] == []


async def test_many_streams_share_a_small_pool(
    database_url: str, database: Database, notifications: Notifications, caller: Caller
) -> None:
    small = Database(database_url, pool_size=1, pool_wait=PATIENCE_SECONDS)
    events = Events(small, notifications)
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(follow(events, caller, 1)) for _ in range(30)]
        # The only connection is free although thirty streams wait.
        await events.find_start(caller.project_id, None)
        await record(database, caller.project_id, "a")
    assert [names(reader.result()) for reader in readers] == [["a"]] * 30
    await small.dispose()


class Counting(Database):
    """Counts its transactions."""

    transactions = 0

    @asynccontextmanager
    async def transaction(self, scope: Scope = None) -> AsyncIterator[Transaction]:
        self.transactions += 1
        async with super().transaction(scope) as tx:
            yield tx


async def test_all_streams_of_a_project_share_each_read(
    database_url: str, database: Database, notifications: Notifications, caller: Caller
) -> None:
    counting = Counting(database_url)
    # No stream polls: each reads only after a notification.
    events = Events(counting, notifications, poll=3600.0)
    await record(database, caller.project_id, "first")
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(aclosing(events.stream(caller, 0))) for _ in range(60)]
        for stream in streams:
            await anext(stream)
        before = counting.transactions
        for name in "abc":
            following = [asyncio.create_task(anext(stream)) for stream in streams]
            await record(database, caller.project_id, name)
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert names(await asyncio.gather(*following)) == [name] * 60
        assert counting.transactions - before < 60
    await counting.dispose()


@pytest.mark.slow
async def test_a_slow_reader_misses_no_event_that_other_streams_have_read(
    database: Database, events: Events, caller: Caller
) -> None:
    await record(database, caller.project_id, "first")
    pushed = EventFilter(frozenset({PUSHED}), session="1")
    async with aclosing(events.stream(caller, 0)) as slow, aclosing(events.stream(caller, 0, pushed)) as few:
        assert names([await anext(slow)]) == ["first"]
        following = asyncio.create_task(anext(few))
        expected = [str(number) for number in range(EACH * 30)]
        for start in range(0, len(expected), EACH):
            await record(database, caller.project_id, *expected[start : start + EACH])
        assert names(await follow(events, caller, len(expected), 1)) == expected
        assert names([await anext(slow) for _ in expected]) == expected
        for session in "21":
            await record(database, caller.project_id, session, kind=PUSHED, session=session)
        assert names([await following]) == ["1"]


async def test_a_stream_outlasts_an_outage_of_the_database(
    database_url: str, database: Database, notifications: Notifications, caller: Caller
) -> None:
    small = Database(database_url, pool_size=1, pool_wait=0.01)
    await record(database, caller.project_id, "before")
    stream = Events(small, notifications, poll=0.01).stream(caller, 0)
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(stream):
        assert (await anext(stream)).data["labels"]["name"] == "before"
        async with small.transaction():
            following = asyncio.create_task(anext(stream))
            await record(database, caller.project_id, "meanwhile")
            await asyncio.sleep(0.1)
            assert not following.done()
        assert (await following).data["labels"]["name"] == "meanwhile"
    await small.dispose()


async def test_a_closed_stream_leaves_no_subscription(
    notifications: Notifications, events: Events, caller: Caller
) -> None:
    follower = asyncio.create_task(exhaust(events.stream(caller, 0)))
    await until(lambda: notifications.subscribers == 1)
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower
    assert notifications.subscribers == 0


async def exhaust(stream: AsyncIterator[ProjectEvent]) -> None:
    async for _ in stream:
        pass
