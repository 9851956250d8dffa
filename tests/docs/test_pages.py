"""Runs the commands of docs/fan-in.md and docs/pushes.md."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.broker_process import running_broker
from tests.support.docker_registry import DockerRegistry
from tests.support.document_commands import marked_commands
from tests.support.shell import documents, run

TOKEN = "a-token-for-the-pages"
FAN_IN, PUSHES = marked_commands("docs/fan-in.md"), marked_commands("docs/pushes.md")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

Given = dict[str, str]


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_broker(
        tmp_path_factory.mktemp("broker") / "data", {"BROKER_ADMIN_TOKEN": TOKEN}
    ) as running:
        yield running.base_url


@pytest.fixture
async def given(broker: str, real_registry: DockerRegistry, tmp_path: Path) -> Given:
    """Two images on a registry, and a run of their own."""
    await run(f"scripts/sample {real_registry.host}", tmp_path)
    common = {"TOKEN": TOKEN, "BROKER": broker, "REGISTRY": real_registry.host}
    return {**common, "RUN_ID": f"run-{uuid4()}", "RUN_NUMBER": "7"}


async def called(name: str, directory: Path, given: Given, **more: str) -> Any:
    (document,) = documents(await run(FAN_IN[name], directory, **given, **more))
    return document


async def test_legs_add_images_and_wait_until_the_list_is_published(given: Given, tmp_path: Path) -> None:
    first = await called("leg", tmp_path, given, PLATFORM="amd64")
    assert first["missing_platforms"] == ["linux/arm64"]
    last = await called("leg", tmp_path, given, PLATFORM="arm64")
    assert last["push_operation_id"] is not None
    waited = await called("wait", tmp_path, given, LIST=last["id"])
    assert (waited["state"], waited["digest"]) == ("pushed", last["digest"])


async def test_a_failed_leg_ends_the_wait_and_a_late_image_continues_the_list(
    given: Given, tmp_path: Path
) -> None:
    failed = await called("failed", tmp_path, given, PLATFORM="arm64")
    assert failed["state"] == "failed"
    waiting = FAN_IN["wait"].rstrip() + " && echo published || echo failed"
    said = "".join(await run(waiting, tmp_path, **given, LIST=failed["id"]))
    assert "build-failed" in said
    assert said.endswith("failed")
    await called("leg", tmp_path, given, PLATFORM="amd64")
    again = await called("leg", tmp_path, given, PLATFORM="arm64")
    assert (await called("wait", tmp_path, given, LIST=again["id"]))["state"] == "pushed"


async def test_a_push_is_planned_made_looked_up_and_restored(given: Given, tmp_path: Path) -> None:
    create = (
        'curl -sS --fail-with-body -H "Authorization: Bearer $TOKEN" --json \'{"reference": '
        '"\'$REGISTRY\'/demo/app:1", "sources": ["\'$REGISTRY\'/demo/app-amd64:1"], "insecure": true, '
        '"allow_shrink": true, "session": "\'$RUN_ID\'"}\' $BROKER/v1/lists'
    )
    (created,) = documents(await run(create, tmp_path, **given))
    planned, pushed = documents(await run(PUSHES["plan"], tmp_path, **given, LIST=str(created["id"])))
    assert planned["digest"] == pushed["digest"] == created["digest"]
    (restored,) = documents(await run(PUSHES["restore"], tmp_path, **given))
    assert (restored["restores"], restored["digest"]) == (pushed["id"], pushed["digest"])
    (history,) = documents(await run(PUSHES["history"], tmp_path, **given))
    items: Any = history["items"]
    assert [each["id"] for each in items][:2] == [restored["id"], pushed["id"]]
