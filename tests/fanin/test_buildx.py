"""Indexes with attestations, as buildx makes them, as sources of a list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.images import OCI_INDEX, ImageIndex, make_buildx_index, seed
from tests.support.plain_http import plain_client
from tests.support.registry_clients import AnyRegistry

Json = dict[str, Any]
BOTH = ["linux/amd64", "linux/arm64"]
UNKNOWN = {"architecture": "unknown", "os": "unknown"}


class Pushed:
    """A pushed index as readers see it."""

    def __init__(self, document: Json) -> None:
        self.entries: list[Json] = document["manifests"]

    @property
    def images(self) -> dict[str, str]:
        """Digests by platform."""
        return {
            f"{each['platform']['os']}/{each['platform']['architecture']}": each["digest"]
            for each in self.entries
            if each["platform"] != UNKNOWN
        }

    @property
    def attested(self) -> dict[str, str]:
        """The attestations by the digest of the image that each describes."""
        found = {}
        for each in self.entries:
            if each["platform"] == UNKNOWN:
                assert each["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
                found[each["annotations"]["vnd.docker.reference.digest"]] = each["digest"]
        return found


async def read(registry: AnyRegistry, repository: str) -> Pushed:
    """Read the index under the tag, and check that the registry has all of its entries."""
    manifests = f"{registry.base_url}/v2/{repository}/manifests"
    async with plain_client() as client:
        reply = await client.get(f"{manifests}/1", headers={"Accept": OCI_INDEX})
        assert reply.headers["Content-Type"] == OCI_INDEX
        pushed = Pushed(json.loads(reply.content))
        for entry in pushed.entries:
            there = await client.get(f"{manifests}/{entry['digest']}", headers={"Accept": entry["mediaType"]})
            assert there.status_code == 200
    return pushed


def expected(*indexes: ImageIndex) -> tuple[dict[str, str], dict[str, str]]:
    """Images by platform and attestations by image, as they were built."""
    images, attested = {}, {}
    for index in indexes:
        half = len(index.children) // 2
        for image, attestation in zip(index.children[:half], index.children[half:], strict=True):
            platform = image.descriptor()["platform"]
            images[f"{platform['os']}/{platform['architecture']}"] = image.digest
            attested[image.digest] = attestation.digest
    return images, attested


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    return "buildx/" + str(request.node.name).partition("[")[0].replace("_", "-")


async def test_an_index_of_several_platforms_keeps_its_attestations_linked(
    broker: Broker, any_registry: AnyRegistry, repository: str
) -> None:
    index = make_buildx_index(BOTH)
    await seed(any_registry, f"{repository}-src", "1", index)
    made = await broker.create(
        f"{any_registry.host}/{repository}:1", f"{any_registry.host}/{repository}-src:1"
    )
    await broker.push(made["id"])
    pushed = await read(any_registry, repository)
    assert (pushed.images, pushed.attested) == expected(index)


async def test_legs_that_each_add_an_index_of_one_platform_publish_all_images_and_attestations(
    broker: Broker, any_registry: AnyRegistry, repository: str
) -> None:
    """The digest in the output of build-push-action is that of such an index, not of the image."""
    indexes = [make_buildx_index([platform], seed=platform) for platform in BOTH]
    name = f"{any_registry.host}/{repository}"
    answers = []
    for index in indexes:
        await seed(any_registry, repository, None, index)
        answers.append(
            await broker.create(
                f"{name}:1",
                f"{name}@{index.digest}",
                session="run-1",
                amend=True,
                expected_platforms=BOTH,
                push_when_complete=True,
            )
        )
    assert answers[0]["missing_platforms"] == ["linux/arm64"]
    assert (await broker.ended(answers[1]["push_operation_id"]))["state"] == "succeeded"
    pushed = await read(any_registry, repository)
    assert (pushed.images, pushed.attested) == expected(*indexes)


async def test_a_rerun_leg_replaces_its_old_attestation(
    broker: Broker, any_registry: AnyRegistry, repository: str
) -> None:
    old, new = (make_buildx_index(["linux/amd64"], seed=seed) for seed in ("old", "new"))
    name = f"{any_registry.host}/{repository}"
    for index in (old, new):
        await seed(any_registry, repository, None, index)
        made = await broker.create(f"{name}:1", f"{name}@{index.digest}", session="run-1", amend=True)
    await broker.push(made["id"])
    pushed = await read(any_registry, repository)
    assert (pushed.images, pushed.attested) == expected(new)


async def test_a_pushed_index_can_be_a_source_of_another_list(
    broker: Broker, any_registry: AnyRegistry, repository: str
) -> None:
    index = make_buildx_index(BOTH)
    await seed(any_registry, f"{repository}-src", "1", index)
    source = f"{any_registry.host}/{repository}-src:1"
    for target in (f"{repository}-a", repository):
        made = await broker.create(f"{any_registry.host}/{target}:1", source)
        await broker.push(made["id"])
        source = f"{any_registry.host}/{target}:1"
    pushed = await read(any_registry, repository)
    assert (pushed.images, pushed.attested) == expected(index)
