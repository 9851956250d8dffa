"""Notifications from Postgres: a wake-up for each committed change; a poll covers lost ones."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, cast

from sqlalchemy import func, select

from app.store.database import Transaction, create_engine
from app.store.row_security.scopes import Roles

logger = logging.getLogger(__name__)

OPERATION_QUEUED = "operation_queued"
OPERATION_CHANGED = "operation_changed"
OPERATION_ENDED = "operation_ended"
CANCEL_REQUESTED = "operation_cancel_requested"
REGISTRY_BUDGET = "registry_budget"
LIST_CHANGED = "list_changed"
PROJECT_EVENT = "project_event"
TOKEN_REVOKED = "token_revoked"  # noqa: S105 - a channel
TAG_LEASE = "tag_lease"
CHANNELS = (
    OPERATION_QUEUED,
    OPERATION_CHANGED,
    OPERATION_ENDED,
    CANCEL_REQUESTED,
    REGISTRY_BUDGET,
    LIST_CHANGED,
    PROJECT_EVENT,
    TOKEN_REVOKED,
    TAG_LEASE,
)

FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 5.0
KEEPALIVE_SECONDS = 10.0
# The number of recent ends of operations that are kept for subscriptions that come a moment too late.
REMEMBERED = 1_000


class _Listener(Protocol):
    """The used part of asyncpg's connection, which SQLAlchemy returns untyped."""

    async def add_listener(self, channel: str, callback: Callable[[object, int, str, str], None]) -> None: ...
    def add_termination_listener(self, callback: Callable[[object], None]) -> None: ...
    async def execute(self, query: str, *, timeout: float) -> str: ...


class Subscription:
    """A wake-up that is kept until the next wait, so that none is lost between a read and a wait."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self, timeout: float) -> bool:
        """Return whether a notification came within `timeout` seconds, or before."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


async def notify(tx: Transaction, channel: str, payload: str = "") -> None:
    """Notify when the transaction commits."""
    await tx.execute(select(func.pg_notify(channel, payload)))


class Notifications:
    """A dedicated connection that listens; `run` keeps it open."""

    def __init__(self, url: str, roles: Roles | None = None) -> None:
        self.listening = False
        self._url, self._roles = url, roles
        self._subscriptions: dict[tuple[str, str | None], set[Subscription]] = defaultdict(set)
        self._ended: dict[str | None, None] = {}
        self._closing = asyncio.Event()

    @property
    def closing(self) -> bool:
        """Whether the process stops, so that no caller may wait any longer."""
        return self._closing.is_set()

    def close(self) -> None:
        self._closing.set()
        self._wake_all()

    async def until_closing(self) -> None:
        await self._closing.wait()

    @property
    def subscribers(self) -> int:
        """The number of subscriptions, for metrics."""
        return sum(len(subscriptions) for subscriptions in self._subscriptions.values())

    @asynccontextmanager
    async def subscribe(self, channel: str, payload: str | None = None) -> AsyncIterator[Subscription]:
        """A subscription to the channel, or to the notifications with this payload alone.

        If the operation of the payload has just ended, the subscription is woken already.
        """
        subscription, key = Subscription(), (channel, payload)
        if channel == OPERATION_ENDED and payload in self._ended:
            subscription.wake()
        self._subscriptions[key].add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions[key].discard(subscription)
            if not self._subscriptions[key]:
                del self._subscriptions[key]

    async def run(self) -> None:
        """Listen until cancelled, and reconnect after every outage."""
        backoff = FIRST_BACKOFF
        while True:
            try:
                await self._listen()
            except Exception:
                logger.warning("The connection that listens for notifications failed", exc_info=True)
            backoff = FIRST_BACKOFF if self.listening else min(backoff * 2, LONGEST_BACKOFF)
            self.listening = False
            await asyncio.sleep(backoff)

    async def _listen(self) -> None:
        engine = create_engine(self._url, autocommit=True, roles=self._roles)
        async with engine.connect() as connection:
            driver = cast("_Listener", (await connection.get_raw_connection()).driver_connection)
            lost = asyncio.Event()
            driver.add_termination_listener(lambda _: lost.set())
            for channel in CHANNELS:
                await driver.add_listener(channel, self._receive)
            self.listening = True
            self._wake_all()
            await _until(lost, driver)
            logger.warning("The connection that listens for notifications was lost")

    def _receive(self, _connection: object, _pid: int, channel: str, payload: str) -> None:
        if channel == OPERATION_ENDED:
            self._remember(payload)
        for key in {(channel, None), (channel, payload)}:
            for subscription in self._subscriptions.get(key, ()):
                subscription.wake()

    def _remember(self, payload: str) -> None:
        self._ended[payload] = None
        if len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def _wake_all(self) -> None:
        # Notifications from before the connection are lost: every subscriber has to look.
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.wake()


async def _until(lost: asyncio.Event, driver: _Listener) -> None:
    while not lost.is_set():
        try:
            async with asyncio.timeout(KEEPALIVE_SECONDS):
                await lost.wait()
        except TimeoutError:
            # Only a statement shows that a network drops packets silently.
            await driver.execute("SELECT 1", timeout=KEEPALIVE_SECONDS)
