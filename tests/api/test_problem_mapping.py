"""Unusable sources and failing registries map to problems that name them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tests.support.broker import Broker, StartBroker, check_problem, registry_auth
from tests.support.docker_registry import free_port
from tests.support.hostile_documents import corpus
from tests.support.images import OCI_MANIFEST, make_image, make_image_for, plant, seed
from tests.support.registry import (
    ContentType,
    Drip,
    Endless,
    Fault,
    FlippedByte,
    Gzipped,
    Html,
    OtherBody,
    Oversize,
    Redirect,
    RegistryDouble,
    Reset,
    Silence,
    Status,
    Truncated,
    WrongDigestHeader,
)
from tests.support.registry_clients import listening

pytestmark = pytest.mark.slow

Json = dict[str, Any]
NOWHERE = "registry.invalid"


@pytest.fixture
async def quick(start_broker: StartBroker) -> Broker:
    """A broker with a short time limit for registries."""
    return await start_broker(registry_connect_seconds=1.0, registry_call_seconds=1.0)


def pointers(document: Json) -> list[str]:
    return [error["pointer"] for error in document["errors"]]


# --- sources ---


async def test_one_missing_source_fails_the_whole_create_and_is_reported(
    broker: Broker, registry: RegistryDouble
) -> None:
    await seed(registry, "a", "1", make_image())
    good, missing = f"{registry.host}/a:1", f"{registry.host}/missing:1"
    body = {"reference": f"{registry.host}/list:1", "sources": [good, missing], "insecure": True}
    document = check_problem(await broker.client.post("/v1/lists", json=body), 404, "source-not-found")
    assert pointers(document) == ["/sources/1"]
    assert document["errors"][0]["reference"] == missing
    assert document["registry"] == registry.host
    assert (await broker.call("GET", "/v1/lists"))["items"] == []


async def test_each_failed_source_is_reported_with_its_own_reason(
    broker: Broker, registry: RegistryDouble
) -> None:
    await seed(registry, "a", "1", make_image())
    registry.add_manifest("odd", "1", b"not json", OCI_MANIFEST)
    draft = await broker.create(f"{registry.host}/list:1", f"{registry.host}/a:1")
    body = {"sources": [f"{registry.host}/{name}:1" for name in ("missing", "a", "odd")], "insecure": True}
    reply = await broker.client.post(f"/v1/lists/{draft['id']}/entries", json=body)
    document = check_problem(reply, 422, "sources-failed")
    codes = {error["pointer"]: error["code"] for error in document["errors"]}
    assert codes == {"/sources/0": "source-not-found", "/sources/2": "source-invalid"}
    assert (await broker.call("GET", f"/v1/lists/{draft['id']}"))["revision"] == draft["revision"]


SCHEMA_1 = json.dumps({"schemaVersion": 1, "name": "a", "tag": "1", "fsLayers": [], "history": []}).encode()
UNUSABLE: dict[str, tuple[bytes, str, str, str]] = {
    "schema 1": (
        SCHEMA_1,
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "source-unsupported",
        "schema 1",
    ),
    "an old artifact": (
        b'{"mediaType": "application/vnd.oci.artifact.manifest.v1+json"}',
        "application/vnd.oci.artifact.manifest.v1+json",
        "source-unsupported",
        "artifact",
    ),
    "not JSON": (b"{nope", OCI_MANIFEST, "source-invalid", "JSON"),
    "no known type": (b"{}", "application/vnd.example+json", "source-unsupported", "vnd.example+json"),
    "no known shape": (b'{"schemaVersion": 2}', "application/json", "source-unsupported", "media type"),
    "too large": (make_image(media="oci").raw.ljust(4 * 2**20 + 1), OCI_MANIFEST, "source-too-large", ""),
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_a_source_that_is_not_an_image_is_rejected_with_its_media_type(
    broker: Broker, registry: RegistryDouble, case: str
) -> None:
    raw, media_type, code, word = UNUSABLE[case]
    plant(registry, "a", None, make_image(media="oci"))
    registry.add_manifest("a", "1", raw, media_type)
    source = f"{registry.host}/a:1"
    body = {"reference": f"{registry.host}/list:1", "sources": [source], "insecure": True}
    document = check_problem(await broker.client.post("/v1/lists", json=body), 422, code)
    assert word in document["detail"]
    assert document["errors"][0]["reference"] == source


async def test_a_source_whose_digest_differs_is_rejected(broker: Broker, registry: RegistryDouble) -> None:
    image = make_image()
    await seed(registry, "a", "1", image)
    registry.misbehave(FlippedByte(), method="GET", path="/manifests/sha256", times=None)
    source = f"{registry.host}/a@{image.digest}"
    body = {"reference": f"{registry.host}/list:1", "sources": [source], "insecure": True}
    document = check_problem(await broker.client.post("/v1/lists", json=body), 422, "digest-mismatch")
    assert pointers(document) == ["/sources/0"]


async def test_each_hostile_document_is_rejected(broker: Broker, registry: RegistryDouble) -> None:
    sources = []
    for position, (media_type, raw) in enumerate(list(corpus().values())[:250]):
        registry.add_manifest("a", f"t{position}", raw, media_type or "application/octet-stream")
        sources.append(f"{registry.host}/a:t{position}")
    body = {"reference": f"{registry.host}/list:1", "sources": sources, "insecure": True}
    reply = await broker.client.post("/v1/lists", json=body, headers={"Prefer": "wait=60"})
    document = check_problem(reply, 422)
    assert len(document["errors"]) == len(sources)


# --- registries ---

STATUSES = {
    400: 422,
    401: 403,
    403: 403,
    404: 404,
    418: 422,
    429: 429,
    500: 502,
    502: 502,
    503: 502,
    504: 502,
}


@pytest.mark.parametrize("upstream", STATUSES)
async def test_each_error_status_of_a_registry_maps_to_a_problem(
    quick: Broker, registry: RegistryDouble, upstream: int
) -> None:
    registry.misbehave(Status(upstream, b"no", {"Retry-After": "0"}), path="/manifests/", times=None)
    document = await _inspect(quick, registry, STATUSES[upstream])
    assert document["upstream_status"] == upstream


FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "HTML": (Html(), {"not-a-registry", "source-unsupported"}),
    "HTML and 404": (Html(status=404), {"source-not-found", "not-a-registry"}),
    "a reset": (Reset(), {"registry-unreachable"}),
    "silence": (Silence(), {"registry-timeout"}),
    "a drip": (Drip(), {"registry-timeout"}),
    "no end": (Endless(), {"source-too-large"}),
    "too much": (Oversize(5 * 2**20), {"source-too-large"}),
    "half of it": (
        Truncated(),
        {"registry-unreachable", "registry-unavailable", "digest-mismatch", "source-invalid"},
    ),
    "half of it, cleanly": (
        Truncated(with_length=False),
        {"digest-mismatch", "source-invalid", "registry-unavailable"},
    ),
    "compressed": (Gzipped(), set()),
    "another body": (OtherBody(b"[]"), {"digest-mismatch", "source-invalid"}),
    "another digest": (WrongDigestHeader(), {"digest-mismatch"}),
    "another type": (ContentType("text/html"), {"source-unsupported", "not-a-registry"}),
    "no type": (ContentType(None), set()),
    "a loop": (Redirect("http://{target}"), set()),
    "elsewhere": (
        Redirect("http://169.254.169.254/latest/meta-data"),
        {"registry-unreachable", "untrusted-origin", "not-a-registry"},
    ),
    "a file": (Redirect("file:///etc/passwd"), set()),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_misbehaving_registry_causes_a_problem_with_its_name(
    quick: Broker, registry: RegistryDouble, name: str
) -> None:
    fault, codes = FAULTS[name]
    registry.misbehave(fault, method="GET", path="/manifests/", times=None)
    document = await _inspect(quick, registry)
    if document is not None and codes:
        assert document["type"].rpartition(":")[2] in codes, document


async def test_an_unreachable_registry_causes_a_problem_with_its_name(quick: Broker) -> None:
    host = f"127.0.0.1:{free_port()}"
    reply = await quick.client.get("/v1/inspect", params={"reference": f"{host}/a:1", "insecure": True})
    document = check_problem(reply, 502, "registry-unreachable")
    assert document["registry"] == host


async def test_a_name_that_does_not_resolve_causes_a_problem_with_its_name(quick: Broker) -> None:
    reply = await quick.client.get("/v1/inspect", params={"reference": f"{NOWHERE}/a:1"})
    assert check_problem(reply, 502, "registry-unreachable")["registry"] == NOWHERE


async def test_a_server_that_does_not_speak_http_causes_a_problem_with_its_name(quick: Broker) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n" * 10)
        writer.close()

    async with listening(shout) as port:
        host = f"127.0.0.1:{port}"
        reply = await quick.client.get("/v1/inspect", params={"reference": f"{host}/a:1", "insecure": True})
        assert check_problem(reply, reply.status_code)["registry"] == host
        assert reply.status_code in {502, 504}


async def test_a_silent_server_causes_a_problem_with_its_name(quick: Broker) -> None:
    held: list[asyncio.StreamWriter] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await reader.read()
        writer.close()

    async with listening(keep) as port:
        host = f"127.0.0.1:{port}"
        reply = await quick.client.get("/v1/inspect", params={"reference": f"{host}/a:1", "insecure": True})
        document = check_problem(reply, 502, "registry-unreachable")
        assert document["registry"] == host


@pytest.mark.parametrize("mode", ["basic", "bearer"])
async def test_rejected_credentials_are_reported(quick: Broker, mode: Any) -> None:
    async with RegistryDouble(auth=mode, users={"user": "right"}) as double:
        plant(double, "a", "1", make_image())
        wrong = registry_auth({"username": "user", "password": "wrong", "serveraddress": double.host})
        for headers in ({}, {"X-Registry-Auth": wrong}):
            reply = await quick.client.get(
                "/v1/inspect", params={"reference": f"{double.host}/a:1", "insecure": True}, headers=headers
            )
            document = check_problem(reply, 403, "registry-denied")
            assert document["registry"] == double.host
            assert "wrong" not in reply.text


async def test_an_untrusted_certificate_is_a_different_problem_than_a_missing_image(quick: Broker) -> None:
    async with RegistryDouble(tls=True) as double:
        plant(double, "a", "1", make_image())
        reply = await quick.client.get("/v1/inspect", params={"reference": f"{double.host}/a:1"})
        document = check_problem(reply, 502, "registry-tls-failed")
        assert document["registry"] == double.host


async def test_plain_http_is_used_only_on_request(quick: Broker, registry: RegistryDouble) -> None:
    plant(registry, "a", "1", make_image())
    reply = await quick.client.get("/v1/inspect", params={"reference": f"{registry.host}/a:1"})
    assert check_problem(reply, 502)["registry"] == registry.host
    assert registry.received(path="/manifests/") == []


async def test_a_registry_with_an_invalid_port_is_rejected_with_its_field(quick: Broker) -> None:
    good, bad = "reg.example.com/app:1", "reg.example.com:99999/app:1"
    for pointer, body in (
        ("/reference", {"reference": bad, "sources": [good]}),
        ("/targets/0", {"reference": good, "targets": [bad]}),
        ("/sources/0", {"reference": good, "sources": [bad]}),
    ):
        document = check_problem(await quick.client.post("/v1/lists", json=body), 422, "invalid-reference")
        assert [each["pointer"] for each in document["errors"]] == [pointer]
        assert "65535" in document["detail"]
    reply = await quick.client.get("/v1/inspect", params={"reference": bad})
    assert check_problem(reply, 422, "invalid-reference")["registry"] == "reg.example.com:99999"


async def test_a_registry_at_a_port_of_another_protocol_is_rejected_with_its_field(quick: Broker) -> None:
    good, bad = "reg.example.com/app:1", "localhost:22/app:1"
    for pointer, body in (
        ("/reference", {"reference": bad, "sources": [good]}),
        ("/targets/0", {"reference": good, "targets": [bad]}),
        ("/sources/0", {"reference": good, "sources": [bad]}),
    ):
        document = check_problem(await quick.client.post("/v1/lists", json=body), 403, "registry-forbidden")
        assert [each["pointer"] for each in document["errors"]] == [pointer]
        assert "BROKER_REGISTRY_PORTS" in document["detail"]
    reply = await quick.client.get("/v1/inspect", params={"reference": bad})
    assert check_problem(reply, 403, "registry-forbidden")["registry"] == "localhost:22"


async def test_only_the_ports_of_the_setting_are_permitted(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    broker = await start_broker(registry_ports=f"443,{registry.port}")
    async with RegistryDouble() as other:
        for double in (registry, other):
            plant(double, "a", "1", make_image())
        await broker.call("GET", f"/v1/inspect?reference={registry.host}/a:1&insecure=true")
        reply = await broker.client.get(f"/v1/inspect?reference={other.host}/a:1&insecure=true")
        check_problem(reply, 403, "registry-forbidden")
        assert other.journal == []


async def test_loopback_is_rejected_unless_the_operator_permits_it(
    start_broker: StartBroker, registry: RegistryDouble
) -> None:
    broker = await start_broker(allow_loopback=False)
    for reference in (
        f"{registry.host}/a:1",
        f"localhost:{registry.port}/a:1",
        "169.254.169.254/a:1",
        "[::1]:5000/a:1",
    ):
        reply = await broker.client.get("/v1/inspect", params={"reference": reference, "insecure": True})
        document = check_problem(reply, 403)
        assert document["type"].rpartition(":")[2] in {"registry-forbidden", "insecure-forbidden"}
        assert document["registry"] == reference.partition("/")[0]
    assert registry.journal == []


async def test_a_push_that_fails_midway_reports_the_state_of_each_target(
    quick: Broker, registry: RegistryDouble
) -> None:
    await seed(registry, "a", "1", make_image_for("linux/amd64"))
    draft = await quick.create(f"{registry.host}/list:1", f"{registry.host}/a:1")
    registry.misbehave(Status.oci(500, "UNKNOWN"), method="PUT", path="/manifests/1$", times=None)
    reply = await quick.client.post(f"/v1/lists/{draft['id']}/push", json={"insecure": True})
    document = check_problem(reply, 502, "registry-unavailable")
    assert document["targets"][0]["repository"] == f"{registry.host}/list"
    assert len(document["targets"][0]["manifests"]["put"]) == 1


async def _inspect(broker: Broker, registry: RegistryDouble, status: int | None = None) -> Json:
    """The problem, or the result if a careful client tolerates the fault."""
    plant(registry, "a", "1", make_image())
    parameters = {"reference": f"{registry.host}/a:1", "insecure": "true"}
    reply: httpx2.Response = await broker.client.get(
        "/v1/inspect", params=parameters, headers={"Prefer": "wait=60"}
    )
    assert reply.status_code < 600
    if reply.status_code == 200:
        return {"type": ""}
    document = check_problem(reply, reply.status_code)
    assert reply.status_code != 500, document
    assert registry.host in (document.get("registry"), document.get("reference", "").partition("/")[0]), (
        document
    )
    if status is not None:
        assert reply.status_code == status, document
    return document
