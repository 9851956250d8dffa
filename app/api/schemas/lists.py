"""Lists and entries."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypeAliasType

from app.api.problem_mapping import problem_of
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
    Platform,
    PlatformInput,
    Reason,
    ShortText,
    Text,
    platform_input,
)
from app.api.schemas.problems import Problem
from app.lists.draft import ListState
from app.lists.readiness import Severity
from app.operations.requests import CreateListRequest

MAX_SOURCES = 256
# An abandoned draft goes away by itself, within a year at the latest.
MAX_EXPIRY = 366 * 86400

Session = Annotated[
    str,
    Field(
        max_length=255,
        pattern=r"^[!-~]*$",
        description="Keeps runs that build the same reference apart, such as a CI run's id.",
    ),
]
Tags = Annotated[list[ShortText], Field(max_length=64, description="More tags of the same repository.")]
Targets = Annotated[
    list[Text], Field(max_length=64, description="More references to push to, on this or other registries.")
]
ExpectedPlatforms = Annotated[
    list[PlatformInput],
    Field(max_length=MAX_SOURCES, description="The list is complete when it has all of them."),
]
ExpiresIn = Annotated[
    int, Field(gt=0, le=MAX_EXPIRY, description="Seconds from now until the draft goes away.")
]
CompleteIn = Annotated[
    int,
    Field(
        gt=0,
        le=MAX_EXPIRY,
        description=(
            "Seconds until the list has to be complete, or it fails; of legs that all say it, the first's "
            "call counts, and after a failure that of the next."
        ),
    ),
]
RunNumber = Annotated[
    int,
    Field(
        ge=0,
        le=2**63 - 1,
        description=(
            "Tells the newer of two runs for one tag, such as the CI's own count of runs; without it the "
            "list that was created later is the newer."
        ),
    ),
]
FailedBuilds = TypeAliasType("FailedBuilds", dict[str, str])
Failures = TypeAliasType("Failures", Annotated[dict[ShortText, Reason | None], Field(max_length=MAX_SOURCES)])


class Source(Body):
    """An image, or an index of which the images are taken, and what to say of it."""

    reference: Text = Field(description="Tag, digest, or both; read as Docker reads it.")
    platform: PlatformInput | None = Field(None, description="Overrides what the image's config says.")
    platforms: list[PlatformInput] | None = Field(
        None, max_length=MAX_SOURCES, description="Which to take of an index; without it all."
    )
    annotations: NewAnnotations | None = Field(None, description="Of the entry's descriptor. OCI only.")

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
    Annotated[Text | Source, Field(description="A reference, or an object that says more.")],
)


def source_documents(sources: list[str | Source]) -> list[Any]:
    return [source.document() if isinstance(source, Source) else source for source in sources]


class Subject(Body):
    """The manifest that the index refers to (image-spec 1.1)."""

    media_type: ShortText = Field(alias="mediaType")
    digest: ShortText
    size: int = Field(ge=0)


class ListOptions(Body):
    """What a list says of itself. In a PATCH null puts a member back to its default (RFC 7396)."""

    format: Format | None = Field(
        None, description="`auto` is Docker's rule: the first entry's type decides."
    )
    annotations: AnnotationChanges | None = Field(None, description="Of the index; makes it OCI.")
    artifact_type: ShortText | None = Field(None, description="Of the index; makes it OCI.")
    subject: Subject | None = Field(None, description="Of the index; makes it OCI.")
    tags: Tags | None = None
    targets: Targets | None = None
    labels: LabelChanges | None = Field(
        None, description="The caller's own, such as a run's URL; never pushed."
    )
    expected_platforms: ExpectedPlatforms | None = None
    push_when_complete: bool | None = Field(
        None, description="Push as soon as every expected platform is there, once for each revision."
    )
    allow_duplicate_platforms: bool | None = Field(
        None, description="Keep several entries of one platform, as Docker does; else a later one replaces."
    )
    expires_in: ExpiresIn | None = None
    complete_in: CompleteIn | None = None
    failures: Failures | None = Field(
        None,
        description=(
            "By platform, why its build failed. The list fails at once for all who wait for it; an image for "
            "the platform, or null, takes it back."
        ),
        examples=[{"linux/arm64": "exit code 1"}],
    )
    run_number: RunNumber | None = None
    same_revision: bool | None = Field(
        None,
        description="Refuse images whose `org.opencontainers.image.revision` labels differ; else a finding.",
    )
    allow_partial: bool | None = Field(
        None,
        description="Push what is there when the rest has failed or the deadline is over; the push says so.",
    )
    allow_shrink: bool | None = Field(
        None, description="Let a push take platforms from a tag that has them now; else that is a conflict."
    )
    allow_older: bool | None = Field(
        None, description="Let a push overwrite what a newer run has put; else that is a conflict."
    )
    referrers: bool | None = Field(
        None, description="Copy what refers to the images along (signatures, SBOMs) to other repositories."
    )

    def changes(self) -> dict[str, Any]:
        """The members that were given, as `apply_changes` takes them."""
        own = set(ListOptions.model_fields) - {"expires_in", "complete_in", "expected_platforms"}
        given = self.model_dump(include=own, exclude_unset=True, by_alias=True)
        if "expected_platforms" in self.model_fields_set:
            platforms = self.expected_platforms
            given["expected_platforms"] = (
                [platform_input(each) for each in platforms] if platforms else platforms
            )
        return given


class CreateList(ListOptions):
    """A list and its first sources; with `amend` also for one that is there already."""

    reference: Text = Field(description="What it will be pushed to; read as Docker reads it.")
    sources: list[SourceInput] = Field(default_factory=list, max_length=MAX_SOURCES)
    amend: bool = Field(False, description="Add to the list if it exists; else that is a conflict.")
    insecure: bool = Field(
        False, description="Try unverified TLS and plain HTTP where the operator allows it for that registry."
    )
    session: Session = ""

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
    """More sources for a list."""

    sources: list[SourceInput] = Field(min_length=1, max_length=MAX_SOURCES)
    insecure: bool = False


class AnnotateEntry(Body):
    """What to say of an entry (RFC 7396): null clears, what is left out stays."""

    platform: PlatformInput | None = None
    annotations: AnnotationChanges | None = None


class DeleteLists(Body):
    """Which lists to remove; each gets its own outcome."""

    references: list[Text] = Field(default_factory=list, max_length=1000)
    ids: list[ShortText] = Field(default_factory=list, max_length=1000)
    session: Session = ""


class Deletion(Document):
    """What became of one target."""

    reference: str | None = None
    id: str | None = None
    deleted: bool = False
    problem: Problem | None = None


class Deletions(Document):
    results: list[Deletion]


class ImageFacts(Document):
    """What the image's config says of its origin."""

    created: str | None = None
    revision: str | None = None
    source: str | None = None
    version: str | None = None


