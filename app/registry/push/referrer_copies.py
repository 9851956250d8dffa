"""Copies what refers to a target's images behind them, and in turn what refers to that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from app.concurrency.singleflight import AsyncCache
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.reference import Repository
from app.oci.referrers import describe_referrer
from app.registry.auth.scope import pushing
from app.registry.content.manifests import is_present
from app.registry.content.referrers import list_referrers
from app.registry.push.blob_copies import BlobCopies
from app.registry.push.hands import Hands
from app.registry.push.model import PlacedReferrer, ReferrerAction
from app.registry.push.referrer_search import Referrer, ReferrerSearch
from app.registry.push.steps import StepName, Steps
from app.registry.repository import Remote

__all__ = ["ReferrerCopies"]


class _Placed(NamedTuple):
    """What came of a referrer, and whether the registry itself lists it by now."""

    referrer: Referrer
    action: ReferrerAction
    is_noted: bool


class ReferrerCopies:
    """Its blobs and, of an index, what it lists before each; then the list of those that it is one of."""

    def __init__(
        self, target: Remote, search: ReferrerSearch, blobs: BlobCopies, steps: Steps, hands: Hands
    ) -> None:
        self._target = target
        self._scopes = pushing(target.path)
        self._search = search
        self._blobs = blobs
        self._steps = steps
        self._hands = hands
        self._listed: AsyncCache[Digest, frozenset[Digest]] = AsyncCache()
        self._placed: list[PlacedReferrer] = []

    @property
    def placed(self) -> tuple[PlacedReferrer, ...]:
        return tuple(sorted(self._placed, key=lambda each: (each.subject, each.digest)))

    async def bring(self, subject: Digest, holders: Sequence[Repository], depth: int = 1) -> None:
        """What refers to a manifest in the first of `holders`; its blobs may be mounted from each of them."""
        if depth > self._target.services.limits.referrer_depth:
            return
        found = await self._search.of(holders[0], subject)
        self._steps.add(StepName.REFERRERS, total=len(found.referrers))
        async with asyncio.TaskGroup() as group:
            placing = [
                group.create_task(self._place(group, subject, each, holders)) for each in found.referrers
            ]
        placed = [task.result() for task in placing]
        await self._list(subject, [each.referrer for each in placed if not each.is_noted])
        self._tell(subject, placed, found.missing)
        async with asyncio.TaskGroup() as group:
            for each in found.referrers:
                group.create_task(self.bring(each.digest, holders, depth + 1))

    async def _place(
        self, group: asyncio.TaskGroup, subject: Digest, referrer: Referrer, holders: Sequence[Repository]
    ) -> _Placed:
        """One that is there is not for that in the list that readers ask for."""
        if await is_present(self._target, referrer.digest, scopes=self._scopes):
            if referrer.digest in await self._listed.get(subject, lambda: self._ask(subject)):
                return _Placed(referrer, ReferrerAction.PRESENT, is_noted=True)
        else:
            await self._bring_content(group, referrer, holders)
        mend = self._blobs.mender(group, holders[0], referrer.blobs)
        name = str(referrer.digest)
        is_noted = await self._hands.put_manifest(self._target, name, referrer.manifest, mend)
        return _Placed(referrer, ReferrerAction.PUT, is_noted)

    async def _bring_content(
        self, group: asyncio.TaskGroup, referrer: Referrer, holders: Sequence[Repository]
    ) -> None:
        for child in referrer.children:
            if not await is_present(self._target, child.digest, scopes=self._scopes):
                await self._bring_content(group, child, holders)
                mend = self._blobs.mender(group, holders[0], child.blobs)
                await self._hands.place(self._target, child.manifest, mend)
        for holder in holders:
            self._blobs.note_holder(holder, referrer.blobs)
        await self._blobs.bring(group, holders[0], referrer.blobs)

    async def _ask(self, subject: Digest) -> frozenset[Digest]:
        listed = await list_referrers(self._target, subject, scopes=self._scopes)
        return frozenset(descriptor.digest for descriptor in listed)

    async def _list(self, subject: Digest, unlisted: Sequence[Referrer]) -> None:
        if unlisted:
            described = [describe_referrer(each.parsed, each.digest) for each in unlisted]
            await self._hands.list_in_tag(self._target, subject, described)

    def _tell(self, subject: Digest, placed: Sequence[_Placed], missing: Sequence[Descriptor]) -> None:
        for each in placed:
            described = describe_referrer(each.referrer.parsed, each.referrer.digest)
            self._note(subject, described, each.action)
            self._steps.finish(StepName.REFERRERS, str(described.digest), each.action)
        for described in missing:
            self._note(subject, described, ReferrerAction.MISSING)

    def _note(self, subject: Digest, described: Descriptor, action: ReferrerAction) -> None:
        self._placed.append(PlacedReferrer(subject, described.digest, described.artifact_type, action))
