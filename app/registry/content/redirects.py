"""Follows the redirects of blobs and manifests, without credentials, and renews tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app import errors
from app.concurrency.document_memory import MemoryReservation
from app.oci.descriptor import Descriptor
from app.outbound.client import Answer, Request
from app.outbound.failures import RequestContext
from app.registry.auth.renewals import Renewals
from app.registry.auth.scope import pulling
from app.registry.content.locations import redirect_target
from app.registry.error_bodies import refuses_token
from app.registry.errors import refusal
from app.registry.repository import RemoteRepository

__all__ = ["REDIRECTS", "RedirectFollower", "blob_context", "download_request", "follow_manifest"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})


def blob_context(remote: RemoteRepository, blob: Descriptor) -> RequestContext:
    return remote.context(f"{remote.repository}@{blob.digest}")


async def download_request(
    remote: RemoteRepository,
    blob: Descriptor,
    *,
    headers: Mapping[str, str] | None = None,
    limit: int | None = None,
    memory: MemoryReservation | None = None,
) -> Request:
    return await remote.build_request(
        "GET",
        remote.blob_path(blob.digest),
        pulling(remote.path),
        context=blob_context(remote, blob),
        headers=headers,
        limit=limit,
        memory=memory,
    )


async def follow_manifest(remote: RemoteRepository, request: Request, answer: Answer) -> Answer:
    """Follow redirects of a manifest to hosts that the operator lists; else return the answer as it is.

    The bytes are hashed like all others, and no credential is sent there.
    """
    policy = remote.state.policy
    for _ in range(remote.state.limits.redirects):
        if answer.status not in REDIRECTS or len(answer.headers.getall("Location", [])) != 1:
            break
        following = _redirected(remote, request, answer)
        if not policy.may_redirect(remote.registry, following.url.authority):
            break
        request = replace(following, authorization=None)
        answer = await remote.state.outbound.call(request)
    return answer


class RedirectFollower:
    """Follows a few redirects of a blob, and answers 401s from the registry itself."""

    def __init__(self, remote: RemoteRepository) -> None:
        self._remote = remote
        self._redirects = remote.state.limits.redirects
        self._may_renew = True
        self._renewals: Renewals | None = None

    async def follow(self, request: Request, answer: Answer) -> Request:
        """The next request; raise an error if the answer is final."""
        if answer.status in REDIRECTS:
            if not self._redirects:
                raise errors.NotARegistry(
                    f"{self._remote.registry} redirects {request.context} too often.",
                    **request.context.members,
                )
            self._redirects -= 1
            self._may_renew = False
            return _redirected(self._remote, request, answer)
        if self._renewals is None:
            self._renewals = await self._remote.renewals(request, pulling(self._remote.path))
        renewed = None
        if refuses_token(answer.status, answer.body) and self._may_renew:
            renewed = await self._renewals.next(request, answer)
        if renewed is None:
            answer = await self._renewals.settle(answer)
            raise refusal(
                answer.status,
                answer.headers,
                answer.body,
                self._remote.context(),
                doing=f"the GET of {request.context}",
            )
        return renewed


def _redirected(remote: RemoteRepository, request: Request, answer: Answer) -> Request:
    locations = answer.headers.getall("Location", [])
    if len(locations) != 1:
        raise errors.NotARegistry(
            f"{remote.registry} redirects without a Location.", **request.context.members
        )
    url = redirect_target(request.url, locations[0], context=request.context)
    if url.origin == request.url.origin:
        return replace(request, url=url)
    return replace(request, url=url, verify=not remote.may_be_insecure_at(url), authorization=None)
