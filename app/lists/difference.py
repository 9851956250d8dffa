"""Compares two indexes by platform: the platforms that a push adds, removes and changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from app.lists.variants import choice
from app.oci import media_types
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.platform import Platform

# The digest of the image for each platform.
Choices = Mapping[Platform, Digest]


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
    """The image that clients pull from the index for each platform: the first match, without attestations.

    Artifacts count only in an index without images, because an SBOM for a platform is not an image for it.
    """
    found: dict[Platform, Digest] = {}
    artifacts: dict[Platform, Digest] = {}
    for descriptor in manifests:
        platform = descriptor.platform
        if platform is not None and not platform.is_unknown and (platform.os or platform.architecture):
            is_image = descriptor.artifact_type in {None, *media_types.RUNNABLE_TYPES}
            (found if is_image else artifacts).setdefault(platform, descriptor.digest)
    return found or artifacts


def compare(before: Choices, after: Choices) -> Difference:
    """Platforms are one if they run the same: arm64 is arm64/v8, a Windows build is any revision of it.

    A platform is named with the version of its system where another one has the same name without it.
    """
    old, new = _by_choice(before), _by_choice(after)
    shared = _shared_names([*before, *after])

    def named(platform: Platform) -> Platform:
        return platform if str(platform) in shared else replace(platform, os_version="", os_features=())

    return Difference(
        added=tuple(named(each) for each in _sorted(new[key][0] for key in new.keys() - old.keys())),
        removed=tuple(named(each) for each in _sorted(old[key][0] for key in old.keys() - new.keys())),
        changed=tuple(
            Change(named(platform), old[choice(platform)][1], new[choice(platform)][1])
            for platform in _sorted(new[key][0] for key in new.keys() & old.keys())
            if old[choice(platform)][1] != new[choice(platform)][1]
        ),
    )


def _by_choice(found: Choices) -> dict[Hashable, tuple[Platform, Digest]]:
    by_choice: dict[Hashable, tuple[Platform, Digest]] = {}
    for platform, digest in found.items():
        by_choice.setdefault(choice(platform), (platform, digest))
    return by_choice


def _shared_names(platforms: Iterable[Platform]) -> AbstractSet[str]:
    named = {(choice(platform), str(platform)) for platform in platforms}
    return {name for name, count in Counter(name for _, name in named).items() if count > 1}


def _sorted(platforms: Iterable[Platform]) -> tuple[Platform, ...]:
    return tuple(sorted(platforms, key=lambda platform: (str(platform), platform.os_version)))
