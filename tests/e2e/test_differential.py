"""The real `docker manifest` and the broker do the same random work on one registry.

BROKER_DIFFERENTIAL_CASES makes more cases.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import random
import shutil
import string
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.oci.index import sort_key
from app.oci.reference import parse_reference
from tests.support import images
from tests.support.broker import Broker
from tests.support.docker_registry import DockerRegistry
from tests.support.plain_http import plain_client

DOCKER = shutil.which("docker")
CASES = int(os.environ.get("BROKER_DIFFERENTIAL_CASES", "12"))
LIST_TYPES = (
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.index.v1+json"
)

pytestmark = pytest.mark.skipif(DOCKER is None, reason="the docker command is not installed")

REPOSITORIES = ("r", "r-a", "r_a", "r__a", "r.a", "ra", "r/a", "r/a/b", "r/a-b", "r0")
HOSTILE = (
    *string.ascii_letters[:6],
    *"01 <>&'\"\\/.-_+,;:=\t\n\x7f",
    "é",
    "\u2028",
    "\u2029",
    "😀",
    "\u200b",
    "ß",
)


@dataclass(frozen=True, slots=True)
class Command:
    """The real command with a configuration of its own."""

    config: Path

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        assert DOCKER is not None
        process = await asyncio.create_subprocess_exec(
            DOCKER,
            "manifest",
            *arguments,
            env={**os.environ, "DOCKER_CONFIG": str(self.config)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def docker(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with plain_client(timeout=60) as client:
        yield client


class Dice:
    """Random work."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.random = random.Random(name)

    def text(self) -> str:
        return "".join(self.random.choices(HOSTILE, k=self.random.randint(1, 5)))

    def maybe(self, probability: float) -> bool:
        return self.random.random() < probability

    def one(self, choices: Sequence[str]) -> str:
        return self.random.choice(choices)

    def features(self) -> list[str]:
        known = [self.text() for _ in range(3)]
        return self.random.choices(["win32k", "", *known], k=self.random.randint(0, 4))

    def config(self) -> bytes:
        """Docker reads the platform as Go reads JSON: keys in any case, absent and null ones are empty."""
        optional = {
            "variant": self.text(),
            "os.version": self.text(),
            "os.features": self.features(),
        }
        document: dict[str, Any] = {
            self.spelled("os"): self.one(["linux", "windows", "freebsd", "darwin", "plan9", ""]),
            self.spelled("architecture"): self.one(["amd64", "arm64", "arm", "386", "loong64", "riscv64"]),
            "rootfs": {"type": "layers", "diff_ids": []},
            **{self.spelled(name): value for name, value in optional.items() if self.maybe(0.4)},
        }
        if self.maybe(0.1):
            # One member in two spellings is refused by the broker, on purpose.
            document = {name: document[name] for name in document if name.lower() != "variant"}
            document["variant"] = None
        members = list(document.items())
        self.random.shuffle(members)
        return json.dumps(dict(members), ensure_ascii=self.maybe(0.5)).encode()

    def spelled(self, name: str) -> str:
        return self.one([name.upper(), name.title()]) if self.maybe(0.1) else name

    def image(self) -> images.Image:
        media = "docker" if self.maybe(0.5) else "oci"
        return images.make_image(
            media="docker" if media == "docker" else "oci",
            layers=self.random.randint(1, 3),
            layer_size=32,
            config=self.config(),
            seed=str(self.random.random()),
        )

    def flags(self) -> list[str]:
        """Of one `docker manifest annotate`."""
        flags: list[str] = []
        if self.maybe(0.6):
            flags += ["--os", self.one(["linux", "windows", "freebsd", "bogus"])]
            flags += ["--arch", self.one(["amd64", "arm64", "arm", "386", "riscv64"])]
        if self.maybe(0.5):
            flags += ["--variant", self.one(["v6", "v7", "v8", "7", "8", self.text()])]
        if self.maybe(0.4):
            flags += ["--os-version", self.one(["10.0.17763.6893", self.text()])]
        if self.maybe(0.4):
            row = io.StringIO()
            # A writer quotes what its own end of line holds; a bare newline in an item would end the row.
            csv.writer(row, lineterminator="\n").writerow(self.features() or ["win32k"])
            flags += ["--os-features", row.getvalue().removesuffix("\n")]
        return flags


