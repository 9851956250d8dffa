"""Which platforms are one choice for whoever pulls, however they are spelt."""

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
