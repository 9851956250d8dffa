"""Inspections."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from app.api.schemas.common import Body, Document, JsonObject, RawManifest, Text
from app.api.schemas.lists import VerboseImage
from app.api.schemas.problems import Problem

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

    reference: Text
    verbose: bool = False
    insecure: bool = False


ReferenceInput = TypeAliasType("ReferenceInput", Text | InspectImage)


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
