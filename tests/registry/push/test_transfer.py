"""The transfer of one blob: sent whole or in chunks, resumed where the registry allows."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from aiohttp.web import BaseRequest

from app import errors
from app.oci.reference import Repository
from app.registry.client import Credential, RegistryClient
from app.registry.push.model import (
    BlobCounts,
    Step,
)
from tests.support.blob_transfers import (
    LARGE_IMAGE,
    LARGE_LAYER,
    LARGE_SIZE,
    MANY_LAYERS,
    MIB,
    SMALL_IMAGE,
    UPLOAD,
    Capacity,
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
from tests.support.fault_table.faults import TooLarge
from tests.support.images import make_image, plant
from tests.support.pushes import AMD64, LARGE, check_whole
from tests.support.registry import (
    CutUpload,
    Drip,
    ExpiredToken,
    Fault,
    Hold,
    LostReply,
    MountDeclined,
    OtherStatus,
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
    AnyRegistry,
    child_at,
    connect,
    push_one,
    quiet,
    reference_at,
    signed_in,
    target_at,
    until,
)
from tests.support.registry_double.wire import Answer, Exchange, send_never

LIMITED = make_image(layers=[5000], seed="refused")


@dataclass(frozen=True, slots=True)
class Forgets(Fault):
    """The registry keeps fewer bytes of each chunk, and reports that with a success."""

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
    """A token is refused when the test opens the gate."""

    async def instead(self, exchange: Exchange) -> Answer | None:
        await Hold.instead(self, exchange)
        return await ExpiredToken().instead(exchange)


@dataclass(frozen=True, slots=True)
class EndsLater(Fault):
    """An upload gets no answer, or a proxy's; the blob appears only after two lookups."""

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


def holds(double: RegistryDouble, count: int) -> bool:
    return len(double.blobs("dst")) == count


