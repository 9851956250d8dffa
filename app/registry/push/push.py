"""Copies a graph to several targets: staged at all of them, then the tags, then read back."""

from __future__ import annotations

from collections.abc import Sequence

from app.concurrency.task_groups import run_all_to_completion
from app.oci.reference import Repository
from app.registry.auth.access import Access
from app.registry.client import RegistryClient
from app.registry.push.blob_copies import BlobCounts, BroughtBlob
from app.registry.push.blobs import BlobAction
from app.registry.push.hands import PUSHING, SURVEYING
from app.registry.push.model import (
    CopyChild,
    CopyResult,
    CopyTarget,
    Guard,
    Held,
    ManifestAction,
    PlacedManifest,
    PlacedReferrer,
    ReferrerAction,
    Survey,
    TagAction,
)
from app.registry.push.referrer_search import ReferrerSearch
from app.registry.push.shelf import Shelf
from app.registry.push.steps import Finished, Step, StepName
from app.registry.push.target import Cargo, OnProgress, build_stages, remotes_for

__all__ = [
    "BlobAction",
    "BlobCounts",
    "BroughtBlob",
    "CopyChild",
    "CopyResult",
    "CopyTarget",
    "Finished",
    "Guard",
    "Held",
    "ManifestAction",
    "PlacedManifest",
    "PlacedReferrer",
    "ReferrerAction",
    "Step",
    "StepName",
    "Survey",
    "TagAction",
    "push",
    "survey",
]


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
) -> list[CopyResult]:
    """Brings indexes and all that they list to their targets, of which no two are one repository.

    Everything is staged everywhere before any tag moves; readers see the old index or the new one whole. One
    target that fails keeps the tags of all as they are, and one tag that fails does not keep the others: what
    was begun goes on to its end, so that the next attempt has less to do. `with_referrers` brings along what
    refers to the children where they are now, such as their signatures, unless that is the target itself.
    """
    looks = guard is None or not guard.is_strict
    search = _search(client, targets, access) if with_referrers else None
    shelf = Shelf(client.limits.held_bytes)
    cargo = Cargo(client, children, access, PUSHING, shelf, looks=looks, search=search)
    stages = build_stages(cargo, targets, on_progress)
    await run_all_to_completion(stage.prepare() for stage in stages)
    await run_all_to_completion(stage.look_again() for stage in stages)
    await run_all_to_completion(stage.read_tags(strictly=not looks) for stage in stages)
    held = {reference: digest for stage in stages for reference, digest in stage.held.items()}
    left = await guard.ask(Held(held, shelf.manifests)) if guard is not None else ()
    await run_all_to_completion(move for stage in stages for move in stage.moves(left))
    return [stage.result for stage in stages]


async def survey(
    client: RegistryClient,
    targets: Sequence[CopyTarget],
    children: Sequence[CopyChild],
    access: Access,
    *,
    with_referrers: bool = False,
) -> list[Survey]:
    """What `push` would do, decided by the same code with its hands tied: registries are only asked."""
    search = _search(client, targets, access) if with_referrers else None
    shelf = Shelf(client.limits.held_bytes)
    cargo = Cargo(client, children, access, SURVEYING, shelf, search=search)
    stages = build_stages(cargo, targets, _ignore)
    await run_all_to_completion(stage.bring() for stage in stages)
    return [stage.survey for stage in stages]


def _search(client: RegistryClient, targets: Sequence[CopyTarget], access: Access) -> ReferrerSearch:
    return ReferrerSearch(remotes_for(client, access, targets), client.limits)
