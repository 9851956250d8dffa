"""A webhook receiver on a port of this machine that fails on command."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from standardwebhooks import Webhook


@dataclass(frozen=True, slots=True)
class Message:
    headers: Mapping[str, str]
    body: bytes
    path: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """What the standard's own library makes of it; raises if it is not signed with the secret."""
        return Webhook(secret).verify(self.body, dict(self.headers))


Mood = Callable[["Receiver", web.Request], Awaitable[web.StreamResponse]]


def answering(status: int, body: bytes = b"", **headers: str) -> Mood:
    async def answer(receiver: Receiver, request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, headers=named, body=body)

    return answer


async def hang(receiver: Receiver, request: web.Request) -> web.StreamResponse:
    await receiver.released.wait()
    return web.Response()


def late(seconds: float) -> Mood:
    async def answer(receiver: Receiver, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response()

    return answer


async def hang_up(receiver: Receiver, request: web.Request) -> web.StreamResponse:
    """What was received is kept; only its sender can't know that."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@dataclass(slots=True)
class Receiver:
    """Answers by its next mood, and when there is none takes what comes."""

    moods: deque[Mood] = field(default_factory=deque)
    usual: Mood = field(default_factory=lambda: answering(204))
    received: list[Message] = field(default_factory=list)
    taken: list[Message] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    host: str = ""
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook"

    def then(self, *moods: Mood) -> None:
        self.moods.extend(moods)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.host = "{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        message = Message(request.headers.copy(), await request.read(), request.path_qs)
        self.received.append(message)
        mood = self.moods.popleft() if self.moods else self.usual
        answer = await mood(self, request)
        if answer.status in range(200, 300) and mood is not hang_up:
            self.taken.append(message)
        return answer
