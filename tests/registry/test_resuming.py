"""Copies that break in the middle: they go on from there, or that blob is copied again."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app import errors
from app.oci.reference import Repository
from app.registry.client import RegistryClient
from app.registry.push.model import CopyResult, Step, StepName
from tests.support.breaking_proxy import BreakingProxy, breaking_proxy
from tests.support.docker_registry import BINARY, DockerRegistry
from tests.support.fault_table.faults import TooLarge
from tests.support.images import make_image, plant, seed
from tests.support.registry import (
    CutUpload,
    ExpiredToken,
    Fault,
    FlippedByte,
    LostReply,
    OtherStatus,
    Redirect,
    RegistryDouble,
    Reset,
    Rules,
    Status,
    Truncated,
    WithHeaders,
    WithoutHeader,
)
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, child_at, push_one, target_at

MIB = 1024 * 1024
SIZE = 6 * MIB + 17
IMAGE = make_image(layers=[SIZE], seed="resume")
LAYER = next(digest for digest, data in IMAGE.blobs.items() if len(data) == SIZE)
UPLOAD = "/blobs/uploads/."


@pytest.fixture
async def source() -> AsyncIterator[RegistryDouble]:
    async with RegistryDouble() as double:
        plant(double, "src", "1", IMAGE)
        yield double


async def copy(source: RegistryDouble, target: RegistryDouble) -> tuple[CopyResult, list[Step]]:
    told: list[Step] = []
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        goal, children = target_at(target, "dst", [IMAGE]), [child_at(source, "src", IMAGE)]
        result = await push_one(client, goal, children, INSECURE, told.append)
    return result, told


def ranges(source: RegistryDouble) -> list[str | None]:
    """What was asked for of the layer, request by request."""
    return [r.headers.get("Range") for r in source.received("GET", LAYER)]


def sent(double: RegistryDouble) -> int:
    """Bytes of bodies that the registry took in, of all uploads of the layer."""
    bodies = [r.body_size for r in double.received(path="/uploads/")]
    return sum(size for size in bodies if size > len(IMAGE.config))


def check_truthful(told: list[Step]) -> None:
    """Never more bytes than there are, never fewer than before, and all of them at the end."""
    blobs = [step for step in told if step.name is StepName.BLOBS]
    assert all(step.bytes_done <= step.bytes_total for step in blobs)
    assert [step.bytes_done for step in blobs] == sorted(step.bytes_done for step in blobs)
    assert blobs[-1].bytes_done == sum(map(len, IMAGE.blobs.values()))


def check_arrived(double: RegistryDouble) -> None:
    assert double.blobs("dst") == set(IMAGE.blobs)
    assert not double.partial_tag_puts


# --- downloads ---


async def test_a_broken_download_goes_on_from_where_it_was(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(Truncated(2 * MIB), method="GET", path=LAYER)
    result, told = await copy(source, registry)
    assert ranges(source) == [None, f"bytes={2 * MIB}-"]
    assert len(registry.received("POST", "/uploads/")) == 2
    assert result.blobs.bytes_copied == SIZE + len(IMAGE.config)
    check_truthful(told)
    check_arrived(registry)


async def test_a_download_may_break_more_often_than_a_request_is_tried(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """As long as each try brings it on."""
    source.misbehave(Truncated(MIB), method="GET", path=LAYER, times=5)
    _, told = await copy(source, registry)
    assert ranges(source) == [None, *(f"bytes={n * MIB}-" for n in range(1, 6))]
    check_truthful(told)
    check_arrived(registry)


async def test_a_download_that_never_gets_on_ends(source: RegistryDouble, registry: RegistryDouble) -> None:
    source.misbehave(Truncated(1000), method="GET", path=LAYER, times=None)
    with pytest.raises(errors.RegistryUnreachable) as caught:
        await copy(source, registry)
    assert caught.value.members["registry"] == source.host
    assert len(ranges(source)) == QUICK.attempts
    assert not registry.tags("dst")


@pytest.mark.parametrize(
    "fault",
    [
        Status(416),
        WithHeaders({"Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"}),
        WithHeaders({"Content-Range": f"bytes {2 * MIB}-{SIZE - 1}/{SIZE + 1}"}),
        WithHeaders({"Content-Range": "nonsense"}),
        WithoutHeader("Content-Range"),
    ],
)
async def test_a_part_that_is_not_the_right_one_is_not_taken(
    source: RegistryDouble, registry: RegistryDouble, fault: Fault
) -> None:
    source.misbehave(Truncated(2 * MIB), method="GET", path=LAYER)
    source.misbehave(fault, method="GET", path=LAYER)
    _, told = await copy(source, registry)
    assert ranges(source) == [None, f"bytes={2 * MIB}-", None]
    check_truthful(told)
    check_arrived(registry)


async def test_a_source_without_ranges_is_read_again_but_sent_once(
    registry: RegistryDouble,
) -> None:
    async with RegistryDouble(rules=Rules(ranges=False)) as source:
        plant(source, "src", "1", IMAGE)
        source.misbehave(Truncated(2 * MIB), method="GET", path=LAYER)
        _, told = await copy(source, registry)
        assert len(ranges(source)) == 2
    assert sent(registry) == SIZE
    check_truthful(told)
    check_arrived(registry)


async def test_wrong_bytes_that_came_in_one_piece_are_not_asked_for_again(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(FlippedByte(), method="GET", path=LAYER)
    with pytest.raises(errors.DigestMismatch):
        await copy(source, registry)
    assert ranges(source) == [None]
    assert LAYER not in registry.blobs("dst")


async def test_parts_that_do_not_fit_together_are_replaced_by_the_whole(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(Truncated(2 * MIB), method="GET", path=LAYER)
    source.misbehave(FlippedByte(), method="GET", path=LAYER)
    await copy(source, registry)
    assert ranges(source) == [None, f"bytes={2 * MIB}-", None]
    check_arrived(registry)


async def test_where_parts_did_not_fit_together_no_part_is_asked_for_again(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """Nor where the whole breaks off: it comes whole once more, and what is here already is dropped."""
    source.misbehave(Truncated(2 * MIB), method="GET", path=LAYER)
    source.misbehave(FlippedByte(), method="GET", path=LAYER)
    source.misbehave(Truncated(MIB), method="GET", path=LAYER)
    await copy(source, registry)
    assert ranges(source) == [None, f"bytes={2 * MIB}-", None, None]
    check_arrived(registry)


async def test_parts_that_never_fit_together_are_an_error(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    source.misbehave(Truncated(2 * MIB), method="GET", path=LAYER)
    source.misbehave(FlippedByte(), method="GET", path=LAYER, times=None)
    with pytest.raises(errors.DigestMismatch):
        await copy(source, registry)
    assert LAYER not in registry.blobs("dst")


async def test_a_part_is_asked_for_wherever_a_redirect_leads(registry: RegistryDouble) -> None:
    async with RegistryDouble() as source, RegistryDouble() as store:
        plant(source, "src", "1", IMAGE)
        plant(store, "src", "1", IMAGE)
        source.misbehave(Redirect(f"{store.base_url}{{target}}"), method="GET", path="/blobs/", times=None)
        store.misbehave(Truncated(2 * MIB), method="GET", path=LAYER)
        await copy(source, registry)
        assert ranges(store) == [None, f"bytes={2 * MIB}-"]
    check_arrived(registry)


# --- uploads ---


async def test_a_broken_upload_goes_on_from_where_the_registry_is(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    _, told = await copy(source, registry)
    uploads = {r.path for r in registry.journal if "/uploads/" in r.path and r.body_size > MIB}
    assert len(uploads) == 1
    (patch,) = registry.received("PATCH")
    assert patch.headers["Content-Range"] == f"{2 * MIB}-{SIZE - 1}"
    assert patch.body_size == SIZE - 2 * MIB
    check_truthful(told)
    check_arrived(registry)


async def test_an_upload_may_break_more_often_than_a_request_is_tried(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    registry.misbehave(CutUpload(MIB), method="PATCH", path=UPLOAD, times=3)
    _, told = await copy(source, registry)
    starts = [r.headers["Content-Range"].partition("-")[0] for r in registry.received("PATCH")]
    assert starts == [str(n * MIB) for n in (2, 3, 4, 5)]
    assert sent(registry) == SIZE
    check_truthful(told)
    check_arrived(registry)


@pytest.mark.parametrize(
    "fault",
    [
        Status.oci(404, "BLOB_UPLOAD_UNKNOWN"),
        Status.oci(400, "BLOB_UPLOAD_INVALID"),
        Status(405),
        WithHeaders({"Range": f"0-{SIZE + 5}"}),
        WithHeaders({"Range": "0-0"}),
        WithHeaders({"Range": "nonsense"}),
        WithoutHeader("Range"),
        WithHeaders({"Location": "http://registry.invalid/v2/x"}),
    ],
)
async def test_a_registry_that_can_not_say_where_it_is_gets_this_blob_anew(
    source: RegistryDouble, registry: RegistryDouble, fault: Fault
) -> None:
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    registry.misbehave(fault, method="GET", path=UPLOAD, times=None)
    _, told = await copy(source, registry)
    assert len(registry.received("POST", "/uploads/")) == 3
    assert len(registry.received("GET", "/uploads/")) == 1
    assert not registry.received("PATCH")
    assert len(registry.received("PUT", "/uploads/")) == 3
    assert len([r for r in source.received("GET", "/blobs/") if LAYER not in r.path]) == 1
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
    """Its 416 says that, and its status says from where."""
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    registry.misbehave(WithHeaders({"Range": f"0-{MIB - 1}"}), method="GET", path=UPLOAD)
    _, told = await copy(source, registry)
    starts = [r.headers["Content-Range"].partition("-")[0] for r in registry.received("PATCH")]
    assert starts == [str(MIB), str(2 * MIB)]
    check_truthful(told)
    check_arrived(registry)


async def test_an_upload_whose_parts_were_joined_wrongly_is_begun_anew(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(CutUpload(2 * MIB), method="PUT", path=UPLOAD)
    bad = Status.oci(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    registry.misbehave(bad, method="PUT", path=UPLOAD, after=1)
    await copy(source, registry)
    assert len(registry.received("POST", "/uploads/")) == 3
    check_arrived(registry)


async def test_an_upload_whose_answer_was_lost_is_not_repeated(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(LostReply(), method="PUT", path=UPLOAD)
    _, told = await copy(source, registry)
    assert len(ranges(source)) == 1
    assert sent(registry) == SIZE
    check_truthful(told)
    check_arrived(registry)


async def test_copies_in_both_directions_that_break_all_the_time_end() -> None:
    """Who waits to send again holds nothing that others need in order to send."""
    images = [make_image(layers=[1500 * 1024, 1200 * 1024], seed=n) for n in range(4)]
    limits = replace(QUICK, transfers=1, attempts=8)
    async with (
        RegistryDouble() as one,
        RegistryDouble() as two,
        RegistryClient(LOOPBACK, limits=limits) as client,
        asyncio.timeout(20),
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
    source.misbehave(Truncated(MIB), method="GET", path=LAYER, times=2)
    registry.misbehave(CutUpload(3 * MIB), method="PUT", path=UPLOAD)
    source.misbehave(Reset(), method="GET", path=LAYER)
    registry.misbehave(CutUpload(MIB), method="PATCH", path=UPLOAD)
    _, told = await copy(source, registry)
    check_truthful(told)
    check_arrived(registry)


async def test_a_token_that_expires_between_chunks_is_replaced(source: RegistryDouble) -> None:
    async with RegistryDouble(auth="bearer", rules=Rules(max_chunk=2 * MIB)) as double:
        assert double.authority is not None
        double.authority.grants[""] = {".*": {"pull", "push"}}
        double.misbehave(ExpiredToken(), method="PATCH", path=UPLOAD, after=1)
        await copy(source, double)
        check_arrived(double)


# --- chunks ---


async def test_a_registry_that_takes_no_large_bodies_is_sent_chunks_and_that_is_remembered(
    source: RegistryDouble,
) -> None:
    async with (
        RegistryDouble(rules=Rules(max_chunk=4 * MIB)) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        for path in ("dst", "dst2"):
            double.forget()
            target, children = target_at(double, path, [IMAGE]), [child_at(source, "src", IMAGE)]
            await push_one(client, target, children, INSECURE)
            assert double.blobs(path) == set(IMAGE.blobs)
        assert [r.body_size for r in double.received("PATCH")] == [3 * MIB + 8, 3 * MIB + 8, 1]
        assert 413 not in {r.status for r in double.journal}


async def test_a_registry_that_forgets_where_it_was_between_chunks_gets_this_blob_anew(
    source: RegistryDouble,
) -> None:
    """What it had said before is nothing to go on from."""
    async with RegistryDouble(rules=Rules(max_chunk=4 * MIB)) as double:
        double.misbehave(CutUpload(MIB), method="PATCH", path=UPLOAD, after=1)
        double.misbehave(WithoutHeader("Range"), method="GET", path=UPLOAD, times=None)
        await copy(source, double)
        assert len(double.received("GET", "/uploads/")) == 1
        starts = [r.headers["Content-Range"].partition("-")[0] for r in double.received("PATCH")]
        assert starts == ["0", str(3 * MIB + 8), "0", str(3 * MIB + 8), str(SIZE - 1)]
        check_arrived(double)


async def test_what_a_registry_takes_at_once_is_found_out(source: RegistryDouble) -> None:
    async with RegistryDouble(rules=Rules(max_chunk=MIB)) as double:
        _, told = await copy(source, double)
        assert {r.status for r in double.received("PATCH")} == {202, 413}
        assert max(r.body_size for r in double.journal) <= MIB
        check_truthful(told)
        check_arrived(double)


async def test_a_range_too_large_for_a_patch_is_made_smaller(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    """GHCR takes blobs whole, but no more than 4 MiB by PATCH, which it says with 416."""
    registry.misbehave(CutUpload(MIB), method="PUT", path=UPLOAD)
    registry.misbehave(Status(416), method="PATCH", path=UPLOAD)
    await copy(source, registry)
    sizes = [r.body_size for r in registry.received("PATCH")]
    assert sizes[0] == 0
    assert max(sizes) <= 4 * MIB
    check_arrived(registry)


async def test_a_whole_blob_refused_as_a_range_is_sent_in_chunks(
    source: RegistryDouble, registry: RegistryDouble
) -> None:
    registry.misbehave(TooLarge(4 * MIB, 416), times=None)
    await copy(source, registry)
    assert max(r.body_size for r in registry.received("PATCH")) <= 4 * MIB
    check_arrived(registry)


async def test_chunks_are_not_smaller_than_the_registry_wants(source: RegistryDouble) -> None:
    async with RegistryDouble(rules=Rules(max_chunk=5 * MIB)) as double:
        least = WithHeaders({"OCI-Chunk-Min-Length": str(5 * MIB)})
        double.misbehave(least, method="POST", path="/uploads/$", times=None)
        await copy(source, double)
        taken = [r.body_size for r in double.received("PATCH") if r.status == 202]
        assert taken == [5 * MIB, SIZE - 5 * MIB]
        check_arrived(double)


@pytest.mark.parametrize("status", [201, 204])
async def test_a_chunk_may_be_accepted_in_several_ways(source: RegistryDouble, status: int) -> None:
    async with RegistryDouble(rules=Rules(max_chunk=4 * MIB)) as double:
        double.misbehave(OtherStatus(status), method="PATCH", path=UPLOAD, times=None)
        await copy(source, double)
        check_arrived(double)


# --- on the real registry ---


@pytest.fixture
async def line(installed_registry: DockerRegistry | None) -> AsyncIterator[BreakingProxy]:
    if installed_registry is None:
        pytest.skip(f"{BINARY} is not installed")
    async with breaking_proxy(installed_registry.port) as line:
        yield line


def across(line: BreakingProxy, path: str) -> Repository:
    return Repository(line.host, path)


async def test_the_real_registrys_downloads_go_on(
    line: BreakingProxy, installed_registry: DockerRegistry, registry: RegistryDouble
) -> None:
    path = f"resume/{uuid.uuid4().hex}"
    await seed(installed_registry, path, "1", IMAGE)
    line.down += [3 * MIB, 2 * MIB, MIB]
    child = replace(child_at(registry, path, IMAGE), source=across(line, path))
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        await push_one(client, target_at(registry, "dst", [IMAGE]), [child], INSECURE)
    assert line.cuts == 3
    assert sent(registry) == SIZE
    check_arrived(registry)


async def test_the_real_registrys_uploads_end_well(
    line: BreakingProxy, installed_registry: DockerRegistry, source: RegistryDouble
) -> None:
    """It keeps what came but forgets where it was, so that the blob is sent anew."""
    path = f"resume/{uuid.uuid4().hex}"
    line.up += [2 * MIB, 4 * MIB]
    told: list[Step] = []
    target = replace(target_at(source, path, [IMAGE]), repository=across(line, path))
    limits = replace(QUICK, config_bytes=SIZE)
    async with RegistryClient(LOOPBACK, limits=limits) as client:
        await push_one(client, target, [child_at(source, "src", IMAGE)], INSECURE, told.append)
        held = Repository(installed_registry.host, path)
        for blob in child_at(source, "src", IMAGE).blobs:
            assert len(await client.fetch_config(held, blob, INSECURE)) == blob.size
    assert line.cuts == 2
    check_truthful(told)
