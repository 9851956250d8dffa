"""The listing of an entry in its source index, and the members that a new list leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Index
from app.oci.platform import Platform
from app.oci.text import shown

_MOST_NAMES = 8


@dataclass(frozen=True, slots=True)
class Listing:
    """The listing of a manifest in an index.

    `index` and `index_type` are the digest and the media type of the index, and `count` is the number of
    entries that it makes. `platform` and `annotations` come from the descriptor. `config_platform` comes from
    the image's config, and is None if that was not read. `nested` are the indexes within the index that lead
    to the manifest. `lost` and `index_lost` name the members of the descriptor and of the indexes that a new
    list does not have.
    """

    index: Digest
    index_type: str
    count: int
    platform: Platform | None = None
    config_platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    nested: tuple[Descriptor, ...] = ()
    lost: tuple[str, ...] = ()
    index_lost: tuple[str, ...] = ()


def lost_of_descriptor(described: Descriptor) -> tuple[str, ...]:
    """The members of a descriptor that the entry of a new list does not have."""
    return (*(["urls"] if described.urls else []), *map(_short, described.rest))


def lost_of_indexes(indexes: Sequence[Index]) -> tuple[str, ...]:
    """The members of an index, and of those within it, that a new list does not have."""
    return tuple(dict.fromkeys(name for index in indexes for name in _lost_of(index)))


def _lost_of(index: Index) -> Iterator[str]:
    if index.annotations:
        keys = [_short(key) for key in sorted(index.annotations)[:_MOST_NAMES]]
        more = ", …" if len(index.annotations) > _MOST_NAMES else ""
        yield f"annotations ({', '.join(keys)}{more})"
    if index.artifact_type:
        yield f"artifactType ({_short(index.artifact_type)})"
    if index.subject is not None:
        yield f"subject ({index.subject.digest})"
    yield from map(_short, index.rest[:_MOST_NAMES])


def _short(name: str) -> str:
    return shown(name, 64)
