"""The manifests of a push as they were fetched, with the blobs that they need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from app.lists.push_plan import PushChild, PushPlan
from app.oci.digest import Digest
from app.oci.manifest import ImageManifest, Manifest, parse_manifest
from app.registry.client import RegistryClient
from app.registry.push.model import CopyChild, CopyTarget
from app.store.database import Transaction
from app.store.manifests import load_manifests


async def load_children(tx: Transaction, project_id: UUID, plan: PushPlan) -> Mapping[Digest, Manifest]:
    return await load_manifests(tx, project_id, [child.digest for child in plan.children])


async def parse_children(
    client: RegistryClient, plan: PushPlan, manifests: Mapping[Digest, Manifest]
) -> list[CopyChild]:
    return [await _child(client, child, manifests[child.digest]) for child in plan.children]


def targets_of(plan: PushPlan) -> Sequence[CopyTarget]:
    return [CopyTarget(each.repository, each.tags, plan.index) for each in plan.targets]


async def _child(client: RegistryClient, child: PushChild, manifest: Manifest) -> CopyChild:
    parsed = await client.parse(parse_manifest, manifest.raw, manifest.media_type)
    # Many small documents together would block the event loop as long as a large one.
    await asyncio.sleep(0)
    if isinstance(parsed, ImageManifest):
        return CopyChild(child.repository, manifest, parsed.copyable_blobs)
    return CopyChild(child.repository, manifest, (), tuple(each.digest for each in parsed.manifests))
