"""Upload sessions: where they may be, and that none is left open."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal

import pytest

from app import errors
from app.registry.client import Credential, RegistryPolicy
from tests.support.blob_transfers import SMALL_IMAGE, UPLOAD, copy_small
from tests.support.fault_table.faults import TooLarge
from tests.support.images import plant
from tests.support.pushes import AMD64
from tests.support.registry import (
    Drip,
    Fault,
    RegistryDouble,
    Rules,
    Silence,
    Status,
    UploadLocation,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    child_at,
    connect,
    push_one,
    signed_in,
    target_at,
    until,
)

CANARY = "canary-5ecret"


@pytest.mark.parametrize("query", ["", "x=%2Fa%2bb&y=~%7E", "sig=a%3D%3D"])
async def test_the_query_of_an_upload_is_kept_byte_for_byte(registry: RegistryDouble, query: str) -> None:
    registry.misbehave(UploadLocation(query=query), times=None)
    async with RegistryDouble() as source, connect() as client:
        plant(source, "src", "1", AMD64)
        await push_one(
            client, target_at(registry, "dst", [AMD64]), [child_at(source, "src", AMD64)], INSECURE
        )
    puts = registry.received("PUT", "/uploads/")
    assert len(puts) == len(AMD64.blobs)
    for put in puts:
        state, _, rest = put.target.partition("?")[2].partition("&")
        assert state.startswith("_state=")
        assert rest.startswith(f"{query}&digest=sha256%3A" if query else "digest=sha256%3A")


async def test_an_upload_to_another_host_is_refused(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, RegistryDouble() as evil, connect() as client:
        plant(source, "src", "1", AMD64)
        for base in (evil.base_url, f"//{evil.host}", "http://user@127.0.0.1"):
            registry.misbehave(UploadLocation(base=base), times=None)
            with pytest.raises(errors.UntrustedOrigin):
                await push_one(
                    client, target_at(registry, "dst", [AMD64]), [child_at(source, "src", AMD64)], INSECURE
                )
            registry.behave()
        assert not evil.journal


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("chunks", [False, True])
async def test_an_upload_goes_to_a_host_that_the_operator_lists(
    auth: Literal["basic", "bearer"], chunks: bool
) -> None:
    """The other host takes uploads for the registry: it has its content, and knows its tokens."""
    rules = Rules(max_chunk=300 if chunks else None)
    async with (
        RegistryDouble() as source,
        RegistryDouble(auth=auth, users={"user": CANARY}, rules=rules) as front,
        RegistryDouble(rules=rules) as back,
    ):
        plant(source, "src", "1", AMD64)
        back.content, back.authority = front.content, front.authority
        front.misbehave(UploadLocation(base=back.base_url), method="POST", times=None)
        policy = replace(LOOPBACK, upload_hosts={front.host: (back.host,)})
        access = signed_in(front.host, Credential("user", CANARY))
        async with connect(policy=policy) as client:
            target, children = target_at(front, "dst", [AMD64]), [child_at(source, "src", AMD64)]
            await push_one(client, target, children, access)
        assert front.blobs("dst") == set(AMD64.blobs)
        assert not front.received("PUT", "/uploads/")
        assert all("Authorization" in sent.headers for sent in back.received("PUT", "/uploads/"))


async def test_a_host_of_another_registry_gets_neither_upload_nor_credential() -> None:
    async with (
        RegistryDouble() as source,
        RegistryDouble(auth="basic", users={"user": CANARY}) as front,
        RegistryDouble() as back,
    ):
        plant(source, "src", "1", AMD64)
        front.misbehave(UploadLocation(base=back.base_url), method="POST", times=None)
        policy = replace(
            LOOPBACK,
            upload_hosts={"other.example": (back.host,)},
            setting_names={"upload_hosts": "BROKER_UPLOAD_HOSTS"},
        )
        async with connect(policy=policy) as client:
            target, children = target_at(front, "dst", [AMD64]), [child_at(source, "src", AMD64)]
            with pytest.raises(errors.UntrustedOrigin, match="BROKER_UPLOAD_HOSTS") as refused:
                await push_one(client, target, children, signed_in(front.host, Credential("user", CANARY)))
        assert f"must list {back.host} as an upload host of {front.host}" in refused.value.detail
        assert not back.journal


async def test_insecure_access_is_not_carried_to_an_upload_host() -> None:
    """The operator has listed the registry as insecure, and not the host that takes its uploads."""
    async with RegistryDouble() as source, RegistryDouble() as front, RegistryDouble(tls=True) as back:
        plant(source, "src", "1", AMD64)
        front.misbehave(UploadLocation(base=back.base_url), method="POST", times=None)
        policy = RegistryPolicy.parse(
            allowed_networks=["127.0.0.0/8", "::1/128"],
            insecure_hosts=[front.host, source.host],
            upload_hosts={front.host: [back.host]},
        )
        async with connect(policy=policy) as client:
            target, children = target_at(front, "dst", [AMD64]), [child_at(source, "src", AMD64)]
            with pytest.raises(errors.RegistryTlsFailed):
                await push_one(client, target, children, INSECURE)
        assert not back.journal


async def test_a_cancelled_copy_leaves_no_upload_open(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(Drip(0.01), method="GET", path="/blobs/", times=None)
    copying = asyncio.create_task(copy_small(source, registry))
    # The client knows where its uploads are once it sends their bodies.
    await until(lambda: len(registry.received("PUT", "/uploads/")) == len(SMALL_IMAGE.blobs))
    assert len(registry.content.at("dst").uploads) == len(SMALL_IMAGE.blobs)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await until(lambda: not registry.content.at("dst").uploads)


@pytest.mark.parametrize(
    ("fault", "methods"),
    [
        # Only a body that is too large is tried again in chunks.
        (TooLarge(0, 413), ("PUT", "PATCH")),
        (Status(403), ("PUT",)),
    ],
)
async def test_a_copy_that_fails_leaves_no_upload_open(
    source: RegistryDouble, registry: RegistryDouble, fault: Fault, methods: tuple[str, ...]
) -> None:
    for method in methods:
        registry.misbehave(fault, method=method, path=UPLOAD, times=None)
    with pytest.raises(errors.BrokerError):
        await copy_small(source, registry)
    await until(lambda: not registry.content.at("dst").uploads)


async def test_cancelling_an_upload_at_a_silent_registry_takes_no_longer_than_its_limit(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    silence = registry.misbehave(Silence(), method="DELETE", times=None)
    registry.misbehave(Status(403), method="PUT", path=UPLOAD, times=None)
    with pytest.raises(errors.RegistryDenied):
        await copy_small(source, registry, limits=replace(QUICK, cancel_seconds=0.1))
    assert silence.hits
