"""Runs the shell snippets of docs/ci.md as the CI systems run them."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import running_broker
from tests.support.docker_registry import DockerRegistry
from tests.support.document_commands import marked_commands
from tests.support.images import OCI_INDEX, Image, make_image_for, seed
from tests.support.plain_http import plain_client

TOKEN = "a-token-for-the-builds"
BLOCKS = marked_commands("docs/ci.md")
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")
SH = ("sh", "-eu", "-c")
EXPRESSION = re.compile(r"\$\{\{ *(.*?) *\}\}")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

Json = dict[str, Any]


def read_yaml(name: str) -> Json:
    # It brings no types, and is here because others need it.
    document: Json = importlib.import_module("yaml").safe_load(BLOCKS[name])
    return document


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    data = tmp_path_factory.mktemp("broker") / "data"
    async with running_broker(data, {"BROKER_ADMIN_TOKEN": TOKEN}) as running:
        yield running.base_url


class Build:
    """One run of a pipeline: its images are pushed by digest, and each leg has a directory of its own."""

    def __init__(self, broker: str, registry: DockerRegistry, directory: Path, tag: str) -> None:
        self.image = f"{registry.host}/team/{tag}"
        self.tag = tag
        self.common = {"TOKEN": TOKEN, "BROKER": broker, "IMAGE": self.image, "TAG": tag}
        self._registry = registry
        self._directory = directory

    async def push(self, platform: str) -> Image:
        """What the step that builds leaves behind."""
        image = make_image_for(platform, seed=self.tag)
        await seed(self._registry, f"team/{self.tag}", None, image)
        return image

    async def run(
        self, shell: Sequence[str], commands: str, leg: str, variables: Mapping[str, str]
    ) -> tuple[int, str]:
        """The exit status of one step of a leg, and all that it said."""
        directory = self._directory / leg.replace("/", "-")
        directory.mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            *shell,
            # The registry of these tests speaks plain HTTP, which nobody's should.
            commands.replace('"amend": true', '"amend": true, "insecure": true'),
            cwd=directory,
            env={**os.environ, **variables, **self.common},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def published(self) -> list[str]:
        """The digests that are under the tag."""
        url = f"{self._registry.base_url}/v2/team/{self.tag}/manifests/{self.tag}"
        async with plain_client() as client:
            reply = await client.get(url, headers={"Accept": OCI_INDEX})
        return [each["digest"] for each in reply.json()["manifests"]]

    async def pushes(self) -> list[Json]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with plain_client(base_url=self.common["BROKER"], headers=headers) as client:
            reply = await client.get("/v1/pushes", params={"reference": f"{self.image}:{self.tag}"})
        found: list[Json] = reply.json()["items"]
        return found


# --- GitHub Actions ---


class GithubLeg:
    """The job of one platform; what stands in `${{ }}` is what a runner would know."""

    def __init__(self, build: Build, platform: str) -> None:
        self._build = build
        self._job: Json = read_yaml("github")["jobs"]["build"]
        self.platform = platform
        self._known = {
            "github.ref_name": build.tag,
            "github.run_id": "4711",
            "github.run_number": "17",
            "github.server_url": "https://github.com",
            "github.repository": "team/app",
            "matrix.platform": platform,
            "secrets.BROKER_TOKEN": TOKEN,
        }

    async def build(self) -> Image:
        image = await self._build.push(self.platform)
        self.note_digest(image.digest)
        return image

    def note_digest(self, digest: str) -> None:
        self._known["steps.build.outputs.digest"] = digest

    async def step(self, name: str) -> tuple[int, str]:
        (step,) = [each for each in self._job["steps"] if each.get("name") == name]
        variables = {**self._job["env"], **step.get("env", {})}
        known = {name: self._evaluate(str(text)) for name, text in variables.items()}
        return await self._build.run(BASH, step["run"], self.platform, known)

    async def publish(self) -> tuple[int, str]:
        """Both steps of a leg that goes well, or as far as it comes."""
        status, said = await self.step("Hand in the image")
        return (status, said) if status else await self.step("Wait until the list is published")

    def _evaluate(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: self._known[found[1]], text)


@pytest.fixture
def build(
    broker: str, real_registry: DockerRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> Build:
    tag = request.node.name.replace("test_", "").replace("_", "-")[:60].rstrip("-")
    return Build(broker, real_registry, tmp_path, tag)


def github_legs(build: Build) -> list[GithubLeg]:
    matrix = read_yaml("github")["jobs"]["build"]["strategy"]["matrix"]
    return [GithubLeg(build, platform) for platform in matrix["platform"]]


def test_the_pipelines_expect_the_platforms_that_they_build() -> None:
    github = read_yaml("github")["jobs"]["build"]
    assert json.loads(github["env"]["EXPECTED"]) == github["strategy"]["matrix"]["platform"]
    gitlab = read_yaml("gitlab")["build"]
    (matrix,) = gitlab["parallel"]["matrix"]
    assert json.loads(gitlab["variables"]["EXPECTED"]) == matrix["PLATFORM"]
    assert set(read_yaml("replaced")["jobs"]) == {"build", "merge"}


def test_an_actions_leg_reports_its_failure_before_it_waits_for_others() -> None:
    """After the wait it would report itself for the failure of another one."""
    names = [each.get("name") for each in read_yaml("github")["jobs"]["build"]["steps"]]
    assert names.index("Report that this leg failed") < names.index("Wait until the list is published")


async def test_six_concurrent_actions_legs_publish_one_list(build: Build) -> None:
    legs = github_legs(build)
    images = [await leg.build() for leg in legs]
    outcomes = await asyncio.gather(*(leg.publish() for leg in legs))
    assert [status for status, _ in outcomes] == [0] * 6, outcomes
    assert await build.published() == sorted(image.digest for image in images)
    (push,) = await build.pushes()
    assert (push["state"], push["session"]) == ("succeeded", "github-4711")
    assert push["labels"] == {"run": "https://github.com/team/app/actions/runs/4711"}


async def test_a_failed_actions_leg_releases_every_waiting_leg_and_may_run_again(build: Build) -> None:
    *others, late = github_legs(build)
    images = [await leg.build() for leg in others]
    handed_in = await asyncio.gather(*(leg.step("Hand in the image") for leg in others))
    assert [status for status, _ in handed_in] == [0] * 5, handed_in
    waiter = asyncio.create_task(others[0].step("Wait until the list is published"))
    reported = await late.step("Report that this leg failed")
    assert reported[0] == 0, reported
    status, said = await waiter
    assert status == 1
    assert '"linux/s390x":"https://github.com/team/app/actions/runs/4711"' in said.replace(": ", ":")
    images.append(await late.build())
    again = await late.publish()
    assert again[0] == 0, again
    assert await build.published() == sorted(image.digest for image in images)


async def test_an_actions_leg_without_its_image_fails(build: Build) -> None:
    leg = github_legs(build)[0]
    leg.note_digest("sha256:" + "0" * 64)
    status, said = await leg.publish()
    assert status == 1
    assert "source-not-found" in said


async def test_an_actions_leg_with_the_image_of_another_leg_fails(build: Build) -> None:
    amd64, arm64 = github_legs(build)[:2]
    image = await amd64.build()
    assert (await amd64.step("Hand in the image"))[0] == 0
    arm64.note_digest(image.digest)
    status, said = await arm64.step("Hand in the image")
    assert status == 1
    assert "platform-not-in-source" in said
    assert "linux/arm64" in said


# --- GitLab ---


class GitlabLeg:
    """The job of one platform; what its lines for a Docker daemon would leave behind is made here."""

    def __init__(self, build: Build, platform: str) -> None:
        self._build = build
        self._job: Json = read_yaml("gitlab")["build"]
        self._platform = platform
        self._variables = {
            "CI_PIPELINE_ID": "815",
            "CI_PIPELINE_IID": "3",
            "CI_PIPELINE_URL": "https://gitlab.example.com/team/app/-/pipelines/815",
            "CI_JOB_URL": "https://gitlab.example.com/team/app/-/jobs/1",
            "PLATFORM": platform,
        }
        for name in ("EXPECTED", "SESSION", "RUN_NUMBER"):
            self._variables[name] = re.sub(
                r"\$(\w+)", lambda found: self._variables[found[1]], self._job["variables"][name]
            )

    async def script(self, directory: Path) -> tuple[int, str]:
        image = await self._build.push(self._platform)
        (directory / self._platform.replace("/", "-")).mkdir(exist_ok=True)
        metadata = {"buildx.build.ref": "b/b0/x", "containerimage.digest": image.digest, "image.name": "app"}
        path = directory / self._platform.replace("/", "-") / "build.json"
        await asyncio.to_thread(path.write_text, json.dumps(metadata, indent=2))
        return await self._run(line for line in self._job["script"] if not line.startswith("docker "))

    async def after(self, status: str) -> tuple[int, str]:
        self._variables["CI_JOB_STATUS"] = status
        return await self._run(self._job["after_script"])

    async def _run(self, lines: Any) -> tuple[int, str]:
        return await self._build.run(SH, "\n".join(lines), self._platform, self._variables)


async def test_gitlab_legs_publish_one_list_and_report_failures(build: Build, tmp_path: Path) -> None:
    (matrix,) = read_yaml("gitlab")["build"]["parallel"]["matrix"]
    first, second, failing = (GitlabLeg(build, platform) for platform in matrix["PLATFORM"])
    reported = await failing.after("failed")
    assert '"state":"failed"' in reported[1].replace(": ", ":")
    waiting = await first.script(tmp_path)
    assert waiting[0] == 1
    assert "build-failed" in waiting[1]
    # It has handed in, so its own end is no failure to be reported.
    assert await first.after("failed") == (0, "")
    outcomes = await asyncio.gather(*(leg.script(tmp_path) for leg in (first, second, failing)))
    assert outcomes[2][0] == 0, outcomes
    assert len(await build.published()) == 3
    assert len(await build.pushes()) == 1


# --- any shell ---


async def test_the_same_calls_work_in_any_shell(build: Build) -> None:
    run = {"SESSION": "by-hand"}
    amd64, arm64 = [await build.push(platform) for platform in ("linux/amd64", "linux/arm64")]
    status, said = await build.run(SH, BLOCKS["failed"], "arm64", {**run, "PLATFORM": "linux/arm64"})
    assert status == 0, said
    for image, platform in ((amd64, "linux/amd64"), (arm64, "linux/arm64")):
        variables = {**run, "DIGEST": image.digest, "PLATFORM": platform}
        status, said = await build.run(SH, BLOCKS["hand-in"], "any", variables)
        assert status == 0, said
    list_id = json.loads(said)["id"]
    status, said = await build.run(SH, BLOCKS["wait"], "any", {"LIST": list_id})
    assert (status, json.loads(said)["state"]) == (0, "pushed")
    assert await build.published() == sorted([amd64.digest, arm64.digest])
