"""A TCP proxy to a registry that breaks a connection after a given number of bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.registry_clients import listening

BLOCK = 64 * 1024


@dataclass(slots=True)
class BreakingProxy:
    """`down` and `up` hold, for each cut to come, how many bytes one connection carries until then."""

    port: int
    down: list[int] = field(default_factory=list)
    up: list[int] = field(default_factory=list)
    cuts: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, due: list[int]) -> None:
        """Ends with either side, or with a cut, after which nothing more passes."""
        carried = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(BLOCK):
                carried += len(data)
                if due and carried >= due[0]:
                    del due[0]
                    self.cuts += 1
                    return
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def breaking_proxy(port: int) -> AsyncIterator[BreakingProxy]:
    """A line to a port of this machine, whole until told otherwise."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        up = asyncio.create_task(line.pump(reader, upstream_writer, line.up))
        down = asyncio.create_task(line.pump(upstream, writer, line.down))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            for end in (writer, upstream_writer):
                end.transport.abort()

    line = BreakingProxy(0)
    async with listening(carry) as own:
        line.port = own
        yield line
