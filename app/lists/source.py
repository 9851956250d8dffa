"""A source as callers name it: an image, or an index with an optional selection of its images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from app.errors import BrokerError, UnsupportedPlatform
from app.errors.collecting import Mistakes, parse_each
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
    """All sources; the error names the position of each that can't be read."""
    mistakes = Mistakes()
    found: list[Source] = []
    with mistakes.at(pointer):
        found = parse_each(documents, _parse_source)
    mistakes.raise_all()
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


def parse_image_override(document: str | Mapping[str, Any]) -> PlatformOverride:
    """The platform of a source: where it names an os and an architecture, they are a known pair."""
    override = parse_override(document).distinct()
    if override.members.get("os") and override.members.get("architecture"):
        try:
            check_known(override.over(Platform()))
        except UnsupportedPlatform as error:
            # The caller knows where the platform is.
            raise error.with_errors(()) from None
    return override


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
    mistakes = Mistakes()
    override = PlatformOverride()
    with mistakes.at("/reference"):
        reference = parse_reference(document["reference"])
    with mistakes.at("/platform"):
        given = document.get("platform")
        override = parse_image_override(given) if given is not None else override
    with mistakes.at("/platforms"):
        platforms = parse_each(document.get("platforms") or (), parse_any_platform)
    with mistakes.at("/annotations"):
        annotations = parse_annotations(document.get("annotations") or {})
    mistakes.raise_all()
    return Source(reference, override, tuple(platforms), annotations)