@pytest.fixture
def dice(seed: int, case: int) -> Dice:
    return Dice(f"{seed}-{case}")


async def _sources(dice: Dice, registry: DockerRegistry, prefix: str) -> list[str]:
    """References to images that are there now, none of which Docker would take for another."""
    found: dict[object, str] = {}
    async with plain_client(timeout=60) as client:
        for _ in range(dice.random.randint(1, 6)):
            repository = f"{prefix}/{dice.one(REPOSITORIES)}"
            tag = dice.one(["1", "a", "A", "a-1", "a_1", "a.b", "_x", "Z"])
            image = dice.image()
            by_digest = dice.maybe(0.4)
            name = f"{registry.host}/{repository}{f'@{image.digest}' if by_digest else f':{tag}'}"
            file_name = str(parse_reference(name)).replace(":", "-").replace("/", "_")
            if file_name in found:
                continue
            found[file_name] = name
            await images.seed(registry, repository, None if by_digest else tag, image, client=client)
    names = list(found.values())
    dice.random.shuffle(names)
    return names


def _patch(flags: Sequence[str], platform: Any) -> dict[str, Any]:
    """Docker adds features to those that are there, each once, and overwrites the rest."""
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    names = {"--os": "os", "--arch": "architecture", "--variant": "variant", "--os-version": "os_version"}
    patch: dict[str, Any] = {names[flag]: value for flag, value in given.items() if flag in names}
    if "--os-features" in given:
        features = list(platform["os_features"])
        for each in next(csv.reader(io.StringIO(given["--os-features"], newline=""))):
            if each not in features:
                features.append(each)
        patch["os_features"] = features
    return patch


@pytest.mark.parametrize("case", range(CASES))
async def test_the_broker_pushes_what_docker_manifest_pushes(
    dice: Dice, broker: Broker, real_registry: DockerRegistry, docker: Command, client: httpx2.AsyncClient
) -> None:
    prefix = f"differential-{dice.name}"
    sources = await _sources(dice, real_registry, prefix)
    theirs, ours = (f"{real_registry.host}/{prefix}/{who}:1" for who in ("theirs", "ours"))

    assert await docker.run("create", "--insecure", theirs, *sources) == (
        0,
        f"Created manifest list {theirs}\n",
        "",
    )
    draft = await broker.create(ours, *sources, allow_duplicate_platforms=True)
    assert [entry["reference"] for entry in draft["entries"]] == sorted(sources, key=sort_key)

    for _ in range(dice.random.randint(0, 4)):
        source, flags = dice.one(sources), dice.flags()
        code, _, _ = await docker.run("annotate", *flags, theirs, source)
        # What Docker refuses here is told apart from what its table lacks in tests of the platform rules.
        if code == 0 and flags:
            entry = next(each for each in draft["entries"] if each["reference"] == source)
            path = f"/v1/lists/{draft['id']}/entries/{entry['id']}"
            body = {"platform": _patch(flags, entry["platform"])}
            draft = await broker.call("PATCH", path, body)

    code, out, err = await docker.run("push", theirs)
    if code != 0:
        assert "must have an OS and Architecture" in err
        await broker.push(draft["id"], status=409)
        return
    pushed = await broker.push(draft["id"])
    bodies = [await _body(client, real_registry, f"{prefix}/{who}") for who in ("theirs", "ours")]
    assert bodies[1][2].decode().splitlines() == bodies[0][2].decode().splitlines()
    assert bodies[1] == bodies[0]
    assert pushed["lines"] == [line.replace("/theirs@", "/ours@") for line in out.splitlines()]


async def _body(
    client: httpx2.AsyncClient, registry: DockerRegistry, repository: str
) -> tuple[str, str, bytes]:
    reply = await client.get(
        f"{registry.base_url}/v2/{repository}/manifests/1", headers={"Accept": LIST_TYPES}
    )
    assert reply.status_code == 200, reply.text
    return reply.headers["Docker-Content-Digest"], reply.headers["Content-Type"], reply.content
