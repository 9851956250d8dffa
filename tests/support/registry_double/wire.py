"""One exchange on the wire: the request being served, the answer, and the ways an answer can be sent."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from aiohttp import web

from tests.support.registry_double.journal import Journal, Received

Sender = Callable[["Exchange", "Answer"], Awaitable[web.StreamResponse]]


class CutOff(Exception):
    """The connection is to end in the middle of the request's body."""


@dataclass(slots=True)
class Exchange:
    """A request while it is being answered."""

    request: web.BaseRequest
    received: Received
    log: Journal
    stopping: asyncio.Event
    challenge: Callable[[str], str]
    open_upload: Callable[[str], Answer]
    cut_after: int | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes in, counted and hashed for the journal."""
        seen = hashlib.sha256()
        async for whole in self.request.content.iter_any():
            chunk = whole if self.cut_after is None else whole[: self.cut_after - self.received.body_size]
            seen.update(chunk)
            self.received.body_size += len(chunk)
            self.received.body_digest = "sha256:" + seen.hexdigest()
            self.log.changed.set()
            yield chunk
            if self.cut_after is not None and self.received.body_size >= self.cut_after:
                raise CutOff

    async def body(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def pause(self, seconds: float | None) -> None:
        """Wait, but never longer than the double runs."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    def reset(self) -> None:
        """Drop the connection the hard way: with linger 0 the kernel sends RST instead of FIN."""
        transport = self.request.transport
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


async def send_whole(exchange: Exchange, answer: Answer) -> web.StreamResponse:
    """The honest way; HEAD gets the headers that GET would have had."""
    if exchange.request.method != "HEAD":
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
    length = {} if answer.headers.get("Content-Length") else {"Content-Length": str(len(answer.body))}
    return web.Response(status=answer.status, headers={**answer.headers, **length})


async def send_nothing(exchange: Exchange, answer: Answer) -> web.StreamResponse:
    """No answer, and the connection goes away."""
    exchange.reset()
    return web.Response(status=answer.status)


async def send_never(exchange: Exchange, answer: Answer) -> web.StreamResponse:
    """No answer, and the connection stays."""
    await exchange.pause(None)
    return await send_nothing(exchange, answer)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the registry has decided to say, and how it will be put on the wire."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    send: Sender = send_whole

    @property
    def says_status(self) -> bool:
        return self.send not in (send_nothing, send_never)

    def with_headers(self, **headers: str) -> Answer:
        """Headers set by name, with `_` for `-`; none may stand twice."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {k: v for k, v in self.headers.items() if k.lower() not in {name.lower() for name in changed}}
        return replace(self, headers={**kept, **changed})

    def without_header(self, name: str) -> Answer:
        return replace(self, headers={k: v for k, v in self.headers.items() if k.lower() != name.lower()})


def json_answer(status: int, document: object, **headers: str) -> Answer:
    body = json.dumps(document, ensure_ascii=False).encode()
    return Answer(status, {"Content-Type": "application/json"}, body).with_headers(**headers)


def error(status: int, code: str, message: str = "", detail: object = None) -> Answer:
    """An error as distribution-spec writes it (Error Codes); `detail` is left out when there is none."""
    entry = {"code": code, "message": message or code.lower().replace("_", " ")}
    return json_answer(status, {"errors": [entry if detail is None else {**entry, "detail": detail}]})
