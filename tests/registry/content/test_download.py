"""Downloads of blobs: verified, and resumed after a break."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import errors
from app.registry.client import RegistryClient
from app.registry.content.download import RunningDigest
from tests.support.blob_transfers import (
    LARGE_IMAGE,
    LARGE_LAYER,
    LARGE_SIZE,
    MIB,
    SMALL_IMAGE,
    across,
    check_arrived,
    check_truthful,
    copy_large,
    copy_small,
    ranges,
    sent,
)
from tests.support.breaking_proxy import BreakingProxy
from tests.support.docker_registry import DockerRegistry
from tests.support.images import digest_of, plant, seed
from tests.support.pushes import EMPTY, LARGE, check_whole
from tests.support.registry import (
    Fault,
    FlippedByte,
    Redirect,
    RegistryDouble,
    Reset,
    Rules,
    Status,
    Truncated,
    WithHeaders,
    WithoutHeader,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    child_at,
    connect,
    push_one,
    target_at,
)


def feed(digest: RunningDigest, data: bytes, block: int) -> None:
    for start in range(0, len(data), block):
        digest.update(data[start : start + block])


@pytest.fixture
async def store(source: RegistryDouble) -> AsyncIterator[RegistryDouble]:
    """The storage to which the source redirects requests for blobs."""
    async with RegistryDouble() as double:
        plant(double, "src", "1", SMALL_IMAGE)
        source.misbehave(Redirect(f"{double.base_url}{{target}}"), method="GET", path="/blobs/", times=None)
        yield double


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 9 * MIB), min_size=1, max_size=4), back=st.integers(0, 36 * MIB))
def test_a_digest_ends_the_same_after_going_back(sizes: list[int], back: int) -> None:
    data = b"\x5a" * sum(sizes)
    digest = RunningDigest("sha256")
    feed(digest, data, 3 * MIB)
    at = digest.go_back(min(back, len(data)))
    assert at == digest.position <= min(back, len(data))
    feed(digest, data[at:], 1 * MIB)
    assert str(digest.digest) == digest_of(data)


def test_a_digest_goes_back_no_further_than_it_has_to() -> None:
    """Bytes that are read again cost time that was spent once already."""
    digest = RunningDigest("sha256")
    feed(digest, b"a" * 10 * MIB, MIB)
    assert [digest.go_back(at * MIB) // MIB for at in (10, 8, 7, 4, 3)] == [8, 8, 4, 4, 0]


def test_the_digest_after_going_back_is_that_of_the_new_bytes() -> None:
    digest = RunningDigest("sha256")
    digest.update(b"a" * 10 * MIB)
    at = digest.go_back(9 * MIB)
    digest.update(b"b" * MIB)
    assert str(digest.digest) == digest_of(b"a" * at + b"b" * MIB)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_running_digest_knows_the_algorithms_of_digests(algorithm: str) -> None:
    digest = RunningDigest(algorithm)
    digest.update(b"data")
    assert str(digest.digest) == f"{algorithm}:{hashlib.new(algorithm, b'data').hexdigest()}"


def test_a_digest_does_not_go_back_far() -> None:
    """At most the bytes between two saved states are received again."""
    digest = RunningDigest("sha256")
    block = b"\0" * (4 * MIB)
    for _ in range(64):
        digest.update(block)
    assert digest.go_back(201 * MIB) == 200 * MIB


async def test_a_broken_download_goes_on_from_where_it_was(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(Truncated(2 * MIB), method="GET", path=LARGE_LAYER)
    result, told = await copy_large(source, registry)
    assert ranges(source) == [None, f"bytes={2 * MIB}-"]
    assert len(registry.received("POST", "/uploads/")) == 2
    assert result.blobs.bytes_copied == LARGE_SIZE + len(LARGE_IMAGE.config)
    check_truthful(told)
    check_arrived(registry)


async def test_a_download_may_break_more_often_than_a_request_is_tried(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """Retries start again after each progress."""
    source.misbehave(Truncated(MIB), method="GET", path=LARGE_LAYER, times=5)
    _, told = await copy_large(source, registry)
    assert ranges(source) == [None, *(f"bytes={n * MIB}-" for n in range(1, 6))]
    check_truthful(told)
    check_arrived(registry)


async def test_a_download_without_progress_ends(source: RegistryDouble, registry: RegistryDouble) -> None:
    source.misbehave(Truncated(1000), method="GET", path=LARGE_LAYER, times=None)
    with pytest.raises(errors.RegistryUnreachable) as caught:
        await copy_large(source, registry)
    assert caught.value.members["registry"] == source.host
    assert len(ranges(source)) == QUICK.attempts
    assert not registry.tags("dst")


@pytest.mark.parametrize(
    "fault",
    [
        Status(416),
        WithHeaders({"Content-Range": f"bytes 0-{LARGE_SIZE - 1}/{LARGE_SIZE}"}),
        WithHeaders({"Content-Range": f"bytes {2 * MIB}-{LARGE_SIZE - 1}/{LARGE_SIZE + 1}"}),
        WithHeaders({"Content-Range": "nonsense"}),
        WithoutHeader("Content-Range"),
    ],
)
async def test_a_wrong_part_is_not_used(
    source: RegistryDouble, registry: RegistryDouble, fault: Fault
) -> None:
    source.misbehave(Truncated(2 * MIB), method="GET", path=LARGE_LAYER)
    source.misbehave(fault, method="GET", path=LARGE_LAYER)
    _, told = await copy_large(source, registry)
    assert ranges(source) == [None, f"bytes={2 * MIB}-", None]
    check_truthful(told)
    check_arrived(registry)


async def test_a_source_without_ranges_is_read_again_but_sent_once(
    registry: RegistryDouble,
) -> None:
    async with RegistryDouble(rules=Rules(ranges=False)) as source:
        plant(source, "src", "1", LARGE_IMAGE)
        source.misbehave(Truncated(2 * MIB), method="GET", path=LARGE_LAYER)
        _, told = await copy_large(source, registry)
        assert len(ranges(source)) == 2
    assert sent(registry) == LARGE_SIZE
    check_truthful(told)
    check_arrived(registry)


async def test_wrong_bytes_that_came_in_one_piece_are_not_asked_for_again(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(FlippedByte(), method="GET", path=LARGE_LAYER)
    with pytest.raises(errors.DigestMismatch):
        await copy_large(source, registry)
    assert ranges(source) == [None]
    assert LARGE_LAYER not in registry.blobs("dst")


async def test_parts_that_do_not_fit_together_are_replaced_by_the_whole(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(Truncated(2 * MIB), method="GET", path=LARGE_LAYER)
    source.misbehave(FlippedByte(), method="GET", path=LARGE_LAYER)
    await copy_large(source, registry)
    assert ranges(source) == [None, f"bytes={2 * MIB}-", None]
    check_arrived(registry)


async def test_where_parts_did_not_fit_together_no_part_is_asked_for_again(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """The same holds if the whole breaks off: it comes again, and the bytes that are here are dropped."""
    source.misbehave(Truncated(2 * MIB), method="GET", path=LARGE_LAYER)
    source.misbehave(FlippedByte(), method="GET", path=LARGE_LAYER)
    source.misbehave(Truncated(MIB), method="GET", path=LARGE_LAYER)
    await copy_large(source, registry)
    assert ranges(source) == [None, f"bytes={2 * MIB}-", None, None]
    check_arrived(registry)


async def test_parts_that_never_fit_together_are_an_error(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(Truncated(2 * MIB), method="GET", path=LARGE_LAYER)
    source.misbehave(FlippedByte(), method="GET", path=LARGE_LAYER, times=None)
    with pytest.raises(errors.DigestMismatch):
        await copy_large(source, registry)
    assert LARGE_LAYER not in registry.blobs("dst")


async def test_a_part_is_asked_for_wherever_a_redirect_leads(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, RegistryDouble() as store:
        plant(source, "src", "1", LARGE_IMAGE)
        plant(store, "src", "1", LARGE_IMAGE)
        source.misbehave(Redirect(f"{store.base_url}{{target}}"), method="GET", path="/blobs/", times=None)
        store.misbehave(Truncated(2 * MIB), method="GET", path=LARGE_LAYER)
        await copy_large(source, registry)
        assert ranges(store) == [None, f"bytes={2 * MIB}-"]
    check_arrived(registry)


async def test_the_real_registrys_downloads_go_on(
    line: BreakingProxy, installed_registry: DockerRegistry, registry: RegistryDouble
) -> None:
    path = f"resume/{uuid.uuid4().hex}"
    await seed(installed_registry, path, "1", LARGE_IMAGE)
    line.down += [3 * MIB, 2 * MIB, MIB]
    child = replace(child_at(registry, path, LARGE_IMAGE), source=across(line, path))
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        await push_one(client, target_at(registry, "dst", [LARGE_IMAGE]), [child], INSECURE)
    assert line.cuts == 3
    assert sent(registry) == LARGE_SIZE
    check_arrived(registry)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_an_expired_address_is_requested_again(
    source: RegistryDouble, store: RegistryDouble, registry: RegistryDouble, status: int
) -> None:
    store.misbehave(Status(status, b"<Error>Request has expired</Error>"), method="GET", path="/blobs/")
    await copy_small(source, registry)
    assert len(source.received("GET", "/blobs/")) == len(SMALL_IMAGE.blobs) + 1
    assert registry.blobs("dst") == set(SMALL_IMAGE.blobs)


async def test_addresses_that_always_fail_do_not_count_as_denied(
    source: RegistryDouble, store: RegistryDouble, registry: RegistryDouble
) -> None:
    store.misbehave(Status(403), method="GET", path="/blobs/", times=None)
    with pytest.raises(errors.RegistryUnavailable, match=f"{store.base_url}.* answered 403"):
        await copy_small(source, registry)
    assert len(source.received("GET", "/blobs/")) <= QUICK.attempts * len(SMALL_IMAGE.blobs)


async def test_a_blob_that_arrives_broken_is_not_put() -> None:
    async with RegistryDouble() as source, RegistryDouble() as target, connect() as client:
        plant(source, "src", "1", LARGE)
        source.misbehave(FlippedByte(), method="GET", path="/blobs/", times=None)
        with pytest.raises(errors.DigestMismatch) as caught:
            await push_one(
                client, target_at(target, "dst", [LARGE]), [child_at(source, "src", LARGE)], INSECURE
            )
        assert caught.value.members["registry"] == source.host
        assert target.blobs("dst") <= {EMPTY}
        assert not target.tags("dst")


@pytest.mark.parametrize("fault", [Truncated(), Truncated(with_length=False), Reset(), Status(503)])
async def test_a_source_that_breaks_off_is_read_again(fault: Fault) -> None:
    async with RegistryDouble() as source, RegistryDouble() as double, connect() as client:
        plant(source, "src", "1", LARGE)
        source.misbehave(fault, method="GET", path="/blobs/", times=2)
        target = target_at(double, "dst", [LARGE])
        result = await push_one(client, target, [child_at(source, "src", LARGE)], INSECURE)
        assert result.blobs.bytes_copied == sum(map(len, LARGE.blobs.values()))
        await check_whole(double, target, [LARGE])
