"""A source as callers name it: an image, or an index with an optional selection of its images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from app.errors import BrokerError
from app.lists.overrides import Override, PlatformOverride, build_override, check_known
from app.oci.annotations import parse_annotations
from app.oci.platform import Platform, parse_platform
from app.oci.reference import Reference, parse_reference


@dataclass(frozen=True, slots=True)
class Source:
    """A reference to resolve, with overrides for its entries.

    `platforms` selects images if the source is an index; an empty selection takes all.
    """

    reference: Reference
    override: PlatformOverride = field(default_factory=PlatformOverride)
    platforms: tuple[Platform, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def parse_sources(documents: Sequence[Any], pointer: str = "/sources") -> tuple[Source, ...]:
    """All sources; the error names the position of the one that can't be read."""
    found = []
    for position, document in enumerate(documents):
        with at(f"{pointer}/{position}"):
            found.append(_parse_source(document))
    return tuple(found)


def parse_any_platform(document: str | Mapping[str, Any]) -> Platform:
    """A platform as callers write it: os/arch/variant, or an object, which may have more members."""
    if isinstance(document, str):
        return parse_platform(document)
    return parse_override(document).distinct().over(Platform())


def parse_override(document: str | Mapping[str, Any]) -> PlatformOverride:
    """Parse a caller's platform; members that an object leaves out stay those of the image."""
    if isinstance(document, str):
        platform = parse_platform(document)
        members = {field.name: getattr(platform, field.name) for field in fields(platform)}
        document = {name: value for name, value in members.items() if value}
    rest: dict[str, Override] = {
        "os_version": document.get("os_version") or None,
        "os_features": tuple(document.get("os_features") or ()),
    }
    return build_override(
        os=document.get("os"),
        architecture=document.get("architecture"),
        variant=document.get("variant"),
        rest=rest,
        given=frozenset(document),
    )


@contextmanager
def at(pointer: str) -> Iterator[None]:
    """Locate errors of the block at a field; the pointers of nested blocks join."""
    try:
        yield
    except BrokerError as error:
        raise error.located_at(pointer) from None


def _parse_source(document: str | Mapping[str, Any]) -> Source:
    if isinstance(document, str):
        return Source(parse_reference(document))
    with at("/reference"):
        reference = parse_reference(document["reference"])
    given = document.get("platform")
    override = PlatformOverride()
    if given is not None:
        with at("/platform"):
            override = parse_override(given).distinct()
        if override.members.get("os") and override.members.get("architecture"):
            check_known(override.over(Platform()))
    with at("/platforms"):
        platforms = tuple(parse_any_platform(platform) for platform in document.get("platforms") or ())
    with at("/annotations"):
        annotations = parse_annotations(document.get("annotations") or {})
    return Source(reference, override, platforms, annotations)
