"""Lists and entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field
from typing_extensions import TypeAliasType

from app.api.problem_mapping import document_of
from app.api.schemas.checks import Consistent, checked, checked_members
from app.api.schemas.common import (
    AnnotationChanges,
    Annotations,
    Body,
    Descriptor,
    Document,
    Format,
    JsonObject,
    LabelChanges,
    Labels,
    NewAnnotations,
    Order,
    Platform,
    PlatformInput,
    Reason,
    ShortText,
    Sparse,
    Text,
    optional_text,
    platform_input,
    render_value,
)
from app.api.schemas.problems import Problem, WithProblem, stored_problem
from app.lists import draft as domain
from app.lists.draft import ListState
from app.lists.findings.finding import Finding as DomainFinding
from app.lists.findings.finding import Severity
from app.lists.options import (
    OPTION_NAMES,
    Options,
    apply_changes,
    parse_annotation_changes,
    parse_artifact_type,
    parse_expected_platform,
    parse_subject,
)
from app.lists.source import parse_any_platform, parse_image_override, parse_override
from app.lists.views import EntryView, ListView
from app.oci.annotations import parse_annotations
from app.oci.platform import parse_platform
from app.oci.reference import parse_reference, parse_tag
from app.oci.timestamps import rfc3339
from app.operations.requests import CreateListRequest
from app.services.lists.requests import DeletionOutcome

MAX_SOURCES = 256
# An abandoned draft goes away by itself, within a year at the latest.
MAX_EXPIRY = 366 * 86400

Session = Annotated[
    str,
    Field(
        max_length=255,
        pattern=r"^[!-~]*$",
        description="Separates runs that build the same reference. Use the id of the CI run.",
    ),
]
# What the domain says of a value is reported beside what the schema says of others.
_reference = checked(parse_reference)
_platform = checked(lambda value: parse_any_platform(platform_input(value)))
_image_platform = checked(lambda value: parse_image_override(platform_input(value)))
_entry_platform = checked(lambda value: parse_override(platform_input(value)))
_expected_platform = checked(lambda value: parse_expected_platform(platform_input(value)))
_annotations = checked_members(parse_annotations)
_annotation_changes = checked_members(parse_annotation_changes)

Tags = Annotated[
    list[Annotated[ShortText, checked(parse_tag)]],
    Field(max_length=64, description="More tags in the same repository."),
]
Targets = Annotated[
    list[Annotated[Text, _reference]],
    Field(max_length=64, description="More references to push to, on this or on other registries."),
]
ExpectedPlatforms = Annotated[
    list[Annotated[PlatformInput, _expected_platform]],
    Field(
        max_length=MAX_SOURCES,
        description="The list is complete when each of these platforms has an image of its own.",
    ),
]
ExpiresIn = Annotated[
    int, Field(gt=0, le=MAX_EXPIRY, description="Seconds from now until the list is deleted.")
]
CompleteIn = Annotated[
    int,
    Field(
        gt=0,
        le=MAX_EXPIRY,
        description=(
            "Seconds from now until the list must be complete; otherwise it fails. If several calls send it, "
            "the first call sets the deadline. A later call sets a new one only once that has passed."
        ),
    ),
]
RunNumber = Annotated[
    int,
    Field(
        ge=0,
        le=2**63 - 1,
        description=(
            "The CI's own run counter. The broker uses it to find the newer of two runs for one tag. Without "
            "it, the list that was created later is the newer one."
        ),
    ),
]
FailedBuilds = TypeAliasType("FailedBuilds", dict[str, str])
Failures = TypeAliasType(
    "Failures",
    Annotated[
        dict[Annotated[ShortText, checked(parse_platform)], Reason | None], Field(max_length=MAX_SOURCES)
    ],
)


class Source(Body):
    """An image, or an index whose images become entries, with overrides for the entries."""

    reference: Annotated[Text, _reference] = Field(
        description="A reference with a tag, a digest, or both, in any form that Docker accepts."
    )
    platform: Annotated[PlatformInput, _image_platform] | None = Field(
        None, description="Overrides the platform in the image's config."
    )
    platforms: list[Annotated[PlatformInput, _platform]] | None = Field(
        None, max_length=MAX_SOURCES, description="The platforms to select from an index. The default is all."
    )
    annotations: Annotated[NewAnnotations, _annotations] | None = Field(
        None, description="Annotations of the entry's descriptor. OCI indexes only."
    )

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"reference": self.reference}
        if self.platform is not None:
            document["platform"] = platform_input(self.platform)
        if self.platforms is not None:
            document["platforms"] = [platform_input(platform) for platform in self.platforms]
        if self.annotations is not None:
            document["annotations"] = self.annotations
        return document


SourceInput = TypeAliasType(
    "SourceInput",
    Annotated[
        Text | Source,
        Field(description="A reference, or an object with more options."),
        checked(lambda value: parse_reference(value) if isinstance(value, str) else None),
    ],
)


def source_documents(sources: list[str | Source]) -> list[Any]:
    return [source.document() if isinstance(source, Source) else source for source in sources]


class Subject(Body):
    """The subject of the index: the manifest that it refers to (image-spec 1.1)."""

    media_type: ShortText = Field(alias="mediaType")
    digest: ShortText
    size: int = Field(ge=0)


class ListOptions(Body):
    """The options of a list. In a PATCH, null resets a member to its default (RFC 7396)."""

    format: Format | None = Field(
        None, description="`auto` follows Docker: the media type of the first entry decides."
    )
    order: Order | None = Field(
        None,
        description=(
            "`docker` orders the entries as Docker does. `as-given` keeps the order of the sources, and the "
            "order within a source that is an index."
        ),
    )
    annotations: Annotated[AnnotationChanges, _annotation_changes] | None = Field(
        None, description="Annotations of the index. They make it an OCI index."
    )
    artifact_type: Annotated[ShortText, checked(parse_artifact_type)] | None = Field(
        None, description="Artifact type of the index. It makes it an OCI index."
    )
    subject: (
        Annotated[Subject, checked(lambda value: parse_subject(value.model_dump(by_alias=True)))] | None
    ) = Field(None, description="Subject of the index. It makes it an OCI index.")
    tags: Tags | None = None
    targets: Targets | None = None
    labels: LabelChanges | None = Field(
        None, description="Your own labels, such as the URL of a run. They are never pushed."
    )
    expected_platforms: ExpectedPlatforms | None = None
    push_when_complete: bool | None = Field(
        None, description="Push when every expected platform has an entry, once for each revision."
    )
    allow_duplicate_platforms: bool | None = Field(
        None,
        description=(
            "Keep several entries of one platform, as Docker does. By default, the later entry replaces the "
            "earlier one."
        ),
    )
    expires_in: ExpiresIn | None = None
    complete_in: CompleteIn | None = None
    failures: Failures | None = Field(
        None,
        description=(
            "The reason why a build failed, by platform. The list fails at once for every caller that waits "
            "for it. An image for the platform, or null, removes the failure."
        ),
        examples=[{"linux/arm64": "exit code 1"}],
    )
    run_number: RunNumber | None = None
    same_revision: bool | None = Field(
        None,
        description=(
            "Reject images whose `org.opencontainers.image.revision` labels differ. By default, a difference "
            "is a finding."
        ),
    )
    allow_partial: bool | None = Field(
        None,
        description=(
            "Push the entries that exist when the other builds have failed or the deadline has passed. "
            "The push is marked `partial`."
        ),
    )
    allow_shrink: bool | None = Field(
        None, description="Let a push remove platforms that the tag has now. By default, this is a conflict."
    )
    allow_older: bool | None = Field(
        None, description="Let a push overwrite the tag of a newer run. By default, this is a conflict."
    )
    allow_unverified: bool | None = Field(
        None,
        description=(
            "Let a push move a tag that the registry does not let it read. By default, this is a conflict."
        ),
    )
    referrers: bool | None = Field(
        None, description="Copy the referrers of the images (signatures, SBOMs) to the other repositories."
    )

    exact: bool | None = Field(
        None,
        description=(
            "`true` publishes the single source byte for byte, so its digest and signatures stay valid; a "
            "list that can't be an exact copy is not pushed. `false` makes a new index. By default, a single "
            "index is copied if nothing else is asked for, and a single image becomes a list, as in Docker."
        ),
    )

    def changes(self) -> dict[str, Any]:
        """The members that the caller sent, in the form that `apply_changes` takes."""
        own = set(ListOptions.model_fields) - {"expires_in", "complete_in", "expected_platforms"}
        given = self.model_dump(include=own, exclude_unset=True, by_alias=True)
        if "expected_platforms" in self.model_fields_set:
            platforms = self.expected_platforms
            given["expected_platforms"] = (
                [platform_input(each) for each in platforms] if platforms else platforms
            )
        return given


class CreateList(ListOptions, Consistent):
    """A list and its first sources. With `amend`, the list may already exist."""

    reference: Annotated[Text, _reference] = Field(
        description="The reference to push to, in any form that Docker accepts."
    )
    sources: list[SourceInput] = Field(default_factory=list, max_length=MAX_SOURCES)
    amend: bool = Field(
        False, description="Add to the list if it already exists. By default, this is a conflict."
    )
    insecure: bool = Field(
        False, description="Try unverified TLS and plain HTTP if the operator allows them for the registry."
    )
    session: Session = ""

    @classmethod
    def check_together(cls, sent: Mapping[str, Any], unread: frozenset[str]) -> None:
        options = unread.intersection(OPTION_NAMES)
        read = {name: sent[name] for name in OPTION_NAMES if name in sent and name not in options}
        apply_changes(Options(), read, unread=options)

    def request(self, changes: dict[str, Any]) -> CreateListRequest:
        return CreateListRequest(
            reference=self.reference,
            sources=source_documents(self.sources),
            session=self.session,
            amend=self.amend,
            insecure=self.insecure,
            options=changes,
        )


class AddEntries(Body):
    """Sources to add to a list."""

    sources: list[SourceInput] = Field(min_length=1, max_length=MAX_SOURCES)
    insecure: bool = False


class AnnotateEntry(Body):
    """Changes to an entry (RFC 7396): null clears a member; members that are not sent stay as they are."""

    platform: Annotated[PlatformInput, _entry_platform] | None = None
    annotations: Annotated[AnnotationChanges, _annotation_changes] | None = None


class DeleteLists(Body):
    """The lists to delete. Each has its own outcome."""

    references: list[Text] = Field(default_factory=list, max_length=1000)
    ids: list[ShortText] = Field(default_factory=list, max_length=1000)
    session: Session = ""


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


class RefreshList(Body):
    """Options for resolving the sources again."""

    insecure: bool = Field(
        False, description="Try unverified TLS and plain HTTP if the operator allows them for the registry."
    )


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
