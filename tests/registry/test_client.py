"""Calls of the registry client: how long they may take, how often they are tried, and how they fail."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from app import errors
from app.oci.reference import parse_reference
from app.registry.client import RegistryClient, RegistryPolicy
from tests.support.docker_registry import free_port
from tests.support.images import make_image, plant
from tests.support.registry import (
    Drip,
    Endless,
    Fault,
    Gzipped,
    Html,
    Meanwhile,
    RegistryDouble,
    Reset,
    Silence,
    Status,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    Clock,
    connect,
    listening,
    reference_at,
)

IMAGE = make_image()


async def test_cookies_are_not_kept(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(Status(200, b"{}", {"Set-Cookie": "tracked=1"}), path="^/v2/$")
    async with connect() as client:
        await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert not [r for r in registry.journal if "Cookie" in r.headers]


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    registry: RegistryDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    plant(registry, "app", "1", IMAGE)
    async with connect() as client:
        await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert not [r for r in registry.journal if "Authorization" in r.headers]


@pytest.mark.parametrize("fault", [Endless(), Gzipped(), Gzipped("br"), Gzipped("x-gzip, zstd")])
async def test_endless_and_compressed_answers_are_refused(registry: RegistryDouble, fault: Fault) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(fault, method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises((errors.SourceTooLarge, errors.SourceInvalid)):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)


@pytest.mark.parametrize("fault", [Silence(), Drip(interval=0.2)])
async def test_a_call_ends_at_its_deadline_for_every_kind_of_delay(
    registry: RegistryDouble, fault: Fault
) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(fault, method="GET", path="/manifests/", times=None)
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, call_seconds=0.5)) as client:
        with pytest.raises(errors.RegistryTimeout) as caught:
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert caught.value.retryable
    assert caught.value.members["registry"] == registry.host


@pytest.mark.slow
async def test_a_call_to_a_silent_port_ends() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        listening(say_nothing) as port,
        RegistryClient(LOOPBACK, limits=replace(QUICK, call_seconds=0.5)) as client,
    ):
        for access in (INSECURE, replace(INSECURE, insecure=False)):
            with pytest.raises(errors.RegistryTimeout):
                await client.fetch_manifest(parse_reference(f"127.0.0.1:{port}/app:1"), access)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(9000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 4000) for n in range(20)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_http_or_has_too_many_headers_is_no_registry(answer: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = await reader.read(3)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" if start[:1] == b"\x16" else answer)
        await writer.drain()
        writer.close()

    async with listening(say) as port, connect() as client:
        with pytest.raises((errors.NotARegistry, errors.RegistryUnreachable)):
            await client.fetch_manifest(parse_reference(f"127.0.0.1:{port}/app:1"), INSECURE)


async def test_a_closed_port_is_unreachable() -> None:
    port = free_port()
    async with connect() as client:
        with pytest.raises(errors.RegistryUnreachable) as caught:
            await client.fetch_manifest(parse_reference(f"127.0.0.1:{port}/app:1"), INSECURE)
    assert caught.value.members["registry"] == f"127.0.0.1:{port}"
    assert caught.value.retryable


async def test_a_host_that_does_not_exist_is_unreachable() -> None:
    async with connect() as client:
        with pytest.raises(errors.RegistryUnreachable, match="resolved"):
            await client.fetch_manifest(
                parse_reference("registry.invalid/app:1"), replace(INSECURE, insecure=False)
            )


@pytest.mark.parametrize("fault", [Reset(), Status(503), Status(502), Status(429), Status(500), Html(504)])
async def test_a_passing_failure_is_retried(registry: RegistryDouble, fault: Fault) -> None:
    plant(registry, "app", "1", IMAGE)
    registry.misbehave(fault, method="GET", path="/manifests/", times=QUICK.attempts - 1)
    async with connect() as client:
        fetched = await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert fetched.raw.raw == IMAGE.raw


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Status(503), errors.RegistryUnavailable),
        (Status(429, headers={"Retry-After": "0"}), errors.RateLimited),
        (Status.oci(403, "DENIED", "secondary rate limit"), errors.RateLimited),
        (Reset(), errors.RegistryUnreachable),
    ],
)
async def test_attempts_are_bounded(
    registry: RegistryDouble, fault: Fault, expected: type[errors.BrokerError]
) -> None:
    registry.misbehave(fault, method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises(expected):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert len(registry.received("GET", "/manifests/")) == QUICK.attempts


async def test_a_wait_longer_than_the_call_is_handed_to_the_caller(registry: RegistryDouble) -> None:
    limited = Status(429, headers={"Retry-After": "120"})
    registry.misbehave(limited, method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises(errors.RateLimited) as caught:
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert caught.value.retry_after == 120
    assert len(registry.received("GET", "/manifests/")) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 409])
async def test_a_final_refusal_is_not_retried(registry: RegistryDouble, code: int) -> None:
    registry.misbehave(Status(code, b"{}"), method="GET", path="/manifests/", times=None)
    async with connect() as client:
        with pytest.raises(errors.RegistryError):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert len(registry.received("GET", "/manifests/")) == 1


async def test_requests_to_one_host_are_bounded(registry: RegistryDouble) -> None:
    plant(registry, "app", "1", IMAGE)
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, concurrency=3)) as client:
        reference = reference_at(registry, "app:1")
        await asyncio.gather(*(client.fetch_manifest(reference, INSECURE) for _ in range(30)))
    assert registry.log.peak_in_flight <= 3


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_an_address_that_is_not_public_is_not_connected_to(name: str) -> None:
    connected = asyncio.Event()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        writer.close()

    async with listening(note) as port, connect(policy=RegistryPolicy()) as client:
        with pytest.raises(errors.RegistryForbidden):
            await client.fetch_manifest(
                parse_reference(f"{name}:{port}/app:1"), replace(INSECURE, insecure=False)
            )
        assert not connected.is_set()


async def test_an_unopened_client_and_a_closed_one_raise() -> None:
    client = RegistryClient(LOOPBACK)
    with pytest.raises(RuntimeError, match="async with"):
        await client.fetch_manifest(parse_reference("127.0.0.1:1/app"), INSECURE)
    async with client:
        pass
    with pytest.raises(RuntimeError, match="async with"):
        await client.head_manifest(parse_reference("127.0.0.1:1/app"), INSECURE)


@pytest.mark.slow
async def test_a_connection_that_is_not_made_in_time_is_tried_again() -> None:
    asked: list[str] = []

    async def look_up(host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        asked.append(host)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return [("127.0.0.1", int(socket.AF_INET))]

    limits = replace(QUICK, connect_seconds=0.5)
    async with (
        RegistryDouble(name="localhost") as double,
        RegistryClient(LOOPBACK, limits=limits, lookup=look_up) as client,
    ):
        assert await client.head_manifest(reference_at(double, "app:1"), INSECURE) is None
    assert set(asked) == {"localhost"}


async def test_the_time_that_answers_take_is_time_of_the_call(registry: RegistryDouble) -> None:
    """The time of each attempt counts for the call, not only the waits between attempts."""
    clock = Clock()
    busy = Meanwhile(503, happens=lambda: clock.pass_by(QUICK.call_seconds * 0.6))
    registry.misbehave(busy, path="/manifests/", times=None)
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, attempts=9), now=clock) as client:
        with pytest.raises(errors.RegistryUnavailable):
            await client.fetch_manifest(reference_at(registry, "app:1"), INSECURE)
    assert len(registry.received(path="/manifests/")) == 2
