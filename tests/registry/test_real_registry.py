"""The real registry with TLS and passwords, as in production."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from app import errors
from app.registry.client import Access, Credential, RegistryClient
from app.registry.push.model import BlobCounts
from tests.support.docker_registry import (
    BINARY,
    HTPASSWD_PASSWORD,
    HTPASSWD_USER,
    DockerRegistry,
    find_docker_registry,
)
from tests.support.images import make_image, plant, seed
from tests.support.registry import RegistryDouble
from tests.support.registry_clients import (
    LOOPBACK,
    QUICK,
    child_at,
    push_one,
    reference_at,
    signed_in,
    target_at,
)

USER = Credential(HTPASSWD_USER, HTPASSWD_PASSWORD)
IMAGES = [make_image(architecture=each, seed="real") for each in ("amd64", "arm64")]


@pytest.fixture(scope="module")
async def guarded() -> AsyncIterator[DockerRegistry]:
    """A registry behind TLS and a password, with an image at src0 and src1."""
    binary = find_docker_registry()
    if binary is None:
        pytest.skip(f"{BINARY} is not installed")
    async with DockerRegistry(binary, tls=True, htpasswd=True) as running:
        basic = (HTPASSWD_USER, HTPASSWD_PASSWORD)
        async with httpx2.AsyncClient(verify=running.verify, auth=basic) as client:
            for number, image in enumerate(IMAGES):
                await seed(running, f"src{number}", "1", image, client=client)
        yield running


def connect(registry: DockerRegistry) -> RegistryClient:
    tls = registry.certificate.client_context() if registry.certificate else None
    return RegistryClient(LOOPBACK, limits=QUICK, tls=tls)


async def test_a_push_with_a_password_over_verified_tls(guarded: DockerRegistry) -> None:
    access = signed_in(guarded.host, USER, insecure=False)
    children = [child_at(guarded, f"src{n}", image) for n, image in enumerate(IMAGES)]
    target = target_at(guarded, "dst", IMAGES, tags=("1", "latest"))
    async with connect(guarded) as client:
        assert (await push_one(client, target, children, access)).blobs == BlobCounts(mounted=6)
        fetched = await client.fetch_manifest(reference_at(guarded, "dst:latest"), access)
    assert fetched.raw == target.index


async def test_a_copy_from_elsewhere_with_a_password(guarded: DockerRegistry) -> None:
    image = make_image(layers=[2 * 1024 * 1024 + 5, 0], seed="elsewhere")
    async with RegistryDouble(tls=True) as source, connect(guarded) as client:
        plant(source, "src", "1", image)
        access = signed_in(guarded.host, USER)
        target, children = target_at(guarded, "copied", [image]), [child_at(source, "src", image)]
        assert (await push_one(client, target, children, access)).blobs.copied == len(image.blobs)
        assert not [r for r in source.journal if "Authorization" in r.headers]


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_access_without_the_password_is_denied(guarded: DockerRegistry, password: str | None) -> None:
    credential = Credential(HTPASSWD_USER, password) if password else Credential()
    access = signed_in(guarded.host, credential, insecure=False)
    async with connect(guarded) as client:
        with pytest.raises(errors.RegistryDenied) as caught:
            await client.fetch_manifest(reference_at(guarded, "src0:1"), access)
    assert caught.value.members["upstream_status"] == 401
    assert caught.value.members["upstream_code"] == "UNAUTHORIZED"


async def test_the_registrys_own_certificate_is_not_trusted_by_default(guarded: DockerRegistry) -> None:
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        with pytest.raises(errors.RegistryTlsFailed):
            await client.fetch_manifest(reference_at(guarded, "src0:1"), Access())
