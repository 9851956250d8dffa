"""A webhook receiver on a port of this machine that fails on command."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
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
        """The message, parsed by the standard's own library, which raises if the secret did not sign it."""
        return Webhook(secret).verify(self.body, dict(self.headers))


Reply = Callable[["Receiver", web.Request], Awaitable[web.StreamResponse]]


def answering(status: int, body: bytes = b"", **headers: str) -> Reply:
    async def answer(receiver: Receiver, request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, headers=named, body=body)

    return answer


async def hang(receiver: Receiver, request: web.Request) -> web.StreamResponse:
    await receiver.released.wait()
    return web.Response()


def late(seconds: float) -> Reply:
    async def answer(receiver: Receiver, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response()

    return answer


async def hang_up(receiver: Receiver, request: web.Request) -> web.StreamResponse:
    """The receiver keeps the message, but the sender can't know that."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class Receiver:
    """Answers with its next reply, and with the usual one when none is left.

    A reply that no request gets fails the test when the receiver closes, since the test never meets its
    fault; `optional` allows that.
    """

    def __init__(self, *, usual: Reply | None = None, optional: bool = False) -> None:
        self.received: list[Message] = []
        self.accepted: list[Message] = []
        self.released = asyncio.Event()
        self.host = ""
        self._replies: deque[tuple[Reply, bool]] = deque()
        self._usual = usual or answering(204)
        self._unused: list[Reply] = [self._usual] if usual and not optional else []
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook"

    @property
    def usual(self) -> Reply:
        return self._usual

    @usual.setter
    def usual(self, reply: Reply) -> None:
        self._usual = reply
        self._unused.append(reply)

    def then(self, *replies: Reply, optional: bool = False) -> None:
        """Give these replies first, each once; `optional` allows that some are left in the end."""
        self._replies.extend((reply, optional) for reply in replies)

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
        left = [*self._unused, *(reply for reply, optional in self._replies if not optional)]
        if kind is None and left:
            names = ", ".join(reply.__qualname__ for reply in left)
            raise AssertionError(f"The webhook receiver never gave {len(left)} of its replies: {names}.")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        message = Message(request.headers.copy(), await request.read(), request.path_qs)
        self.received.append(message)
        reply = self._next_reply()
        answer = await reply(self, request)
        if answer.status in range(200, 300) and reply is not hang_up:
            self.accepted.append(message)
        return answer

    def _next_reply(self) -> Reply:
        if self._replies:
            return self._replies.popleft()[0]
        self._unused = [each for each in self._unused if each is not self._usual]
        return self._usual
