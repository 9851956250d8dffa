"""Content that has just been pushed is asked for again where a replica does not have it yet."""

from __future__ import annotations

import pytest

from app import errors
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble, Status
from tests.support.registry_clients import INSECURE, QUICK, config_of, connect, reference_at, repository_at

IMAGE = make_image(seed="lagging")
NOT_YET = [
    Status.oci(404, "MANIFEST_UNKNOWN"),
    Status.oci(404, "NAME_UNKNOWN"),
    Status.oci(404, "NOT_FOUND"),
    Status(404),
]


@pytest.mark.parametrize("answer", NOT_YET)
async def test_a_digest_that_is_not_there_yet_is_asked_for_again(
    registry: RegistryDouble, answer: Status
) -> None:
    plant(registry, "app", "1", IMAGE)
    rule = registry.misbehave(answer, method="GET", path="/manifests/", times=3)
    async with connect() as client:
        reference = reference_at(registry, f"app@{IMAGE.digest}")
        fetched = await client.fetch_manifest(reference, INSECURE, patiently=True)
    assert fetched.raw.raw == IMAGE.raw
    assert rule.hits == 3


async def test_a_config_that_is_not_there_yet_is_asked_for_again(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    rule = registry.misbehave(Status.oci(404, "BLOB_UNKNOWN"), method="GET", path="/blobs/", times=3)
    async with connect() as client:
        await client.fetch_image_config(
            repository_at(registry, "app"), config_of(IMAGE), INSECURE, patiently=True
        )
    assert rule.hits == 3


async def test_a_digest_that_never_comes_is_missing_in_the_end(registry: RegistryDouble) -> None:
    async with connect() as client:
        with pytest.raises(errors.SourceNotFound):
            await client.fetch_manifest(
                reference_at(registry, f"app@{IMAGE.digest}"), INSECURE, patiently=True
            )
    assert len(registry.received("GET", "/manifests/")) == QUICK.lag_attempts


@pytest.mark.parametrize("rest", ["app:1", f"app@{IMAGE.digest}"])
async def test_what_nobody_has_just_pushed_is_asked_for_once(registry: RegistryDouble, rest: str) -> None:
    async with connect() as client:
        with pytest.raises(errors.SourceNotFound):
            await client.fetch_manifest(reference_at(registry, rest), INSECURE)
    assert len(registry.received("GET", "/manifests/")) == 1


@pytest.mark.parametrize("answer", [Status.oci(403, "DENIED"), Status.oci(400, "NAME_INVALID"), Status(410)])
async def test_other_refusals_of_a_digest_are_final(registry: RegistryDouble, answer: Status) -> None:
    rule = registry.misbehave(answer, method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises(errors.RegistryError):
            await client.fetch_manifest(
                reference_at(registry, f"app@{IMAGE.digest}"), INSECURE, patiently=True
            )
    assert rule.hits == 1
