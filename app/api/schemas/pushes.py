"""Pushes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_serializer
from typing_extensions import TypeAliasType

from app.api.schemas.checks import Consistent, checked
from app.api.schemas.common import Body, Document, Labels, ShortText, Text, optional_text
from app.api.schemas.lists import Finding
from app.api.schemas.problems import Problem, WithProblem, stored_problem
from app.errors import FieldError, InvalidInput
from app.lists.difference import Difference as TagDifference
from app.lists.push_result import TargetResult
from app.lists.pushes import Push as DomainPush
from app.lists.pushes import PushState, PushView, view_push
from app.oci.copy_outcomes import BlobCounts, ManifestOutcome, ReferrerOutcome
from app.oci.digest import parse_digest
from app.oci.reference import Repository, parse_reference
from app.oci.timestamps import rfc3339

ManifestAction = TypeAliasType("ManifestAction", Literal["put", "present"])
BlobAction = TypeAliasType("BlobAction", Literal["mounted", "copied", "skipped"])
ReferrerAction = TypeAliasType("ReferrerAction", Literal["put", "present", "missing"])
TagAction = TypeAliasType("TagAction", Literal["moved", "moved-unverified", "left"])


class PushList(Consistent):
    """Options of a push or of a plan."""

    purge: bool = Field(
        False, description="Delete the list after the push has succeeded at every target. A plan ignores it."
    )
    insecure: bool = Field(
        False, description="Try unverified TLS and plain HTTP if the operator allows them for the registry."
    )
    targets: Annotated[list[Annotated[Text, checked(parse_reference)]], Field(max_length=64)] = Field(
        default_factory=list, description="More references to push to, on any registry."
    )
    if_absent: bool = Field(False, description="Push only if none of the tags exists yet.")
    if_digest: Annotated[ShortText, checked(parse_digest)] | None = Field(
        None, description="Proceed only if every tag holds this digest now."
    )
    allow_shrink: bool = Field(
        False, description="Remove platforms that the tag has now, like the option of the list."
    )
    referrers: bool = Field(
        False, description="Copy the referrers of the images, like the option of the list."
    )
    allow_older: bool = Field(
        False, description="Overwrite the tag of a newer run, like the option of the list."
    )
    allow_unverified: bool = Field(
        False, description="Move a tag that can't be read, like the option of the list."
    )

    @classmethod
    def check_together(cls, sent: Mapping[str, Any], unread: frozenset[str]) -> None:  # noqa: ARG003
        if sent.get("if_absent") is True and sent.get("if_digest") is not None:
            detail = "A tag can't be absent and hold a digest. Send either if_absent or if_digest."
            raise InvalidInput(detail, errors=[FieldError("/if_absent", detail)])


class PushedManifest(Document):
    """One manifest that the index lists."""

    reference: str
    digest: str
    action: ManifestAction

    @classmethod
    def from_outcome(cls, repository: Repository, outcome: ManifestOutcome) -> Self:
        reference = repository.at(outcome.digest)
        return cls(reference=str(reference), digest=str(outcome.digest), action=outcome.action.value)


class PushedReferrer(Document):
    """A manifest that refers to one of the images, such as a signature or an SBOM, and was copied."""

    reference: str
    digest: str
    subject: str = Field(description="The digest that the manifest refers to.")
    artifact_type: str | None = None
    action: ReferrerAction = Field(description="`missing`: the registry lists it but does not have it.")
    tag: str | None = Field(
        None, description="The tag by which alone it refers to the image, as signatures of cosign do."
    )

    @classmethod
    def from_outcome(cls, repository: Repository, outcome: ReferrerOutcome) -> Self:
        return cls(
            reference=str(repository.at(outcome.digest)),
            digest=str(outcome.digest),
            subject=str(outcome.subject),
            artifact_type=outcome.artifact_type,
            action=outcome.action.value,
            tag=outcome.tag,
        )


class PushedBlobs(Document):
    """Counts of the blobs that the manifests need."""

    mounted: int
    copied: int
    skipped: int = Field(description="Already in the repository.")
    bytes_copied: int

    @classmethod
    def from_counts(cls, counts: BlobCounts) -> Self:
        return cls(
            mounted=counts.mounted,
            copied=counts.copied,
            skipped=counts.skipped,
            bytes_copied=counts.bytes_copied,
        )


class ChangedPlatform(Document):
    """A platform whose image differs from the one before."""

    platform: str
    before: str = Field(alias="from", description="Digest of the image before.")
    after: str = Field(alias="to", description="Digest of the image now.")


class Difference(Document):
    """The difference, by platform, between a tag before and after a push."""

    added: list[str]
    removed: list[str]
    changed: list[ChangedPlatform]

    @classmethod
    def from_difference(cls, difference: TagDifference | None) -> Self | None:
        if difference is None:
            return None
        return cls(
            added=[platform.full_name for platform in difference.added],
            removed=[platform.full_name for platform in difference.removed],
            changed=[
                ChangedPlatform(
                    platform=each.platform.full_name, before=str(each.before), after=str(each.after)
                )
                for each in difference.changed
            ],
        )


class PushedTarget(Document):
    """The result of a push for one tag."""

    reference: str
    digest: str
    action: TagAction = Field(
        description=(
            "`left`: a newer run has moved this additional tag, so the push left it. `moved-unverified`: the "
            "registry took the index and did not let it be read back."
        )
    )
    previous_digest: str | None = Field(None, description="The digest that the tag held before.")
    difference: Difference | None = Field(
        None, description="Null if the tag did not exist or already held this digest."
    )
    manifests: list[PushedManifest]
    referrers: list[PushedReferrer] = Field(default_factory=list)
    blobs: PushedBlobs

    @classmethod
    def from_result(cls, result: TargetResult) -> Self:
        repository = result.reference.repository
        return cls(
            reference=str(result.reference),
            digest=str(result.digest),
            action=result.action.value,
            previous_digest=optional_text(result.previous),
            difference=Difference.from_difference(result.difference),
            manifests=[PushedManifest.from_outcome(repository, each) for each in result.manifests],
            referrers=[PushedReferrer.from_outcome(repository, each) for each in result.referrers],
            blobs=PushedBlobs.from_counts(result.blobs),
        )

    @field_serializer("difference")
    def _in_stored_order(self, difference: Difference | None):  # type: ignore[no-untyped-def]
        """Answers, events and stored results have the members in one order, which is that of Postgres."""
        if difference is None:
            return None
        changed = [
            {"to": each.after, "from": each.before, "platform": each.platform} for each in difference.changed
        ]
        return {"added": difference.added, "changed": changed, "removed": difference.removed}


class Push(WithProblem):
    """One push of one list. It remains after the list is deleted."""

    id: str
    operation_id: str
    list_id: str | None = None
    reference: str
    session: str
    state: PushState
    digest: str
    media_type: str
    partial: bool = Field(description="Whether the index lacks expected platforms.")
    missing_platforms: list[str]
    targets: list[PushedTarget] = Field(description="Of a push that failed, the tags that it has moved.")
    lines: list[str] = Field(description="The lines that `docker manifest push` would print.")
    findings: list[Finding] = Field(
        default_factory=list, description="What the push could not verify, and what it left behind."
    )
    problem: Problem | None = Field(
        None, description="Why the push failed or was cancelled. Its `targets` say how far each target came."
    )
    restores: str | None = Field(None, description="The push that this push restored.")
    labels: Labels
    created_by: str
    created_at: str
    ended_at: str | None = None

    @classmethod
    def from_view(cls, view: PushView) -> Self:
        return cls(
            id=str(view.id),
            operation_id=str(view.operation_id),
            list_id=optional_text(view.list_id),
            reference=str(view.reference),
            session=view.session,
            state=view.state,
            digest=str(view.digest),
            media_type=view.media_type,
            partial=view.is_partial,
            missing_platforms=list(view.missing_platforms),
            targets=[PushedTarget.from_result(each) for each in view.result.targets],
            lines=list(view.result.lines),
            findings=[Finding.from_finding(each) for each in view.result.findings],
            problem=stored_problem(view.problem),
            restores=optional_text(view.restores),
            labels=dict(view.labels),
            created_by=view.created_by,
            created_at=rfc3339(view.created_at) or "",
            ended_at=rfc3339(view.ended_at),
        )


class RestorePush(Body):
    """Options for restoring an earlier push."""

    insecure: bool = Field(
        False, description="Try unverified TLS and plain HTTP if the operator allows them for the registry."
    )
    if_digest: Annotated[ShortText, checked(lambda text: parse_digest(text) if text else None)] | None = (
        Field(None, description="Proceed only if every tag holds this digest now.")
    )
    allow_unverified: bool = Field(False, description="Move a tag that can't be read.")


class PlannedTag(Document):
    """The planned result for one tag."""

    reference: str
    action: TagAction = Field(
        description="`left` if a newer run has moved this additional tag, or if the push would fail."
    )
    previous_digest: str | None = Field(None, description="The digest that the tag holds now.")
    difference: Difference | None = Field(
        None, description="Null if the tag does not exist or already holds this digest."
    )
    unreadable: bool = Field(
        False, description="Whether the tag may hold anything, since the registry does not let it be read."
    )


class PlannedBlob(Document):
    """The planned action for one blob. If the registry declines a mount, the push copies the blob."""

    digest: str
    size: int = Field(description="Size in bytes.")
    action: BlobAction
    source: str | None = Field(None, alias="from", description="The repository that the blob comes from.")


class PlannedTarget(Document):
    """The planned actions in one repository."""

    repository: str
    tags: list[PlannedTag]
    manifests: list[PushedManifest]
    referrers: list[PushedReferrer] = Field(default_factory=list)
    blobs: list[PlannedBlob]
    totals: PushedBlobs


class PushConditions(Document):
    if_absent: bool
    if_digest: str | None = None


class PushPlan(Document):
    """The actions of a push at this moment. Send `revision` as If-Match to push exactly this list."""

    list_id: str
    revision: int
    reference: str
    session: str
    digest: str
    media_type: str
    size: int = Field(description="Size of the index in bytes.")
    partial: bool
    missing_platforms: list[str]
    findings: list[Finding]
    conditions: PushConditions | None = None
    targets: list[PlannedTarget]
    problem: Problem | None = Field(None, description="The problem that the push would fail with.")


class PushPage(Document):
    items: list[Push]
    next_cursor: str | None = None


def render_push(push: DomainPush) -> dict[str, Any]:
    return Push.from_view(view_push(push)).render()
