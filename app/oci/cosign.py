"""Manifests that cosign stores under tags: one layer for each signature or attestation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import SourceInvalid
from app.oci import media_types, members, strict_json
from app.oci.digest import Digest, digest_of
from app.oci.manifest import Manifest
from app.oci.strict_json import Json

_TAG_KINDS = ("sig", "att", "sbom")
# The payload types of signatures and attestations. SBOMs can't be merged: clients read only one.
_MERGEABLE = frozenset(
    {"application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dsse.envelope.v1+json"}
)
_WHAT = "the signatures"


@dataclass(frozen=True, slots=True)
class Signatures:
    """The merged signatures of two manifests, and the matching config."""

    manifest: Manifest
    config: bytes


@dataclass(frozen=True, slots=True)
class Comparison:
    """The numbers of layers that occur in only one of two manifests."""

    held_alone: int
    found_alone: int


def cosign_tags(subject: Digest) -> tuple[str, ...]:
    """The tags under which cosign keeps signatures, attestations and SBOMs of a manifest."""
    return tuple(f"{subject.algorithm}-{subject.hex}.{kind}" for kind in _TAG_KINDS)


def compare_signatures(held: bytes, found: bytes) -> Comparison | None:
    """Compare two manifests by their layers; None if either has a layer that is not a signature.

    One payload may be signed with several keys, so annotations are part of the comparison.
    """
    ours, theirs = _layers(held), _layers(found)
    if ours is None or theirs is None:
        return None
    return Comparison(len(ours.keys() - theirs.keys()), len(theirs.keys() - ours.keys()))


def merge_signatures(held: bytes, found: bytes, config: bytes) -> Signatures | None:
    """Add the signatures of `found` to the manifest `held`. `config` is the config of `held`."""
    ours, theirs = _layers(held), _layers(found)
    if ours is None or theirs is None:
        return None
    added = [layer for key, layer in theirs.items() if key not in ours]
    document, described = _owner(held), _owner(config)
    merged_config = _render(_extended(described, added))
    listed: dict[str, Json] = {
        **members.owner(document.get("config"), (), what=_WHAT),
        "size": len(merged_config),
        "digest": str(digest_of(merged_config)),
    }
    layers = [*members.items(document, "layers", what=_WHAT), *added]
    raw = _render({**document, "config": listed, "layers": layers})
    return Signatures(Manifest.of(media_types.OCI_MANIFEST, raw), merged_config)


def _layers(raw: bytes) -> dict[str, Json] | None:
    """The layers, by a key that is the same for equal layers; None if one of them is not a signature."""
    document = _owner(raw)
    if document.get("mediaType") != media_types.OCI_MANIFEST or document.get("subject") is not None:
        return None
    layers = members.items(document, "layers", what=_WHAT)
    if not all(isinstance(layer, dict) and layer.get("mediaType") in _MERGEABLE for layer in layers):
        return None
    return {json.dumps(layer, sort_keys=True): layer for layer in layers}


def _extended(config: Mapping[str, Json], added: Sequence[Json]) -> Mapping[str, Json]:
    """The config with the added layers, which are uncompressed, if the config lists layers at all."""
    rootfs, history = config.get("rootfs"), config.get("history")
    if not isinstance(rootfs, dict) or not isinstance(diff_ids := rootfs.get("diff_ids"), list):
        return config
    digests = [members.owner(layer, (), what=_WHAT).get("digest") for layer in added]
    extended = {**config, "rootfs": {**rootfs, "diff_ids": [*diff_ids, *digests]}}
    if isinstance(history, list):
        steps: list[Json] = [{"created": "0001-01-01T00:00:00Z"} for _ in added]
        extended["history"] = [*history, *steps]
    return extended


def _owner(raw: bytes) -> Mapping[str, Json]:
    document = strict_json.loads(raw, what=_WHAT)
    if not isinstance(document, dict):
        raise SourceInvalid("The signatures are not in an object.")
    return document


def _render(document: Mapping[str, Json]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
