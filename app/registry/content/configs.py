"""Configs and other small blobs: fetched whole, verified and parsed."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from app import errors
from app.oci.config import ImageConfig, parse_config
from app.oci.descriptor import Descriptor
from app.outbound.client import Request
from app.outbound.failures import RequestContext
from app.registry.content.redirects import RedirectFollower, blob_context, download_request
from app.registry.repository import RemoteRepository

__all__ = ["fetch_blob", "fetch_config"]

T = TypeVar("T")

_OK = 200


async def fetch_blob(remote: RemoteRepository, blob: Descriptor, *, limit: int) -> bytes:
    """A small blob; redirects to storage carry no credential."""
    return await _fetch(remote, blob, _keep, limit=limit)


async def fetch_config(remote: RemoteRepository, blob: Descriptor, *, limit: int) -> ImageConfig:
    """The parsed config of an image."""
    read = functools.partial(remote.state.parsers.run, parse_config)
    return await _fetch(remote, blob, read, limit=limit)


async def _keep(body: bytes) -> bytes:
    return body


async def _fetch(
    remote: RemoteRepository, blob: Descriptor, read: Callable[[bytes], Awaitable[T]], *, limit: int
) -> T:
    if blob.size > limit:
        context = blob_context(remote, blob)
        raise errors.SourceTooLarge(
            f"{context} has {blob.size} bytes; the limit is {limit}.", **context.members
        )
    attempt = 1
    while True:
        async with remote.reserve_memory() as memory:
            is_last = attempt >= remote.state.limits.attempts
            request = replace(await download_request(remote, blob, limit=limit), memory=memory)
            found = await _try(remote, request, blob, read, is_last=is_last)
        if found is not None:
            return found
        attempt += 1


async def _try(
    remote: RemoteRepository,
    request: Request,
    blob: Descriptor,
    read: Callable[[bytes], Awaitable[T]],
    *,
    is_last: bool,
) -> T | None:
    """None if the connection broke, so that the caller asks again."""
    redirects = RedirectFollower(remote)
    while (answer := await remote.state.outbound.call(request)).status != _OK:
        request = await redirects.follow(request, answer)
    if answer.is_framed or is_last or len(answer.body) >= blob.size:
        return await read(_verified(answer.body, blob, blob_context(remote, blob)))
    return None


def _verified(body: bytes, blob: Descriptor, context: RequestContext) -> bytes:
    if len(body) != blob.size or not blob.digest.matches(body):
        raise errors.DigestMismatch(
            f"{context.registry} sent {len(body)} bytes for {context} that are not the {blob.size} bytes "
            "with that digest.",
            **context.members,
        )
    return body
