"""Runs `docker manifest create` and `push`, each time with a fresh configuration directory."""

from __future__ import annotations

import os
import shutil
import tempfile
from time import perf_counter

from scripts.bench_lib.processes import run_command
from scripts.bench_lib.scenario import TAG, Round, Scenario


def find_docker() -> str | None:
    return shutil.which("docker")


async def run_docker(docker: str, scenario: Scenario, host: str, target: str) -> Round:
    reference = f"{host}/{target}:{TAG}"
    with tempfile.TemporaryDirectory(prefix="bench-docker-") as directory:
        environment = {**os.environ, "DOCKER_CONFIG": directory}
        began = perf_counter()
        await run_command(
            docker,
            "manifest",
            "create",
            "--insecure",
            reference,
            *scenario.references(host),
            environment=environment,
        )
        between = perf_counter()
        await run_command(docker, "manifest", "push", "--insecure", reference, environment=environment)
        return Round(between - began, perf_counter() - between)
