"""Upload sessions: opened, written whole or in chunks, resumed, finished and cancelled.

Distribution spec, "Pushing blobs".
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from app import errors
from app.oci.descriptor import Descriptor
from app.outbound.client import Answer, Queueing, Request
from app.outbound.url import Url, with_query
from app.registry.auth.renewals import AuthorizedRequest
from app.registry.auth.scope import pushing
from app.registry.content.locations import upload_location
from app.registry.content.redirects import REDIRECTS
from app.registry.errors import write_refusal
from app.registry.repository import RemoteRepository

__all__ = ["Upload", "accepted_upload", "has_blob", "open_upload", "upload_content", "upload_refusal"]

_OK, _ACCEPTED = 200, 202
_UPLOADED = frozenset({201, 204})
_STATUS_KNOWN = frozenset({200, 202, 204})
_RANGE = re.compile(r"(?:bytes[ =])?0-([0-9]{1,19})", re.ASCII | re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,19}", re.ASCII)
_OCTETS = "application/octet-stream"
_MOST_LEAST_CHUNK = 64 * 1024 * 1024

Body = AsyncIterator[bytes]


@dataclass(slots=True)
class Upload:
    """An open session: the address of its next request, and the bytes that the registry has."""

    target: RemoteRepository
    location: Url
    least_chunk: int = 0
    offset: int = 0
    last: AuthorizedRequest | None = field(default=None, repr=False)
    """The last request, whose token may have been replaced since."""

    async def put(self, blob: Descriptor, body: Body | bytes, queueing: Queueing = nullcontext) -> Answer:
        """Send the whole blob and finish."""
        headers = {"Content-Length": str(blob.size), "Content-Type": _OCTETS}
        with queueing():
            request = await self._prepare("PUT", self._ending(blob), headers)
        return await self.target.state.outbound.send(request, body, queueing)

    async def patch(self, size: int, body: Body, queueing: Queueing) -> Answer:
        """Send one chunk."""
        headers = {
            "Content-Length": str(size),
            "Content-Range": f"{self.offset}-{self.offset + size - 1}",
            "Content-Type": _OCTETS,
        }
        with queueing():
            request = await self._prepare("PATCH", self.location, headers)
        answer = await self.target.state.outbound.send(request, body, queueing)
        if answer.is_success:
            self._update(request, answer, default=self.offset + size)
        return answer

    async def finish(self, blob: Descriptor, queueing: Queueing) -> Answer:
        """Finish after the last chunk; never repeated, since a repeat would find no upload."""
        headers = {"Content-Length": "0", "Content-Type": _OCTETS}
        with queueing():
            request = await self._prepare("PUT", self._ending(blob), headers)
        return await self.target.state.outbound.send(request, b"", queueing)

    async def fetch_offset(self) -> bool:
        """Ask for the offset; false if the session is lost.

        Many registries lose a session with its connection, and each answers in its own way.
        """
        request = await self._prepare("GET", self.location, {})
        with contextlib.suppress(errors.RegistryError, errors.UntrustedOrigin):
            answer = await self.target.call(request, pushing(self.target.path))
            if answer.status in _STATUS_KNOWN:
                self._update(request, answer, default=0)
                return True
        return False

    async def cancel(self) -> None:
        """Ask the registry to delete the session; it may ignore the request."""
        with contextlib.suppress(errors.BrokerError, TimeoutError):
            async with asyncio.timeout(self.target.state.limits.cancel_seconds):
                request = await self._prepare("DELETE", self.location, {})
                await self.target.state.outbound.call(request)

    def _ending(self, blob: Descriptor) -> Url:
        return with_query(self.location, [("digest", str(blob.digest))])

    async def _prepare(self, method: str, url: Url, headers: dict[str, str]) -> AuthorizedRequest:
        scopes = pushing(self.target.path)
        self.last = await self.target.build_request(method, url, scopes, headers=headers)
        if self.last.refusal is not None:
            raise self.last.refusal
        if url.origin != (await self.target.endpoint()).base.origin:
            # Another host has its own certificate.
            self.last = replace(self.last, verify=not self.target.may_be_insecure_at(url))
        return self.last

    def _update(self, request: Request, answer: Answer, *, default: int) -> None:
        """Read the next address and the offset: the registry may have kept fewer bytes than it got."""
        said = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
        # "0-0" is what registries say of nothing, too.
        self.offset = default if said is None else int(said[1]) + 1 if int(said[1]) else 0
        if "Location" in answer.headers:
            self.location = _location(self.target, request, answer)


async def open_upload(target: RemoteRepository) -> Upload:
    scopes = pushing(target.path)
    request = await target.build_request("POST", target.uploads_path, scopes)
    answer = await target.call(request, scopes)
    if answer.status != _ACCEPTED:
        raise upload_refusal(target, answer, "the opening of an upload")
    return accepted_upload(target, request, answer)


def accepted_upload(target: RemoteRepository, request: Request, answer: Answer) -> Upload:
    """The session that a 202 opened."""
    least = _LENGTH.fullmatch(answer.headers.get("OCI-Chunk-Min-Length", ""))
    least_chunk = int(least[0]) if least is not None else 0
    location = _location(target, request, answer)
    return Upload(target, location, min(least_chunk, _MOST_LEAST_CHUNK))


def _location(target: RemoteRepository, request: Request, answer: Answer) -> Url:
    locations = answer.headers.getall("Location", [])
    if len(locations) != 1:
        raise errors.NotARegistry(
            f"{target.registry} opened an upload without a Location.", **target.context().members
        )
    policy = target.state.policy
    return upload_location(request.url, locations[0], context=request.context, policy=policy)


async def has_blob(target: RemoteRepository, blob: Descriptor) -> bool:
    scopes = pushing(target.path)
    request = await target.build_request("HEAD", target.blob_path(blob.digest), scopes)
    answer = await target.call(request, scopes)
    # A redirect of HEAD leads to an address that is signed for GET; that there is one says enough.
    return answer.status == _OK or answer.status in REDIRECTS


async def upload_content(target: RemoteRepository, blob: Descriptor, content: bytes) -> None:
    """Upload a small blob from memory with one request."""
    upload = await open_upload(target)
    answer = await upload.put(blob, content)
    if answer.status not in _UPLOADED:
        await upload.cancel()
        raise upload_refusal(target, answer, f"the upload of {blob.digest}")


def upload_refusal(target: RemoteRepository, answer: Answer, doing: str) -> errors.BrokerError:
    return write_refusal(answer.status, answer.headers, answer.body, target.context(), doing=doing)
