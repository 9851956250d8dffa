"""`docker manifest create` and `push`, each time with a configuration directory that has never been used."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from time import perf_counter

from scripts.bench_lib.scenario import TAG, Failed, Round, Scenario


def find_docker() -> str | None:
    return shutil.which("docker")


async def run_docker(docker: str, scenario: Scenario, host: str, target: str) -> Round:
    reference = f"{host}/{target}:{TAG}"
    with tempfile.TemporaryDirectory(prefix="bench-docker-") as directory:
        environment = {**os.environ, "DOCKER_CONFIG": directory}
        began = perf_counter()
        await _run(
            environment, docker, "manifest", "create", "--insecure", reference, *scenario.references(host)
        )
        between = perf_counter()
        await _run(environment, docker, "manifest", "push", "--insecure", reference)
        return Round(between - began, perf_counter() - between)


async def _run(environment: dict[str, str], *command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Failed(f"{' '.join(command[:4])}: {said.decode(errors='replace')}")
