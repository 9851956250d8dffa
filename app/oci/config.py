"""Image configs, read for the platform as Docker reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.errors import SourceInvalid
from app.oci import members, strict_json
from app.oci.platform import Platform
from app.oci.strict_json import Json

_WHAT = "the image's config"
_PLATFORM_KEYS = ("architecture", "os", "os.version", "os.features", "variant")


@dataclass(frozen=True, slots=True)
class ImageConfig:
    platform: Platform = field(default_factory=Platform)
    created: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_config(raw: bytes) -> ImageConfig:
    """The platform that Docker would take from these bytes: copied, never inferred or normalised.

    A wrong type in the platform is refused; Docker does not read other members, so their types are ignored.
    """
    document = strict_json.loads(raw, what=_WHAT)
    if document is None:
        return ImageConfig()
    if not isinstance(document, dict):
        raise SourceInvalid(f"The image's config is {members.type_name(document)}, not an object.")
    created = document.get("created")
    return ImageConfig(
        platform=_platform(_spelled(document)),
        created=created if isinstance(created, str) else None,
        labels=_labels(document.get("config")),
    )


def _platform(owner: Mapping[str, Json]) -> Platform:
    return Platform(
        os=members.text(owner, "os", what=_WHAT),
        architecture=members.text(owner, "architecture", what=_WHAT),
        variant=members.text(owner, "variant", what=_WHAT),
        os_version=members.text(owner, "os.version", what=_WHAT),
        os_features=members.texts(owner, "os.features", what=_WHAT),
    )


def _spelled(document: Mapping[str, Json]) -> dict[str, Json]:
    """The platform's members under their proper names: Go reads `OS` as `os`, so images may use either.

    A document with two spellings of one member is ambiguous and is refused.
    """
    found: dict[str, Json] = {}
    for key, value in document.items():
        name = key.casefold()
        if name not in _PLATFORM_KEYS:
            continue
        if name in found:
            raise SourceInvalid(f"The image's config spells `{name}` in two ways.")
        found[name] = value
    return found


def _labels(config: Json) -> dict[str, str]:
    labels = config.get("Labels") if isinstance(config, dict) else None
    if not isinstance(labels, dict):
        return {}
    return {key: value for key, value in labels.items() if isinstance(value, str)}
