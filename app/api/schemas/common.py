"""What several bodies share."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

# U+0000 can't be stored, and means nothing that anyone would want to say.
_NUL = re.compile("\0")


def _without_nul(text: str) -> str:
    if _NUL.search(text):
        raise ValueError("must not contain U+0000")
    return text


Text = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_without_nul)]
ShortText = Annotated[str, StringConstraints(max_length=255), AfterValidator(_without_nul)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$")]
Reason = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_without_nul)]
AnnotationText = Annotated[str, StringConstraints(max_length=65536)]

# What has a name here has one in the OpenAPI document, and so in the clients generated from it.
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


class Body(BaseModel):
    """What a caller sends; unknown members are refused, since a typing error would pass for a wish."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Document(BaseModel):
    """What a caller is answered; more members may come in time."""

    model_config = ConfigDict(extra="allow")


class Platform(Body):
    """What an image runs on. In requests a member left out is the image's own, and null clears it."""

    os: ShortText | None = Field(None, description="Such as `linux`; Go's name.")
    architecture: ShortText | None = Field(
        None,
        description="Such as `arm64`; Go's name. `x86_64`, `aarch64`, `armhf` and the like are understood.",
    )
    variant: ShortText | None = Field(None, description="Such as `v8`.")
    os_version: ShortText | None = Field(None, description="Such as `10.0.17763.6893`; for Windows.")
    os_features: list[ShortText] | None = Field(None, description="Such as `win32k`; for Windows.")

    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


PlatformInput = TypeAliasType(
    "PlatformInput",
    Annotated[
        ShortText | Platform,
        Field(description="`os/architecture[/variant]`, or an object.", examples=["linux/arm64/v8"]),
    ],
)


def platform_input(value: str | Platform) -> str | dict[str, Any]:
    return value.given() if isinstance(value, Platform) else value


class RawManifest(Document):
    """A manifest or an index, byte for byte as a registry has it."""

    schema_version: int = Field(alias="schemaVersion")
    media_type: str | None = Field(None, alias="mediaType")


class OciPlatform(Document):
    """A platform as OCI descriptors have it."""

    architecture: str
    os: str
    os_version: str | None = Field(None, alias="os.version")
    os_features: list[str] | None = Field(None, alias="os.features")
    variant: str | None = None


class Descriptor(Document):
    """An OCI content descriptor (image-spec 1.1, descriptor.md)."""

    media_type: str = Field(alias="mediaType")
    digest: str
    size: int = Field(description="Bytes.")
    annotations: Annotations | None = None
    platform: OciPlatform | None = None
    artifact_type: str | None = Field(None, alias="artifactType")
