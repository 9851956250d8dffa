"""Searches the referrers of a push's images. One search serves all targets, up to a limit per push."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from app import errors
from app.concurrency.singleflight import AsyncCache
from app.oci import media_types
from app.oci.cosign import cosign_tags
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import ImageManifest, Index, Manifest
from app.oci.reference import Reference, Repository
from app.oci.text import shown
from app.registry.auth.scope import pulling
from app.registry.content.absence import is_absent
from app.registry.content.manifests import fetch_manifest, is_present, read_digest
from app.registry.content.referrers import list_referrers
from app.registry.limits import Limits
from app.registry.repository import RemoteRepository

__all__ = ["FoundReferrers", "Referrer", "ReferrerSearch"]

_DEEPEST_NESTING = 2


@dataclass(frozen=True, slots=True)
class Referrer:
    """A referrer, or a manifest that a referring index lists, with the manifests that must precede it."""

    manifest: Manifest
    parsed: ImageManifest | Index
    children: tuple[Referrer, ...] = ()

    @property
    def digest(self) -> Digest:
        return self.manifest.digest

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return _blobs_of(self.parsed)


@dataclass(frozen=True, slots=True)
class FoundReferrers:
    """The referrers of one manifest; `missing` are listed but no longer exist."""

    referrers: tuple[Referrer, ...] = ()
    missing: tuple[Descriptor, ...] = ()


class ReferrerSearch:
    """Fetches each listed referrer, and drops manifests that do not name the subject themselves.

    A manifest names its subject by digest, so the search can't run in circles.
    """

    def __init__(self, remote_of: Callable[[Repository], RemoteRepository], limits: Limits) -> None:
        self._remote_of = remote_of
        self._limits = limits
        self._found: AsyncCache[tuple[Repository, Digest], FoundReferrers] = AsyncCache()
        self._existing: AsyncCache[tuple[Repository, Digest], bool] = AsyncCache()
        self._tagged: AsyncCache[Reference, Referrer | None] = AsyncCache()
        self._names: AsyncCache[Reference, tuple[Reference, ...]] = AsyncCache()
        self._count = 0
        self._kept_bytes = 0
        self._bytes = 0

    async def of(self, source: Repository, subject: Digest) -> FoundReferrers:
        return await self._found.get((source, subject), lambda: self._find(source, subject))

    async def under(self, reference: Reference) -> Referrer | None:
        """The manifest under a tag that refers to its subject by name alone; None without such a tag."""
        return await self._tagged.get(reference, lambda: self._find_under(reference))

    async def exists(self, source: Repository, digest: Digest) -> bool:
        remote = self._remote_of(source)
        return await self._existing.get(
            (source, digest), lambda: is_present(remote, digest, scopes=pulling(remote.path))
        )

    async def names_of(self, subject: Reference) -> tuple[Reference, ...]:
        """The names of all referrers of a manifest, which is given by digest."""
        return await self._names.get(subject, lambda: self._find_names(subject))

    async def _find_names(self, subject: Reference) -> tuple[Reference, ...]:
        source, digest = subject.repository, subject.digest
        if digest is None:
            return ()
        remote = self._remote_of(source)
        listed = await list_referrers(remote, digest)
        tags = [
            tag
            for tag in cosign_tags(digest)
            if await read_digest(remote, tag, scopes=pulling(remote.path)) is not None
        ]
        return (*(source.at(each.digest) for each in listed), *map(source.tagged, tags))

    async def _find_under(self, reference: Reference) -> Referrer | None:
        remote = self._remote_of(reference.repository)
        try:
            parsed = (await fetch_manifest(remote, reference)).manifest
        except errors.SourceNotFound:
            return None
        except errors.RegistryDenied:
            # The images of that repository have been read.
            tag, scopes = str(reference.tag), pulling(remote.path)
            if await is_absent(remote, tag, scopes=scopes, can_read=True):
                return None
            raise
        self._count_in(remote, 1)
        self._weigh(remote, parsed.manifest.size, _blobs_of(parsed))
        return await self._with_children(remote, parsed.manifest, parsed, nesting=0)

    async def _find(self, source: Repository, subject: Digest) -> FoundReferrers:
        remote = self._remote_of(source)
        listed = await list_referrers(remote, subject)
        self._count_in(remote, len(listed))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._fetch_if_there(remote, each)) for each in listed]
        fetched = [task.result() for task in tasks]
        return FoundReferrers(
            referrers=tuple(each for each in fetched if each is not None and _refers(each, subject)),
            missing=tuple(each for each, got in zip(listed, fetched, strict=True) if got is None),
        )

    async def _fetch_if_there(self, remote: RemoteRepository, listed: Descriptor) -> Referrer | None:
        """Fetch a listed referrer; None if it was deleted, since a referrers tag keeps deleted entries."""
        try:
            manifest, parsed = await self._fetch(remote, listed)
        except errors.SourceNotFound:
            return None
        return await self._with_children(remote, manifest, parsed, nesting=0)

    async def _fetch(
        self, remote: RemoteRepository, listed: Descriptor
    ) -> tuple[Manifest, ImageManifest | Index]:
        reference = remote.repository.at(listed.digest)
        if listed.media_type not in media_types.MANIFEST_TYPES:
            raise errors.SourceUnsupported(
                f'{reference} refers to an image and has the media type "{shown(listed.media_type)}", '
                "which the broker does not copy.",
                **remote.context(reference).members,
            )
        parsed = (await fetch_manifest(remote, reference, described=listed.media_type)).manifest
        self._weigh(remote, parsed.manifest.size, _blobs_of(parsed))
        return replace(parsed.manifest, digest=listed.digest), parsed

    async def _with_children(
        self, remote: RemoteRepository, manifest: Manifest, parsed: ImageManifest | Index, *, nesting: int
    ) -> Referrer:
        if isinstance(parsed, ImageManifest):
            return Referrer(manifest, parsed)
        if nesting >= _DEEPEST_NESTING:
            reference = remote.repository.at(manifest.digest)
            raise errors.SourceUnsupported(
                f"{reference} is nested too deeply in an index.", **remote.context(reference).members
            )
        self._count_in(remote, len(parsed.manifests))

        async def look_into(listed: Descriptor) -> Referrer:
            return await self._with_children(remote, *await self._fetch(remote, listed), nesting=nesting + 1)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(look_into(each)) for each in parsed.manifests]
        return Referrer(manifest, parsed, tuple(task.result() for task in tasks))

    def _count_in(self, remote: RemoteRepository, more: int) -> None:
        self._count += more
        if self._count > self._limits.referrers:
            raise self._too_much(remote, f"{self._limits.referrers} manifests")

    def _weigh(self, remote: RemoteRepository, size: int, blobs: Iterable[Descriptor]) -> None:
        self._kept_bytes += size
        self._bytes += size + sum(blob.size for blob in blobs)
        if self._kept_bytes > self._limits.referrer_manifest_bytes:
            raise self._too_much(remote, f"{self._limits.referrer_manifest_bytes} bytes of manifests")
        if self._bytes > self._limits.referrer_bytes:
            raise self._too_much(remote, f"{self._limits.referrer_bytes} bytes")

    def _too_much(self, remote: RemoteRepository, limit: str) -> errors.SourceTooLarge:
        return errors.SourceTooLarge(
            f"The images of {remote.repository} have too many referrers for one push; the limit is {limit}.",
            **remote.context().members,
        )


def _blobs_of(parsed: ImageManifest | Index) -> tuple[Descriptor, ...]:
    return parsed.copyable_blobs if isinstance(parsed, ImageManifest) else ()


def _refers(referrer: Referrer, subject: Digest) -> bool:
    named = referrer.parsed.subject
    return named is not None and named.digest == subject
