"""Puts manifests at registries that have taken something and need a while until they know it."""

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

__all__ = ["Repair", "patience", "put_settled", "wait"]

Repair = Callable[[errors.RegistryRejected], Awaitable[None]]


async def put_settled(
    remote: RemoteRepository, target: str, manifest: Manifest, repair: Repair | None = None
) -> bool:
    """Puts the manifest again for as long as the registry says that it lacks what the manifest lists.

    `repair` is called each time, to put missing content again. True when the registry itself lists the
    manifest under its subject.
    """
    limits = patience(remote.state.limits)
    attempt = 1
    while True:
        try:
            return await put_manifest(remote, target, manifest)
        except errors.RegistryRejected as error:
            may_pass = is_not_yet_known(error)
            if not await wait(attempt, may_pass=may_pass, limits=limits):
                raise
            if repair is not None:
                await repair(error)
        attempt += 1


async def wait(attempt: int, *, may_pass: bool, limits: Limits) -> bool:
    """False when there is nothing more to wait for."""
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
    """Those for waiting until a registry knows what it has taken."""
    return replace(
        limits,
        attempts=limits.settle_attempts,
        backoff_seconds=limits.settle_seconds,
        longest_backoff_seconds=limits.longest_settle_seconds,
    )
