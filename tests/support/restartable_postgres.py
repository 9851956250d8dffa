"""A Postgres of the test's own, which it can crash and start again at the same address."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.store.embedded import EmbeddedPostgres
from app.store.migrate import upgrade
from tests.support.embedded_postgres import postmaster_of
from tests.support.postgres import FAST, passable_directory


class RestartablePostgres:
    def __init__(self, root: Path) -> None:
        self._root = root
        # Unlike the other tests' servers, this one must keep what it has committed when it is killed.
        self._server = EmbeddedPostgres(root, settings=FAST | {"synchronous_commit": "on"})

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def stop(self) -> None:
        await asyncio.to_thread(self._server.stop)

    async def crash(self) -> None:
        """As a machine does that loses power: nobody is told."""
        os.kill(postmaster_of(self._root), signal.SIGKILL)
        await self.stop()


@asynccontextmanager
async def restartable_postgres() -> AsyncIterator[RestartablePostgres]:
    with passable_directory() as directory:
        server = RestartablePostgres(directory / "postgres")
        await server.start()
        try:
            await upgrade(server.url)
            yield server
        finally:
            await server.stop()
