"""Runs the commands of docs/events.md and its sample receiver."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.lists.events import EventKind
from tests.support.broker_process import running_broker
from tests.support.docker_registry import DockerRegistry
from tests.support.document_commands import ROOT, marked_commands
from tests.support.event_streams import read_events
from tests.support.operation_queue import PATIENCE_SECONDS, until
from tests.support.shell import documents, run
from tests.support.webhook_receiver import Receiver, answering

TOKEN = "a-token-for-the-pages"
PAGE = "docs/events.md"
COMMANDS = marked_commands(PAGE)
TEXT = (ROOT / PAGE).read_text()
CURL = 'curl -sS --fail-with-body -H "Authorization: Bearer $TOKEN" '
CREATE = f"""{CURL} --json '{{
  "reference": "'$REGISTRY'/demo/events:'$TAG'", "sources": ["'$REGISTRY'/demo/app-amd64:1"],
  "expected_platforms": ["linux/amd64"], "push_when_complete": true, "insecure": true
}}' $BROKER/v1/lists"""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

Given = dict[str, str]


@pytest.fixture
async def given(real_registry: DockerRegistry, tmp_path: Path) -> AsyncIterator[Given]:
    await run(f"scripts/sample {real_registry.host}", tmp_path)
    async with running_broker(tmp_path / "data", {"BROKER_ADMIN_TOKEN": TOKEN}) as running:
        yield {"TOKEN": TOKEN, "BROKER": running.base_url, "REGISTRY": real_registry.host}


def examples() -> list[Any]:
    """The page's two events, an ellipsis being a text like any other."""
    (block,) = re.findall(r"```jsonc\n(.*?)```", TEXT, re.DOTALL)
    return [json.loads(each.replace("[…]", "[]")) for each in block.split("\n\n")]


async def called(commands: str, directory: Path, given: Given, **more: str) -> list[Any]:
    return list(documents(await run(commands, directory, **given, **more)))


@asynccontextmanager
async def following(command: str, given: Given, **more: str) -> AsyncIterator[AsyncIterator[Any]]:
    """The events of a command that does not end by itself; it is ended by its pid."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"exec {command}"),
        env={**os.environ, **given, **more},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield read_events(_lines(process.stdout))
    finally:
        process.terminate()
        await process.communicate()


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[str]:
    async for line in output:
        yield line.decode().rstrip("\r\n")


async def test_events_are_followed_resumed_and_looked_up(given: Given, tmp_path: Path) -> None:
    async with following(COMMANDS["follow"], given) as events:
        beginning = (await anext(events))["id"]
        (created,) = await called(CREATE, tmp_path, given, TAG="1")
        pushed = await anext(events)
    assert pushed["event"] == "list.pushed"
    assert pushed["data"]["data"]["list_id"] == created["id"]
    assert pushed["data"]["data"]["targets"][0]["digest"] == created["digest"]
    async with following(COMMANDS["resume"], given, LAST=beginning) as events:
        told = [await anext(events) for _ in range(4)][1:]
    assert [event["event"] for event in told] == ["list.created", "list.completed", "list.pushed"]
    assert told[-1] == pushed
    for shown, event in zip(examples(), told[1:], strict=True):
        assert (list(shown), list(shown["data"])) == (list(event["data"]), list(event["data"]["data"]))
    (history,) = await called(COMMANDS["history"], tmp_path, given, LIST=created["id"])
    assert history["items"] == [event["data"] for event in reversed(told)]


async def test_a_webhook_gets_verified_events_and_replays_of_missed_ones(
    given: Given, tmp_path: Path
) -> None:
    names: dict[str, Any] = {}
    exec(COMMANDS["verify"], names)
    async with Receiver() as receiver:
        receiver.then(answering(410))
        (hook,) = await called(COMMANDS["webhook"], tmp_path, given, RECEIVER=receiver.url)
        (created,) = await called(CREATE, tmp_path, given, TAG="2")
        await until(lambda: len(receiver.received) == 1)
        path = f"$BROKER/v1/webhooks/{hook['id']}"

        async def is_disabled() -> bool:
            (shown,) = await called(f"{CURL} {path}", tmp_path, given)
            return not shown["enabled"]

        await until(is_disabled)
        await called(f"{CURL} -X PATCH --json '{{\"enabled\": true}}' {path}", tmp_path, given)
        more = {"WEBHOOK": hook["id"], "SINCE": "1"}
        failed, replayed = await called(COMMANDS["replay"], tmp_path, given, **more)
        assert [each["last_status"] for each in failed["items"]] == [410]
        assert replayed == {"replayed": 1, "more": False, "next_since": None}
        await until(lambda: len(receiver.accepted) == 1)
    seen: set[str] = set()
    handled: list[Any] = []

    def fail(event: Any) -> None:
        raise OSError("the disk is full")

    first, again = receiver.received
    with pytest.raises(OSError, match="full"):
        names["receive"](hook["secret"], dict(first.headers), first.body, seen, fail)
    for message in (again, again):
        names["receive"](hook["secret"], dict(message.headers), message.body, seen, handled.append)
    (event,) = handled
    assert event["data"]["list_id"] == created["id"]
    assert seen == {failed["items"][0]["id"]}


def test_every_kind_of_event_is_in_the_table() -> None:
    text = (ROOT / PAGE).read_text()
    rows = [
        line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and "type" not in line[:8]
    ]
    assert sorted(rows) == sorted(kind.value for kind in EventKind)
