"""Referrers: manifests that name another as their subject, and the index that lists them without an API."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from app.errors import SourceInvalid
from app.oci import gojson, media_types, members, strict_json
from app.oci.descriptor import Descriptor, parse_descriptor
from app.oci.digest import Digest
from app.oci.manifest import ImageManifest, Index
from app.oci.strict_json import Json

NO_REFERRERS = gojson.marshal(
    {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []},
)

_WHAT = "the referrers index"
_LONGEST_ALGORITHM, _LONGEST_ENCODED = 32, 64
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.-]", re.ASCII)


def referrers_tag(subject: Digest) -> str:
    """The tag of the referrers index, truncated as in distribution-spec, "Referrers Tag Schema"."""
    tag = f"{subject.algorithm[:_LONGEST_ALGORITHM]}-{subject.hex[:_LONGEST_ENCODED]}"
    return _NOT_IN_TAGS.sub("-", tag)


def describe_referrer(referrer: ImageManifest | Index, digest: Digest) -> Descriptor:
    """The descriptor for lists of referrers (distribution-spec, "Pushing Manifests with Subject")."""
    config_type = referrer.config.media_type if isinstance(referrer, ImageManifest) else None
    return Descriptor(
        referrer.manifest.media_type,
        digest,
        referrer.manifest.size,
        annotations=referrer.annotations,
        artifact_type=referrer.artifact_type or config_type,
    )


def merge_referrers(raw: bytes, added: Sequence[Descriptor]) -> bytes | None:
    """The index with these descriptors added, or None if it already has them.

    Everything that other clients wrote stays unchanged, except for a different descriptor of the same digest,
    which is replaced.
    """
    document = strict_json.loads(raw, what=_WHAT)
    if not isinstance(document, dict):
        raise SourceInvalid("The referrers index is not an object.")
    listed = members.items(document, "manifests", what=_WHAT)
    wanted = {descriptor.digest: descriptor for descriptor in added}
    merged: list[Json] = []
    is_changed = False
    for entry in listed:
        known = parse_descriptor(entry)
        replacing = wanted.pop(known.digest, None)
        is_same = replacing is None or _is_same(known, replacing)
        is_changed |= not is_same
        merged.append(entry if is_same or replacing is None else replacing.document())
    if not wanted and not is_changed:
        return None
    merged.extend(descriptor.document() for descriptor in wanted.values())
    return json.dumps({**document, "manifests": merged}, separators=(",", ":"), ensure_ascii=False).encode()


def _is_same(one: Descriptor, other: Descriptor) -> bool:
    return (one.media_type, one.size, one.artifact_type, one.annotations) == (
        other.media_type,
        other.size,
        other.artifact_type,
        other.annotations,
    )
