"""Transfers to registries that take little at a time, keep little of it, or only say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from aiohttp.web import BaseRequest

from app import errors
from app.registry.client import Credential, Limits, RegistryClient
from app.registry.push.stall_watch import StallWatch
from tests.support.fault_table.faults import TooLarge
from tests.support.images import Image, make_image, plant
from tests.support.registry import (
    Drip,
    ExpiredToken,
    Fault,
    Hold,
    LostReply,
    OtherStatus,
    Redirect,
    RegistryDouble,
    Silence,
    Status,
    WithHeaders,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    child_at,
    push_one,
    signed_in,
    target_at,
    until,
)
from tests.support.registry_double.wire import Answer, Exchange, send_never

UPLOAD = "/blobs/uploads/."
IMAGE = make_image(layers=[1024], config=make_image().config.ljust(1024), seed="transfers")


@dataclass(frozen=True, slots=True)
class Forgets(Fault):
    """Of each chunk so many bytes are kept, and that is said with a success."""

    registry: RegistryDouble
    kept: int

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        repository, _, identity = exchange.request.path.removeprefix("/v2/").partition("/blobs/uploads/")
        upload = self.registry.content.at(repository).uploads[identity]
        del upload.data[len(upload.data) - max(0, exchange.received.body_size - self.kept) :]
        return answer.with_headers(Range=upload.range)


@dataclass(frozen=True, slots=True)
class EndIsLost(LostReply):
    """The answer to the request that ends an upload in chunks is lost."""

    def concerns(self, request: BaseRequest) -> bool:
        return request.method == "PUT" and "/uploads/" in request.path and not request.content_length


@dataclass(frozen=True, slots=True)
class Late(Hold):
    """A token is refused when the test says so."""

    async def instead(self, exchange: Exchange) -> Answer | None:
        await Hold.instead(self, exchange)
        return await ExpiredToken().instead(exchange)


@dataclass(frozen=True, slots=True)
class EndsLater(Fault):
    """An upload has no answer, or a proxy's, and the blob is there only when it was looked for twice."""

    status: int | None
    hidden: dict[str, int] = field(default_factory=dict)

    def concerns(self, request: BaseRequest) -> bool:
        return "/blobs/" in request.path and request.method in {"HEAD", "PUT"}

    async def instead(self, exchange: Exchange) -> Answer | None:
        request = exchange.request
        if request.method == "PUT":
            self.hidden[request.query["digest"]] = 2
            return None
        digest = request.path.rpartition("/")[2]
        if not self.hidden.get(digest):
            return None
        self.hidden[digest] -= 1
        return Answer(404)

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        if exchange.request.method != "PUT":
            return answer
        return replace(answer, send=send_never) if self.status is None else Answer(self.status)


@pytest.fixture
async def source() -> AsyncIterator[RegistryDouble]:
    async with RegistryDouble() as double:
        yield double


async def copy(
    source: RegistryDouble,
    target: RegistryDouble,
    image: Image = IMAGE,
    *,
    limits: Limits = QUICK,
    path: str = "dst",
) -> None:
    plant(source, "src", "1", image)
    async with RegistryClient(LOOPBACK, limits=limits) as client, asyncio.timeout(30):
        await push_one(client, target_at(target, path, [image]), [child_at(source, "src", image)], INSECURE)


# --- before it begins ---


