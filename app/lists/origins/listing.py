"""An entry's listing in its source index: the members that a new list keeps, and those that it drops."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Index
from app.oci.platform import Platform
from app.oci.text import shown

_MOST_NAMES = 8
# An index has up to 1024 entries and 4 MiB, and each entry stores a copy of the index's own members.
_MOST_TEXT = 8 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """The members of a descriptor that a new list keeps, besides the platform and the annotations."""

    urls: tuple[str, ...] = ()
    data: str | None = None
    features: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        present = {"urls": self.urls, "data": self.data is not None, "platform.features": self.features}
        return tuple(name for name, value in present.items() if value)


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """The members of an index that a new list may inherit."""

    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The listing of a manifest in an index.

    `index` and `index_type` are the digest and the media type of the index, and `count` is the number of
    entries that the index expands to. `platform` and `annotations` come from the descriptor.
    `config_platform` comes from the image's config; it is None if the config was not read. `nested` are the
    nested indexes on the path to the manifest. `kept` holds the members of the descriptor that a new list may
    keep, and `facts` those of the index. `lost` and `index_lost` name the other members, including those of
    nested indexes.
    """

    index: Digest
    index_type: str
    count: int
    platform: Platform | None = None
    config_platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    nested: tuple[Descriptor, ...] = ()
    kept: Kept = Kept()
    facts: IndexFacts = IndexFacts()
    lost: tuple[str, ...] = ()
    index_lost: tuple[str, ...] = ()


def keep_of_descriptor(described: Descriptor) -> Kept:
    """The members of a descriptor that a new list may keep. Data is kept only if it matches the digest."""
    urls = described.urls if sum(map(len, described.urls)) <= _MOST_TEXT else ()
    data = described.data if _is_content(described) else None
    return Kept(urls, data, described.features)


def lost_of_descriptor(described: Descriptor) -> tuple[str, ...]:
    """The members of a descriptor that a new list always drops."""
    every = Kept(described.urls, described.data, described.features).names
    kept = keep_of_descriptor(described).names
    return (*(name for name in every if name not in kept), *map(_short, described.rest))


def facts_of_index(index: Index) -> IndexFacts:
    """The index's own members, unless they are too large to be stored with each entry."""
    size = sum(len(key) + len(text) for key, text in index.annotations.items())
    return IndexFacts(dict(index.annotations) if size <= _MOST_TEXT else {}, index.artifact_type)


def lost_of_indexes(indexes: Sequence[Index]) -> tuple[str, ...]:
    """The members of an index and its nested indexes that a new list always drops; the index comes first."""
    names = [name for place, index in enumerate(indexes) for name in _lost_of(index, is_outer=place == 0)]
    return tuple(dict.fromkeys(names))


def name_annotations(keys: Iterable[str]) -> str:
    """The name of the annotations member with its keys, or with the first few of them."""
    ordered = sorted(keys)
    more = ", …" if len(ordered) > _MOST_NAMES else ""
    return f"annotations ({', '.join(map(_short, ordered[:_MOST_NAMES]))}{more})"


def name_artifact_type(artifact_type: str) -> str:
    return f"artifactType ({_short(artifact_type)})"


def _lost_of(index: Index, *, is_outer: bool) -> Iterator[str]:
    facts = facts_of_index(index) if is_outer else IndexFacts()
    if index.annotations and not facts.annotations:
        yield name_annotations(index.annotations)
    if index.artifact_type and not facts.artifact_type:
        yield name_artifact_type(index.artifact_type)
    if index.subject is not None:
        yield f"subject ({index.subject.digest})"
    yield from map(_short, index.rest[:_MOST_NAMES])


def _is_content(described: Descriptor) -> bool:
    """Whether the data embedded in a descriptor matches its digest."""
    if described.data is None or len(described.data) > _MOST_TEXT:
        return False
    try:
        content = base64.b64decode(described.data, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(content) == described.size and described.digest.matches(content)


def _short(name: str) -> str:
    return shown(name, 64)
