"""Inspections."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from app.api.schemas.checks import checked
from app.api.schemas.common import Body, Document, JsonObject, RawManifest, Text, dump_json, optional_text
from app.api.schemas.lists import Entry, VerboseImage
from app.api.schemas.problems import Problem
from app.lists.draft import Entry as DomainEntry
from app.lists.views import view_entry
from app.oci.inspect import verbose_document
from app.oci.manifest import Manifest
from app.oci.reference import parse_reference
from app.oci.strict_json import loads
from app.services.inspections.requests import FoundList

Origin = TypeAliasType("Origin", Literal["list", "registry"])
InspectSource = TypeAliasType("InspectSource", Literal["auto", "list", "registry"])


class Inspection(Document):
    """The output of `docker manifest inspect`, as JSON members."""

    reference: str
    from_: Origin = Field(alias="from", description="Where the manifest was found.")
    digest: str
    media_type: str
    manifest: JsonObject
    raw: str = Field(description="The manifest's exact bytes, in base64.")
    images: list[VerboseImage] | None = Field(None, description="With `verbose`: each image of the index.")
    list_id: str | None = None


# Clients are generated from one schema for all media types of an answer.
Inspected = TypeAliasType(
    "Inspected",
    Annotated[
        Inspection | RawManifest,
        Field(description="With `raw`, the manifest itself; otherwise its inspection."),
    ],
)


class InspectImage(Body):
    """One reference to inspect, with its own options."""

    reference: Annotated[Text, checked(parse_reference)]
    verbose: bool = False
    insecure: bool = False


ReferenceInput = TypeAliasType(
    "ReferenceInput",
    Annotated[
        Text | InspectImage,
        checked(lambda value: parse_reference(value) if isinstance(value, str) else None),
    ],
)


class InspectImages(Body):
    """References to inspect concurrently at their registries."""

    references: Annotated[list[ReferenceInput], Field(min_length=1, max_length=256)]
    verbose: bool = False
    insecure: bool = False


class InspectionOutcome(Document):
    """The result for one reference, or its problem."""

    reference: str
    result: Inspection | None = None
    problem: Problem | None = None


class InspectionOutcomes(Document):
    results: list[InspectionOutcome]


def render_found_list(found: FoundList) -> bytes:
    """The inspection of a list; its images are rendered already, each by itself."""
    inspection = found.inspection
    manifest = inspection.manifest
    document = {
        "reference": str(inspection.reference),
        "from": inspection.source,
        "digest": str(manifest.digest),
        "media_type": manifest.media_type,
        "manifest": inspection.content,
        "raw": base64.b64encode(manifest.raw).decode(),
        "list_id": optional_text(inspection.list_id),
    }
    rendered = dump_json(document)
    if found.images is None:
        return rendered
    return rendered[:-1] + b',"images":[' + b",".join(found.images) + b"]}"


def render_entry_inspection(raw: bytes, entry: DomainEntry, media_type: str) -> bytes:
    """One entry with its exact manifest: `docker manifest inspect LIST MANIFEST`, plain and -v."""
    return dump_json(
        {
            **Entry.from_view(view_entry(entry)).render(),
            "manifest": loads(raw, what=str(entry.reference)),
            "raw": base64.b64encode(raw).decode(),
            "inspection": _verbose_image(raw, entry, media_type),
        }
    )


def render_verbose_image(raw: bytes, entry: DomainEntry, media_type: str) -> bytes:
    return dump_json(_verbose_image(raw, entry, media_type))


def _verbose_image(raw: bytes, entry: DomainEntry, media_type: str) -> dict[str, Any]:
    manifest = Manifest(media_type, raw, entry.digest)
    return verbose_document(str(entry.reference), entry.descriptor, manifest)
