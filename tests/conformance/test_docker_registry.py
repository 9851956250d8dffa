"""The real registry starts, serves with and without TLS and passwords, and is gone afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2
import pytest

from tests.support.docker_registry import (
    BINARY,
    HTPASSWD_PASSWORD,
    HTPASSWD_USER,
    DidNotStart,
    DockerRegistry,
    find_docker_registry,
)
from tests.support.images import make_buildx_index, make_image, make_index, seed, walk
from tests.support.plain_http import plain_client


@pytest.fixture
def binary() -> Path:
    found = find_docker_registry()
    if found is None:
        pytest.skip(f"{BINARY} is not installed")
    return found


async def test_the_registry_serves_with_tls_and_passwords(binary: Path) -> None:
    async with DockerRegistry(binary, tls=True, htpasswd=True) as running:
        auth = (HTPASSWD_USER, HTPASSWD_PASSWORD)
        async with httpx2.AsyncClient(verify=running.verify, auth=auth) as client:
            digest = await seed(running, "app", "v1", make_image(), client=client)
            reply = await client.head(
                f"{running.base_url}/v2/app/manifests/{digest}",
                headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
            )
            assert reply.status_code == 200
        async with httpx2.AsyncClient(verify=running.verify) as stranger:
            refused = await stranger.get(f"{running.base_url}/v2/")
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == 'Basic realm="registry"'


async def test_two_registries_run_side_by_side_and_are_gone_afterwards(binary: Path) -> None:
    async with DockerRegistry(binary) as one, DockerRegistry(binary) as two:
        assert one.port != two.port
        pids = [each.pid for each in (one, two)]
        await seed(one, "app", "v1", make_image())
        async with plain_client() as client:
            assert (await client.get(f"{two.base_url}/v2/app/tags/list")).status_code == 404
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_registry_that_can_not_start_reports_the_reason() -> None:
    with pytest.raises(DidNotStart):
        async with DockerRegistry(Path("/bin/false")):
            pytest.fail("it started")


def test_an_image_is_the_same_for_the_same_arguments_and_another_for_others() -> None:
    same = make_image(seed=1, variant="v8", labels={"a": "b"})
    assert make_image(seed=1, variant="v8", labels={"a": "b"}) == same
    others = [
        make_image(seed=2, variant="v8", labels={"a": "b"}),
        make_image(seed=1, labels={"a": "b"}),
        make_image(seed=1, variant="v8"),
        make_image(seed=1, variant="v8", labels={"a": "b"}, layers=3),
        make_image(seed=1, variant="v8", labels={"a": "b"}, media="oci"),
    ]
    assert len({each.digest for each in (same, *others)}) == 6


def test_images_may_share_their_base_layers() -> None:
    base = make_image(seed="base").layers
    one, two = (make_image(seed=seed, base=base, layers=[10, 20]) for seed in ("one", "two"))
    assert one.layers[:2] == two.layers[:2] == base
    assert [len(each) for each in one.layers[2:]] == [10, 20]
    assert set(one.layers[2:]).isdisjoint(two.layers[2:])


def test_a_buildx_index_ties_each_attestation_to_its_image() -> None:
    index = make_buildx_index(("linux/amd64", "linux/arm/v7"))
    *images, first, second = (child.descriptor() for child in index.children)
    assert [each["platform"].get("variant") for each in images] == [None, "v7"]
    for image, attestation in zip(images, (first, second), strict=True):
        assert attestation["platform"] == {"architecture": "unknown", "os": "unknown"}
        assert attestation["annotations"] == {
            "vnd.docker.reference.digest": image["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        }


def test_children_come_before_the_index_that_lists_them() -> None:
    inner = make_index([make_image(seed="inner")])
    outer = make_index([inner, make_image(seed="outer")])
    order = list(walk(outer))
    assert order[-1] is outer
    assert order.index(inner) > order.index(inner.children[0])
