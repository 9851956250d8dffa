"""The registry client over any other httpx2 transport: the engine is exchangeable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2
import pytest

from app import errors
from app.oci.manifest import ImageManifest, parse_manifest
from app.oci.reference import Repository, parse_reference
from app.outbound.client import OutboundClient
from app.outbound.limits import OutboundLimits
from app.outbound.policy import AccessPolicy
from app.registry.client import Access, RegistryClient, RegistryPolicy
from app.registry.push.model import CopyChild, CopyTarget
from app.services.webhooks.sender import Post, WebhookSender
from tests.support.images import make_image
from tests.support.registry_clients import QUICK, manifest_of, push_one

IMAGE = make_image(layers=[300_000])
ACCESS = Access()
# As registries write it: httpx2.URL would quote this query again.
STATE = "_state=a%2Bb/~|{}%7e=="


@dataclass
class MockRegistry:
    """A registry in a handler for `httpx2.MockTransport`; all hosts share its content."""

    content: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    requests: list[httpx2.Request] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        host, path = request.url.host, request.url.path
        if path == "/v2/":
            return httpx2.Response(200)
        if request.method == "POST":
            location = f"/v2/team/app/blobs/uploads/1?{STATE}"
            return httpx2.Response(202, headers={"Location": location})
        key = f"{host}{path}"
        if request.method == "PUT":
            if "digest" in request.url.params:
                key = f"{host}/v2/team/app/blobs/{request.url.params['digest']}"
            self.content[key] = (request.headers["Content-Type"], request.content)
            return httpx2.Response(201)
        media_type, body = self.content.get(key, ("", b""))
        status = 200 if key in self.content else 404
        return httpx2.Response(status, headers={"Content-Type": media_type}, content=body)

    def hold_image(self, host: str) -> None:
        for digest, data in IMAGE.blobs.items():
            self.content[f"{host}/v2/team/app/blobs/{digest}"] = ("application/octet-stream", data)
        for name in ("1", IMAGE.digest):
            self.content[f"{host}/v2/team/app/manifests/{name}"] = (IMAGE.media_type, IMAGE.raw)

    def targets(self, method: str) -> list[str]:
        return [each.extensions["target"].decode() for each in self.requests if each.method == method]


def connect(handler: Callable[[httpx2.Request], httpx2.Response]) -> RegistryClient:
    return RegistryClient(
        RegistryPolicy(), limits=QUICK, open_transport=lambda tls: httpx2.MockTransport(handler)
    )


async def test_a_manifest_is_fetched_over_another_transport() -> None:
    registry = MockRegistry()
    registry.hold_image("source.test")
    async with connect(registry) as client:
        fetched = await client.fetch_manifest(parse_reference("source.test/team/app:1"), ACCESS)
    assert fetched.manifest.manifest.raw == IMAGE.raw
    assert registry.targets("GET") == ["/v2/", "/v2/team/app/manifests/1"]
    assert registry.requests[-1].headers["User-Agent"] == "manifest-broker"


async def test_an_image_is_copied_over_another_transport() -> None:
    """Downloads and uploads stream through it, and an address of a registry goes out byte for byte."""
    registry = MockRegistry()
    registry.hold_image("source.test")
    manifest = manifest_of(IMAGE)
    source, target = Repository("source.test", "team/app"), Repository("target.test", "team/app")
    parsed = parse_manifest(IMAGE.raw, IMAGE.media_type)
    assert isinstance(parsed, ImageManifest)
    async with connect(registry) as client:
        child = CopyChild(source, manifest, parsed.copyable_blobs)
        await push_one(client, CopyTarget(target, ("1",), manifest), [child], ACCESS)
    for digest, data in IMAGE.blobs.items():
        assert registry.content[f"target.test/v2/team/app/blobs/{digest}"][1] == data
    assert registry.content["target.test/v2/team/app/manifests/1"][1] == IMAGE.raw
    uploads = [target for target in registry.targets("PUT") if "/uploads/" in target]
    assert len(uploads) == len(IMAGE.blobs)
    assert all(f"?{STATE}&digest=sha256%3A" in each for each in uploads)


async def test_a_failure_of_another_transport_is_a_failure_of_the_registry() -> None:
    def fail(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no route to host")

    async with connect(fail) as client:
        with pytest.raises(errors.RegistryUnreachable, match=r"source\.test failed: no route to host"):
            await client.fetch_manifest(parse_reference("source.test/team/app:1"), ACCESS)


async def test_a_webhook_is_posted_over_another_transport() -> None:
    seen: list[httpx2.Request] = []

    def accept(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(503, headers={"Retry-After": "7"})

    outbound = OutboundClient(
        AccessPolicy(), OutboundLimits(), open_transport=lambda tls: httpx2.MockTransport(accept)
    )
    sender = WebhookSender(outbound)
    url = sender.parse_receiver("https://hooks.test/a%2Fb?x=|")
    async with outbound:
        receipt = await sender.post(Post(url, "hooks#a", b"{}", lambda: {"webhook-id": "1"}))
    assert (receipt.status, receipt.retry_after) == (503, 7.0)
    (request,) = seen
    assert (request.method, request.extensions["target"], request.content) == ("POST", b"/a%2Fb?x=|", b"{}")
    assert request.headers["webhook-id"] == "1"
