"""The results of inspections: the output of `docker manifest inspect` as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.errors import BrokerError
from app.oci.manifest import Manifest
from app.oci.reference import Reference
from app.oci.strict_json import Json

# One image as `docker manifest inspect -v` prints it: Docker's own document.
VerboseImage = dict[str, Json]


class InspectionSource(StrEnum):
    """A list of this broker, or a registry."""

    LIST = "list"
    REGISTRY = "registry"


@dataclass(frozen=True, slots=True)
class Inspection:
    """A manifest with its parsed `content`, and with `images` if the caller requested them."""

    reference: Reference
    source: InspectionSource
    manifest: Manifest
    content: Json
    images: tuple[VerboseImage, ...] | None = None
    list_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class InspectionOutcome:
    """The result for one reference of several, or its error."""

    reference: Reference
    result: Inspection | BrokerError
