"""Pushes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from app.api.problem_mapping import problem_of
from app.api.schemas.common import Body, Document, Labels, ShortText, Text
from app.api.schemas.lists import Finding
from app.api.schemas.problems import Problem
from app.services.documents import push_document
from app.store.pushes import Push as StoredPush
from app.store.pushes import PushState

ManifestAction = TypeAliasType("ManifestAction", Literal["put", "present"])
BlobAction = TypeAliasType("BlobAction", Literal["mounted", "copied", "skipped"])
ReferrerAction = TypeAliasType("ReferrerAction", Literal["put", "present", "missing"])
TagAction = TypeAliasType("TagAction", Literal["moved", "left"])


class PushList(Body):
    """How to push a list; a plan takes the same."""

    purge: bool = Field(False, description="Remove the list after full success; nothing to a plan.")
    insecure: bool = Field(
        False, description="Try unverified TLS and plain HTTP where the operator allows it for that registry."
    )
    targets: Annotated[list[Text], Field(max_length=64)] = Field(
        default_factory=list, description="References to push to besides the list's own, on any registry."
    )
    if_absent: bool = Field(False, description="Only if none of the tags is there yet.")
    if_digest: ShortText | None = Field(None, description="Only if every tag holds this digest now.")
    allow_shrink: bool = Field(
        False, description="Take platforms from a tag that has them now, as if the list said so."
    )
    referrers: bool = Field(
        False, description="Copy what refers to the images along, as if the list said so."
    )
    allow_older: bool = Field(
        False, description="Overwrite what a newer run has put, as if the list said so."
    )


class PushedManifest(Document):
    """One manifest that the index lists."""

    reference: str
    digest: str
    action: ManifestAction


class PushedReferrer(Document):
    """What refers to one of the images, such as a signature or an SBOM, and came along."""

    reference: str
    digest: str
    subject: str = Field(description="The digest that it refers to.")
    artifact_type: str | None = None
    action: ReferrerAction = Field(description="`missing`: where it was listed it could not be found.")


class PushedBlobs(Document):
    """What became of the blobs that the manifests need."""

    mounted: int
    copied: int
    skipped: int = Field(description="Already there.")
    bytes_copied: int


class ChangedPlatform(Document):
    """A platform whose readers get another image than before."""

    platform: str
    before: str = Field(alias="from", description="A digest.")
    after: str = Field(alias="to", description="A digest.")


class Difference(Document):
    """How what readers of a tag get differs from what they got before, by platform."""

    added: list[str]
    removed: list[str]
    changed: list[ChangedPlatform]


class PushedTarget(Document):
    """What a push did for one tag."""

    reference: str
    digest: str
    action: TagAction = Field(description="`left`: a newer run has moved this further tag, which stays so.")
    previous_digest: str | None = Field(None, description="What the tag held before.")
    difference: Difference | None = Field(None, description="Null where the tag held nothing, or this.")
    manifests: list[PushedManifest]
    referrers: list[PushedReferrer] = Field(default_factory=list)
    blobs: PushedBlobs


class Push(Document):
    """One push of one list; it outlives the list."""

    id: str
    operation_id: str
    list_id: str | None = None
    reference: str
    session: str
    state: PushState
    digest: str
    media_type: str
    partial: bool = Field(description="Whether platforms were expected that the index does not have.")
    missing_platforms: list[str]
    targets: list[PushedTarget]
    lines: list[str] = Field(description="What `docker manifest push` would have printed.")
    restores: str | None = Field(None, description="The push whose bytes this one put back.")
    problem: Problem | None = Field(
        None, description="Why it failed or was cancelled; its `targets` say what is where."
    )
    labels: Labels
    created_by: str
    created_at: str
    ended_at: str | None = None


class RestorePush(Body):
    """How to put an earlier push's bytes back."""

    insecure: bool = Field(
        False, description="Try unverified TLS and plain HTTP where the operator allows it for that registry."
    )
    if_digest: ShortText | None = Field(None, description="Only if every tag holds this digest now.")


class PlannedTag(Document):
    """What would become of one tag."""

    reference: str
    action: TagAction = Field(
        description="`left` if a newer run has moved this further tag, or if the push would be refused."
    )
    previous_digest: str | None = Field(None, description="What the tag holds now.")
    difference: Difference | None = Field(
        None, description="Null where the tag holds nothing, or the index already."
    )


class PlannedBlob(Document):
    """What would become of one blob; a registry may still decline a mount, and then it is copied."""

    digest: str
    size: int = Field(description="Bytes.")
    action: BlobAction
    source: str | None = Field(None, alias="from", description="The repository that it comes from.")


class PlannedTarget(Document):
    """What a push would do in one repository."""

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
    """What a push would do now; send `revision` as If-Match with the push, and it does just that."""

    list_id: str
    revision: int
    reference: str
    session: str
    digest: str
    media_type: str
    size: int = Field(description="Of the index, in bytes.")
    partial: bool
    missing_platforms: list[str]
    findings: list[Finding]
    conditions: PushConditions | None = None
    targets: list[PlannedTarget]
    problem: Problem | None = Field(None, description="What the push would be refused with.")


def plan_answer(document: dict[str, Any]) -> dict[str, Any]:
    """The problem is kept without HTTP; callers read it as a problem document."""
    return {**document, "problem": problem_of(document["problem"])}


class PushPage(Document):
    items: list[Push]
    next_cursor: str | None = None


def push_answer(push: StoredPush) -> dict[str, Any]:
    """The problem is kept without HTTP; callers read it as a problem document."""
    return {**push_document(push), "problem": problem_of(push.problem)}
