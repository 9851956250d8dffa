"""Reads the current content of a target's tags before a push moves them.

A denial is inconclusive. Some registries deny access to tags that do not exist. Others deny reads of existing
tags, or report them as missing. This module tells these cases apart. A tag that stays in doubt counts as
unread, never as absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.registry.auth.scope import pushing
from app.registry.content.absence import is_absent, is_listed
from app.registry.content.manifests import (
    UNREADABLE,
    Unreadable,
    find_manifest,
    named,
    read_digest,
    read_manifest,
)
from app.registry.push.settle import wait
from app.registry.repository import RemoteRepository

__all__ = ["HeldTags", "ManifestCache", "unreadable"]


class ManifestCache:
    """Keeps manifests that the push reads and needs again later, up to a size in bytes.

    The limit is fixed, so that no registry decides how much memory a push needs.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        self._manifests: dict[Digest, Manifest] = {}

    @property
    def manifests(self) -> Mapping[Digest, Manifest]:
        return MappingProxyType(self._manifests)

    def add(self, manifest: Manifest) -> None:
        if manifest.digest not in self._manifests and manifest.size <= self._left:
            self._left -= manifest.size
            self._manifests[manifest.digest] = manifest


class HeldTags:
    """Reads the tags of one target: a digest, None for a tag that does not exist, or a denial."""

    def __init__(self, remote: RemoteRepository, tags: Sequence[str], cache: ManifestCache) -> None:
        self._remote = remote
        self._scopes = pushing(remote.path)
        self._tags = tags
        self._cache = cache
        self._digests: dict[str, Digest | None] = {}
        self._denials: dict[str, Unreadable] = {}
        self._read_at = 0.0
        self.shows: bool | None = None
        """Whether the registry shows a manifest that it has just accepted; None if that was not tested."""
        self._is_planned = False

    @property
    def digests(self) -> Mapping[str, Digest | None]:
        """By tag, in order; None for a tag that does not exist or that is unread."""
        return {tag: self._digests[tag] for tag in self._tags}

    @property
    def unread(self) -> Mapping[str, errors.TagUnreadable]:
        """The tags that may exist although the registry does not show them."""
        explain = unread_in_plan if self._is_planned else unreadable
        return {
            tag: explain(named(self._remote, tag), self._denials[tag])
            for tag in self._tags
            if tag in self._denials
        }

    @property
    def _missing(self) -> list[str]:
        return [tag for tag in self._tags if self._digests[tag] is None and tag not in self._denials]

    async def find(self) -> None:
        """Read all tags, while the children are copied."""
        async with asyncio.TaskGroup() as group:
            for tag in self._tags:
                group.create_task(self._find(tag))
        self._read_at = asyncio.get_running_loop().time()

    async def test_reading(self, witness: Digest) -> None:
        """If all tags are missing, test whether the registry shows a manifest that it has just accepted."""
        if self._missing and len(self._missing) == len(self._tags):
            self.shows = await self._is_shown(witness)

    async def settle(self, *, is_strict: bool, witness: Digest | None, was_seen: bool) -> None:
        """Read tags again if that is required, or if they were denied or were read long ago.

        By now the children have arrived, so the repository exists, and others may have pushed meanwhile.
        `witness` is a manifest that is in the repository; `was_seen` means that the registry has shown one.
        """
        age = asyncio.get_running_loop().time() - self._read_at
        is_old = is_strict or age > self._remote.state.limits.snapshot_seconds
        async with asyncio.TaskGroup() as group:
            for tag in self._tags:
                if is_old or tag in self._denials:
                    group.create_task(self._read(tag))
        if witness is not None and not was_seen:
            if self.shows is None:
                await self.test_reading(witness)
            if self.shows is False:
                self._doubt(witness)
                return
        await self.judge(is_strict=is_strict, witness=witness)

    async def judge_plan(self, witness: Digest | None) -> None:
        """Decide which denied tags do not exist. A dry run needs this, because it puts no witness itself."""
        self._is_planned = witness is None
        await self.judge(is_strict=False, witness=witness)
        for tag in self._missing if witness is None else ():
            if await is_listed(self._remote, tag, scopes=self._scopes):
                self._deny(tag, _hidden(self._remote, tag, "although its list of tags has it"))

    async def judge(self, *, is_strict: bool, witness: Digest | None) -> None:
        """Decide which of the denied tags do not exist."""
        if not self._denials:
            return
        can_read = witness is not None and await self._can_read(witness)
        if witness is not None and not can_read:
            # A credential that reads nothing in the repository proves nothing.
            return
        for tag in list(self._denials):
            # A condition on the tag rests on the list of tags alone.
            may_infer = can_read and not is_strict
            if await is_absent(self._remote, tag, scopes=self._scopes, can_read=may_infer):
                del self._denials[tag]

    async def _find(self, tag: str) -> None:
        reference = self._remote.repository.tagged(tag)
        try:
            self._record(tag, await find_manifest(self._remote, reference, scopes=self._scopes))
        except UNREADABLE as denial:
            self._deny(tag, denial)

    async def _read(self, tag: str) -> None:
        try:
            self._record(tag, await read_manifest(self._remote, tag, scopes=self._scopes))
        except UNREADABLE as denial:
            self._deny(tag, denial)

    def _record(self, tag: str, found: Descriptor | Manifest | None) -> None:
        self._digests[tag] = None if found is None else found.digest
        self._denials.pop(tag, None)
        if isinstance(found, Manifest):
            self._cache.add(found)

    def _deny(self, tag: str, denial: Unreadable) -> None:
        self._digests[tag] = None
        self._denials[tag] = denial

    def _doubt(self, witness: Digest) -> None:
        """Treat missing tags as unread: the registry reports manifests as missing that it does have."""
        for tag in self._missing:
            self._deny(tag, _hidden(self._remote, tag, f"and to that of {witness}, which it has just taken"))

    async def _is_shown(self, witness: Digest) -> bool:
        """Whether the registry shows a manifest that it has. A replica may need a moment to catch up."""
        attempt = 1
        while True:
            try:
                at = self._remote.repository.at(witness)
                if await find_manifest(self._remote, at, scopes=self._scopes) is not None:
                    return True
            except UNREADABLE:
                return False
            if not await wait(attempt, may_pass=True, limits=self._remote.state.limits):
                return False
            attempt += 1

    async def _can_read(self, witness: Digest) -> bool:
        try:
            return await read_digest(self._remote, str(witness), scopes=self._scopes) == witness
        except errors.RegistryError:
            return False


