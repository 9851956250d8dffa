"""The bodies of requests that create, change and delete lists and entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypeAliasType

from app.api.schemas.checks import Consistent, checked, checked_members
from app.api.schemas.common import (
    AnnotationChanges,
    Body,
    Format,
    LabelChanges,
    NewAnnotations,
    Order,
    PlatformInput,
    Reason,
    ShortText,
    Text,
    platform_input,
)
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
from app.oci.annotations import parse_annotations
from app.oci.platform import parse_platform
from app.oci.reference import parse_reference, parse_tag
from app.operations.requests import CreateListRequest

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
        None,
        max_length=MAX_SOURCES,
        description="The platforms to select from an index. An image of another platform is refused. "
        "The default is all.",
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
        None,
        description="Annotations of the index, over those of the source indexes. They make it an OCI index.",
    )
    artifact_type: Annotated[ShortText, checked(parse_artifact_type)] | None = Field(
        None,
        description="Artifact type of the index, instead of that of the source indexes. It makes it an OCI "
        "index.",
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


class RefreshList(Body):
    """Options for resolving the sources again."""

    insecure: bool = Field(
        False, description="Try unverified TLS and plain HTTP if the operator allows them for the registry."
    )
