"""Fan-in on two API and two worker processes that share one Postgres: sessions, races and repeated keys."""

from __future__ import annotations

import argparse
import logging
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from app.store.embedded import EmbeddedPostgres
from app.store.migrate import upgrade
from scripts.fanin_lib.calls import Apis, calling
from scripts.fanin_lib.keys import run_keys
from scripts.fanin_lib.races import run_races
from scripts.fanin_lib.sessions import Plan, run_sessions
from tests.support.broker_process import running_broker, running_worker
from tests.support.postgres import passable_directory
from tests.support.registry import RegistryDouble

APIS, WORKERS = 2, 2


@asynccontextmanager
async def fleet(directory: Path, dice: random.Random) -> AsyncIterator[Apis]:
    """The processes as an operator starts them, on a Postgres that takes no shortcuts with its disk."""
    with EmbeddedPostgres(directory / "postgres") as server:
        await upgrade(server.url)
        token = secrets.token_hex(16)
        settings = {
            "DATABASE_URL": server.url,
            "BROKER_ADMIN_TOKEN": token,
            "BROKER_ALLOW_LOOPBACK": "true",
            "BROKER_LOG_LEVEL": "warning",
        }
        async with AsyncExitStack() as stack:
            addresses = [
                (await stack.enter_async_context(running_broker(directory, settings, "--no-worker"))).base_url
                for _ in range(APIS)
            ]
            for _ in range(WORKERS):
                await stack.enter_async_context(running_worker(settings))
            yield await stack.enter_async_context(calling(addresses, token, dice))


async def run(given: argparse.Namespace) -> bool:
    """Whether all is as it must be."""
    wrong = []
    with passable_directory("fanin-") as directory:
        async with fleet(directory, random.Random(given.seed)) as apis:
            if given.sessions:
                async with RegistryDouble() as registry:
                    plan = Plan(given.sessions, given.seed, given.at_once)
                    tally = await run_sessions(plan, apis, registry)
                wrong += report(tally, tally.wrong)
            if given.races:
                async with RegistryDouble() as registry:
                    races = await run_races(given.races, given.seed, apis, registry)
                wrong += report(races, races.wrong)
            if given.keys:
                async with RegistryDouble() as registry:
                    keys = await run_keys(given.keys, given.seed, apis, registry)
                missing = [] if keys.operations == keys.keys else ["not as many operations as keys"]
                wrong += report(keys, keys.wrong + missing)
        say(f"{apis.busy} answers asked to come again, since the broker was busy")
    return not wrong


def report(tally: object, wrong: list[str]) -> list[str]:
    say(str(tally))
    for line in wrong[:20]:
        say(f"    {line}")
    return wrong


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    options = argparse.ArgumentParser(prog="scripts/fanin", description=__doc__)
    options.add_argument("--sessions", type=int, default=1000, metavar="N", help="of 20 legs each")
    options.add_argument("--at-once", type=int, default=10, metavar="N", help="sessions at the same time")
    options.add_argument("--races", type=int, default=200, metavar="N", help="of two sessions for one tag")
    options.add_argument("--keys", type=int, default=1000, metavar="N", help="each sent up to five times")
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = options.parse_args()
    # The double logs every closed connection.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    say(f"{APIS} API and {WORKERS} worker processes, seed {given.seed}")
    began = time.monotonic()
    holds = uvloop.run(run(given))
    say(f"{'all as it must be' if holds else 'NOT as it must be'}, after {time.monotonic() - began:.0f} s")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
