"""A TCP proxy to the tests' Postgres that can stall: nothing passes, and no connection closes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL, make_url

from tests.support.registry_clients import listening

BLOCK = 64 * 1024


class StallingProxy:
    """`url` is the database's by way of the line."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._carries = asyncio.Event()
        self._carries.set()

    def stall(self) -> None:
        self._carries.clear()

    def resume(self) -> None:
        self._carries.set()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(BLOCK):
                await self._carries.wait()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def stalling_proxy(url: str) -> AsyncIterator[StallingProxy]:
    """Carries everything until told otherwise."""
    address = make_url(url)
    path = _socket_of(address)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if path is not None:
            return await asyncio.open_unix_connection(path)
        return await asyncio.open_connection(address.host, address.port or 5432)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, upstream_writer = await connect()
        up = asyncio.create_task(line.pump(reader, upstream_writer))
        down = asyncio.create_task(line.pump(upstream, writer))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            for end in (writer, upstream_writer):
                end.transport.abort()

    line = StallingProxy("")
    async with listening(carry) as port:
        query = {name: value for name, value in address.query.items() if name != "host"}
        via = address.set(host="127.0.0.1", port=port, query=query)
        line.url = via.render_as_string(hide_password=False)
        yield line


def _socket_of(address: URL) -> Path | None:
    directory = address.query.get("host")
    return next(Path(directory).glob(".s.PGSQL.*[0-9]")) if isinstance(directory, str) else None
