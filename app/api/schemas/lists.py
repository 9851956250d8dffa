"""Lists and entries in responses."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from app.api.problem_mapping import document_of
from app.api.schemas.common import (
    Annotations,
    Descriptor,
    Document,
    Format,
    JsonObject,
    Labels,
    Order,
    Platform,
    Sparse,
    optional_text,
    render_value,
)
from app.api.schemas.list_requests import FailedBuilds
from app.api.schemas.problems import Problem, WithProblem, stored_problem
from app.lists import draft as domain
from app.lists.draft import ListState
from app.lists.findings.finding import Finding as DomainFinding
from app.lists.findings.finding import Severity
from app.lists.options import (
    OPTION_NAMES,
)
from app.lists.views import EntryView, ListView
from app.oci.timestamps import rfc3339
from app.services.lists.requests import DeletionOutcome


class Deletion(Sparse, WithProblem):
    """The outcome for one list."""

    reference: str | None = None
    id: str | None = None
    deleted: bool = False
    problem: Problem | None = None

    @classmethod
    def from_outcome(cls, outcome: DeletionOutcome, *, is_id: bool) -> Self:
        problem = document_of(outcome.problem) if outcome.problem is not None else None
        return cls.model_validate(
            {
                "id" if is_id else "reference": outcome.target,
                "deleted": outcome.problem is None,
                "problem": problem,
            }
        )


class Deletions(Document):
    results: list[Deletion]


class ImageFacts(Sparse):
    """The origin of an image, from the labels in its config."""

    created: str | None = None
    revision: str | None = None
    source: str | None = None
    version: str | None = None

    @classmethod
    def from_facts(cls, facts: domain.ImageFacts) -> Self:
        return cls(created=facts.created, revision=facts.revision, source=facts.source, version=facts.version)


class Entry(Document):
    """One image of a list."""

    id: str
    reference: str
    descriptor: Descriptor
    platform: Platform = Field(description="The platform in the index.")
    resolved_platform: Platform = Field(
        description="The platform in the image's config. For an artifact, the platform in the index."
    )
    index_platform: Platform | None = Field(
        None, description="The platform in the index that the image was taken from, if it was taken from one."
    )
    annotations: Annotations
    image: ImageFacts
    replaced: str | None = Field(
        None, description="The digest of the entry that this entry has just replaced."
    )
    added_by: str
    added_at: str

    @classmethod
    def from_view(cls, view: EntryView) -> Entry:
        # A list may have a thousand of these, made of values that are valid already.
        return cls.model_construct(
            id=str(view.id),
            reference=str(view.reference),
            descriptor=Descriptor.from_descriptor(view.descriptor),
            platform=Platform.from_platform(view.platform),
            resolved_platform=Platform.from_platform(view.resolved_platform),
            index_platform=Platform.from_platform(view.index_platform) if view.index_platform else None,
            annotations=dict(view.annotations),
            image=ImageFacts.from_facts(view.image),
            replaced=optional_text(view.replaced),
            added_by=view.added_by,
            added_at=rfc3339(view.added_at),
        )


class VerboseImage(Sparse):
    """One image as `docker manifest inspect -v` prints it."""

    ref: str = Field(alias="Ref")
    descriptor: Descriptor = Field(alias="Descriptor")
    raw: str | None = Field(None, alias="Raw", description="The exact bytes, in base64.")
    schema_v2_manifest: JsonObject | None = Field(None, alias="SchemaV2Manifest")
    oci_manifest: JsonObject | None = Field(None, alias="OCIManifest")


class EntryInspection(Entry):
    """An entry with its exact manifest."""

    manifest: JsonObject
    raw: str = Field(description="The manifest's exact bytes, in base64.")
    inspection: VerboseImage


class Finding(Document):
    """A problem that the broker found in a list. An `error` prevents a push; a `warning` does not."""

    code: str
    severity: Severity
    detail: str
    entry_id: str | None = None

    @classmethod
    def from_finding(cls, finding: DomainFinding) -> Self:
        return cls(
            code=finding.code,
            severity=finding.severity,
            detail=finding.detail,
            entry_id=optional_text(finding.entry_id),
        )


class DraftList(WithProblem):
    """A list: the draft of one multi-arch image."""

    id: str
    reference: str
    session: str
    revision: int = Field(description="Grows with every change. The ETag contains it.")
    state: ListState
    complete: bool
    expected_platforms: list[str]
    missing_platforms: list[str]
    push_when_complete: bool
    allow_duplicate_platforms: bool
    insecure: bool
    format: Format
    order: Order
    annotations: Annotations
    artifact_type: str | None = None
    subject: Descriptor | None = None
    tags: list[str]
    targets: list[str]
    labels: Labels
    entries: list[Entry] = Field(description="In the order of the index.")
    digest: str | None = Field(
        None, description="Digest of the index that a push would put. Null while the list can't be pushed."
    )
    media_type: str | None = None
    copies: str | None = Field(
        None,
        description=(
            "The source whose bytes a push would put, when the list is an exact copy. Null when the list has "
            "bytes of its own."
        ),
    )
    findings: list[Finding]
    complete_by: str | None = Field(None, description="When the list fails unless it is complete.")
    failures: FailedBuilds
    run_number: int | None = None
    same_revision: bool
    allow_partial: bool
    allow_shrink: bool
    allow_older: bool
    allow_unverified: bool
    referrers: bool
    problem: Problem | None = Field(None, description="Why the list has failed, while its state is `failed`.")
    push_operation_id: str | None = Field(
        None, description="The operation of the push that started when the list became complete."
    )
    last_push_id: str | None = None
    created_by: str
    created_at: str
    updated_at: str
    expires_at: str | None = None
    exact: bool | None = None

    @classmethod
    def from_view(cls, view: ListView) -> Self:
        options = {name: render_value(getattr(view.options, name)) for name in OPTION_NAMES}
        return cls.model_validate(
            {
                **options,
                "id": str(view.id),
                "reference": str(view.reference),
                "session": view.session,
                "revision": view.revision,
                "state": view.state,
                "complete": view.is_complete,
                "missing_platforms": render_value(view.missing_platforms),
                "entries": [Entry.from_view(entry) for entry in view.entries],
                "digest": optional_text(view.digest),
                "media_type": view.media_type,
                "copies": optional_text(view.copies),
                "findings": [Finding.from_finding(finding) for finding in view.findings],
                "problem": stored_problem(view.problem),
                "push_operation_id": optional_text(view.push_operation_id),
                "last_push_id": optional_text(view.last_push_id),
                "created_by": view.created_by,
                "created_at": rfc3339(view.created_at),
                "updated_at": rfc3339(view.updated_at),
            }
        )


def render_list(view: ListView) -> dict[str, Any]:
    return DraftList.from_view(view).render()


class RefreshedEntry(Document):
    """The result for one source. Without `old_digest` the entry is new; without `new_digest` it is gone."""

    entry_id: str
    reference: str = Field(description="The source reference as the caller sent it.")
    platform: str
    old_digest: str | None = None
    new_digest: str | None = None


class RefreshedList(DraftList):
    """The list, and the result for each entry that was named by a tag."""

    refreshed: list[RefreshedEntry]


class DraftListPage(Document):
    items: list[DraftList]
    next_cursor: str | None = None
