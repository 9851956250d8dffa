"""Push plans: each push is decided and stored before its first request."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.errors import ListNotPushable, TagMoved
from app.lists.assessment import Assessment
from app.lists.draft import Draft, find_counting
from app.lists.origins.copying import find_copied
from app.lists.origins.entry_order import in_order
from app.lists.run_order import RunOrder
from app.lists.targets import PushTarget, group_by_repository, own_references
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.platform import Platform
from app.oci.reference import Reference, Repository, canonical_name


@dataclass(frozen=True, slots=True)
class PushChild:
    """One manifest that a target must have before the index: its source and its exact identity."""

    reference: Reference
    digest: Digest
    media_type: str
    size: int

    @property
    def repository(self) -> Repository:
        return self.reference.repository


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions on the digest that every tag has when it moves; the default is no condition.

    At most one of the two is set.
    """

    if_absent: bool = False
    if_digest: Digest | None = None

    def check(self, reference: str, held: Digest | None) -> None:
        """Raises TagMoved if the tag does not meet the condition."""
        if self.if_absent and held is not None:
            raise TagMoved(f"{reference} already exists with {held}.", reference=reference)
        if self.if_digest is not None and held != self.if_digest:
            raise TagMoved(
                f"{reference} holds {held or 'nothing'}, not {self.if_digest}.", reference=reference
            )


ALWAYS = Conditions()
# The order of plans that were stored before runs had one: older than every other.
FIRST = RunOrder(datetime.min.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Consent:
    """Risky effects that a push may have; each is off by default."""

    shrink: bool = False
    """Remove platforms from a tag."""
    older: bool = False
    """Overwrite the tag of a newer run."""
    unverified: bool = False
    """Move a tag that can't be read."""


NONE = Consent()


@dataclass(frozen=True, slots=True)
class PushPlan:
    """The bytes of the index, the manifests that it lists in order, and the targets.

    `missing_platforms` are expected platforms that the list lacks. With `referrers`, the push also copies
    referrers to other repositories. `choices` are the images that clients may select where the index does not
    list them directly: where the content is a single image, or has nested indexes. `origins` are the source
    indexes of a new index, by digest.
    """

    index: Manifest
    children: tuple[PushChild, ...]
    targets: tuple[PushTarget, ...]
    order: RunOrder
    conditions: Conditions = ALWAYS
    consent: Consent = NONE
    referrers: bool = False
    missing_platforms: tuple[str, ...] = ()
    choices: tuple[tuple[Platform, Digest], ...] = ()
    origins: tuple[Reference, ...] = ()

    @property
    def references(self) -> tuple[Reference, ...]:
        """The references that will lead to the index."""
        return tuple(name for target in self.targets for name in target.references(self.index.digest))

    @property
    def keys(self) -> tuple[str, ...]:
        """Lock keys, one for each tag under its registry's canonical name; no two pushes share one."""
        return tuple(dict.fromkeys(f"push:{canonical_name(str(name))}" for name in self.references))

    @property
    def registries(self) -> frozenset[str]:
        """The registries of all children and targets."""
        here = (child.repository.registry for child in self.children)
        return frozenset(here) | {target.repository.registry for target in self.targets}


def plan_push(
    draft: Draft,
    assessment: Assessment,
    now: datetime,
    *,
    targets: Sequence[Reference] = (),
    conditions: Conditions = ALWAYS,
    consent: Consent = NONE,
    referrers: bool = False,
) -> PushPlan:
    """Plan a push of the list to its own reference, its tags and targets, and the further `targets`.

    The options of the list add to `consent` and `referrers`. Raises ListNotPushable, which names each entry
    without a platform.
    """
    options = draft.options
    if isinstance(assessment.outcome, ListNotPushable):
        raise assessment.outcome
    return PushPlan(
        index=assessment.outcome,
        children=(*_entries(draft), *_nested(draft)),
        targets=group_by_repository([*own_references(draft), *targets]),
        order=RunOrder(draft.created_at if draft.session else now, options.run_number),
        conditions=conditions,
        consent=Consent(
            consent.shrink or options.allow_shrink,
            consent.older or options.allow_older,
            consent.unverified or options.allow_unverified,
        ),
        referrers=referrers or options.referrers,
        missing_platforms=tuple(platform.full_name for platform in assessment.missing_platforms),
        choices=_choices(draft),
        origins=_origins(draft),
    )


def _entries(draft: Draft) -> Iterator[PushChild]:
    for entry in in_order(draft):
        yield PushChild(entry.reference, entry.digest, entry.media_type, entry.size)


def _origins(draft: Draft) -> tuple[Reference, ...]:
    if find_copied(draft) is not None:
        return ()
    found = {
        entry.reference.repository.at(entry.listing.index): None
        for entry in in_order(draft)
        if entry.listing is not None
    }
    return tuple(found)


def _choices(draft: Draft) -> tuple[tuple[Platform, Digest], ...]:
    if find_copied(draft) is None:
        return ()
    images = [
        entry
        for entry in find_counting(in_order(draft))
        if entry.platform.os and not entry.platform.is_unknown
    ]
    is_flat = all(entry.listing is not None and not entry.listing.nested for entry in draft.entries)
    return () if is_flat else tuple((entry.platform, entry.digest) for entry in images)


def _nested(draft: Draft) -> Iterator[PushChild]:
    """The nested indexes of a copied index; a newly built list names their images itself."""
    copied = find_copied(draft)
    if copied is None:
        return
    listings = [entry.listing for entry in draft.entries if entry.listing is not None]
    nested = dict.fromkeys(index for listing in listings for index in listing.nested)
    for index in nested:
        yield PushChild(copied.repository.at(index.digest), index.digest, index.media_type, index.size)


def restored(
    plan: PushPlan,
    now: datetime,
    moved: Collection[Reference],
    conditions: Conditions = ALWAYS,
    *,
    allow_unverified: bool = False,
) -> PushPlan:
    """A plan that puts the same bytes on the tags that the push `moved`, regardless of their current digests.

    It counts as the newest run from the moment of the request.
    """
    order, consent = RunOrder(now), Consent(shrink=True, older=True, unverified=allow_unverified)
    targets = tuple(kept for target in plan.targets if (kept := _only(target, plan.index, moved)) is not None)
    return replace(plan, targets=targets, order=order, conditions=conditions, consent=consent)


def _only(target: PushTarget, index: Manifest, moved: Collection[Reference]) -> PushTarget | None:
    if not target.tags:
        return target if set(target.references(index.digest)) <= set(moved) else None
    tags = tuple(tag for tag in target.tags if target.repository.tagged(tag) in moved)
    return PushTarget(target.repository, tags) if tags else None
