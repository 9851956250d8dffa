"""Copies an index and everything it lists to several targets: stages all of them, then moves the tags."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from app.concurrency.task_groups import run_all_to_completion
from app.oci.reference import Reference, Repository
from app.registry.auth.access import Access
from app.registry.client import RegistryClient
from app.registry.push.held_tags import ManifestCache
from app.registry.push.model import (
    CopyChild,
    CopyResult,
    CopyTarget,
    DryRunResult,
    Guard,
    Step,
    TagLeases,
    TagSnapshot,
)
from app.registry.push.referrer_search import ReferrerSearch
from app.registry.push.target import OnProgress, PushSource, TargetStage, build_stages, remotes_for
from app.registry.push.writer import DryRunWriter, TargetWriter

__all__ = ["dry_run", "push"]


def _ignore(_: Repository, __: Step) -> None:
    return None


async def push(
    client: RegistryClient,
    targets: Sequence[CopyTarget],
    children: Sequence[CopyChild],
    access: Access,
    on_progress: OnProgress = _ignore,
    *,
    guard: Guard | None = None,
    with_referrers: bool = False,
    allow_unverified: bool = False,
    leases: TagLeases | None = None,
    origins: Sequence[Reference] = (),
    checks_blobs: bool = False,
) -> list[CopyResult]:
    """Copy indexes and everything they list to their targets, each of which is a different repository.

    All content is staged at every target before any tag moves, so clients see either the old index or the
    complete new one. If a target fails, no tag moves anywhere. If one tag fails, the others still move. Work
    that has started runs to completion, so that the next attempt has less to do. `with_referrers` also copies
    the referrers of the children, such as signatures, from the current location of the children. It also
    reports the referrers of `origins`, the indexes that the new index was made from. `allow_unverified` moves
    tags that the registry does not let the push read, before or after the move. A guard decides by itself
    about tags that can't be read before. `leases` exclude other pushes while a tag moves. If another push has
    moved a tag meanwhile, the guard decides about it again. `checks_blobs` also copies missing blobs of
    manifests that already exist.
    """
    reads_tags = guard is None or not guard.is_strict
    search = _search(client, targets, access) if with_referrers else None
    cache = ManifestCache(client.limits.manifest_cache_bytes)
    source = PushSource(
        client,
        children,
        access,
        TargetWriter,
        cache,
        reads_tags=reads_tags,
        allow_unverified=allow_unverified,
        search=search,
        origins=origins,
        checks_blobs=checks_blobs,
    )
    stages = build_stages(source, targets, on_progress)
    await run_all_to_completion(stage.stage() for stage in stages)
    await run_all_to_completion(stage.recheck() for stage in stages)
    await run_all_to_completion(stage.read_tags(strictly=not reads_tags) for stage in stages)
    ask = partial(_ask, guard, allow_unverified=allow_unverified)
    left = await ask(_snapshot(stages, cache))
    await run_all_to_completion(move for stage in stages for move in stage.moves(left, leases, ask))
    return [stage.result for stage in stages]


async def dry_run(
    client: RegistryClient,
    targets: Sequence[CopyTarget],
    children: Sequence[CopyChild],
    access: Access,
    *,
    with_referrers: bool = False,
    origins: Sequence[Reference] = (),
) -> list[DryRunResult]:
    """What `push` would do, decided by the same code with a writer that only reads."""
    search = _search(client, targets, access) if with_referrers else None
    cache = ManifestCache(client.limits.manifest_cache_bytes)
    source = PushSource(client, children, access, DryRunWriter, cache, search=search, origins=origins)
    stages = build_stages(source, targets, _ignore)
    await run_all_to_completion(stage.copy_children() for stage in stages)
    await run_all_to_completion(stage.judge_tags() for stage in stages)
    return [stage.dry_run_result for stage in stages]


def _snapshot(stages: Sequence[TargetStage], cache: ManifestCache) -> TagSnapshot:
    return TagSnapshot(
        {reference: digest for stage in stages for reference, digest in stage.previous.items()},
        cache.manifests,
        {reference: error for stage in stages for reference, error in stage.unread.items()},
    )


async def _ask(guard: Guard | None, held: TagSnapshot, *, allow_unverified: bool) -> Collection[Reference]:
    """The tags to leave."""
    if guard is not None:
        return await guard.ask(held)
    if not allow_unverified:
        for error in held.unread.values():
            raise error
    return ()


def _search(client: RegistryClient, targets: Sequence[CopyTarget], access: Access) -> ReferrerSearch:
    return ReferrerSearch(remotes_for(client, access, targets), client.limits)
