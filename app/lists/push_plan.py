"""What a push will do, decided before it does it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from app.errors import FieldError, InvalidInput, ListNotPushable, TagMoved
from app.lists.draft import Draft
from app.lists.readiness import Severity, find_findings, is_pushable, missing_platforms
from app.lists.run_order import RunOrder, parse_order
from app.oci.digest import Digest, parse_digest
from app.oci.index import IndexEntry, build_index
from app.oci.manifest import Manifest
from app.oci.reference import Reference, Repository, canonical_name, parse_reference


@dataclass(frozen=True, slots=True)
class PushChild:
    """One manifest that must be there before the index: where it is now, and its exact identity."""

    reference: Reference
    digest: Digest
    media_type: str
    size: int

    @property
    def repository(self) -> Repository:
        return self.reference.repository

    def document(self) -> dict[str, object]:
        return {
            "reference": str(self.reference),
            "digest": str(self.digest),
            "media_type": self.media_type,
            "size": self.size,
        }


@dataclass(frozen=True, slots=True)
class PushTarget:
    """One repository and the tags there that the index goes under; without a tag it goes by digest alone."""

    repository: Repository
    tags: tuple[str, ...]

    def references(self, digest: Digest) -> tuple[str, ...]:
        """What a reader would ask for, tag by tag."""
        if not self.tags:
            return (f"{self.repository}@{digest}",)
        return tuple(f"{self.repository}:{tag}" for tag in self.tags)

    def document(self) -> dict[str, object]:
        return {"repository": str(self.repository), "tags": list(self.tags)}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What every tag must hold when it is moved; the default is no condition.

    Not more than one of the two is set.
    """

    if_absent: bool = False
    if_digest: Digest | None = None

    def check(self, reference: str, held: Digest | None) -> None:
        """Raises TagMoved when the tag does not hold what was expected."""
        if self.if_absent and held is not None:
            raise TagMoved(f"{reference} is there already, and holds {held}", reference=reference)
        if self.if_digest is not None and held != self.if_digest:
            raise TagMoved(
                f"{reference} holds {held or 'nothing'}, not {self.if_digest}", reference=reference
            )

    def document(self) -> dict[str, object]:
        return {"if_absent": self.if_absent, "if_digest": str(self.if_digest) if self.if_digest else None}


