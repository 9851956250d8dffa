"""The requests that a create and a push make to a registry: nothing is asked for twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.support.broker import Broker, registry_auth
from tests.support.images import ImageIndex, make_buildx_index, make_image, make_index, plant
from tests.support.registry import Hold, RegistryDouble, Status

AMD64, ARM64 = (make_image(architecture=name, seed="requests") for name in ("amd64", "arm64"))


def asked(double: RegistryDouble) -> Counter[tuple[str, str]]:
    """How often each request was made; the upload of one blob differs from another's in the query."""
    return Counter((each.method, each.target) for each in double.journal)


def repeated(double: RegistryDouble) -> set[tuple[str, str]]:
    """The requests that were made more than once.

    The first image that the target lacks is looked at again when it is there: a registry that does not show
    it may hide tags, too.
    """
    found = {request for request, count in asked(double).items() if count > 1}
    again = {request for request in found if request[0] == "HEAD" and "/manifests/sha256:" in request[1]}
    assert len(again) <= 1
    return found - again


def check_each_once(double: RegistryDouble) -> None:
    assert not repeated(double)


async def create_and_push(broker: Broker, double: RegistryDouble, *sources: str, **members: Any) -> None:
    made = await broker.create(
        f"{double.host}/app:1", *(f"{double.host}/{source}" for source in sources), **members
    )
    await broker.push(made["id"])


async def test_images_of_other_repositories_are_requested_once(
    broker: Broker, registry: RegistryDouble
) -> None:
    plant(registry, "one", "1", AMD64)
    plant(registry, "two", "1", ARM64)
    await create_and_push(broker, registry, "one:1", "two:1")
    check_each_once(registry)
    # One ping; per image its manifest and config; a look at the tag and at each child; three mounts and one
    # PUT per image; a look at the first of them; the tag, and the tag read back.
    assert len(registry.journal) == 1 + 2 * 2 + 3 + 2 * (3 + 1) + 1 + 2


async def test_images_of_the_target_repository_are_requested_once(
    broker: Broker, registry: RegistryDouble
) -> None:
    plant(registry, "app", "amd64", AMD64)
    plant(registry, "app", "arm64", ARM64)
    await create_and_push(broker, registry, "app:amd64", "app:arm64")
    check_each_once(registry)
    assert len(registry.journal) == 1 + 2 * 2 + 3 + 2


async def test_several_tags_request_everything_once(broker: Broker, registry: RegistryDouble) -> None:
    plant(registry, "app", "amd64", AMD64)
    await create_and_push(broker, registry, "app:amd64", tags=["1.2", "latest"])
    check_each_once(registry)


async def test_an_index_with_attestations_is_requested_once(broker: Broker, registry: RegistryDouble) -> None:
    plant(registry, "built", "1", make_buildx_index())
    await create_and_push(broker, registry, "built:1")
    check_each_once(registry)


async def test_shared_images_and_layers_are_requested_once(broker: Broker, registry: RegistryDouble) -> None:
    """The same image by name, by digest and within an index; and two images with a layer in common."""
    twin = make_image(architecture="s390x", base=AMD64.layers, seed="requests")
    both: ImageIndex = make_index([AMD64, ARM64, twin], media="docker")
    plant(registry, "both", "1", both)
    await create_and_push(
        broker,
        registry,
        "both:1",
        f"both@{AMD64.digest}",
        f"both@{twin.digest}",
        allow_duplicate_platforms=True,
    )
    check_each_once(registry)


async def test_an_image_named_by_tag_and_in_an_index_is_requested_once(
    broker: Broker, registry: RegistryDouble
) -> None:
    plant(registry, "both", "amd64", AMD64)
    plant(registry, "both", "1", make_index([AMD64, ARM64]))
    # The index comes when the image has come, or both would be on their way at once.
    registry.misbehave(hold := Hold(), method="GET", path="/both/manifests/1$")
    async with asyncio.TaskGroup() as group:
        group.create_task(
            create_and_push(broker, registry, "both:amd64", "both:1", allow_duplicate_platforms=True)
        )
        await registry.until(lambda: bool(registry.received("GET", f"/blobs/{AMD64.config_digest}")))
        hold.gate.set()
    check_each_once(registry)
    assert ("GET", f"/v2/both/manifests/{AMD64.digest}") not in asked(registry)


