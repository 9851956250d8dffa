"""Copies the manifests that cosign stores under tags, and merges the signatures of both sides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from app import errors
from app.oci import media_types
from app.oci.cosign import Comparison, Signatures, compare_signatures, merge_signatures
from app.oci.descriptor import Descriptor
from app.oci.digest import digest_of
from app.oci.manifest import ImageManifest, Manifest
from app.oci.reference import Repository
from app.registry.auth.scope import pushing
from app.registry.content.absence import is_absent
from app.registry.content.configs import fetch_blob
from app.registry.content.manifests import fetch_manifest, read_digest
from app.registry.push.blobs import BlobCopies
from app.registry.push.model import ReferrerAction
from app.registry.push.referrer_search import Referrer
from app.registry.push.writer import Writer
from app.registry.repository import RemoteRepository

__all__ = ["TaggedCopies", "TaggedCopy"]


class TaggedCopy(NamedTuple):
    """The manifest under a tag of the target, and the action taken for it."""

    manifest: Manifest
    action: ReferrerAction


class TaggedCopies:
    """Copies manifests that refer to a subject by tag alone. Callers must serialise calls for one tag."""

    def __init__(
        self,
        target: RemoteRepository,
        blobs: BlobCopies,
        writer: Writer,
        copy_content: Callable[[asyncio.TaskGroup, Referrer, Sequence[Repository]], Awaitable[None]],
    ) -> None:
        self._target = target
        self._scopes = pushing(target.path)
        self._blobs = blobs
        self._writer = writer
        self._copy_content = copy_content

    async def copy(self, tag: str, found: Referrer, holders: Sequence[Repository]) -> TaggedCopy | None:
        """Put a manifest under the tag, merged with its signatures; None if the tag holds anything else."""
        async with self._target.lock_for(tag):
            try:
                held = await read_digest(self._target, tag, scopes=self._scopes)
            except errors.RegistryDenied:
                if not await is_absent(self._target, tag, scopes=self._scopes, can_read=False):
                    return None
                held = None
            if held == found.digest:
                return TaggedCopy(found.manifest, ReferrerAction.PRESENT)
            if held is None:
                return await self._put(tag, found, holders)
            return await self._join(tag, found, holders)

    async def _put(
        self,
        tag: str,
        found: Referrer,
        holders: Sequence[Repository],
        joined: Signatures | None = None,
    ) -> TaggedCopy:
        """Copy the content of both manifests, then put the found or merged manifest."""
        manifest = found.manifest if joined is None else joined.manifest
        async with asyncio.TaskGroup() as group:
            await self._copy_content(group, found, holders)
            if joined is not None:
                config = Descriptor(media_types.OCI_CONFIG, digest_of(joined.config), len(joined.config))
                await self._writer.put_content(config, joined.config)
            repair = self._blobs.repair_for(group, holders[0], found.blobs)
            await self._writer.put_tagged(tag, manifest, repair)
        return TaggedCopy(manifest, ReferrerAction.PUT)

    async def _join(self, tag: str, found: Referrer, holders: Sequence[Repository]) -> TaggedCopy | None:
        """Merge the signatures of both sides; None if they can't be merged, or the tag can't be changed."""
        try:
            held = (
                await fetch_manifest(self._target, self._target.repository.tagged(tag), scopes=self._scopes)
            ).manifest
            compared = await self._compare(held.manifest, found.manifest)
        except (errors.RegistryDenied, errors.SourceUnusable, errors.SourceNotFound):
            return None
        if compared is None or not isinstance(held, ImageManifest):
            return None
        if not compared.found_alone:
            return TaggedCopy(held.manifest, ReferrerAction.PRESENT)
        joined = await self._merge(held, found.manifest) if compared.held_alone else None
        if compared.held_alone and joined is None:
            return None
        copy: TaggedCopy | None = None
        try:
            copy = await self._put(tag, found, holders, joined)
        except* (errors.RegistryRejected, errors.RegistryDenied):
            """Some registries have immutable tags."""
        return copy

    async def _compare(self, held: Manifest, found: Manifest) -> Comparison | None:
        return await self._target.state.parsers.run(compare_signatures, held.raw, found.raw)

    async def _merge(self, held: ImageManifest, found: Manifest) -> Signatures | None:
        limit = self._target.state.limits.config_bytes
        try:
            config = await fetch_blob(self._target, held.config, limit=limit)
            run = self._target.state.parsers.run
            return await run(merge_signatures, held.manifest.raw, found.raw, config)
        except (errors.SourceUnusable, errors.SourceNotFound):
            return None
