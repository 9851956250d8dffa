"""Ends responses that are cheap to send and expensive to parse, before aiohttp's parser reads them whole."""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from itertools import islice

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import StreamReader

__all__ = ["Connector", "LimitedResponseHandler"]

_END_OF_HEAD = b"\r\n\r\n"
_HEAD_SLICE = 4096
_SUCCESS = 200
# RFC 9110, section 15.2 allows any number of interim responses; honest servers send a few.
_MOST_INTERIM = 16
# The size of a chunk below 256 bytes, with an extension or without (RFC 9112, section 7.1).
_TINY_CHUNK = re.compile(rb"\r\n0*[0-9a-fA-F]{1,2}(?:[ \t;][^\r\n]*)?\r\n")
_MANY_TINY_CHUNKS = 512
_BYTES_FOR_ONE_MORE = 128


class LimitedResponseHandler(ResponseHandler):
    """Feeds heads to the parser one by one, and inspects chunked bodies first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0
        self._body: StreamReader | None = None
        self._is_chunked = False

    def data_received(self, data: bytes) -> None:
        """Take one read of the transport, which may be 256 KiB: tens of thousands of heads or chunks."""
        if not data:
            # aiohttp's signal that a slow reader goes on.
            super().data_received(data)
            return
        start = 0
        while start < len(data) and self._awaits_head:
            if self.exception() is not None:
                # The parser gave up on this head; the rest is dropped.
                return
            end = data.find(_END_OF_HEAD, start, start + _HEAD_SLICE)
            stop = start + _HEAD_SLICE if end < 0 else end + len(_END_OF_HEAD)
            super().data_received(data[start:stop])
            start = stop
            if self._interim > _MOST_INTERIM:
                self._refuse("too many interim responses")
                return
        self._feed_body(data[start:])

    def _feed_body(self, data: bytes) -> None:
        """Feed a part of a body."""
        if self._is_chunked and _has_tiny_chunks(data):
            self._refuse("a body in tiny chunks")
        elif data:
            super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        message, body = data
        if message.code < _SUCCESS:
            self._interim += 1
        else:
            self._interim, self._body, self._is_chunked = 0, body, message.chunked
        super().feed_data(data, size)

    @property
    def _awaits_head(self) -> bool:
        return self._body is None or self._body.is_eof()

    def _refuse(self, reason: str) -> None:
        if self._awaits_head:
            self.set_exception(BadHttpMessage(reason))
        elif self._body is not None:
            self._body.set_exception(aiohttp.ClientPayloadError(reason))
        if self.transport is not None:
            self.transport.abort()


class Connector(aiohttp.TCPConnector):
    """Opens connections that inspect their responses."""

    def __init__(self, resolver: AbstractResolver, tls: ssl.SSLContext, *, dns_seconds: int) -> None:
        super().__init__(resolver=resolver, ssl=tls, limit=0, limit_per_host=0, ttl_dns_cache=dns_seconds)
        # aiohttp has no public way to a protocol of one's own; a test fails if this one stops working.
        self._factory = functools.partial(_handler, loop=self._loop)


def _handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return LimitedResponseHandler(loop)


def _has_tiny_chunks(data: bytes) -> bool:
    most = _MANY_TINY_CHUNKS + len(data) // _BYTES_FOR_ONE_MORE
    return data.count(b"\r\n") > most and any(islice(_TINY_CHUNK.finditer(data), most, None))
