"""Replays the recordings of `docker manifest` through the HTTP API against the real registry."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.support.broker import Broker
from tests.support.docker_registry import DockerRegistry
from tests.support.images import digest_of
from tests.support.plain_http import plain_client
from tests.support.recordings import Recording, golden_file, read

_GOLDEN = golden_file()
_ALL = read(_GOLDEN) if _GOLDEN is not None else {}


@dataclass(frozen=True, slots=True)
class Replay:
    """One recording in a corner of the registry of its own; `here` is where its host and first folder are."""

    recording: Recording
    broker: Broker
    registry: DockerRegistry
    there: str
    here: str

    def moved(self, text: str) -> str:
        return text.replace(self.there, self.here)

    def repository(self, path: str) -> str:
        return self.here.partition("/")[2] + path.removeprefix(self.there.partition("/")[2])

    def expected(self, output: bytes) -> Any:
        return json.loads(self.moved(output.decode()))

    @property
    def target(self) -> str:
        return self.moved(self.recording.case["list"])

    async def load_sources(self) -> None:
        async with plain_client(timeout=60) as client:
            for reference, source in self.recording.case["sources"].items():
                root = f"{self.registry.base_url}/v2/{self.repository(source['repo'])}"
                for blob in (source["config"], *source["layers"]):
                    await _put_blob(client, root, base64.b64decode(blob))
                by = source["digest"] if "@" in reference else reference.rpartition(":")[2]
                await _put(
                    client,
                    f"{root}/manifests/{by}",
                    base64.b64decode(source["manifest"]),
                    source["contentType"],
                )

    async def create(self) -> Any:
        arguments = [self.moved(each) for each in self.recording.case["args"]]
        return await self.broker.create(self.target, *arguments, allow_duplicate_platforms=True)

    async def annotate(self, draft: Any, command: Sequence[str], code: int) -> Any:
        """One `docker manifest annotate`; what it refused leaves the list as it is."""
        *flags, _list, source = command[1:]
        entry = find_entry(draft, self.moved(source))
        platform = patch_of(dict(zip(flags[::2], flags[1::2], strict=True)), entry["platform"])
        path = f"/v1/lists/{draft['id']}/entries/{entry['id']}"
        if code == 0:
            return await self.broker.call("PATCH", path, {"platform": platform})
        return draft


def find_entry(draft: Any, reference: str) -> Any:
    return next(each for each in draft["entries"] if each["reference"] == reference)


def patch_of(given: Mapping[str, str], platform: Mapping[str, Any]) -> dict[str, Any]:
    """Docker's flags as a PATCH: features are added to those that are there, the rest is set."""
    names = {"--os": "os", "--arch": "architecture", "--variant": "variant", "--os-version": "os_version"}
    patch: dict[str, Any] = {names[flag]: value for flag, value in given.items() if flag in names}
    if "--os-features" in given:
        present = platform["os_features"]
        added = [each for each in given["--os-features"].split(",") if each not in present]
        patch["os_features"] = [*present, *dict.fromkeys(added)]
    return patch


@pytest.fixture(params=list(_ALL), ids=str)
async def replay(request: pytest.FixtureRequest, broker: Broker, real_registry: DockerRegistry) -> Replay:
    recording = _ALL[request.param]
    there = "/".join(recording.case["list"].split("/")[:2])
    here = f"{real_registry.host}/recording{list(_ALL).index(request.param)}"
    replay = Replay(recording, broker, real_registry, there, here)
    await replay.load_sources()
    return replay


@pytest.mark.skipif(_GOLDEN is None, reason="the recordings are not on this machine (BROKER_GOLDEN)")
def test_all_sixteen_recordings_are_replayed() -> None:
    assert len(_ALL) == 16


async def test_a_replayed_recording_gives_the_bytes_and_output_of_docker(replay: Replay) -> None:
    broker, recording = replay.broker, replay.recording
    draft = await replay.create()
    for step in recording.case["steps"]:
        if step["cmd"][0] == "annotate":
            draft = await replay.annotate(draft, step["cmd"], step["rc"])
    assert (draft["digest"], draft["media_type"]) == (recording.digest, recording.content_type)

    local, remote = _split(recording)
    await _inspects_as_docker(replay, draft, local, origin="list")
    await _is_the_recorded(broker.client, f"/v1/lists/{draft['id']}/index", recording)

    pushed = await broker.push(draft["id"])
    assert pushed["digest"] == recording.digest
    assert pushed["lines"] == [replay.moved(line) for line in _lines(recording)]
    tag = recording.case["list"].rpartition(":")[2]
    repository = replay.repository(recording.case["list"].partition("/")[2].rpartition(":")[0])
    async with plain_client(headers={"Accept": recording.content_type}) as client:
        url = f"{replay.registry.base_url}/v2/{repository}/manifests/{tag}"
        await _is_the_recorded(client, url, recording)

    await broker.call("DELETE", f"/v1/lists/{draft['id']}", status=204)
    await _inspects_as_docker(replay, draft, remote, origin="registry")


def _split(recording: Recording) -> tuple[list[Any], list[Any]]:
    """The inspections before and after the list was removed."""
    steps = recording.case["steps"]
    removed = next(at for at, step in enumerate(steps) if step["cmd"][0] == "rm")
    inspections = [(at, step) for at, step in enumerate(steps) if step["cmd"][0] == "inspect"]
    return (
        [step for at, step in inspections if at < removed],
        [step for at, step in inspections if at > removed],
    )


async def _inspects_as_docker(replay: Replay, draft: Any, steps: list[Any], *, origin: str) -> None:
    assert steps
    for step in steps:
        expected = replay.expected(base64.b64decode(step["stdout"]))
        words = [replay.moved(word) for word in step["cmd"][1:] if not word.startswith("-")]
        verbose = "-v" in step["cmd"]
        if len(words) == 2:
            entry = find_entry(draft, words[1])
            found = await replay.broker.call("GET", f"/v1/lists/{draft['id']}/entries/{entry['id']}")
            assert found["inspection" if verbose else "manifest"] == expected
            continue
        query = f"reference={words[0]}&insecure=true&verbose={str(verbose).lower()}"
        found = await replay.broker.call("GET", f"/v1/inspect?{query}")
        assert found["from"] == origin
        assert found["digest"] == replay.recording.digest
        assert found["images" if verbose else "manifest"] == expected


async def _is_the_recorded(client: httpx2.AsyncClient, url: str, recording: Recording) -> None:
    reply = await client.get(url)
    assert reply.status_code == 200, reply.text
    assert reply.content == recording.pushed
    assert reply.headers["Content-Type"] == recording.content_type
    assert reply.headers["Docker-Content-Digest"] == recording.digest


def _lines(recording: Recording) -> list[str]:
    step = next(step for step in recording.case["steps"] if step["cmd"][0] == "push")
    return base64.b64decode(step["stdout"]).decode().splitlines()


async def _put_blob(client: httpx2.AsyncClient, root: str, data: bytes) -> None:
    begun = await client.post(f"{root}/blobs/uploads/")
    location = begun.request.url.join(begun.headers["Location"]).copy_add_param("digest", digest_of(data))
    reply = await client.put(location, content=data)
    assert reply.status_code == 201, reply.text


async def _put(client: httpx2.AsyncClient, url: str, raw: bytes, media_type: str) -> None:
    reply = await client.put(url, content=raw, headers={"Content-Type": media_type})
    assert reply.status_code == 201, reply.text
