"""What refers to the images of a push: looked for once for all targets, and no more than a push may bring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from app import errors
from app.concurrency.singleflight import AsyncCache
from app.oci import media_types
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import ImageManifest, Index, Manifest
from app.oci.reference import Repository
from app.oci.text import shown
from app.registry.content.manifests import fetch_manifest
from app.registry.content.referrers import list_referrers
from app.registry.limits import Limits
from app.registry.repository import Remote

__all__ = ["Found", "Referrer", "ReferrerSearch"]

_DEEPEST_NESTING = 2


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that refers to another, or that such an index lists, and what must be there before it."""

    manifest: Manifest
    parsed: ImageManifest | Index
    children: tuple[Referrer, ...] = ()

    @property
    def digest(self) -> Digest:
        return self.manifest.digest

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return self.parsed.copyable_blobs if isinstance(self.parsed, ImageManifest) else ()


@dataclass(frozen=True, slots=True)
class Found:
    """What refers to one manifest; `missing` is listed there, and gone."""

    referrers: tuple[Referrer, ...] = ()
    missing: tuple[Descriptor, ...] = ()


class ReferrerSearch:
    """Each is fetched and looked into: what does not itself say that it refers to the subject is left out.

    Since a manifest names its subject by digest, none can be found below itself.
    """

    def __init__(self, remote_of: Callable[[Repository], Remote], limits: Limits) -> None:
        self._remote_of = remote_of
        self._limits = limits
        self._found: AsyncCache[tuple[Repository, Digest], Found] = AsyncCache()
        self._count = 0
        self._kept_bytes = 0
        self._bytes = 0

    async def of(self, source: Repository, subject: Digest) -> Found:
        return await self._found.get((source, subject), lambda: self._find(source, subject))

    async def _find(self, source: Repository, subject: Digest) -> Found:
        remote = self._remote_of(source)
        listed = await list_referrers(remote, subject)
        self._count_in(remote, len(listed))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._fetch_if_there(remote, each)) for each in listed]
        fetched = [task.result() for task in tasks]
        return Found(
            referrers=tuple(each for each in fetched if each is not None and _refers(each, subject)),
            missing=tuple(each for each, got in zip(listed, fetched, strict=True) if got is None),
        )

    async def _fetch_if_there(self, remote: Remote, listed: Descriptor) -> Referrer | None:
        """Lists that are kept in a tag know nothing of what was deleted."""
        try:
            manifest, parsed = await self._fetch(remote, listed)
        except errors.SourceNotFound:
            return None
        return await self._with_children(remote, manifest, parsed, nesting=0)

    async def _fetch(self, remote: Remote, listed: Descriptor) -> tuple[Manifest, ImageManifest | Index]:
        reference = remote.repository.at(listed.digest)
        if listed.media_type not in media_types.MANIFEST_TYPES:
            raise errors.SourceUnsupported(
                f'{reference} refers to an image, and is of the media type "{shown(listed.media_type)}", '
                "which is not copied",
                **remote.context(reference).members,
            )
        parsed = (await fetch_manifest(remote, reference)).manifest
        blobs = parsed.copyable_blobs if isinstance(parsed, ImageManifest) else ()
        self._weigh(remote, parsed.manifest.size, blobs)
        return replace(parsed.manifest, digest=listed.digest), parsed

    async def _with_children(
        self, remote: Remote, manifest: Manifest, parsed: ImageManifest | Index, *, nesting: int
    ) -> Referrer:
        if isinstance(parsed, ImageManifest):
            return Referrer(manifest, parsed)
        if nesting >= _DEEPEST_NESTING:
            reference = remote.repository.at(manifest.digest)
            raise errors.SourceUnsupported(
                f"{reference} is nested too deeply in an index", **remote.context(reference).members
            )
        self._count_in(remote, len(parsed.manifests))

        async def bring(listed: Descriptor) -> Referrer:
            return await self._with_children(remote, *await self._fetch(remote, listed), nesting=nesting + 1)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bring(each)) for each in parsed.manifests]
        return Referrer(manifest, parsed, tuple(task.result() for task in tasks))

    def _count_in(self, remote: Remote, more: int) -> None:
        self._count += more
        if self._count > self._limits.referrers:
            raise self._too_much(remote, f"{self._limits.referrers} manifests")

    def _weigh(self, remote: Remote, size: int, blobs: Iterable[Descriptor]) -> None:
        self._kept_bytes += size
        self._bytes += size + sum(blob.size for blob in blobs)
        if self._kept_bytes > self._limits.referrer_manifest_bytes:
            raise self._too_much(remote, f"{self._limits.referrer_manifest_bytes} bytes of manifests")
        if self._bytes > self._limits.referrer_bytes:
            raise self._too_much(remote, f"{self._limits.referrer_bytes} bytes")

    def _too_much(self, remote: Remote, limit: str) -> errors.SourceTooLarge:
        return errors.SourceTooLarge(
            f"more refers to the images of {remote.repository} than one push brings, which is {limit}",
            **remote.context().members,
        )


def _refers(referrer: Referrer, subject: Digest) -> bool:
    named = referrer.parsed.subject
    return named is not None and named.digest == subject