ALWAYS = Conditions()
# What was planned before runs had an order is older than all that was planned since.
FIRST = RunOrder(datetime.min.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Consent:
    """What a push may do although it is seldom meant; each is off until somebody says it."""

    shrink: bool = False
    """Take platforms from a tag."""
    older: bool = False
    """Overwrite what a newer run has put."""

    def document(self) -> dict[str, object]:
        return {"shrink": self.shrink, "older": self.older}


NONE = Consent()


@dataclass(frozen=True, slots=True)
class PushPlan:
    """The index's bytes, the manifests it lists in their order, and where all of it goes.

    `missing_platforms` are expected and not there; `referrers` go along to other repositories if asked.
    """

    index: Manifest
    children: tuple[PushChild, ...]
    targets: tuple[PushTarget, ...]
    order: RunOrder
    conditions: Conditions = ALWAYS
    consent: Consent = NONE
    referrers: bool = False
    missing_platforms: tuple[str, ...] = ()

    @property
    def references(self) -> frozenset[str]:
        """All that will lead to the index."""
        return frozenset(name for target in self.targets for name in target.references(self.index.digest))

    @property
    def keys(self) -> tuple[str, ...]:
        """What no other push may move at the same time, however its registry is spelled."""
        names = [name for target in self.targets for name in target.references(self.index.digest)]
        return tuple(dict.fromkeys(f"push:{canonical_name(name)}" for name in names))

    @property
    def registries(self) -> frozenset[str]:
        """All that it asks: where the manifests are, and where they go."""
        here = (child.repository.registry for child in self.children)
        return frozenset(here) | {target.repository.registry for target in self.targets}

    def document(self) -> dict[str, object]:
        """The plan without the index's bytes, which are stored beside it."""
        return {
            "children": [child.document() for child in self.children],
            "targets": [target.document() for target in self.targets],
            "order": self.order.document(),
            "conditions": self.conditions.document(),
            "consent": self.consent.document(),
            "referrers": self.referrers,
            "missing_platforms": list(self.missing_platforms),
        }


def build_draft_index(draft: Draft) -> Manifest:
    """The index that the list stands for: its bytes depend on what is listed, never on who came first.

    A list that lacks a platform has an index too, for `inspect`; one that contradicts its own format has
    none, and raises ListNotPushable.
    """
    options = draft.options
    try:
        return build_index(
            [IndexEntry(str(entry.reference), entry.descriptor) for entry in draft.entries],
            format=options.format,
            annotations=options.annotations,
            artifact_type=options.artifact_type,
            subject=options.subject,
        )
    except InvalidInput as error:
        raise ListNotPushable(error.detail, list_id=str(draft.id)) from None


def find_index(draft: Draft) -> Manifest | None:
    """The index that a push would put; None while the list can't be pushed."""
    return build_draft_index(draft) if is_pushable(draft) else None


def plan_push(
    draft: Draft,
    now: datetime,
    *,
    targets: Sequence[Reference] = (),
    conditions: Conditions = ALWAYS,
    consent: Consent = NONE,
    referrers: bool = False,
) -> PushPlan:
    """Decide a push of the list to its own reference, its tags and targets, and the further `targets`.

    What the list itself says, `consent` and `referrers` need not repeat. Raises ListNotPushable naming each
    entry without a platform, or that there are none.
    """
    options = draft.options
    if (refusal := find_refusal(draft)) is not None:
        raise refusal
    index = build_draft_index(draft)
    return PushPlan(
        index=index,
        children=tuple(
            PushChild(entry.reference, entry.digest, entry.media_type, entry.size) for entry in draft.in_order
        ),
        targets=_by_repository([*_own_references(draft), *targets]),
        order=RunOrder(draft.created_at if draft.session else now, options.run_number),
        conditions=conditions,
        consent=Consent(consent.shrink or options.allow_shrink, consent.older or options.allow_older),
        referrers=referrers or options.referrers,
        missing_platforms=tuple(str(platform) for platform in missing_platforms(draft)),
    )


def goes_to(draft: Draft) -> frozenset[str]:
    """What a push of the list as it stands, with nothing added, would have lead to its index."""
    index = find_index(draft)
    if index is None:
        return frozenset()
    targets = _by_repository(_own_references(draft))
    return frozenset(name for target in targets for name in target.references(index.digest))


def restored(
    plan: PushPlan, now: datetime, moved: Collection[str], conditions: Conditions = ALWAYS
) -> PushPlan:
    """The same bytes to the tags that they were `moved` to: whoever asks for that knows what goes.

    It is the newest run of all when it is asked for.
    """
    order, consent = RunOrder(now), Consent(shrink=True, older=True)
    targets = tuple(kept for target in plan.targets if (kept := _only(target, plan.index, moved)) is not None)
    return replace(plan, targets=targets, order=order, conditions=conditions, consent=consent)


def _only(target: PushTarget, index: Manifest, moved: Collection[str]) -> PushTarget | None:
    if not target.tags:
        return target if set(target.references(index.digest)) <= set(moved) else None
    tags = tuple(tag for tag in target.tags if f"{target.repository}:{tag}" in moved)
    return PushTarget(target.repository, tags) if tags else None


def parse_plan(index: Manifest, document: Mapping[str, Any]) -> PushPlan:
    """The plan that `PushPlan.document` was taken from, which may have been by an earlier version."""
    expected = document["conditions"]["if_digest"]
    return PushPlan(
        index=index,
        children=tuple(
            PushChild(
                parse_reference(child["reference"]),
                parse_digest(child["digest"]),
                child["media_type"],
                child["size"],
            )
            for child in document["children"]
        ),
        targets=tuple(
            PushTarget(_parse_repository(target["repository"]), tuple(target["tags"]))
            for target in document["targets"]
        ),
        order=parse_order(document["order"]) if "order" in document else FIRST,
        conditions=Conditions(
            document["conditions"]["if_absent"], parse_digest(expected) if expected else None
        ),
        consent=_parse_consent(document.get("consent", {})),
        referrers=document.get("referrers", False),
        missing_platforms=tuple(document.get("missing_platforms", ())),
    )


def _parse_consent(document: Mapping[str, bool]) -> Consent:
    return Consent(document.get("shrink", False), document.get("older", False))


def _own_references(draft: Draft) -> list[Reference]:
    tags = [draft.reference.tagged(tag) for tag in draft.options.tags]
    return [draft.reference, *tags, *draft.options.targets]


def _parse_repository(text: str) -> Repository:
    return parse_reference(text).repository


def _by_repository(references: Iterable[Reference]) -> tuple[PushTarget, ...]:
    tags: dict[Repository, list[str]] = {}
    for reference in references:
        known = tags.setdefault(reference.repository, [])
        if reference.tag is not None and reference.tag not in known:
            known.append(reference.tag)
    return tuple(PushTarget(repository, tuple(names)) for repository, names in tags.items())


def find_refusal(draft: Draft) -> ListNotPushable | None:
    """Why a push of the list would be refused before anything is sent; None if it would not."""
    places = {entry.id: position for position, entry in enumerate(draft.in_order)}
    lacking = [finding for finding in find_findings(draft) if finding.severity is Severity.ERROR]
    if not lacking:
        return None
    return ListNotPushable(
        lacking[0].detail,
        list_id=str(draft.id),
        errors=[
            FieldError(
                f"/entries/{places[finding.entry_id]}",
                finding.detail,
                {"entry_id": str(finding.entry_id)},
            )
            for finding in lacking
            if finding.entry_id is not None
        ],
    )
