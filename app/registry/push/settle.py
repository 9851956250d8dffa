"""Puts manifests again until the registry sees the content that it took."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

from app import errors
from app.oci.manifest import Manifest
from app.outbound.retry import Outcome, plan_retry
from app.registry.content.manifests import is_not_yet_known, put_manifest
from app.registry.limits import Limits
from app.registry.repository import RemoteRepository

__all__ = ["DISPUTED", "Repair", "patience", "put_settled", "wait"]

# The code for bytes that do not have their digest.
DISPUTED = "DIGEST_INVALID"

Repair = Callable[[errors.RegistryRejected], Awaitable[None]]


async def put_settled(
    remote: RemoteRepository, target: str, manifest: Manifest, repair: Repair | None = None
) -> bool:
    """Put a manifest, again and again while the registry says that it lacks content of the manifest.

    `repair` runs before each repeat, to put missing content again. Return whether the registry lists the
    manifest as a referrer of its subject.
    """
    # Some registries fail when they read a manifest during a write, so identical PUTs run one at a time.
    async with remote.lock_for(f"{target} {manifest.digest}"):
        attempt = 1
        while True:
            try:
                return await put_manifest(remote, target, manifest)
            except errors.RegistryRejected as error:
                if not await _wait_for(error, attempt, remote.state.limits):
                    raise
                if repair is not None and is_not_yet_known(error):
                    await repair(error)
            attempt += 1


async def _wait_for(error: errors.RegistryRejected, attempt: int, limits: Limits) -> bool:
    """Wait for content that the registry does not know yet; false if no attempt is left.

    The bytes have been hashed here, so a registry that disputes their digest is asked again, too.
    """
    if error.upstream_code == DISPUTED:
        return await wait(attempt, may_pass=True, limits=limits)
    return await wait(attempt, may_pass=is_not_yet_known(error), limits=patience(limits))


async def wait(attempt: int, *, may_pass: bool, limits: Limits) -> bool:
    """Wait before the next attempt; false if no attempt is left."""
    seconds = plan_retry(
        Outcome(may_pass),
        attempt=attempt,
        spent=0.0,
        jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
        limits=limits,
    )
    if seconds is not None:
        await asyncio.sleep(seconds)
    return seconds is not None


def patience(limits: Limits) -> Limits:
    """The limits for waiting until a registry knows the content that it took."""
    return replace(
        limits,
        attempts=limits.settle_attempts,
        backoff_seconds=limits.settle_seconds,
        longest_backoff_seconds=limits.longest_settle_seconds,
    )
