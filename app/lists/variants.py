"""Which platforms are one choice for a reader of an index, and which image is the one that was expected."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from app.oci.platform import Platform

_USUAL_VARIANT = {"amd64": "v1", "arm": "v7", "arm64": "v8"}


def usual_variant(platform: Platform) -> str:
    """The variant, or the one that an image of this architecture has if it names none."""
    return platform.variant or _USUAL_VARIANT.get(platform.architecture, "")


def choice(platform: Platform) -> Hashable:
    """The same for arm64 and arm64/v8, between which no reader can tell."""
    return replace(platform, variant=usual_variant(platform)).key


def satisfies(actual: Platform, expected: Platform) -> bool:
    """Whether `actual` meets the expectation; members that `expected` leaves out match any value.

    An image that names no variant has its architecture's usual one: arm64 is arm64/v8.
    """
    if (actual.os, actual.architecture) != (expected.os, expected.architecture):
        return False
    if expected.variant and usual_variant(actual) != expected.variant:
        return False
    if expected.os_version and actual.os_version != expected.os_version:
        return False
    return set(expected.os_features) <= set(actual.os_features)


def is_same_build(expected: Platform, reported: Platform) -> bool:
    """Whether two ways of naming a platform, one perhaps without the variant, mean one build."""
    return satisfies(reported, expected) or satisfies(expected, reported)
