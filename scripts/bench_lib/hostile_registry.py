"""A registry whose repositories each do harm in their own way; prints its port and runs until it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from app.oci.digest import digest_of
from app.oci.media_types import OCI_MANIFEST
from scripts.bench_lib.hostile_bodies import HEAD, answers, documents, small_documents

Write = Callable[[bytes], Awaitable[None]]

TARGET = re.compile(r"/v2/(?P<kind>[a-z0-9-]+)/(?P<what>manifests|blobs)/.*")
DRIP_SECONDS = 0.05
TLS_RECORD = b"\x16"


def repository_of(name: str) -> str:
    """The repository that does what this name says."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


class Registry:
    """Bodies are made once, so that it is not this process that is measured."""

    def __init__(self) -> None:
        self._bodies = {
            repository_of(name): make() for name, make in {**documents(), **small_documents()}.items()
        }
        self._answers = {repository_of(name): make() for name, make in answers().items()}
        self._ways: dict[str, Callable[[Write], Awaitable[None]]] = {
            "dripping-body": _drip_body,
            "dripping-header": _drip_header,
            "endless-body": _endless_body,
            "endless-headers": _endless_headers,
            "silence": _silence,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            start = await reader.readexactly(1)
            if start == TLS_RECORD:
                await write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            while start != TLS_RECORD:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(unquote(head.split(b" ", 2)[1].decode()), write)
        writer.close()

    async def _answer(self, target: str, write: Write) -> None:
        found = TARGET.fullmatch(target)
        if found is None:
            await write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        elif found["kind"].startswith("config-") and found["what"] == "manifests":
            await write(_whole(self._image(found["kind"])))
        elif (kind := found["kind"].removeprefix("config-")) in self._ways:
            await self._ways[kind](write)
        elif kind in self._answers:
            await write(self._answers[kind])
        else:
            await write(_whole(self._bodies[kind]))

    def _image(self, kind: str) -> bytes:
        config = self._bodies[kind.removeprefix("config-")]
        return (
            b'{"schemaVersion":2,"mediaType":"%b","config":{"mediaType":'
            b'"application/vnd.oci.image.config.v1+json","digest":"%b","size":%d},"layers":[]}'
            % (OCI_MANIFEST.encode(), str(digest_of(config)).encode(), len(config))
        )


def _whole(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def _drip_body(write: Write) -> None:
    await write(HEAD + b"Content-Length: 1000000\r\n\r\n")
    while True:
        await write(b" ")
        await asyncio.sleep(DRIP_SECONDS)


async def _drip_header(write: Write) -> None:
    await write(HEAD + b"X: ")
    while True:
        await write(b"a")
        await asyncio.sleep(DRIP_SECONDS)


async def _endless_body(write: Write) -> None:
    await write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await write(b"10000\r\n" + b" " * 65536 + b"\r\n")


async def _endless_headers(write: Write) -> None:
    await write(HEAD)
    while True:
        await write(b"X-A: " + b"a" * 1000 + b"\r\n")


async def _silence(_write: Write) -> None:
    await asyncio.Event().wait()


async def main() -> None:
    registry = Registry()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task that waits for ever needs a reference.
        tasks.add(asyncio.create_task(registry.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    # Dripping answers end with the process.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
