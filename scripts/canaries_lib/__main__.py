"""Runs operations at registries that fail and repeat credentials, and searches for the secrets everywhere."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import uvloop

from app.store.embedded import EmbeddedPostgres
from app.store.embedded.binaries import find_binaries
from app.store.migrate import upgrade
from scripts.canaries_lib.calls import Caller
from scripts.canaries_lib.registries import running_registries
from scripts.canaries_lib.search import Search
from scripts.canaries_lib.secrets import MARK, Canaries
from tests.support.broker_process import COMMAND, wait_until_listening
from tests.support.postgres import passable_directory
from tests.support.webhook_receiver import Receiver

__all__ = ["run"]

AT_ONCE = 16
PATIENCE_SECONDS = 120.0


@asynccontextmanager
async def served(directory: Path, settings: Mapping[str, str]) -> AsyncIterator[str]:
    """`manifest-broker serve` at debug level, with its log and its temporary files in the directory."""
    temporary = directory / "tmp"
    temporary.mkdir()
    environment = {**os.environ, **settings, "BROKER_LOG_LEVEL": "debug", "TMPDIR": str(temporary)}
    arguments = ("serve", "--port", "0", "--data", str(directory / "data"))
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            COMMAND, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            yield (await wait_until_listening(process)).base_url
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()


async def run(count: int, seed: int) -> Search:
    """The search after so many operations; it has looked at everything."""
    dice = random.Random(seed)
    canaries = Canaries.of(dice)
    search = Search(canaries.texts(), MARK)
    with passable_directory("canaries-") as outside, passable_directory("canaries-") as directory:
        with EmbeddedPostgres(directory / "postgres") as server:
            await upgrade(server.url)
            async with running_registries(canaries, outside, dice) as registries, Receiver() as receiver:
                settings = {
                    **registries.settings,
                    "DATABASE_URL": server.url,
                    "BROKER_ADMIN_TOKEN": canaries.admin_token,
                    "BROKER_SECRET_KEY": canaries.key,
                    "BROKER_ALLOW_LOOPBACK": "true",
                    "BROKER_WRONG_TOKENS_PER_MINUTE": "20",
                    "PATH": f"{outside}:{os.environ['PATH']}",
                }
                async with (
                    served(directory, settings) as address,
                    _calling(address, canaries.admin_token) as client,
                ):
                    caller = Caller(client, search, registries.sites, canaries, dice)
                    await caller.begin(receiver.url)
                    await caller.run(count, at_once=AT_ONCE)
                    await caller.read_everything()
                say(f"answers: {dict(sorted(caller.statuses.items()))}")
            await asyncio.to_thread(_dump, server.url, search)
        await asyncio.to_thread(_look_at_files, directory, search)
    return search


@asynccontextmanager
async def _calling(address: str, token: str) -> AsyncIterator[httpx2.AsyncClient]:
    bearer = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(
        base_url=address, headers=bearer, timeout=PATIENCE_SECONDS, trust_env=False
    ) as client:
        yield client


def _dump(url: str, search: Search) -> None:
    program = find_binaries(None) / "pg_dump"
    address = url.replace("postgresql+asyncpg://", "postgresql://")
    dumped = subprocess.run([program, "--dbname", address], capture_output=True, check=True)
    search.look("pg_dump", dumped.stdout)


def _look_at_files(directory: Path, search: Search) -> None:
    """The log, the temporary files, and all files of Postgres, with its WAL."""
    for path in sorted(each for each in directory.rglob("*") if each.is_file()):
        place = path.relative_to(directory).parts[0]
        search.look("WAL" if "pg_wal" in path.parts else place, path.read_bytes())


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/canaries", description=__doc__)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    given = parser.parse_args()
    began = time.monotonic()
    search = uvloop.run(run(given.operations, given.seed))
    for (where, name), times in search.hits.items():
        say(f"{where}: {name}, {times} times: {search.examples[where, name]!r}")
    say(
        f"seed {given.seed}: {sum(search.hits.values())} hits in {search.searched / 2**20:.0f} MiB, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if search.hits else 0


if __name__ == "__main__":
    sys.exit(main())
