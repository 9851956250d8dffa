"""The guard of a push: before tags move, it checks conditions, newer runs, and lost platforms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from app.errors import (
    BrokerError,
    DigestMismatch,
    PlatformsLost,
    SourceNotFound,
    SourceTooLarge,
    SourceUnusable,
    Superseded,
    TagMoved,
    TagUnreadable,
)
from app.lists.difference import Choices, Difference, choices, compare
from app.lists.push_plan import ALWAYS, PushPlan
from app.oci.digest import Digest
from app.oci.manifest import Index, Manifest, parse_manifest
from app.oci.media_types import is_index
from app.oci.reference import Reference
from app.registry.client import Access, RegistryClient
from app.registry.content.manifests import UNREADABLE
from app.registry.push.held_tags import unreadable
from app.registry.push.model import TagSnapshot
from app.services.lists.resolve import MAX_DEPTH
from app.services.source_reader import Reader
from app.store.database import Database
from app.store.heads import TagHead, load_heads


@dataclass(frozen=True, slots=True)
class GuardedPush:
    """The push that a guard decides about, or a planned one."""

    project_id: UUID
    list_id: UUID | None
    reference: Reference
    plan: PushPlan


@dataclass(frozen=True, slots=True)
class Decision:
    """The tags to leave, the difference for each tag that changes, and the error that refuses the push.

    `unread` tags could not be read, so the platforms that they would lose are unknown.
    """

    left: Collection[Reference] = ()
    differences: Mapping[Reference, Difference] = field(default_factory=dict)
    refusal: BrokerError | None = None
    unread: Collection[Reference] = ()


_MOST_NESTED = 16


class PushGuard:
    """Refuses effects without consent: overwriting a newer run, removing platforms, overwriting blindly."""

    def __init__(self, database: Database, client: RegistryClient, access: Access, push: GuardedPush) -> None:
        self._database = database
        self._client = client
        self._access = access
        self._push = push
        self._plan = push.plan

    async def decide(self, held: TagSnapshot) -> Decision:
        """Decide which tags may move; a refusal is TagMoved, Superseded, TagUnreadable or PlatformsLost."""
        # An interrupted attempt may have moved some tags already.
        own = self._plan.index.digest
        others = {at: digest for at, digest in held.digests.items() if digest != own}
        replaced = {at: digest for at, digest in others.items() if digest is not None}
        try:
            for reference, digest in others.items():
                self._check_conditions(reference, digest, held)
            left = await self._superseded(others)
        except (TagMoved, Superseded, TagUnreadable) as error:
            return Decision(refusal=error, unread=tuple(held.unread))
        moving = {at: digest for at, digest in replaced.items() if at not in left}
        differences, unread = await self._differences(moving, held.manifests)
        unread = {at: error for at, error in held.unread.items() if at not in left} | unread
        if unread and not self._plan.consent.unverified:
            refusal: BrokerError | None = next(iter(unread.values()))
        else:
            refusal = None if self._plan.consent.shrink else _loss(differences)
        return Decision(left, differences, refusal, tuple(unread))

    def _check_conditions(self, reference: Reference, digest: Digest | None, held: TagSnapshot) -> None:
        """Check the conditions of the plan; a tag that could not be read never meets one."""
        if reference in held.unread and self._plan.conditions != ALWAYS:
            raise held.unread[reference]
        self._plan.conditions.check(str(reference), digest)

    async def _superseded(self, others: Collection[Reference]) -> Collection[Reference]:
        """The tags to leave to newer runs; raises Superseded if the list's own tag is among them.

        The check includes tags without a digest: they may have been deleted since, or may be unreadable.
        """
        if self._plan.consent.older or not others:
            return ()
        async with self._database.transaction(self._push.project_id) as tx:
            heads = await load_heads(tx, self._push.project_id, others)
        newer = {
            reference: head
            for reference in others
            if (head := heads.get(reference)) is not None and self._is_newer(head)
        }
        own = [reference for reference in newer if reference == self._push.reference]
        if own or len(newer) == len(self._tags):
            reference = (own or list(newer))[0]
            raise _superseded(reference, newer[reference])
        return tuple(newer)

    def _is_newer(self, head: TagHead) -> bool:
        is_own = head.list_id is not None and head.list_id == self._push.list_id
        return not is_own and self._plan.order.is_older_than(head.order)

    @property
    def _tags(self) -> list[Reference]:
        return [target.repository.tagged(tag) for target in self._plan.targets for tag in target.tags]

    async def _differences(
        self, replaced: Mapping[Reference, Digest], known: Mapping[Digest, Manifest]
    ) -> tuple[dict[Reference, Difference], dict[Reference, TagUnreadable]]:
        """The difference for each tag, or the error for each whose content could not be read."""
        if not replaced:
            return {}, {}
        # Several tags of a repository often have the same digest.
        distinct = {at.repository.at(digest) for at, digest in replaced.items()}
        registries = {target.repository.registry for target in self._plan.targets}
        reader = Reader(self._client, self._access, among=registries, known=known)
        after = await self._choices_after()
        found: dict[Reference, Difference] = {}
        unread: dict[Reference, BrokerError] = {}
        for at in sorted(distinct):
            try:
                found[at] = compare(await _choices(reader, at), after)
            except (*UNREADABLE, SourceTooLarge, DigestMismatch) as error:
                unread[at] = error
        held = {at: at.repository.at(digest) for at, digest in replaced.items()}
        return (
            {at: found[manifest] for at, manifest in held.items() if manifest in found},
            {
                at: unreadable(str(at), unread[manifest])
                for at, manifest in held.items()
                if manifest in unread
            },
        )

    async def _choices_after(self) -> Choices:
        if self._plan.choices:
            return dict(reversed(self._plan.choices))
        index = self._plan.index
        new = await self._client.parse(parse_manifest, index.raw, index.media_type)
        return choices(new.manifests) if isinstance(new, Index) else {}


async def _choices(reader: Reader, reference: Reference, described: str = "", depth: int = 1) -> Choices:
    """The images that readers may choose from now; artifacts and deleted images do not count."""
    try:
        found = await reader.manifest(reference, described)
        if isinstance(found, Index):
            return await _choices_of(reader, reference, found, depth)
        if found.is_artifact:
            return {}
        config = await reader.image_config(reference.repository, found.config)
    except (SourceTooLarge, DigestMismatch):
        # There may be an image, which other clients read.
        raise
    except (SourceUnusable, SourceNotFound):
        return {}
    platform = config.platform
    return {platform: found.manifest.digest} if platform.os or platform.architecture else {}


async def _choices_of(reader: Reader, reference: Reference, index: Index, depth: int) -> Choices:
    """The choices in an index and its nested indexes, down to the depth that sources may have."""
    found = dict(choices(index.manifests))
    nested = [each for each in index.manifests if is_index(each.media_type)]
    for each in nested[:_MOST_NESTED] if depth < MAX_DEPTH else ():
        inner = await _choices(reader, reference.repository.at(each.digest), each.media_type, depth + 1)
        found = {**inner, **found}
    return found


def _loss(differences: Mapping[Reference, Difference]) -> PlatformsLost | None:
    for reference, difference in differences.items():
        if difference.removed:
            lost = [platform.full_name for platform in difference.removed]
            return PlatformsLost(
                f"{reference} has {', '.join(lost)}, which this push would remove. Add these platforms, or "
                "set allow_shrink.",
                reference=str(reference),
                platforms=lost,
            )
    return None


def _superseded(reference: Reference, head: TagHead) -> Superseded:
    number = f" (number {head.order.number})" if head.order.number is not None else ""
    return Superseded(
        f"A newer run{number} has already pushed {reference}. Set allow_older to overwrite it.",
        reference=str(reference),
        digest=str(head.digest),
        push_id=str(head.push_id),
        list_id=str(head.list_id) if head.list_id else None,
    )
