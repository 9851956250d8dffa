"""Platform overrides: the members that callers set over those in an image's config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.errors import FieldError, UnsupportedPlatform
from app.oci import platform as platforms
from app.oci.platform import Platform

Override = str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class PlatformOverride:
    """The members of a platform that a caller has set; None clears one, an absent one is the image's own.

    Member names are those of `Platform`. os_features replace the image's as a whole.
    """

    members: Mapping[str, Override] = field(default_factory=dict)

    def over(self, resolved: Platform) -> Platform:
        """The effective platform."""
        if not self.members:
            # The most common case, and a hot path.
            return resolved
        texts = {name: self._text(name, getattr(resolved, name)) for name in _TEXTS}
        features = self.members.get("os_features", resolved.os_features)
        return replace(resolved, **texts, os_features=features if isinstance(features, tuple) else ())

    def updated(self, newer: PlatformOverride) -> PlatformOverride:
        """This override with the newer one's members on top, as after a second `docker manifest annotate`."""
        return PlatformOverride({**self.members, **newer.members})

    def distinct(self, present: tuple[str, ...] = ()) -> PlatformOverride:
        """The override without repeated features; like Docker, keep the first of each.

        Docker keeps features that the image itself repeats (`present`), so callers may repeat those too.
        """
        features = self.members.get("os_features")
        if not isinstance(features, tuple):
            return self
        kept = present if features[: len(present)] == present else ()
        added = [each for each in dict.fromkeys(features) if each not in kept]
        return PlatformOverride({**self.members, "os_features": (*kept, *added)})

    def _text(self, name: str, resolved: str) -> str:
        value = self.members.get(name, resolved)
        return value if isinstance(value, str) else ""


_TEXTS = ("os", "architecture", "variant", "os_version")


NOTHING_SAID = PlatformOverride()


def build_override(
    *,
    os: str | None,
    architecture: str | None,
    variant: str | None,
    rest: Mapping[str, Override],
    given: frozenset[str],
) -> PlatformOverride:
    """An override from the members that a caller has `given`, with common aliases normalised.

    An alias that implies a variant (armhf is arm/v7) sets it, unless the caller gave a variant too.
    """
    members: dict[str, Override] = {name: value for name, value in rest.items() if name in given}
    normal_os, normal_architecture, implied = platforms.normalize(os or "", architecture or "", variant or "")
    if "os" in given:
        members["os"] = normal_os or None
    if "architecture" in given:
        members["architecture"] = normal_architecture or None
    if "variant" in given or (implied and implied != (variant or "")):
        members["variant"] = implied or None
    return PlatformOverride(members)


def check_known(platform: Platform) -> None:
    """Refuse a combination for which no software is built, as `docker manifest annotate` does.

    Docker's own table lacks platforms that exist (windows/arm64, linux/loong64); ours is complete.
    """
    if not platforms.is_known(platform.os, platform.architecture):
        detail = (
            f"{platform.os or '(none)'}/{platform.architecture or '(none)'} is not a known combination of "
            "operating system and architecture."
        )
        raise UnsupportedPlatform(
            detail,
            errors=[FieldError("/platform", detail)],
            os=platform.os,
            architecture=platform.architecture,
        )
