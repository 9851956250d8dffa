"""One target of a push: all that must be there before its tags move, and then the tags."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from app import errors
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Reference, Repository
from app.registry.auth.access import Access
from app.registry.auth.scope import pushing
from app.registry.client import RegistryClient
from app.registry.content.manifests import find_manifest, read_manifest
from app.registry.push.blob_copies import BlobCopies
from app.registry.push.children import Children
from app.registry.push.hands import Hands
from app.registry.push.index_puts import IndexPuts
from app.registry.push.model import CopyChild, CopyResult, CopyTarget, PlacedReferrer, Survey, TagAction
from app.registry.push.referrer_copies import ReferrerCopies
from app.registry.push.referrer_search import ReferrerSearch
from app.registry.push.shelf import Shelf
from app.registry.push.steps import Step, StepName, Steps
from app.registry.repository import Remote

__all__ = ["Cargo", "OnProgress", "Stage", "build_stages", "remotes_for"]

OnProgress = Callable[[Repository, Step], None]


@dataclass(frozen=True, slots=True)
class Cargo:
    """What goes to all targets, on whose behalf, and by which hands.

    `looks` says whether what tags hold is read while the cargo is brought, and what is read of it lies on the
    `shelf`; with a `search` comes what refers to the children.
    """

    client: RegistryClient
    children: Sequence[CopyChild]
    access: Access
    hands: Hands
    shelf: Shelf
    looks: bool = True
    search: ReferrerSearch | None = None


def remotes_for(
    client: RegistryClient, access: Access, targets: Sequence[CopyTarget]
) -> Callable[[Repository], Remote]:
    """For what a push reads: insecure ways are asked for its targets, and for no other registry."""
    registries = {target.repository.registry for target in targets}

    def remote_of(source: Repository) -> Remote:
        return client.remote(source, client.access_at(source.registry, access, registries))

    return remote_of


def build_stages(cargo: Cargo, targets: Sequence[CopyTarget], on_progress: OnProgress) -> list[Stage]:
    stages: list[Stage] = []
    remote_of = remotes_for(cargo.client, cargo.access, targets)
    for target in targets:
        here = target.repository
        stage = Stage(
            cargo,
            target,
            partial(on_progress, here),
            remote_of=remote_of,
            first=next((each for each in stages if each.registry == here.registry), None),
            by_digest=sum(len(each.tags) for each in targets) > 1,
        )
        stages.append(stage)
    return stages


class Stage:
    """What it is told to do, `copy.push` orders among all targets.

    `first` is the first stage on the same registry, where this is another; `by_digest` says whether the index
    is put under its digest before any tag.
    """

    def __init__(
        self,
        cargo: Cargo,
        target: CopyTarget,
        on_step: Callable[[Step], None],
        *,
        remote_of: Callable[[Repository], Remote],
        first: Stage | None,
        by_digest: bool,
    ) -> None:
        self.target = target
        self._looks = cargo.looks
        self._by_digest = by_digest
        here = target.repository
        self._remote = remote_of(here)
        self._scopes = pushing(here.path)
        self._steps = Steps(on_step)
        self._blobs = BlobCopies(
            self._remote,
            self._steps,
            remote_of,
            cargo.hands,
        )
        self._referrers = (
            ReferrerCopies(self._remote, cargo.search, self._blobs, self._steps, cargo.hands)
            if cargo.search is not None
            else None
        )
        self.children: Children = Children(
            self._remote,
            cargo.children,
            self._blobs,
            self._steps,
            cargo.hands,
            first=first.children if first else None,
            referrers=self._referrers,
        )
        self._index = IndexPuts(self._remote, target.index, self.children.mend)
        self._steps.add(StepName.TAGS, total=max(1, len(target.tags)))
        self._held: dict[str, Digest | None] = {}
        self._shelf = cargo.shelf
        self._looked_at = 0.0
        self._became: dict[str, TagAction] = {}

    @property
    def registry(self) -> str:
        return self.target.repository.registry

    async def bring(self) -> None:
        """All that the index lists."""
        async with asyncio.TaskGroup() as group:
            if self._looks:
                group.create_task(self._look())
            self.children.place(group)

    async def prepare(self) -> None:
        """Everything but the tags: children first, and the index under its digest where that is wanted.

        So where there are several tags, since all can only lead to the same bytes then, and where there is
        none.
        """
        await self.bring()
        if self._by_digest or not self.target.tags:
            await self._index.put(str(self.target.index.digest))
        if not self.target.tags:
            self._steps.finish(StepName.TAGS, str(self.target.index.digest), TagAction.MOVED)

    async def look_again(self) -> None:
        """What other targets took may be long enough for this one's children to be collected."""
        await self.children.look_again()

    async def read_tags(self, *, strictly: bool) -> None:
        """What the tags hold right now, if that is asked for or what is known of it is old.

        By now the children are there, and others may have pushed.
        """
        age = asyncio.get_running_loop().time() - self._looked_at
        if not (strictly or age > self._remote.services.limits.held_seconds):
            return
        async with asyncio.TaskGroup() as group:
            for tag in self.target.tags:
                group.create_task(self._read(tag, strictly=strictly))

    @property
    def held(self) -> Mapping[Reference, Digest | None]:
        return {self.target.repository.tagged(tag): digest for tag, digest in self._held_in_order.items()}

    def moves(self, left: Collection[Reference]) -> list[Coroutine[None, None, None]]:
        """The move of each tag but those that are left, of which it is told."""
        moves = []
        for tag in self.target.tags:
            if self.target.repository.tagged(tag) in left:
                self._finish(tag, TagAction.LEFT)
            else:
                moves.append(self._move(tag))
        return moves

    @property
    def result(self) -> CopyResult:
        return CopyResult(
            manifests=self.children.placed,
            blobs=self._blobs.counts,
            previous=self._held_in_order,
            tags={tag: self._became[tag] for tag in self.target.tags},
            referrers=self._placed_referrers,
        )

    @property
    def survey(self) -> Survey:
        return Survey(
            manifests=self.children.placed,
            blobs=self._blobs.brought,
            counts=self._blobs.counts,
            held=self._held_in_order,
            read=self._shelf.manifests,
            referrers=self._placed_referrers,
        )

    @property
    def _held_in_order(self) -> dict[str, Digest | None]:
        return {tag: self._held[tag] for tag in self.target.tags}

    @property
    def _placed_referrers(self) -> tuple[PlacedReferrer, ...]:
        return self._referrers.placed if self._referrers is not None else ()

    async def _look(self) -> None:
        async with asyncio.TaskGroup() as group:
            for tag in self.target.tags:
                group.create_task(self._find(tag))
        self._looked_at = asyncio.get_running_loop().time()

    async def _find(self, tag: str) -> None:
        reference = self.target.repository.tagged(tag)
        self._held[tag] = None
        # Some registries say this of a tag that does not exist; the PUT will show whether it is meant.
        with contextlib.suppress(errors.RegistryDenied):
            self._note(tag, await find_manifest(self._remote, reference, scopes=self._scopes))

    async def _read(self, tag: str, *, strictly: bool) -> None:
        try:
            self._note(tag, await read_manifest(self._remote, tag, scopes=self._scopes))
        except errors.RegistryDenied:
            # It was so when it was looked at, and is taken for the same.
            if strictly:
                raise

    def _note(self, tag: str, found: Descriptor | Manifest | None) -> None:
        self._held[tag] = None if found is None else found.digest
        if isinstance(found, Manifest):
            self._shelf.put(found)

    async def _move(self, tag: str) -> None:
        await self._index.put(tag)
        self._finish(tag, TagAction.MOVED)

    def _finish(self, tag: str, action: TagAction) -> None:
        self._became[tag] = action
        self._steps.finish(StepName.TAGS, tag, action)