async def test_waiting_for_a_download_of_others_is_not_standing_still(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    image = make_image(layers=[500], seed="queue")
    plant(source, "src", "1", image)
    layer = next(digest for digest, data in image.blobs.items() if len(data) == 500)
    source.misbehave(Drip(0.01), method="GET", path=layer, times=None)
    limits = replace(QUICK, transfers=1, attempts=1, call_seconds=2.0, stall_seconds=2.0, stall_bytes=1)
    async with RegistryDouble() as other, RegistryClient(LOOPBACK, limits=limits) as client:
        async with asyncio.TaskGroup() as group:
            for double in (registry, other):
                goal, child = target_at(double, "dst", [image]), child_at(source, "src", image)
                group.create_task(push_one(client, goal, [child], INSECURE))
        assert other.blobs("dst") == registry.blobs("dst") == set(image.blobs)


async def test_no_upload_is_opened_before_there_is_something_to_send(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """Registries end sessions that stand open, and so many at once may be refused."""
    hold = Hold()
    source.misbehave(hold, method="GET", path="/blobs/", times=None)
    copying = asyncio.create_task(copy(source, registry))
    await hold.reached.wait()
    assert not registry.received("POST")
    hold.gate.set()
    await copying
    assert registry.blobs("dst") == set(IMAGE.blobs)


@pytest.fixture
async def store(source: RegistryDouble) -> AsyncIterator[RegistryDouble]:
    """Where the source redirects those who want blobs."""
    async with RegistryDouble() as double:
        plant(double, "src", "1", IMAGE)
        source.misbehave(Redirect(f"{double.base_url}{{target}}"), method="GET", path="/blobs/", times=None)
        yield double


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_an_address_that_is_no_longer_good_is_asked_for_anew(
    source: RegistryDouble, store: RegistryDouble, registry: RegistryDouble, status: int
) -> None:
    store.misbehave(Status(status, b"<Error>Request has expired</Error>"), method="GET", path="/blobs/")
    await copy(source, registry)
    assert len(source.received("GET", "/blobs/")) == len(IMAGE.blobs) + 1
    assert registry.blobs("dst") == set(IMAGE.blobs)


async def test_addresses_that_are_never_good_are_no_matter_of_credentials(
    source: RegistryDouble, store: RegistryDouble, registry: RegistryDouble
) -> None:
    store.misbehave(Status(403), method="GET", path="/blobs/", times=None)
    with pytest.raises(errors.RegistryUnavailable, match=f"{store.base_url}.* answered 403"):
        await copy(source, registry)
    assert len(source.received("GET", "/blobs/")) <= QUICK.attempts * len(IMAGE.blobs)


# --- how much at a time ---


async def test_a_registry_that_takes_less_than_it_wants_at_least_is_not_asked_for_ever(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(TooLarge(512, 413), times=None)
    registry.misbehave(
        WithHeaders({"OCI-Chunk-Min-Length": "700"}), method="POST", path="/uploads/$", times=None
    )
    with pytest.raises(errors.RegistryRejected):
        await copy(source, registry)
    assert len(registry.received(path="/uploads/")) < 20


async def test_an_end_that_is_refused_as_too_large_is_not_asked_for_with_less(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """There is nothing in it that could be less."""
    registry.misbehave(TooLarge(512, 413), times=None)
    registry.misbehave(TooLarge(-1, 413), method="PUT", path=UPLOAD, times=None)
    with pytest.raises(errors.RegistryRejected):
        await copy(source, registry)
    whole_and_end = 2
    assert len(registry.received("PUT", "/uploads/")) <= whole_and_end * len(IMAGE.blobs)


async def test_one_416_to_a_small_blob_is_no_word_on_sizes(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(Status.oci(416, "RANGE_INVALID", "resumed at wrong offset"), method="PUT", path=UPLOAD)
    await copy(source, registry)
    assert not registry.received("PATCH")


async def test_a_413_that_is_meant_for_one_repository_slows_no_other(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    full = "/v2/full" + UPLOAD
    registry.misbehave(Status.oci(413, "DENIED", "quota"), path=full, times=None)
    plant(source, "src", "1", IMAGE)
    children = [child_at(source, "src", IMAGE)]
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, least_remembered_body=1)) as client:
        with pytest.raises(errors.RegistryRejected):
            await push_one(client, target_at(registry, "full", [IMAGE]), children, INSECURE)
        assert registry.received("PATCH")
        registry.forget()
        await push_one(client, target_at(registry, "dst", [IMAGE]), children, INSECURE)
    assert not registry.received("PATCH")


async def test_what_is_remembered_of_a_registry_is_no_less_than_a_mebibyte(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    other = make_image(layers=[5000], seed="other")
    plant(source, "src", "1", IMAGE)
    plant(source, "other", "1", other)
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        rule = registry.misbehave(TooLarge(512, 413), times=None)
        goal = target_at(registry, "dst", [IMAGE])
        await push_one(client, goal, [child_at(source, "src", IMAGE)], INSECURE)
        rule.stop()
        registry.forget()
        goal = target_at(registry, "dst", [other])
        await push_one(client, goal, [child_at(source, "other", other)], INSECURE)
    assert not registry.received("PATCH")


# --- what is kept ---


async def test_a_registry_that_keeps_two_bytes_of_each_chunk_is_given_up(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    image = make_image(layers=[200_000], seed="creep")
    registry.misbehave(TooLarge(512, 413), method="PUT", times=None)
    registry.misbehave(Forgets(registry, 2), method="PATCH", path=UPLOAD, times=None)
    with pytest.raises(errors.RegistryUnavailable, match="kept other bytes"):
        await copy(source, registry, image)
    assert len(registry.received("PATCH")) <= QUICK.attempts


async def test_a_registry_that_keeps_enough_of_each_chunk_gets_there(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """However often it does so: what is kept restores the attempts."""
    image = make_image(layers=[2000], seed="enough")
    limits = replace(QUICK, resume_bytes=200, chunk_bytes=500)
    registry.misbehave(TooLarge(512, 413), method="PUT", times=None)
    registry.misbehave(Forgets(registry, 300), method="PATCH", path=UPLOAD, times=None)
    await copy(source, registry, image, limits=limits)
    assert len(registry.received("PATCH")) > QUICK.attempts
    assert registry.blobs("dst") == set(image.blobs)


# --- tokens ---


def holds(double: RegistryDouble, count: int) -> bool:
    return len(double.blobs("dst")) == count


async def test_a_token_that_others_have_replaced_meanwhile_is_not_replaced_again(
    source: RegistryDouble,
) -> None:
    """All uploads are refused with the first token, one after the other."""
    image = make_image(layers=5, seed="tokens")
    plant(source, "src", "1", image)
    async with RegistryDouble(users={"user": "pw"}, auth="bearer") as double:
        refusals = [Late() for _ in image.blobs]
        for refusal in refusals:
            double.misbehave(refusal, method="PUT", path=UPLOAD)
        access = signed_in(double.host, Credential("user", "pw"))
        async with RegistryClient(LOOPBACK, limits=QUICK) as client, asyncio.TaskGroup() as group:
            goal, child = target_at(double, "dst", [image]), child_at(source, "src", image)
            group.create_task(push_one(client, goal, [child], access))
            for refusal in refusals:
                await refusal.reached.wait()
            tokens = len(double.received(path="/token"))
            for number, refusal in enumerate(refusals, 1):
                refusal.gate.set()
                await until(partial(holds, double, number))
        put = [t for t in double.received(path="/token")[tokens:] if "push" in t.target]
        assert len(put) == 1


# --- what may have arrived all the same ---


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        Status.oci(404, "BLOB_UPLOAD_UNKNOWN", takes_effect=True),
        Status(416, takes_effect=True),
        Status.oci(400, "BLOB_UPLOAD_INVALID", takes_effect=True),
    ],
    ids=lambda fault: str(fault.code),
)
async def test_an_end_that_took_effect_but_is_refused_is_an_end(
    source: RegistryDouble, registry: RegistryDouble, fault: Fault, *, in_chunks: bool
) -> None:
    """ECR ends an upload with the last chunk, and then knows of none."""
    if in_chunks:
        registry.misbehave(TooLarge(512, 413), times=None)
    registry.misbehave(fault, method="PUT", path=UPLOAD, times=None)
    await copy(source, registry)
    assert registry.blobs("dst") == set(IMAGE.blobs)
    assert len(registry.received("POST", "/uploads/")) == len(IMAGE.blobs) * (1 + in_chunks)


async def test_an_end_whose_answer_was_lost_is_not_sent_again(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(TooLarge(512, 413), times=None)
    registry.misbehave(EndIsLost(), times=None)
    await copy(source, registry)
    sent = sum(r.body_size for r in registry.received("PATCH"))
    assert sent == sum(map(len, IMAGE.blobs.values()))


@pytest.mark.parametrize("status", [200, 202])
async def test_a_vague_yes_to_an_upload_counts_if_the_blob_is_there(
    source: RegistryDouble, registry: RegistryDouble, status: int
) -> None:
    registry.misbehave(OtherStatus(status), method="PUT", path="/dst/blobs/uploads/", times=None)
    registry.misbehave(Status(status), method="PUT", path="/dst2/blobs/uploads/", times=None)
    await copy(source, registry)
    assert registry.blobs("dst") == set(IMAGE.blobs)
    with pytest.raises(errors.RegistryRejected, match=f"answered {status} .*does not have it"):
        await copy(source, registry, path="dst2")


async def test_the_last_attempts_answer_may_have_been_a_yes(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(LostReply(), method="PUT", path=UPLOAD, times=None)
    await copy(source, registry, limits=replace(QUICK, attempts=1))
    assert registry.blobs("dst") == set(IMAGE.blobs)


@pytest.mark.parametrize("status", [None, 504])
async def test_a_slow_end_is_waited_for_and_not_begun_again(
    source: RegistryDouble, registry: RegistryDouble, status: int | None
) -> None:
    image = make_image(layers=[2000], config=make_image().config.ljust(2000), seed="slow")
    registry.misbehave(EndsLater(status), times=None)
    limits = replace(QUICK, call_seconds=1.0, stall_seconds=1.0, resume_bytes=1000)
    await copy(source, registry, image, limits=limits)
    assert len(registry.received("PUT", "/uploads/")) == len(image.blobs)


async def test_a_large_blob_may_take_longer_to_end_than_a_small_one() -> None:
    limits = Limits()
    async with asyncio.timeout(None) as deadline:
        StallWatch(deadline, limits).end(100 * limits.commit_bytes)
        await asyncio.sleep(0)
        left = (deadline.when() or 0.0) - asyncio.get_running_loop().time()
    assert limits.call_seconds + 50 < left <= limits.call_seconds + 100


# --- what is left behind ---


async def test_a_copy_that_is_called_off_leaves_no_upload_open(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(Drip(0.01), method="GET", path="/blobs/", times=None)
    copying = asyncio.create_task(copy(source, registry))
    await until(lambda: len(registry.content.at("dst").uploads) == len(IMAGE.blobs))
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert not registry.content.at("dst").uploads


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
        await copy(source, registry)
    assert not registry.content.at("dst").uploads


async def test_calling_off_an_upload_of_a_registry_that_says_nothing_takes_no_longer_than_it_may(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(Silence(), method="DELETE", times=None)
    registry.misbehave(Status(403), method="PUT", path=UPLOAD, times=None)
    with pytest.raises(errors.RegistryDenied):
        await copy(source, registry, limits=replace(QUICK, cancel_seconds=0.1))
