"""Misbehaviour that only the table needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from aiohttp import web

from tests.support.registry import Fault
from tests.support.registry_double.wire import Answer, Exchange, error

__all__ = ["Meanwhile", "NotAcceptable", "OtherStatus", "TooLarge", "TwiceTyped"]


@dataclass(frozen=True, slots=True)
class NotAcceptable(Fault):
    """406 wherever a type is asked for that only manifests have."""

    def concerns(self, request: web.BaseRequest) -> bool:
        return "/manifests/" not in request.path and request.headers.get("Accept", "*/*") != "*/*"

    async def instead(self, exchange: Exchange) -> Answer | None:
        return error(406, "UNSUPPORTED", "not acceptable")


@dataclass(frozen=True, slots=True)
class Meanwhile(Fault):
    """Something happens to the registry right before it answers as it should."""

    happens: Callable[[], object]

    async def instead(self, exchange: Exchange) -> Answer | None:
        self.happens()
        return None


@dataclass(frozen=True, slots=True)
class TooLarge(Fault):
    """A body of an upload of more bytes than this is refused."""

    size: int
    status: int

    def concerns(self, request: web.BaseRequest) -> bool:
        return "/blobs/uploads/" in request.path and (request.content_length or 0) > self.size

    async def instead(self, exchange: Exchange) -> Answer | None:
        return error(self.status, "SIZE_INVALID", "too large")


@dataclass(frozen=True, slots=True)
class OtherStatus(Fault):
    """The same answer under another status."""

    status: int

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return replace(answer, status=self.status)


@dataclass(frozen=True, slots=True)
class TwiceTyped(Fault):
    """The Content-Type stands there twice."""

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return replace(answer, send=_send_twice_typed)


async def _send_twice_typed(exchange: Exchange, answer: Answer) -> web.StreamResponse:
    fields = [*answer.headers.items(), ("Content-Type", answer.headers["Content-Type"])]
    fields += [("Content-Length", str(len(answer.body))), ("Connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    body = b"" if exchange.request.method == "HEAD" else answer.body
    transport = exchange.request.transport
    if transport is not None:
        transport.write(f"HTTP/1.1 {answer.status} OK\r\n{head}\r\n".encode() + body)
        transport.close()
    return web.Response(status=answer.status)
