"""Compares pushes through failing registries with the same pushes without faults (`scripts/soak`)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from app.store.migrate import upgrade
from scripts.soak_lib.broker_soak import soak_broker
from scripts.soak_lib.client_soak import Soak, Tally, soak
from tests.support.postgres import new_database, running_postgres

Way = Callable[[Soak], Awaitable[Tally]]


@asynccontextmanager
async def client_alone() -> AsyncIterator[Way]:
    yield soak


@asynccontextmanager
async def whole_broker() -> AsyncIterator[Way]:
    with running_postgres() as server:

        async def run(plan: Soak) -> Tally:
            async with new_database(server) as url:
                await upgrade(url)
                return await soak_broker(plan, url)

        yield run


# Up to each rate: the most times the requests without faults, and the smallest share that must succeed.
BARS = {0.01: (1.3, 0.9999), 0.2: (2.5, 0.999), 0.5: (5.0, 0.99)}
WAYS = {"client": client_alone, "broker": whole_broker}


async def compare(run: Way, plan: Soak) -> bool:
    """The run beside the same one without faults; whether the bars are met."""
    without = await run(replace(plan, rate=0.0))
    say(f"no faults: {without}")
    tally = await run(plan)
    ratio = tally.requests / without.requests
    most, least = bar(plan.rate)
    say(f"{plan.rate:.0%} faults: {tally}")
    say(f"    {tally.succeeded / plan.pushes:.2%} succeeded, {ratio:.2f} times the requests (at most {most})")
    return tally.succeeded >= least * plan.pushes and not tally.wrong and not tally.partial and ratio <= most


def bar(rate: float) -> tuple[float, float]:
    return next((met for highest, met in BARS.items() if rate <= highest), BARS[max(BARS)])


async def report(pushes: int, rates: list[float], seed: int, through: list[str]) -> bool:
    met = []
    for name in through:
        async with WAYS[name]() as run:
            say(f"{pushes} pushes through the {name}, seed {seed}")
            met += [await compare(run, Soak(pushes, rate, seed)) for rate in rates]
    return all(met)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """At one fault in five requests and at one in a hundred, unless told otherwise."""
    options = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    options.add_argument("--pushes", type=int, default=1000)
    options.add_argument("--rates", type=float, nargs="+", default=[0.2, 0.01])
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options.add_argument("--through", choices=WAYS, nargs="+", default=list(WAYS))
    given = options.parse_args()
    # The double logs every closed connection.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    return 0 if asyncio.run(report(given.pushes, given.rates, given.seed, given.through)) else 1


if __name__ == "__main__":
    sys.exit(main())
