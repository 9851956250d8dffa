"""Creates and pushes a list through a slow proxy: the broker, `docker manifest`, and the floor below both."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import uvloop

from scripts.bench_lib import copying, fanin, isolation
from scripts.bench_lib.comparison import Comparison, Result
from scripts.bench_lib.docker_manifest import find_docker
from scripts.bench_lib.processes import serving, slow_proxy
from scripts.bench_lib.scenario import PLATFORMS, Failed, make_scenario, upload
from scripts.bench_lib.service import calling
from scripts.bench_lib.table import lines_of
from scripts.bench_lib.tenants import measurement
from tests.support.docker_registry import BINARY, DockerRegistry, find_docker_registry

MEMORY = Path("/dev/shm")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.epilog = (
        "scripts/bench copy, isolation, fanin and tenants measure something else each; see their --help."
    )
    parser.add_argument("--images", type=int, default=16, choices=range(1, len(PLATFORMS) + 1), metavar="N")
    parser.add_argument("--layers", type=int, default=8, metavar="N", help="of each image")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of broker and floor, in turn")
    parser.add_argument(
        "--round-trips", type=parse_times, default=(0.0, 30.0, 100.0), metavar="MS,…", help="0,30,100"
    )
    parser.add_argument(
        "--docker-runs", type=int, default=1, metavar="N", help="of docker manifest at each; 0 leaves it out"
    )
    return parser.parse_args()


def parse_times(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


async def measure(arguments: argparse.Namespace, docker: str | None) -> list[Result]:
    """One registry and one broker for all round trips, each of which has a proxy of its own."""
    binary = find_docker_registry()
    if binary is None:
        raise Failed(f"{BINARY} is not installed; on Debian and Ubuntu: apt-get install docker-registry")
    # A disk would add the same noise to every figure.
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    say(f"the registry stores in {memory or tempfile.gettempdir()}")
    results = []
    scenario = make_scenario(arguments.images, arguments.layers)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with DockerRegistry(binary, parent=memory) as registry, serving(Path(directory)) as broker:
            await upload(scenario, registry.base_url)
            async with calling(broker) as service:
                for round_trip_ms in arguments.round_trips:
                    async with slow_proxy("127.0.0.1", registry.port, round_trip_ms=round_trip_ms) as proxy:
                        comparison = Comparison(scenario, registry.base_url, proxy)
                        say(f"measuring at {round_trip_ms:g} ms")
                        result = await comparison.run(
                            service, rounds=arguments.rounds, docker=docker, docker_runs=arguments.docker_runs
                        )
                        results.append(result)
    return results


async def main() -> None:
    arguments = parse_arguments()
    docker = find_docker() if arguments.docker_runs else None
    if arguments.docker_runs and docker is None:
        say("There is no docker command here, so the broker is compared with the floor only.")
    results = await measure(arguments, docker)
    print(f"create and push of {arguments.images} images of {arguments.layers} layers each\n")
    for line in lines_of(results):
        print(line)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["copy"]:
            copying.run(sys.argv[2:])
        elif sys.argv[1:2] == ["isolation"]:
            isolation.run(sys.argv[2:])
        elif sys.argv[1:2] == ["fanin"]:
            sys.exit(fanin.run(sys.argv[2:]))
        elif sys.argv[1:2] == ["tenants"]:
            sys.exit(measurement.run(sys.argv[2:]))
        else:
            uvloop.run(main())
    except Failed as failure:
        sys.exit(f"scripts/bench: {failure}")
