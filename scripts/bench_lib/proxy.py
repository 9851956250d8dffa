"""A TCP proxy that delays everything by half a round trip each way, and records the requests that pass.

`python -m scripts.bench_lib.proxy HOST PORT ROUND_TRIP_MS` prints its port, answers each line of its input
with the requests since the last one as JSON, and ends with its input. It adds delay and nothing else: it
accepts any number of connections and passes on every byte. Opening a connection takes one round trip, as on
a network (RFC 9293 §3.5), so a client that opens one for each request waits twice.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections import deque
from typing import cast

import uvloop

METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ")


class Direction:
    """One direction of a connection: what comes in leaves in the same order, `delay` seconds later.

    What comes in while the connection would still be opening counts as sent when it is open.
    """

    def __init__(self, delay: float, *, opening: float = 0.0) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._opened = self._loop.time() + opening
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._out: asyncio.Transport | None = None
        self._is_timed = False

    def lead_to(self, out: asyncio.Transport) -> None:
        self._out = out
        self._release()

    def send(self, data: bytes | None) -> None:
        """None is the end."""
        self._waiting.append((max(self._loop.time(), self._opened) + self._delay, data))
        if not self._is_timed:
            self._release()

    def _release(self) -> None:
        self._is_timed = False
        while self._out is not None and self._waiting:
            wait = self._waiting[0][0] - self._loop.time()
            if wait > 0:
                self._is_timed = True
                self._loop.call_later(wait, self._release)
                return
            _, data = self._waiting.popleft()
            if data is None:
                self._out.close()
            else:
                self._out.write(data)


class End(asyncio.Protocol):
    """One end of a connection; `requests` is where the client's end notes what is asked for."""

    def __init__(self, direction: Direction, requests: list[str] | None = None) -> None:
        self._direction = direction
        self._requests = requests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        # No client pipelines, so each request starts a new segment.
        if self._requests is not None and data.startswith(METHODS):
            self._requests.append(data[: data.find(b" HTTP/1.")].decode("latin-1"))
        self._direction.send(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self._direction.send(None)


class Accepted(End):
    """The client's end, which brings the upstream's end with it."""

    def __init__(self, upstream: tuple[str, int], delay: float, requests: list[str]) -> None:
        self._upstream = upstream
        self._up, self._down = Direction(delay, opening=2 * delay), Direction(delay)
        self._connecting: asyncio.Task[None] | None = None
        super().__init__(self._up, requests)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.create_task(self._connect(cast("asyncio.Transport", transport)))

    async def _connect(self, client: asyncio.Transport) -> None:
        self._down.lead_to(client)
        loop = asyncio.get_running_loop()
        try:
            upstream, _ = await loop.create_connection(lambda: End(self._down), *self._upstream)
        except OSError:
            client.abort()
        else:
            self._up.lead_to(upstream)


async def main(host: str, port: str, round_trip_ms: str) -> None:
    loop = asyncio.get_running_loop()
    upstream, delay = (host, int(port)), float(round_trip_ms) / 2000
    requests: list[str] = []
    server = await loop.create_server(
        lambda: Accepted(upstream, delay, requests), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while await orders.readline():
        print(json.dumps(requests), flush=True)
        requests.clear()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
