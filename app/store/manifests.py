"""Manifests byte for byte as fetched, stored once for each project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert

from app.errors import NotFound
from app.oci.digest import Digest, parse_digest
from app.oci.manifest import Manifest
from app.store.database import Transaction
from app.store.tables import manifests


async def keep_manifests(tx: Transaction, project_id: UUID, found: Iterable[Manifest]) -> None:
    """Store the manifests that are not stored yet."""
    # In one order everywhere, so that transactions with the same manifests never deadlock.
    distinct = sorted({str(manifest.digest): manifest for manifest in found}.items())
    if not distinct:
        return
    rows = [
        {"project_id": project_id, "digest": digest, "media_type": manifest.media_type, "raw": manifest.raw}
        for digest, manifest in distinct
    ]
    await tx.execute(upsert(manifests).on_conflict_do_nothing(), rows)


async def load_manifests(
    tx: Transaction, project_id: UUID, digests: Iterable[Digest]
) -> Mapping[Digest, Manifest]:
    """The manifests by digest; NotFound names one that is missing."""
    wanted = set(digests)
    query = select(manifests.c.digest, manifests.c.media_type, manifests.c.raw).where(
        manifests.c.project_id == project_id, manifests.c.digest.in_([str(digest) for digest in wanted])
    )
    found = {
        digest: Manifest(row.media_type, bytes(row.raw), digest)
        for row in await tx.execute(query)
        for digest in [parse_digest(row.digest)]
    }
    for digest in wanted - found.keys():
        raise NotFound(f"The manifest {digest} is no longer stored.")
    return found
