"""Dishonest ways to put an answer on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from tests.support.registry_double.wire import Answer, Exchange, Sender


def _open(exchange: Exchange, answer: Answer, *, length: int | None) -> web.StreamResponse:
    headers = {k: v for k, v in answer.headers.items() if k.lower() != "content-length"}
    if length is not None:
        headers["Content-Length"] = str(length)
    return web.StreamResponse(status=answer.status, headers=headers)


async def _abandon(exchange: Exchange, response: web.StreamResponse) -> web.StreamResponse:
    """Close under a reply that isn't over, so that aiohttp can't round it off."""
    if exchange.request.transport is not None:
        exchange.request.transport.close()
    return response


def truncated(keep: int, *, with_length: bool) -> Sender:
    """With a length the client can tell; in HTTP/1.0 fashion, ended by closing, it can't."""

    async def send(exchange: Exchange, answer: Answer) -> web.StreamResponse:
        length = {"Content-Length": str(len(answer.body))} if with_length else {}
        body = b"" if exchange.request.method == "HEAD" else answer.body[:keep]
        return _by_hand(exchange, answer, {**answer.headers, **length}, body)

    return send


async def untyped(exchange: Exchange, answer: Answer) -> web.StreamResponse:
    """Without a Content-Type, which aiohttp would add of itself."""
    length = {"Content-Length": str(len(answer.body))}
    body = b"" if exchange.request.method == "HEAD" else answer.body
    return _by_hand(exchange, answer, {**answer.headers, **length}, body)


def _by_hand(
    exchange: Exchange, answer: Answer, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    """Bytes past aiohttp, which would set the framing right; the connection ends with them."""
    transport = exchange.request.transport
    if transport is not None:
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        status_line = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
        transport.write(f"{status_line}{fields}Connection: close\r\n\r\n".encode() + body)
        transport.close()
    return web.Response(status=answer.status)


def dripping(interval: float) -> Sender:
    async def send(exchange: Exchange, answer: Answer) -> web.StreamResponse:
        response = _open(exchange, answer, length=len(answer.body))
        await response.prepare(exchange.request)
        for position in range(len(answer.body)):
            await response.write(answer.body[position : position + 1])
            await exchange.pause(interval)
            if exchange.stopping.is_set():
                return await _abandon(exchange, response)
        return response

    return send


def endless(filler: bytes) -> Sender:
    async def send(exchange: Exchange, answer: Answer) -> web.StreamResponse:
        response = _open(exchange, answer, length=None)
        response.enable_chunked_encoding()
        await response.prepare(exchange.request)
        await response.write(answer.body)
        while not exchange.stopping.is_set():
            await response.write(filler)
        return await _abandon(exchange, response)

    return send
