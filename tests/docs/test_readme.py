"""Runs the commands that the README gives to newcomers."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.broker_process import running_broker
from tests.support.docker_registry import (
    HTPASSWD_PASSWORD,
    HTPASSWD_USER,
    DockerRegistry,
    find_docker_registry,
)
from tests.support.document_commands import marked_commands
from tests.support.images import make_image_for, seed
from tests.support.plain_http import plain_client
from tests.support.shell import documents, run

TOKEN = "a-token-for-the-readme"
COMMANDS = marked_commands("README.md")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[str]:
    async with running_broker(tmp_path / "data", {"BROKER_ADMIN_TOKEN": TOKEN}) as running:
        yield running.base_url


async def sample(registry: DockerRegistry, directory: Path) -> None:
    await run(f"scripts/sample {registry.host}", directory)


async def test_the_quickstart_creates_annotates_pushes_inspects_and_removes_a_list(
    broker: str, real_registry: DockerRegistry, tmp_path: Path
) -> None:
    commands = (
        COMMANDS["quickstart"]
        .replace("TOKEN=...", f"TOKEN={TOKEN}")
        .replace("http://localhost:8080", broker)
        .replace("localhost:5000", real_registry.host)
    )
    created, annotated, pushed, inspected = documents(await run(commands, tmp_path))
    assert created["reference"] == f"{real_registry.host}/demo/app:1"
    assert pushed["digest"] == inspected["digest"] == annotated["digest"] != created["digest"]
    assert inspected["from"] == "registry"
    assert '"variant": "v8"' in json.dumps(inspected["manifest"])


async def test_each_leg_makes_one_call_and_the_last_one_publishes(
    broker: str, real_registry: DockerRegistry, tmp_path: Path
) -> None:
    await sample(real_registry, tmp_path)
    common = {"TOKEN": TOKEN, "BROKER": broker, "REGISTRY": real_registry.host, "RUN_ID": "run-1"}
    legs = [
        documents(await run(COMMANDS["fan-in"], tmp_path, PLATFORM=platform, **common))[0]
        for platform in ("amd64", "arm64")
    ]
    assert [leg["push_operation_id"] is not None for leg in legs] == [False, True]
    assert legs[0]["missing_platforms"] == ["linux/arm64"]


async def test_a_call_may_bring_its_own_credential(broker: str, tmp_path: Path) -> None:
    binary = find_docker_registry()
    if binary is None:
        pytest.skip("docker-registry is not installed")
    async with DockerRegistry(binary, htpasswd=True) as private:
        async with plain_client(auth=(HTPASSWD_USER, HTPASSWD_PASSWORD)) as owner:
            for platform in ("amd64", "arm64"):
                image = make_image_for(f"linux/{platform}")
                await seed(private, f"team/app-{platform}", "1.2.3", image, client=owner)
        # The registry of this test speaks plain HTTP, which the README's does not.
        commands = COMMANDS["registry-auth"].replace('"sources"', '"insecure": true, "sources"')
        given = {"TOKEN": TOKEN, "BROKER": broker, "REGISTRY": private.host}
        login = {"USERNAME": HTPASSWD_USER, "PASSWORD": HTPASSWD_PASSWORD}
        (created,) = documents(await run(commands, tmp_path, **given, **login))
    assert created["complete"] is True


async def test_only_the_first_start_prints_a_token(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "data") as first:
        token = first.output.split("shown only once): ")[1].split()[0]
    async with (
        running_broker(tmp_path / "data") as second,
        plain_client(base_url=second.base_url) as client,
    ):
        assert "token" not in second.output
        answer = await client.get("/v1/lists", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