def unreadable(reference: str, denial: errors.BrokerError) -> errors.TagUnreadable:
    """The refusal to move a tag that could not be read."""
    return _unreadable(
        reference,
        denial,
        "so the broker can't tell what this push would overwrite. Set allow_unverified to overwrite it "
        "unseen",
    )


def unread_in_plan(reference: str, denial: errors.BrokerError) -> errors.TagUnreadable:
    """The same error for a plan before its first write: some registries deny missing repositories."""
    return _unreadable(
        reference,
        denial,
        "and the broker can't tell whether it exists. If the repository or the tag is new, push: the broker "
        "looks again once the images are there, and moves a tag that is new. If the tag exists, the push is "
        "refused unless allow_unverified is set",
    )


def _unreadable(reference: str, denial: errors.BrokerError, meaning: str) -> errors.TagUnreadable:
    facts = ("registry", "upstream_status", "upstream_code")
    return errors.TagUnreadable(
        f"{reference} could not be read, {meaning}. {denial.detail}", reference=reference
    ).with_members(**{name: denial.members.get(name) for name in facts})


def _hidden(remote: RemoteRepository, tag: str, why: str) -> errors.RegistryDenied:
    context = remote.context(named(remote, tag))
    return errors.RegistryDenied(
        f"{remote.registry} answered 404 to the GET of {context}, {why}. Check that the credential may read "
        f"{remote.repository}.",
        **context.members,
        upstream_status=404,
    )
