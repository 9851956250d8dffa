"""Descriptors: references to content with its digest, media type and size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.errors import InvalidDigest, SourceInvalid
from app.oci import members
from app.oci.digest import Digest, parse_digest
from app.oci.platform import Platform
from app.oci.strict_json import Json

KEYS = ("mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType")
PLATFORM_KEYS = ("architecture", "os", "os.version", "os.features", "variant", "features")
# With the members whose values may be of another type, in which case they are not read, and without them.
_KNOWN, _REQUIRED = frozenset(KEYS), frozenset(KEYS) - {"data"}
_OF_PLATFORM, _REQUIRED_OF_PLATFORM = frozenset(PLATFORM_KEYS), frozenset(PLATFORM_KEYS) - {"features"}
# Beyond this, readers of JSON numbers disagree (RFC 8259 §6).
MAX_SIZE = 2**53 - 1

_MEDIA_TYPE = re.compile(r"[!-~]+(?: *; *[!-~]+)*")
_MAX_MEDIA_TYPE = 255


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str | None = None
    urls: tuple[str, ...] = ()
    # The content itself in Base64. It is not checked against the digest.
    data: str | None = field(default=None, repr=False, compare=False)
    # The CPU features of the platform, which Docker manifest lists may have.
    features: tuple[str, ...] = field(default=(), compare=False)
    # The names of further members of the document, whose values are not kept.
    rest: tuple[str, ...] = field(default=(), compare=False)

    def document(self) -> dict[str, Json]:
        """The descriptor in OCI's names and in the order of image-spec's Go struct, as in `inspect -v`."""
        document: dict[str, Json] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.urls:
            document["urls"] = list(self.urls)
        if self.annotations:
            document["annotations"] = dict(sorted(self.annotations.items()))
        if self.platform is not None:
            document["platform"] = self.platform.document()
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        return document


def parse_descriptor(document: Json, *, what: str = "the descriptor") -> Descriptor:
    """Raises SourceInvalid; `what` names the descriptor in the detail."""
    owner = members.owner(document, KEYS, what=what)
    platform = owner.get("platform")
    data, features = _text(owner, "data"), _texts(platform, "features")
    return Descriptor(
        media_type=_media_type(owner, what),
        digest=_digest(owner, what),
        size=_size(owner, what),
        platform=None
        if platform is None
        else parse_platform_object(platform, what=f"the platform of {what}"),
        annotations=members.texts_by_key(owner, "annotations", what=what),
        artifact_type=members.text(owner, "artifactType", what=what) or None,
        urls=members.texts(owner, "urls", what=what),
        data=data,
        features=features,
        rest=(
            *members.others(owner, _KNOWN if data is not None else _REQUIRED),
            *(
                f"platform.{name}"
                for name in members.others(platform, _OF_PLATFORM if features else _REQUIRED_OF_PLATFORM)
            ),
        ),
    )


def parse_platform_object(document: Json, *, what: str) -> Platform:
    """A descriptor's platform; missing members are empty, as they are for Docker."""
    owner = members.owner(document, PLATFORM_KEYS, what=what)
    return Platform(
        os=members.text(owner, "os", what=what),
        architecture=members.text(owner, "architecture", what=what),
        variant=members.text(owner, "variant", what=what),
        os_version=members.text(owner, "os.version", what=what),
        os_features=members.texts(owner, "os.features", what=what),
    )


def _text(owner: Mapping[str, Json], key: str) -> str | None:
    """An optional string. A value of another type is ignored, and does not invalidate the document."""
    value = owner.get(key)
    return value if isinstance(value, str) else None


def _texts(owner: Json, key: str) -> tuple[str, ...]:
    """Optional strings; empty if the value is anything but an array of strings."""
    values = owner.get(key) if isinstance(owner, dict) else None
    if not isinstance(values, list):
        return ()
    texts = tuple(value for value in values if isinstance(value, str))
    return texts if len(texts) == len(values) else ()


def _media_type(owner: Mapping[str, Json], what: str) -> str:
    media_type = members.text(owner, "mediaType", what=what)
    if len(media_type) > _MAX_MEDIA_TYPE or not _MEDIA_TYPE.fullmatch(media_type):
        raise SourceInvalid(f"The mediaType of {what} is not valid.")
    return media_type


def _digest(owner: Mapping[str, Json], what: str) -> Digest:
    try:
        return parse_digest(members.text(owner, "digest", what=what))
    except InvalidDigest as error:
        raise SourceInvalid(f"The digest of {what} is not valid: {error.detail}.") from None


def _size(owner: Mapping[str, Json], what: str) -> int:
    size = owner.get("size")
    if type(size) is not int or not 0 <= size <= MAX_SIZE:
        raise SourceInvalid(f"The size of {what} is not a whole number from 0 to 2^53-1.")
    return size
