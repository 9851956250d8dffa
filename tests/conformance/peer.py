"""The requests of the distribution-spec, one call each, without anything beside them."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2

from tests.support.images import Content, digest_of, seed
from tests.support.registry import MANIFEST_TYPES

OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Peer:
    """A client at one repository of one registry; `is_double` says which registry it is."""

    client: httpx2.AsyncClient
    repository: str
    is_double: bool

    @property
    def root(self) -> str:
        return f"/v2/{self.repository}"

    def elsewhere(self, suffix: str = "elsewhere") -> Peer:
        """The same registry, another repository."""
        return Peer(self.client, f"{self.repository}/{suffix}", self.is_double)

    async def push(self, tag: str | None, content: Content) -> str:
        return await seed(str(self.client.base_url).rstrip("/"), self.repository, tag, content)

    async def put_manifest(self, reference: str, raw: bytes, media_type: str) -> httpx2.Response:
        url, headers = f"{self.root}/manifests/{reference}", {"Content-Type": media_type}
        return await self.client.put(url, content=raw, headers=headers)

    async def manifest(self, reference: str, method: str = "GET") -> httpx2.Response:
        headers = [("Accept", each) for each in MANIFEST_TYPES]
        return await self.client.request(method, f"{self.root}/manifests/{reference}", headers=headers)

    async def blob(self, digest: str, method: str = "GET", **headers: str) -> httpx2.Response:
        return await self.client.request(method, f"{self.root}/blobs/{digest}", headers=headers)

    async def post(self, data: bytes = b"", /, **params: str) -> httpx2.Response:
        return await self.client.post(f"{self.root}/blobs/uploads/", params=params, content=data)

    async def begin(self) -> httpx2.URL:
        """An upload session: where its next request goes."""
        reply = await self.post()
        assert reply.status_code == 202, reply.text
        return location(reply)

    async def patch(self, where: httpx2.URL, data: bytes, first: int | None = None) -> httpx2.Response:
        span = {} if first is None else {"Content-Range": f"{first}-{first + len(data) - 1}"}
        return await self.client.patch(where, content=data, headers={**OCTETS, **span})

    async def finish(
        self, where: httpx2.URL, digest: str, data: bytes = b"", first: int | None = None
    ) -> httpx2.Response:
        span = {} if first is None else {"Content-Range": f"{first}-{first + len(data) - 1}"}
        url = where.copy_add_param("digest", digest)
        return await self.client.put(url, content=data, headers={**OCTETS, **span})

    async def push_blob(self, data: bytes) -> str:
        reply = await self.finish(await self.begin(), digest_of(data), data)
        assert reply.status_code == 201, reply.text
        return digest_of(data)

    async def tags(self, **params: str | int) -> httpx2.Response:
        return await self.client.get(f"{self.root}/tags/list", params=params)

    async def referrers(self, digest: str, **params: str) -> httpx2.Response:
        return await self.client.get(f"{self.root}/referrers/{digest}", params=params)


def location(reply: httpx2.Response) -> httpx2.URL:
    """Absolute or relative (distribution-spec, Pushing blobs)."""
    return reply.request.url.join(reply.headers["Location"])


def codes(reply: httpx2.Response) -> list[str]:
    """The error codes of an answer (distribution-spec, Error Codes)."""
    return [each["code"] for each in reply.json()["errors"]]
