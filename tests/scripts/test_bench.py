"""The benchmark runs from end to end; what it measures is not judged here."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.docker_registry import BINARY, find_docker_registry

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120


async def bench(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scripts.bench_lib",
        *arguments,
        cwd=PROJECT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.skipif(find_docker_registry() is None, reason=f"{BINARY} is not installed")
async def test_in_a_small_comparison_broker_and_floor_make_the_same_requests() -> None:
    small = ("--images", "2", "--layers", "1", "--rounds", "1", "--round-trips", "0,2", "--docker-runs", "0")
    status, out, err = await bench(*small)
    assert (status, out.splitlines()[0]) == (0, "create and push of 2 images of 1 layers each"), err
    rows = [line.split() for line in out.splitlines() if " x the floor" in line or " floor " in line]
    made = [next(cell for cell in reversed(row) if cell.isdigit() and len(cell) > 1) for row in rows]
    # Two manifests and configs, four looks, four mounts, two manifests and the index put, one reading.
    assert made == ["16"] * 4


@pytest.mark.skipif(find_docker_registry() is None, reason=f"{BINARY} is not installed")
async def test_a_small_fan_in_asks_for_what_the_floor_asks_and_reads_the_tag_back() -> None:
    status, out, err = await bench("fanin", "--legs", "3", "--rounds", "1", "--round-trip", "2")
    # Whether it meets the bars is for a quiet machine to say.
    assert status in {0, 1}, err
    made = [int(line.split()[-2]) for line in out.splitlines() if line.endswith(" requests")]
    # One leg's manifest and config or those of three, four looks and the PUT; the broker reads the tag back.
    assert made == [7, 8, 11, 12], out + err


@pytest.mark.skipif(find_docker_registry() is None, reason=f"{BINARY} is not installed")
async def test_a_short_look_at_two_projects_has_a_ratio_for_each_case() -> None:
    status, out, err = await bench(
        "tenants", "--seconds", "1", "--round-trip", "2", "--cases", "pushes of the tag"
    )
    # Whether it meets the bar is for a quiet machine to say.
    assert status in {0, 1}, err
    (row,) = [line for line in out.splitlines() if "pushes of the tag" in line]
    assert float(row.split()[-1]) > 0


async def test_more_images_than_there_are_platforms_are_refused_by_name() -> None:
    status, _, err = await bench("--images", "17")
    assert status == 2
    assert "--images" in err