async def test_a_broken_upload_goes_on_from_where_the_registry_is(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    _, told = await copy_large(source, registry)
    uploads = {r.path for r in registry.journal if "/uploads/" in r.path and r.body_size > MIB}
    assert len(uploads) == 1
    (patch,) = registry.received("PATCH")
    assert patch.headers["Content-Range"] == f"{2 * MIB}-{LARGE_SIZE - 1}"
    assert patch.body_size == LARGE_SIZE - 2 * MIB
    check_truthful(told)
    check_arrived(registry)


async def test_an_upload_may_break_more_often_than_a_request_is_tried(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    registry.misbehave(CutUpload(MIB), method="PATCH", path=UPLOAD, times=3)
    _, told = await copy_large(source, registry)
    starts = [r.headers["Content-Range"].partition("-")[0] for r in registry.received("PATCH")]
    assert starts == [str(n * MIB) for n in (2, 3, 4, 5)]
    assert sent(registry) == LARGE_SIZE
    check_truthful(told)
    check_arrived(registry)


@pytest.mark.parametrize(
    "fault",
    [
        Status.oci(404, "BLOB_UPLOAD_UNKNOWN"),
        Status.oci(400, "BLOB_UPLOAD_INVALID"),
        Status(405),
        WithHeaders({"Range": f"0-{LARGE_SIZE + 5}"}),
        WithHeaders({"Range": "0-0"}),
        WithHeaders({"Range": "nonsense"}),
        WithoutHeader("Range"),
        WithHeaders({"Location": "http://registry.invalid/v2/x"}),
    ],
)
async def test_a_registry_without_an_offset_gets_the_whole_blob_again(
    source: RegistryDouble, registry: RegistryDouble, fault: Fault
) -> None:
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    registry.misbehave(fault, method="GET", path=UPLOAD, times=None)
    _, told = await copy_large(source, registry)
    assert len(registry.received("POST", "/uploads/")) == 3
    assert len(registry.received("GET", "/uploads/")) == 1
    assert not registry.received("PATCH")
    assert len(registry.received("PUT", "/uploads/")) == 3
    assert len([r for r in source.received("GET", "/blobs/") if LARGE_LAYER not in r.path]) == 1
    check_truthful(told)
    check_arrived(registry)


async def test_a_small_upload_that_breaks_is_simply_sent_again(registry: RegistryDouble) -> None:
    small = make_image(layers=[100_000], seed="small")
    async with RegistryDouble() as source, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(source, "src", "1", small)
        registry.misbehave(CutUpload(50_000), method="PUT", path=UPLOAD)
        target = target_at(registry, "dst", [small])
        await push_one(client, target, [child_at(source, "src", small)], INSECURE)
    assert not registry.received("GET", "/uploads/")
    assert registry.blobs("dst") == set(small.blobs)


async def test_a_registry_that_kept_less_than_it_was_sent_is_given_the_rest_again(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """The 416 reports that, and the upload's status has the offset."""
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    registry.misbehave(WithHeaders({"Range": f"0-{MIB - 1}"}), method="GET", path=UPLOAD)
    _, told = await copy_large(source, registry)
    starts = [r.headers["Content-Range"].partition("-")[0] for r in registry.received("PATCH")]
    assert starts == [str(MIB), str(2 * MIB)]
    check_truthful(told)
    check_arrived(registry)


async def test_an_upload_whose_parts_were_joined_wrongly_starts_again(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    bad = Status.oci(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    registry.misbehave(bad, method="PUT", path=UPLOAD, after=1)
    await copy_large(source, registry)
    assert len(registry.received("POST", "/uploads/")) == 3
    check_arrived(registry)


async def test_an_upload_whose_answer_was_lost_is_not_repeated(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(LostReply(), method="PUT", path=UPLOAD)
    _, told = await copy_large(source, registry)
    assert len(ranges(source)) == 1
    assert sent(registry) == LARGE_SIZE
    check_truthful(told)
    check_arrived(registry)


async def test_copies_in_both_directions_that_break_all_the_time_end() -> None:
    """A transfer that waits to send again holds nothing that others need in order to send."""
    images = [make_image(layers=[1500 * 1024, 1200 * 1024], seed=n) for n in range(4)]
    limits = replace(QUICK, transfers=1, attempts=8)
    async with (
        RegistryDouble() as one,
        RegistryDouble() as two,
        RegistryClient(LOOPBACK, limits=limits) as client,
        asyncio.timeout(120),
        asyncio.TaskGroup() as group,
    ):
        for here, there, seed_ in ((one, two, 1), (two, one, 2)):
            there.misbehave(
                CutUpload(MIB), method="PUT", path=UPLOAD, times=None, probability=0.5, seed=seed_
            )
            for number, image in enumerate(images):
                plant(here, f"src{number}", "1", image)
            children = [child_at(here, f"src{n}", image) for n, image in enumerate(images)]
            for path in ("dst", "dst2"):
                group.create_task(push_one(client, target_at(there, path, images), children, INSECURE))
    for double, path in itertools.product((one, two), ("dst", "dst2")):
        assert double.tags(path)["1"] == str(target_at(double, path, images).index.digest)


async def test_both_ends_may_break(source: RegistryDouble, registry: RegistryDouble) -> None:
    source.misbehave(Truncated(MIB), method="GET", path=LARGE_LAYER, times=2)
    registry.misbehave(CutUpload(3 * MIB), method="PUT", path=UPLOAD)
    source.misbehave(Reset(), method="GET", path=LARGE_LAYER)
    registry.misbehave(CutUpload(MIB), method="PATCH", path=UPLOAD)
    _, told = await copy_large(source, registry)
    check_truthful(told)
    check_arrived(registry)


async def test_a_token_that_expires_between_chunks_is_replaced(source: RegistryDouble) -> None:
    async with RegistryDouble(auth="bearer", rules=Rules(max_chunk=2 * MIB)) as double:
        assert double.authority is not None
        double.authority.grants[""] = {".*": {"pull", "push"}}
        double.misbehave(ExpiredToken(), method="PATCH", path=UPLOAD, after=1)
        await copy_large(source, double)
        check_arrived(double)


async def test_a_registry_that_loses_the_upload_between_chunks_gets_the_whole_blob_again(
    source: RegistryDouble,
) -> None:
    """Its earlier offset can't be resumed."""
    async with RegistryDouble(rules=Rules(max_chunk=4 * MIB)) as double:
        double.misbehave(CutUpload(MIB), method="PATCH", path=UPLOAD, after=1)
        double.misbehave(WithoutHeader("Range"), method="GET", path=UPLOAD, times=None)
        await copy_large(source, double)
        assert len(double.received("GET", "/uploads/")) == 1
        starts = [r.headers["Content-Range"].partition("-")[0] for r in double.received("PATCH")]
        assert starts == ["0", str(3 * MIB + 8), "0", str(3 * MIB + 8), str(LARGE_SIZE - 1)]
        check_arrived(double)


@pytest.mark.parametrize("status", [201, 204])
async def test_a_chunk_may_be_accepted_in_several_ways(source: RegistryDouble, status: int) -> None:
    async with RegistryDouble(rules=Rules(max_chunk=4 * MIB)) as double:
        double.misbehave(OtherStatus(status), method="PATCH", path=UPLOAD, times=None)
        await copy_large(source, double)
        check_arrived(double)


async def test_the_real_registrys_uploads_end_well(
    line: BreakingProxy, installed_registry: DockerRegistry, source: RegistryDouble
) -> None:
    plant(source, "src", "1", LARGE_IMAGE)
    """It keeps the bytes but forgets the offset, so the blob is sent again."""
    path = f"resume/{uuid.uuid4().hex}"
    line.up += [2 * MIB, 4 * MIB]
    told: list[Step] = []
    target = replace(target_at(source, path, [LARGE_IMAGE]), repository=across(line, path))
    limits = replace(QUICK, config_bytes=LARGE_SIZE)
    async with RegistryClient(LOOPBACK, limits=limits) as client:
        await push_one(client, target, [child_at(source, "src", LARGE_IMAGE)], INSECURE, told.append)
        held = Repository(installed_registry.host, path)
        for blob in child_at(source, "src", LARGE_IMAGE).blobs:
            assert len(await client.fetch_config(held, blob, INSECURE)) == blob.size
    assert line.cuts == 2
    check_truthful(told)


async def test_an_upload_is_opened_only_when_bytes_are_ready(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """Registries expire open sessions, and may limit their number."""
    hold = Hold()
    source.misbehave(hold, method="GET", path="/blobs/", times=None)
    copying = asyncio.create_task(copy_small(source, registry))
    await hold.reached.wait()
    assert not registry.received("POST")
    hold.gate.set()
    await copying
    assert registry.blobs("dst") == set(SMALL_IMAGE.blobs)


async def test_a_registry_that_keeps_two_bytes_of_each_chunk_fails_the_copy(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    image = make_image(layers=[200_000], seed="creep")
    registry.misbehave(TooLarge(512, 413), method="PUT", times=None)
    registry.misbehave(Forgets(registry, 2), method="PATCH", path=UPLOAD, times=None)
    with pytest.raises(errors.RegistryUnavailable, match="kept other bytes"):
        await copy_small(source, registry, image)
    assert len(registry.received("PATCH")) <= QUICK.attempts


async def test_a_registry_that_keeps_enough_of_each_chunk_gets_the_blob(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """The kept bytes restore the attempts each time."""
    image = make_image(layers=[2000], seed="enough")
    limits = replace(QUICK, resume_bytes=200, chunk_bytes=500)
    registry.misbehave(TooLarge(512, 413), method="PUT", times=None)
    registry.misbehave(Forgets(registry, 300), method="PATCH", path=UPLOAD, times=None)
    await copy_small(source, registry, image, limits=limits)
    assert len(registry.received("PATCH")) > QUICK.attempts
    assert registry.blobs("dst") == set(image.blobs)


async def test_a_token_that_others_have_replaced_meanwhile_is_not_replaced_again(
    source: RegistryDouble,
) -> None:
    """All uploads are refused with the first token, one after another."""
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
async def test_a_refused_end_that_took_effect_counts(
    source: RegistryDouble, registry: RegistryDouble, fault: Fault, *, in_chunks: bool
) -> None:
    """ECR ends an upload with the last chunk, and then knows no upload."""
    if in_chunks:
        registry.misbehave(TooLarge(512, 413), times=None)
    registry.misbehave(fault, method="PUT", path=UPLOAD, times=None)
    await copy_small(source, registry)
    assert registry.blobs("dst") == set(SMALL_IMAGE.blobs)
    assert len(registry.received("POST", "/uploads/")) == len(SMALL_IMAGE.blobs) * (1 + in_chunks)


async def test_an_end_with_a_lost_answer_is_not_sent_again(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(TooLarge(512, 413), times=None)
    registry.misbehave(EndIsLost(), times=None)
    await copy_small(source, registry)
    sent = sum(r.body_size for r in registry.received("PATCH"))
    assert sent == sum(map(len, SMALL_IMAGE.blobs.values()))


@pytest.mark.parametrize("status", [200, 202])
async def test_a_vague_success_of_an_upload_counts_if_the_blob_is_present(
    source: RegistryDouble, registry: RegistryDouble, status: int
) -> None:
    registry.misbehave(OtherStatus(status), method="PUT", path="/dst/blobs/uploads/", times=None)
    registry.misbehave(Status(status), method="PUT", path="/dst2/blobs/uploads/", times=None)
    await copy_small(source, registry)
    assert registry.blobs("dst") == set(SMALL_IMAGE.blobs)
    with pytest.raises(errors.RegistryRejected, match=f"answered {status} .*does not have it"):
        await copy_small(source, registry, path="dst2")


async def test_the_last_attempt_may_have_succeeded_without_an_answer(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(LostReply(), method="PUT", path=UPLOAD, times=None)
    await copy_small(source, registry, limits=replace(QUICK, attempts=1))
    assert registry.blobs("dst") == set(SMALL_IMAGE.blobs)


@pytest.mark.parametrize("status", [None, 504])
async def test_a_slow_end_is_waited_for(
    source: RegistryDouble, registry: RegistryDouble, status: int | None
) -> None:
    image = make_image(layers=[2000], config=make_image().config.ljust(2000), seed="slow")
    registry.misbehave(EndsLater(status), times=None)
    limits = replace(QUICK, call_seconds=1.0, stall_seconds=1.0, resume_bytes=1000)
    await copy_small(source, registry, image, limits=limits)
    assert len(registry.received("PUT", "/uploads/")) == len(image.blobs)


@pytest.mark.parametrize(("method", "path"), [("PUT", "/blobs/uploads/"), ("GET", "/blobs/")])
async def test_a_registry_that_moves_few_blobs_at_once_moves_all_of_them(
    source: RegistryDouble, registry: RegistryDouble, method: str, path: str
) -> None:
    capacity = Capacity(4)
    plant(source, "src", "1", MANY_LAYERS)
    (registry if method == "PUT" else source).misbehave(capacity, method=method, path=path, times=None)
    target, children = target_at(registry, "app", [MANY_LAYERS]), [child_at(source, "src", MANY_LAYERS)]
    async with connect() as client:
        result = await push_one(client, target, children, INSECURE)
    assert result.blobs.copied == len(MANY_LAYERS.blobs)
    assert max(capacity.seen) == capacity.most


async def test_a_source_on_another_registry_is_streamed(any_registry: AnyRegistry) -> None:
    async with RegistryDouble() as elsewhere, connect() as client:
        plant(elsewhere, "src", "1", LARGE)
        path = f"copy_small/{uuid.uuid4().hex}/across"
        target = target_at(any_registry, path, [LARGE])
        result = await push_one(client, target, [child_at(elsewhere, "src", LARGE)], INSECURE)
        assert result.blobs.copied == len(LARGE.blobs)
        assert result.blobs.bytes_copied == sum(map(len, LARGE.blobs.values()))
        assert not elsewhere.received("POST")
        await check_whole(any_registry, target, [LARGE])
        again = target_at(any_registry, path, [LARGE], tags=("2",))
        assert (
            await push_one(client, again, [child_at(elsewhere, "src", LARGE)], INSECURE)
        ).blobs == BlobCounts()


async def test_many_copies_in_both_directions_end() -> None:
    images = [make_image(seed=n, layers=4) for n in range(6)]
    limits = replace(QUICK, concurrency=2, transfers=2)
    async with (
        RegistryDouble() as one,
        RegistryDouble() as two,
        RegistryClient(LOOPBACK, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        for number, image in enumerate(images):
            plant(one, f"a{number}", "1", image)
            plant(two, f"b{number}", "1", image)
        for here, there, letter in ((one, two, "a"), (two, one, "b")):
            children = [child_at(here, f"{letter}{n}", image) for n, image in enumerate(images)]
            group.create_task(push_one(client, target_at(there, "dst", images), children, INSECURE))
    for double in (one, two):
        assert double.tags("dst")["1"] == str(target_at(double, "dst", images).index.digest)


async def test_many_copies_within_a_registry_that_does_not_mount_end(registry: RegistryDouble) -> None:
    images = [make_image(seed=n, layers=4) for n in range(6)]
    registry.misbehave(MountDeclined(), times=None)
    for number, image in enumerate(images):
        plant(registry, f"a{number}", "1", image)
    children = [child_at(registry, f"a{n}", image) for n, image in enumerate(images)]
    async with RegistryClient(LOOPBACK, limits=replace(QUICK, concurrency=1, transfers=1)) as client:
        result = await push_one(client, target_at(registry, "dst", images), children, INSECURE)
    assert result.blobs.copied == 30


@pytest.mark.parametrize("fault", [Reset(), Status(503), Status(429), Status.oci(404, "BLOB_UPLOAD_UNKNOWN")])
async def test_a_failed_upload_starts_again(fault: Fault) -> None:
    async with RegistryDouble() as source, RegistryDouble() as double, connect() as client:
        plant(source, "src", "1", LARGE)
        double.misbehave(fault, method="PUT", path="/blobs/uploads/", times=2)
        target = target_at(double, "dst", [LARGE])
        await push_one(client, target, [child_at(source, "src", LARGE)], INSECURE)
        uploads = [r.path for r in double.received("PUT", "/uploads/")]
        assert len(uploads) == len(set(uploads)) == len(LARGE.blobs) + 2
        await check_whole(double, target, [LARGE])


async def test_a_blob_that_the_source_lacks_is_named() -> None:
    async with RegistryDouble() as source, RegistryDouble() as double, connect() as client:
        source.add_manifest("src", "1", AMD64.raw, AMD64.media_type)
        with pytest.raises(errors.SourceNotFound) as caught:
            await push_one(
                client, target_at(double, "dst", [AMD64]), [child_at(source, "src", AMD64)], INSECURE
            )
        assert caught.value.members["registry"] == source.host
        assert not double.tags("dst")


async def test_a_cancelled_copy_closes_its_connections() -> None:
    async with RegistryDouble() as source, RegistryDouble() as double, connect() as client:
        plant(source, "src", "1", LARGE)
        dripping = source.misbehave(Drip(0.05), method="GET", path="/blobs/", times=None)
        before = asyncio.all_tasks()
        target, children = target_at(double, "dst", [LARGE]), [child_at(source, "src", LARGE)]
        task = asyncio.create_task(push_one(client, target, children, INSECURE))
        await until(lambda: dripping.hits > 0 and bool(double.received("PUT", "/uploads/")))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await quiet(source, before)
        await quiet(double, before)


@pytest.mark.parametrize(("method", "path"), [("PUT", "/blobs/uploads/"), ("GET", "/blobs/")])
async def test_a_rate_limit_of_a_blob_pauses_all_requests_for_its_namespace(
    registry: RegistryDouble, method: str, path: str
) -> None:
    """Blobs are moved by requests of another kind, which count for rate limits all the same."""
    async with RegistryDouble() as other, RegistryClient(LOOPBACK, limits=QUICK) as client:
        source, target = (other, registry) if method == "PUT" else (registry, other)
        plant(source, "src", "1", LIMITED)
        limited = Status(429, headers={"Retry-After": "120"})
        registry.misbehave(limited, method=method, path=path, times=None)
        with pytest.raises(errors.RateLimited):
            await push_one(
                client, target_at(target, "dst", [LIMITED]), [child_at(source, "src", LIMITED)], INSECURE
            )
        registry.forget()
        path = "dst" if method == "PUT" else "src"
        with pytest.raises(errors.RateLimited):
            await client.fetch_manifest(reference_at(registry, f"{path}/other:1"), INSECURE)
    assert not registry.journal
