"""Decides which platforms are one choice for a reader, and which image meets which expectation."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from app.oci.platform import Platform

_USUAL_VARIANT = {"amd64": "v1", "arm": "v7", "arm64": "v8"}
# The first three parts of a Windows version are the build, which decides where it runs; the last one counts
# revisions.
_BUILD_PARTS = 3

# Several ways of writing one platform, such as arm64 and arm64/v8: they are met together.
_Spellings = tuple[Platform, ...]


def usual_variant(platform: Platform) -> str:
    """The variant of the platform, or the default variant of its architecture."""
    return platform.variant or _USUAL_VARIANT.get(platform.architecture, "")


def system_version(platform: Platform) -> str:
    """The version of the system as far as it decides where an image runs: of Windows, the build."""
    if platform.os != "windows":
        return platform.os_version
    return ".".join(platform.os_version.split(".")[:_BUILD_PARTS])


def choice(platform: Platform) -> Hashable:
    """A key that is the same for platforms that readers can't distinguish: arm64 and arm64/v8, revisions."""
    return replace(platform, variant=usual_variant(platform), os_version=system_version(platform)).key


def describe_shared(one: Platform, other: Platform) -> str:
    """Describe two platforms that clients can't distinguish: "both linux/amd64", or both names."""
    if one.full_name == other.full_name:
        return f"both {one.full_name}"
    return f"{one.full_name} and {other.full_name}, which count as one platform"


def satisfies(actual: Platform, expected: Platform) -> bool:
    """Whether `actual` meets the expectation; members that `expected` leaves out match any value.

    An image without a variant has the default one of its architecture: arm64 is arm64/v8.
    """
    if (actual.os, actual.architecture) != (expected.os, expected.architecture):
        return False
    if expected.variant and usual_variant(actual) != expected.variant:
        return False
    if expected.os_version and not _has_version(actual, expected):
        return False
    return set(expected.os_features) <= set(actual.os_features)


def _has_version(actual: Platform, expected: Platform) -> bool:
    has, wanted = system_version(actual), system_version(expected)
    # Less than a build, such as 10.0, stands for all builds that begin so.
    return has == wanted or (expected.os == "windows" and has.startswith(f"{wanted}."))


def select(present: Iterable[Platform], wanted: Iterable[Platform]) -> AbstractSet[Platform]:
    """The present platforms that match a selection.

    A selection matches all revisions of a Windows build, or only the revision that it names, if present.
    """
    platforms, selected = list(present), set[Platform]()
    for each in wanted:
        found = {platform for platform in platforms if satisfies(platform, each)}
        exact = {platform for platform in found if each.os_version and platform.os_version == each.os_version}
        selected |= exact or found
    return selected


def is_same_build(expected: Platform, reported: Platform) -> bool:
    """Whether two names mean the same build, even if one omits the variant."""
    return satisfies(reported, expected) or satisfies(expected, reported)


def assign(expected: Sequence[Platform], present: Sequence[Platform]) -> list[_Spellings]:
    """For each image, given by its platform, the expected platform that it meets, in all its spellings.

    Each image meets at most one, and as many as possible are met. An image that could meet several meets
    the narrowest, regardless of the order of the images: amd64/v3 before amd64.
    """
    wanted = _in_order_of_narrowness(expected)
    suitable = [
        [image for image, platform in enumerate(present) if all(satisfies(platform, each) for each in one)]
        for one in wanted
    ]
    holders: dict[int, int] = {}
    # Images that a search has tried without success can't help later searches either.
    hopeless: set[int] = set()
    for position in range(len(wanted)):
        tried = set(hopeless)
        if not _find_image(position, suitable, holders, tried):
            hopeless = tried
    return [wanted[holders[image]] if image in holders else () for image in range(len(present))]


def unmet(expected: Sequence[Platform], present: Sequence[Platform]) -> tuple[Platform, ...]:
    """The expected platforms that no image meets, in the order given."""
    met = {platform for spellings in assign(expected, present) for platform in spellings}
    return tuple(platform for platform in expected if platform not in met)


def find_failed(expected: Sequence[Platform], failed: Platform) -> set[Platform]:
    """The expected platforms to which the report of a failed build applies.

    A report without a variant or version applies to all platforms that differ only in it, unless one of them
    is expected under exactly this name.
    """
    meant = {platform for platform in expected if platform.key == failed.key}
    meant = meant or {platform for platform in expected if satisfies(platform, failed)}
    if not meant:
        wider = [platform for platform in expected if satisfies(failed, platform)]
        narrowest = max(map(_narrowness, wider), default=0)
        meant = {platform for platform in wider if _narrowness(platform) == narrowest}
    choices = {choice(platform) for platform in meant}
    return {platform for platform in expected if choice(platform) in choices}


def find_retracted(expected: Sequence[Platform], present: Sequence[Platform], failed: Platform) -> list[bool]:
    """For each image, whether it is of the build that is reported to have failed."""
    meant = find_failed(expected, failed)
    return [
        is_same_build(failed, platform) and meant.issuperset(spellings)
        for platform, spellings in zip(present, assign(expected, present), strict=True)
    ]


def _find_image(
    position: int, suitable: Sequence[Sequence[int]], holders: dict[int, int], tried: set[int]
) -> bool:
    """Find an image for one expected platform; others may have to switch images (Kuhn's algorithm)."""
    # Free images come first.
    for image in sorted(suitable[position], key=holders.__contains__):
        if image in tried:
            continue
        tried.add(image)
        if image not in holders or _find_image(holders[image], suitable, holders, tried):
            holders[image] = position
            return True
    return False


def _in_order_of_narrowness(expected: Sequence[Platform]) -> list[_Spellings]:
    grouped: dict[Hashable, list[Platform]] = {}
    for platform in expected:
        grouped.setdefault(choice(platform), []).append(platform)
    spellings = [tuple(group) for group in grouped.values()]
    return sorted(spellings, key=lambda group: -max(map(_narrowness, group)))


def _narrowness(platform: Platform) -> int:
    """The specificity of an expectation: a special case has more than its general case."""
    version = system_version(platform)
    return (
        bool(platform.variant) + len(version.split(".") if version else ()) + len(set(platform.os_features))
    )