async def test_images_of_another_registry_are_requested_once(
    broker: Broker, registry: RegistryDouble
) -> None:
    async with RegistryDouble() as elsewhere:
        plant(elsewhere, "one", "1", AMD64)
        made = await broker.create(f"{registry.host}/app:1", f"{elsewhere.host}/one:1")
        await broker.push(made["id"])
        # Each upload is opened by the same POST, and goes on at an address of its own.
        opened = ("POST", "/v2/app/blobs/uploads/")
        assert asked(registry).pop(opened) == len(AMD64.blobs)
        assert repeated(registry) <= {opened}
        # A config is read when the list is made, and streamed when it is pushed: days may lie between.
        config = ("GET", f"/v2/one/blobs/{AMD64.config_digest}")
        assert {request for request, count in asked(elsewhere).items() if count > 1} == {config}


async def test_one_token_is_fetched_for_each_scope(broker: Broker) -> None:
    users = {"user": "canary-5ecret"}
    async with RegistryDouble(auth="bearer", users=users) as double:
        plant(double, "one", "1", AMD64)
        credential = registry_auth(
            {"username": "user", "password": users["user"], "serveraddress": double.host}
        )
        made = await broker.call(
            "POST",
            "/v1/lists",
            {"reference": f"{double.host}/app:1", "sources": [f"{double.host}/one:1"], "insecure": True},
            status=201,
            X_Registry_Auth=credential,
        )
        await broker.call(
            "POST", f"/v1/lists/{made['id']}/push", {"insecure": True}, X_Registry_Auth=credential
        )
        check_each_once(double)
        scopes = [token.query.getall("scope") for token in double.received("GET", "/token")]
        assert len(scopes) == len({tuple(each) for each in scopes}) == 3


async def test_a_manifest_that_a_condition_reads_is_not_requested_again(
    broker: Broker, registry: RegistryDouble
) -> None:
    """What the tag held is known in bytes by then, and so is what its readers would lose."""
    for tag in ("1", "latest"):
        plant(registry, "app", tag, held := make_index([AMD64]))
    plant(registry, "one", "1", ARM64)
    made = await broker.create(
        f"{registry.host}/app:1", f"{registry.host}/one:1", f"{registry.host}/app:1", tags=["latest"]
    )
    before = len(registry.journal)
    pushed = await broker.push(made["id"], if_digest=held.digest)
    assert pushed["targets"][0]["difference"]["added"] == ["linux/arm64"]
    read = [each.path for each in registry.journal[before:] if each.method == "GET"]
    # Each tag for the condition, the index that several tags share, and each tag read back.
    assert sorted(read) == sorted(
        f"/v2/app/manifests/{name}" for name in ("1", "latest", pushed["digest"], "1", "latest")
    )


@pytest.mark.parametrize("call", ["push", "plan"])
async def test_a_manifest_that_get_resolves_is_not_requested_again(
    broker: Broker, registry: RegistryDouble, call: str
) -> None:
    """A registry that does not know HEAD gives the manifest at once."""
    registry.misbehave(Status(405), method="HEAD", times=None)
    plant(registry, "app", "1", held := make_index([AMD64]))
    made = await broker.create(f"{registry.host}/app:1", f"{registry.host}/app:1")
    await broker.call("PATCH", f"/v1/lists/{made['id']}", {"annotations": {"a": "b"}})
    await broker.call("POST", f"/v1/lists/{made['id']}/{call}", {"insecure": True})
    assert ("GET", f"/v2/app/manifests/{held.digest}") not in asked(registry)


async def test_a_manifest_too_large_for_the_cache_is_requested_again(
    broker: Broker, registry: RegistryDouble
) -> None:
    plant(registry, "app", "1", held := make_index([AMD64], annotations={"pad": "x" * 2**20}))
    plant(registry, "one", "1", AMD64)
    made = await broker.create(f"{registry.host}/app:1", f"{registry.host}/one:1")
    pushed = await broker.push(made["id"], if_digest=held.digest)
    assert pushed["targets"][0]["difference"] == {"added": [], "removed": [], "changed": []}
    assert asked(registry)["GET", f"/v2/app/manifests/{held.digest}"] == 1


async def test_inspections_request_shared_documents_once(broker: Broker, registry: RegistryDouble) -> None:
    """An index, and by digest one of its images."""
    plant(registry, "both", "1", make_index([AMD64, ARM64]))
    names = [f"{registry.host}/both:1", f"{registry.host}/both@{ARM64.digest}"]
    body = {"references": names, "verbose": True, "insecure": True}
    told = await broker.call("POST", "/v1/inspections", body)
    assert [len(each["result"]["images"]) for each in told["results"]] == [2, 1]
    check_each_once(registry)
