"""Each fault of the registry double does on the wire what its name says, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import json

import httpx2
import pytest

from tests.conformance.peer import Peer, codes, location
from tests.support.images import digest_of, make_image, plant
from tests.support.registry import (
    ContentType,
    Drip,
    Endless,
    ExpiredToken,
    Fault,
    FlippedByte,
    Gzipped,
    Hold,
    Html,
    LostReply,
    MountDeclined,
    OtherBody,
    Oversize,
    Redirect,
    RegistryDouble,
    Reset,
    Silence,
    Status,
    TokenDocument,
    Truncated,
    UploadLocation,
    WithHeaders,
    WithoutHeader,
    WrongDigestHeader,
)

IMAGE = make_image(media="oci", seed="faults")
BLOB = bytes(range(256))
DIGEST = digest_of(BLOB)


@pytest.fixture
async def double(registry: RegistryDouble, wire: Peer) -> RegistryDouble:
    """A double that holds an image under the tag `v1`, and a blob, with nothing in its journal."""
    await wire.push("v1", IMAGE)
    await wire.push_blob(BLOB)
    registry.forget()
    return registry


# --- in place of an answer ---


async def test_a_status_is_answered_as_given(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Status.oci(429, "TOOMANYREQUESTS", "slow down", headers={"Retry-After": "7"}))
    reply = await wire.manifest("v1")
    assert (reply.status_code, codes(reply)) == (429, ["TOOMANYREQUESTS"])
    assert reply.headers["Retry-After"] == "7"
    assert double.journal[0].fault == "Status"
    assert (await wire.manifest("v1")).status_code == 200


@pytest.mark.parametrize("takes_effect", [False, True])
async def test_an_error_may_come_before_or_after_the_effect(
    double: RegistryDouble, wire: Peer, *, takes_effect: bool
) -> None:
    double.misbehave(Status(500, b"oops", takes_effect=takes_effect), method="PUT")
    reply = await wire.put_manifest("v2", IMAGE.raw, IMAGE.media_type)
    assert (reply.status_code, reply.content) == (500, b"oops")
    assert ("v2" in double.tags(wire.repository)) is takes_effect


@pytest.mark.parametrize(("fault", "done"), [(Reset(), False), (LostReply(), True)])
async def test_a_connection_is_reset_before_or_after_the_effect(
    double: RegistryDouble, wire: Peer, fault: Fault, *, done: bool
) -> None:
    double.misbehave(fault, method="PUT")
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.WriteError)):
        await wire.put_manifest("v2", IMAGE.raw, IMAGE.media_type)
    assert ("v2" in double.tags(wire.repository)) is done
    assert double.journal[0].status is None


@pytest.mark.parametrize("takes_effect", [False, True])
async def test_silence_may_begin_before_or_after_the_effect(
    double: RegistryDouble, wire: Peer, *, takes_effect: bool
) -> None:
    silence = Silence(takes_effect=takes_effect)
    double.misbehave(silence, method="PUT")
    put = asyncio.create_task(wire.put_manifest("v2", IMAGE.raw, IMAGE.media_type))
    await silence.reached.wait()
    assert ("v2" in double.tags(wire.repository)) is takes_effect
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert double.journal[0].status is None


async def test_a_silent_registry_outlasts_its_client(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Silence())
    with pytest.raises(httpx2.ReadTimeout):
        await wire.client.get(f"{wire.root}/tags/list", timeout=0.1)


async def test_html_is_answered_as_a_success(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Html(), times=None)
    reply = await wire.put_manifest("v2", IMAGE.raw, IMAGE.media_type)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "v2" not in double.tags(wire.repository)


async def test_a_redirect_goes_to_the_given_location(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Redirect("https://blobs.invalid{target}?sig=a%2Bb"), path="/blobs/")
    reply = await wire.blob(DIGEST)
    assert reply.status_code == 307
    assert reply.headers["Location"] == f"https://blobs.invalid{wire.root}/blobs/{DIGEST}?sig=a%2Bb"


async def test_an_expired_token_is_challenged(wire: Peer) -> None:
    async with RegistryDouble(auth="bearer", users={"u": "p"}) as guarded:
        guarded.misbehave(ExpiredToken())
        reply = await wire.client.get(f"{guarded.base_url}/v2/a/manifests/v1")
        assert (reply.status_code, codes(reply)) == (401, ["UNAUTHORIZED"])
        challenge = reply.headers["WWW-Authenticate"]
        assert challenge.startswith("Bearer realm=")
        assert 'scope="repository:a:pull"' in challenge
        assert 'error="invalid_token"' in challenge


@pytest.mark.parametrize("status", [202, 401, 405])
async def test_a_mount_is_declined(double: RegistryDouble, wire: Peer, status: int) -> None:
    double.misbehave(MountDeclined(status), times=None)
    target = wire.elsewhere()
    reply = await target.post(mount=DIGEST, **{"from": wire.repository})
    assert reply.status_code == status
    assert DIGEST not in double.blobs(target.repository)
    if status == 202:
        assert (await target.finish(location(reply), DIGEST, BLOB)).status_code == 201
    assert (await target.post()).status_code == 202


async def test_a_held_request_waits_for_the_gate_and_then_does_its_work(
    double: RegistryDouble, wire: Peer
) -> None:
    hold = Hold()
    double.misbehave(hold, method="PUT")
    put = asyncio.create_task(wire.put_manifest("v2", IMAGE.raw, IMAGE.media_type))
    await hold.reached.wait()
    assert "v2" not in double.tags(wire.repository)
    assert double.log.in_flight == 1
    hold.gate.set()
    assert (await put).status_code == 201


async def test_a_stopping_double_releases_held_requests(wire: Peer) -> None:
    async with RegistryDouble() as other:
        hold, silence = Hold(), Silence()
        other.misbehave(hold, path="/v2/a/")
        other.misbehave(silence, path="/v2/b/")
        held = asyncio.create_task(wire.client.get(f"{other.base_url}/v2/a/tags/list"))
        mute = asyncio.create_task(wire.client.get(f"{other.base_url}/v2/b/tags/list"))
        await asyncio.gather(hold.reached.wait(), silence.reached.wait())
    outcomes = await asyncio.gather(held, mute, return_exceptions=True)
    assert isinstance(outcomes[1], httpx2.TransportError)


# --- an answer spoilt ---


async def test_a_body_is_cut_short_of_its_length(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Truncated(), path="/blobs/")
    with pytest.raises(httpx2.RemoteProtocolError):
        await wire.blob(DIGEST)


async def test_a_body_without_length_ends_early_and_looks_whole(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Truncated(10, with_length=False), path="/blobs/")
    reply = await wire.blob(DIGEST)
    assert (reply.status_code, reply.content) == (200, BLOB[:10])
    assert "Content-Length" not in reply.headers


async def test_a_dripping_body_comes_byte_by_byte(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Drip(0.001), path="/blobs/")
    async with wire.client.stream("GET", f"{wire.root}/blobs/{DIGEST}") as reply:
        pieces = [piece async for piece in reply.aiter_raw()]
    assert b"".join(pieces) == BLOB
    assert len(pieces) > 1


async def test_a_dripping_body_may_last_for_ever(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Drip(3600), path="/blobs/")
    async with wire.client.stream("GET", f"{wire.root}/blobs/{DIGEST}") as reply:
        assert reply.headers["Content-Length"] == str(len(BLOB))
        assert await anext(reply.aiter_raw()) == BLOB[:1]


async def test_an_endless_body_goes_on_while_it_is_read(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Endless(), path="/manifests/")
    read = 0
    async with wire.client.stream("GET", f"{wire.root}/manifests/v1") as reply:
        assert reply.headers["Content-Type"] == IMAGE.media_type
        async for piece in reply.aiter_raw():
            read += len(piece)
            if read > 16 * 1024 * 1024:
                break
    assert read > 16 * 1024 * 1024


async def test_an_oversize_body_is_still_good_json(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Oversize(5_000_000), path="/manifests/")
    reply = await wire.manifest("v1")
    assert len(reply.content) == int(reply.headers["Content-Length"]) == 5_000_000
    assert json.loads(reply.content) == json.loads(IMAGE.raw)


async def test_a_body_is_compressed_without_being_asked(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Gzipped(), path="/manifests/")
    headers = {"Accept-Encoding": "identity"}
    async with wire.client.stream("GET", f"{wire.root}/manifests/v1", headers=headers) as reply:
        assert reply.headers["Content-Encoding"] == "gzip"
        packed = b"".join([piece async for piece in reply.aiter_raw()])
    assert gzip.decompress(packed) == IMAGE.raw


async def test_one_bit_of_a_body_is_flipped(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(FlippedByte(), path="/manifests/")
    reply = await wire.manifest("v1")
    assert len(reply.content) == len(IMAGE.raw)
    assert sum(a != b for a, b in zip(reply.content, IMAGE.raw, strict=True)) == 1
    assert reply.headers["Docker-Content-Digest"] == IMAGE.digest


async def test_another_body_comes_under_the_same_headers(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(OtherBody(b"{}"), path="/manifests/")
    reply = await wire.manifest("v1")
    assert reply.content == b"{}"
    assert reply.headers["Docker-Content-Digest"] == IMAGE.digest
    assert reply.headers["Content-Type"] == IMAGE.media_type


async def test_the_digest_header_is_wrong_or_missing(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(WrongDigestHeader(), method="HEAD")
    double.misbehave(WithoutHeader(), method="HEAD")
    wrong = await wire.manifest("v1", "HEAD")
    missing = await wire.manifest("v1", "HEAD")
    assert wrong.headers["Docker-Content-Digest"] == "sha256:" + "0" * 64
    assert "Docker-Content-Digest" not in missing.headers
    assert (await wire.manifest("v1", "HEAD")).headers["Docker-Content-Digest"] == IMAGE.digest


async def test_headers_are_added_or_replaced(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(WithHeaders({"RateLimit-Remaining": "3;w=21600", "Range": "0-5"}), method="POST")
    reply = await wire.post()
    assert reply.headers["RateLimit-Remaining"] == "3;w=21600"
    assert reply.headers.get_list("Range") == ["0-5"]


@pytest.mark.parametrize("media_type", ["text/html; charset=utf-8", None])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_content_type_is_wrong_or_missing(
    double: RegistryDouble, wire: Peer, media_type: str | None, method: str
) -> None:
    double.misbehave(ContentType(media_type))
    reply = await wire.manifest("v1", method)
    assert reply.status_code == 200
    assert reply.headers.get("Content-Type") == media_type
    assert reply.content == (IMAGE.raw if method == "GET" else b"")


@pytest.mark.parametrize("base", ["", "http://uploads.invalid:1234", "//uploads.invalid"])
async def test_the_location_of_an_upload_is_rewritten(double: RegistryDouble, wire: Peer, base: str) -> None:
    double.misbehave(UploadLocation(base, query="sig=a%2Bb%3D"))
    told = (await wire.post()).headers["Location"]
    assert told.startswith(f"{base}{wire.root}/blobs/uploads/")
    assert told.endswith("&sig=a%2Bb%3D")


async def test_an_upload_continues_at_another_name_of_the_same_host(
    double: RegistryDouble, wire: Peer
) -> None:
    double.misbehave(UploadLocation(f"http://localhost:{double.port}", query="sig=x"), times=None)
    where = await wire.begin()
    assert where.host == "localhost"
    reply = await wire.finish(where, digest_of(b"other name"), b"other name")
    assert reply.status_code == 201
    assert double.received("PUT")[0].query["sig"] == "x"


async def test_faults_strike_through_tls_as_well() -> None:
    async with RegistryDouble(tls=True) as double:
        assert double.certificate is not None
        plant(double, "app", "v1", IMAGE)
        double.misbehave(Reset())
        double.misbehave(Truncated(10, with_length=False))
        double.misbehave(Truncated(10))
        url = f"{double.base_url}/v2/app/manifests/v1"
        async with httpx2.AsyncClient(verify=double.certificate.client_context(), timeout=60) as client:
            with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
                await client.get(url)
            assert (await client.get(url)).content == IMAGE.raw[:10]
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get(url)
            assert (await client.get(url)).content == IMAGE.raw


async def test_the_token_document_may_be_changed(wire: Peer) -> None:
    async with RegistryDouble(auth="bearer") as guarded:
        guarded.misbehave(TokenDocument({"token": None, "expires_in": -1}), path="^/token$")
        guarded.misbehave(Status(503), path="^/token$")
        odd = await wire.client.get(f"{guarded.base_url}/token")
        assert odd.json() == {"expires_in": -1}
        assert (await wire.client.get(f"{guarded.base_url}/token")).status_code == 503
        assert "token" in (await wire.client.get(f"{guarded.base_url}/token")).json()


# --- when ---


async def statuses(wire: Peer, count: int) -> list[int]:
    return [(await wire.manifest("v1", "HEAD")).status_code for _ in range(count)]


async def test_a_fault_strikes_the_given_number_of_times(double: RegistryDouble, wire: Peer) -> None:
    rule = double.misbehave(Status(503), times=2)
    assert await statuses(wire, 4) == [503, 503, 200, 200]
    assert rule.hits == 2


async def test_a_fault_lets_the_given_number_of_requests_pass_first(
    double: RegistryDouble, wire: Peer
) -> None:
    double.misbehave(Status(503), after=2)
    assert await statuses(wire, 4) == [200, 200, 503, 200]


async def test_a_fault_without_count_strikes_until_it_is_stopped(double: RegistryDouble, wire: Peer) -> None:
    rule = double.misbehave(Status(503), times=None)
    assert await statuses(wire, 3) == [503] * 3
    rule.stop()
    assert await statuses(wire, 1) == [200]
    double.misbehave(Status(503), times=None)
    assert await statuses(wire, 1) == [503]
    double.behave()
    assert await statuses(wire, 1) == [200]


async def test_a_fault_keeps_to_its_method_and_path(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Status(503), method="GET", path=r"/manifests/v\d+$", times=None)
    assert (await wire.manifest("v1")).status_code == 503
    assert (await wire.manifest("v1", "HEAD")).status_code == 200
    assert (await wire.manifest(IMAGE.digest)).status_code == 200
    assert (await wire.blob(DIGEST)).status_code == 200


async def test_of_several_faults_the_first_strikes_first(double: RegistryDouble, wire: Peer) -> None:
    double.misbehave(Status(503))
    double.misbehave(Status(502))
    assert await statuses(wire, 3) == [503, 502, 200]


async def test_chance_is_the_same_for_the_same_seed(double: RegistryDouble, wire: Peer) -> None:
    runs = []
    for seed in (1, 1, 2):
        double.behave()
        double.misbehave(Status(503), times=None, probability=0.5, seed=seed)
        runs.append(await statuses(wire, 24))
    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {200, 503}


async def test_a_fault_that_never_strikes_fails_the_test_when_the_double_closes() -> None:
    async def run() -> None:
        async with RegistryDouble() as double:
            double.misbehave(Status(503), method="PUT", path="/manifests/")
            double.behave()

    with pytest.raises(AssertionError, match=r"never misbehaved as asked: Status.* at PUT /manifests/\."):
        await run()


async def test_an_optional_fault_need_not_strike() -> None:
    async with RegistryDouble() as double:
        rule = double.misbehave(Status(503), optional=True)
    assert rule.hits == 0


async def test_a_fault_that_never_strikes_does_not_hide_another_failure() -> None:
    async def run() -> None:
        async with RegistryDouble() as double:
            double.misbehave(Status(503))
            raise LookupError

    with pytest.raises(LookupError):
        await run()