class Entry(Document):
    """One image of a list."""

    id: str
    reference: str
    descriptor: Descriptor
    platform: Platform = Field(description="What the index will say.")
    resolved_platform: Platform = Field(description="What the image's config says.")
    annotations: Annotations
    image: ImageFacts
    replaced: str | None = Field(None, description="The digest of the entry whose place it has just taken.")
    added_by: str
    added_at: str


class VerboseImage(Document):
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
    """Something about a list that its owner should know; an `error` keeps it from being pushed."""

    code: str
    severity: Severity
    detail: str
    entry_id: str | None = None


class DraftList(Document):
    """A list: the draft of one multi-arch image."""

    id: str
    reference: str
    session: str
    revision: int = Field(description="Grows with every change; also the ETag.")
    state: ListState
    complete: bool
    expected_platforms: list[str]
    missing_platforms: list[str]
    push_when_complete: bool
    allow_duplicate_platforms: bool
    insecure: bool
    format: Format
    annotations: Annotations
    artifact_type: str | None = None
    subject: Descriptor | None = None
    tags: list[str]
    targets: list[str]
    labels: Labels
    entries: list[Entry] = Field(description="In the order of the index.")
    digest: str | None = Field(
        None, description="Of the index that a push would put; null while it can't be."
    )
    media_type: str | None = None
    findings: list[Finding]
    complete_by: str | None = Field(None, description="When it fails unless it is complete.")
    failures: FailedBuilds
    run_number: int | None = None
    same_revision: bool
    allow_partial: bool
    allow_shrink: bool
    allow_older: bool
    referrers: bool
    problem: Problem | None = Field(None, description="Why it has failed, while its state is `failed`.")
    push_operation_id: str | None = Field(None, description="The push that the list's completion started.")
    last_push_id: str | None = None
    created_by: str
    created_at: str
    updated_at: str
    expires_at: str | None = None


def list_answer(document: dict[str, Any]) -> dict[str, Any]:
    """The problem is kept without HTTP; callers read it as a problem document."""
    return {**document, "problem": problem_of(document.get("problem"))}


class RefreshList(Body):
    """How to resolve the sources again."""

    insecure: bool = Field(
        False, description="Try unverified TLS and plain HTTP where the operator allows it for that registry."
    )


class RefreshedEntry(Document):
    """What a source stands for now; without an old digest it is new, without a new one it is gone."""

    entry_id: str
    reference: str = Field(description="The source, as it was named.")
    platform: str
    old_digest: str | None = None
    new_digest: str | None = None


class RefreshedList(DraftList):
    """The list, and what has become of each of its entries that can change."""

    refreshed: list[RefreshedEntry]


class DraftListPage(Document):
    items: list[DraftList]
    next_cursor: str | None = None
