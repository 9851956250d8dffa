"""Platforms, overrides and descriptors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.lists.overrides import PlatformOverride
from app.oci.descriptor import Descriptor, parse_descriptor
from app.oci.platform import Platform

_MEMBERS = ("os", "architecture", "variant", "os_version")


def encode_platform(platform: Platform) -> dict[str, Any]:
    """A platform with the members it has, in the names of this API."""
    document: dict[str, Any] = {
        name: getattr(platform, name) for name in _MEMBERS if getattr(platform, name) or name in _MEMBERS[:2]
    }
    if platform.os_features:
        document["os_features"] = list(platform.os_features)
    return document


def read_platform(document: Mapping[str, Any]) -> Platform:
    return Platform(
        **{name: document.get(name, "") for name in _MEMBERS},
        os_features=tuple(document.get("os_features", ())),
    )


def encode_override(override: PlatformOverride) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in override.members.items()
    }


def read_override(document: Mapping[str, Any]) -> PlatformOverride:
    return PlatformOverride(
        {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
    )


def read_descriptor(document: dict[str, Any] | None) -> Descriptor | None:
    return parse_descriptor(document) if document is not None else None


def read_platform_name(text: str) -> Platform:
    """A platform with this full name; nothing is normalised, so a version stays in the system's name."""
    os, architecture, variant = [*text.split("/", 2), "", ""][:3]
    return Platform(os, architecture, variant)
