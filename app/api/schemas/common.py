"""Types that several schemas share."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)
from typing_extensions import TypeAliasType

from app.oci import descriptor as content
from app.oci import platform as domain
from app.oci.reference import Reference
from app.oci.timestamps import rfc3339

# All images of all lists have few different platforms, and to render one again costs more than to find it.
KNOWN_PLATFORMS = 256

# Postgres can't store U+0000.
_NUL = re.compile("\0")


def _without_nul(text: str) -> str:
    if _NUL.search(text):
        raise ValueError("The text must not contain U+0000.")
    return text


def dump_json(document: dict[str, Any]) -> bytes:
    """As Starlette writes the body of an answer."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def optional_text(value: object | None) -> str | None:
    return str(value) if value is not None else None


Text = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_without_nul)]
ShortText = Annotated[str, StringConstraints(max_length=255), AfterValidator(_without_nul)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$")]
Reason = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_without_nul)]
AnnotationText = Annotated[str, StringConstraints(max_length=65536)]

# These aliases give their types a name in the OpenAPI document, and so in generated clients.
JsonObject = TypeAliasType("JsonObject", dict[str, Any])
Labels = TypeAliasType("Labels", dict[str, str])
LabelChanges = TypeAliasType("LabelChanges", Annotated[dict[ShortText, Text | None], Field(max_length=64)])
Annotations = TypeAliasType("Annotations", dict[str, str])
NewAnnotations = TypeAliasType(
    "NewAnnotations", Annotated[dict[ShortText, AnnotationText], Field(max_length=256)]
)
AnnotationChanges = TypeAliasType(
    "AnnotationChanges", Annotated[dict[ShortText, AnnotationText | None], Field(max_length=256)]
)
Format = TypeAliasType("Format", Literal["auto", "docker", "oci"])
Order = TypeAliasType("Order", Literal["docker", "as-given"])


class Body(BaseModel):
    """A request body. Unknown members are rejected, because a misspelt option would be ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Document(BaseModel):
    """A response body. Later versions may add members."""

    model_config = ConfigDict(extra="allow", validate_by_name=True, validate_by_alias=True)

    def render(self) -> dict[str, Any]:
        """The JSON object, under the API's own names and with null for what is not there."""
        return self.model_dump(by_alias=True)


def render_value(value: object) -> Any:
    """A value of the domain in JSON."""
    match value:
        case domain.Platform() | Reference():
            return value.full_name if isinstance(value, domain.Platform) else str(value)
        case content.Descriptor():
            return Descriptor.from_descriptor(value)
        case datetime():
            return rfc3339(value)
        case tuple():
            return [render_value(each) for each in value]
        case Mapping():
            return dict(value)
        case _:
            return value


class Sparse(Document):
    """A document that leaves out the members that it does not have."""

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        return {name: value for name, value in handler(self).items() if value is not None}


class Platform(Body):
    """A platform. In requests, a missing member keeps the value of the image, and null clears it."""

    os: ShortText | None = Field(None, description="The Go name (GOOS), such as `linux`.")
    architecture: ShortText | None = Field(
        None,
        description="The Go name (GOARCH), such as `arm64`. Aliases such as `x86_64` are accepted.",
    )
    variant: ShortText | None = Field(None, description="Such as `v8`.")
    os_version: ShortText | None = Field(None, description="Such as `10.0.17763.6893`, for Windows.")
    os_features: list[ShortText] | None = Field(None, description="Such as `win32k`, for Windows.")

    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)

    @staticmethod
    @lru_cache(KNOWN_PLATFORMS)
    def from_platform(platform: domain.Platform) -> Platform:
        """With null for a member that the platform does not have."""
        return Platform.model_construct(
            os=platform.os or None,
            architecture=platform.architecture or None,
            variant=platform.variant or None,
            os_version=platform.os_version or None,
            os_features=list(platform.os_features),
        )


PlatformInput = TypeAliasType(
    "PlatformInput",
    Annotated[
        ShortText | Platform,
        Field(
            description=(
                "`os/architecture[/variant]`, or an object with members. A version of the operating system "
                "can follow its name: `windows(10.0.20348)/amd64`."
            ),
            examples=["linux/arm64/v8"],
        ),
    ],
)


def platform_input(value: str | Platform) -> str | dict[str, Any]:
    return value.given() if isinstance(value, Platform) else value


class RawManifest(Document):
    """A manifest or an index, with exactly the bytes of the registry."""

    schema_version: int = Field(alias="schemaVersion")
    media_type: str | None = Field(None, alias="mediaType")


class OciPlatform(Sparse):
    """The platform of an OCI descriptor."""

    architecture: str
    os: str
    os_version: str | None = Field(None, alias="os.version")
    os_features: list[str] | None = Field(None, alias="os.features")
    variant: str | None = None

    @staticmethod
    @lru_cache(KNOWN_PLATFORMS)
    def from_platform(platform: domain.Platform) -> OciPlatform:
        return OciPlatform.model_construct(
            architecture=platform.architecture,
            os=platform.os,
            os_version=platform.os_version or None,
            os_features=list(platform.os_features) or None,
            variant=platform.variant or None,
        )


class Descriptor(Sparse):
    """An OCI content descriptor (image-spec 1.1, descriptor.md)."""

    media_type: str = Field(alias="mediaType")
    digest: str
    size: int = Field(description="Size in bytes.")
    annotations: Annotations | None = None
    platform: OciPlatform | None = None
    artifact_type: str | None = Field(None, alias="artifactType")

    @classmethod
    def from_descriptor(cls, descriptor: content.Descriptor) -> Descriptor:
        platform = descriptor.platform
        return cls.model_construct(
            media_type=descriptor.media_type,
            digest=str(descriptor.digest),
            size=descriptor.size,
            annotations=dict(sorted(descriptor.annotations.items())) or None,
            platform=OciPlatform.from_platform(platform) if platform is not None else None,
            artifact_type=descriptor.artifact_type or None,
        )
