"""Compares two indexes by platform: the platforms that a push adds, removes and changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.lists.variants import usual_variant
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.platform import Platform

# The digest of the image for each platform.
Choices = Mapping[Platform, Digest]

# The first three parts of a Windows build decide where it runs; the last one counts revisions.
_BUILD_PARTS = 3


@dataclass(frozen=True, slots=True)
class Change:
    """A platform whose image differs."""

    platform: Platform
    before: Digest
    after: Digest


@dataclass(frozen=True, slots=True)
class Difference:
    added: tuple[Platform, ...] = ()
    removed: tuple[Platform, ...] = ()
    changed: tuple[Change, ...] = ()


def choices(manifests: Sequence[Descriptor]) -> dict[Platform, Digest]:
    """Which image a reader of the index takes for each platform: the first. Attestations are for none."""
    found: dict[Platform, Digest] = {}
    for descriptor in manifests:
        platform = descriptor.platform
        if platform is not None and not platform.is_unknown and (platform.os or platform.architecture):
            found.setdefault(platform, descriptor.digest)
    return found


def compare(before: Choices, after: Choices) -> Difference:
    """Platforms are one if they run the same: arm64 is arm64/v8, a Windows build is any revision of it."""
    old, new = _by_key(before), _by_key(after)
    return Difference(
        added=_sorted(new[key][0] for key in new.keys() - old.keys()),
        removed=_sorted(old[key][0] for key in old.keys() - new.keys()),
        changed=tuple(
            Change(platform, old[_key(platform)][1], new[_key(platform)][1])
            for platform in _sorted(new[key][0] for key in new.keys() & old.keys())
            if old[_key(platform)][1] != new[_key(platform)][1]
        ),
    )


def _by_key(found: Choices) -> dict[tuple[str, ...], tuple[Platform, Digest]]:
    by_key: dict[tuple[str, ...], tuple[Platform, Digest]] = {}
    for platform, digest in found.items():
        by_key.setdefault(_key(platform), (platform, digest))
    return by_key


def _key(platform: Platform) -> tuple[str, ...]:
    build = ".".join(platform.os_version.split(".")[:_BUILD_PARTS])
    features = " ".join(sorted(set(platform.os_features)))
    return platform.os, platform.architecture, usual_variant(platform), build, features


def _sorted(platforms: Iterable[Platform]) -> tuple[Platform, ...]:
    return tuple(sorted(platforms, key=lambda platform: (str(platform), platform.os_version)))
