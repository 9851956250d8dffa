"""Signatures of two manifests under one tag: what each has alone, and both in one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.errors import SourceInvalid
from app.oci.cosign import Comparison, compare_signatures, merge_signatures
from app.oci.digest import digest_of
from app.oci.manifest import ImageManifest, parse_manifest
from app.oci.media_types import OCI_CONFIG, OCI_MANIFEST

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
Json = dict[str, Any]


def layer(content: str, *, key: str = "one", media_type: str = PAYLOAD) -> Json:
    return {
        "mediaType": media_type,
        "size": len(content),
        "digest": str(digest_of(content.encode())),
        "annotations": {"dev.cosignproject.cosign/signature": key},
    }


def config(*layers: Json) -> bytes:
    diff_ids = [each["digest"] for each in layers]
    history = [{"created": "0001-01-01T00:00:00Z"} for _ in layers]
    document = {
        "architecture": "",
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    }
    return json.dumps(document).encode()


def manifest(*layers: Json, **members: Any) -> bytes:
    own = config(*layers)
    described = {"mediaType": OCI_CONFIG, "size": len(own), "digest": str(digest_of(own))}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": list(layers)}
    return json.dumps({**document, **members}).encode()


ONE, TWO, OTHER_KEY = layer("one"), layer("two"), layer("one", key="two")


@pytest.mark.parametrize(
    ("held", "found", "outcome"),
    [
        ([ONE], [ONE], Comparison(0, 0)),
        ([ONE, TWO], [ONE], Comparison(1, 0)),
        ([ONE], [TWO, ONE], Comparison(0, 1)),
        ([ONE], [TWO], Comparison(1, 1)),
        # One payload, signed with two keys.
        ([ONE], [OTHER_KEY], Comparison(1, 1)),
        ([layer("a", media_type=ENVELOPE)], [layer("b", media_type=ENVELOPE)], Comparison(1, 1)),
    ],
)
def test_signatures_are_told_apart_by_their_layers(
    held: list[Json], found: list[Json], outcome: Comparison
) -> None:
    assert compare_signatures(manifest(*held), manifest(*found)) == outcome


@pytest.mark.parametrize(
    "other",
    [
        manifest(layer("sbom", media_type="text/spdx+json")),
        manifest(ONE, layer("more", media_type="application/x.tar")),
        manifest(ONE, subject={"mediaType": OCI_MANIFEST, "digest": ONE["digest"], "size": 1}),
        manifest(ONE, mediaType="application/vnd.oci.image.index.v1+json"),
    ],
)
def test_anything_but_signatures_is_not_compared(other: bytes) -> None:
    for held, found in ((manifest(ONE), other), (other, manifest(ONE))):
        assert compare_signatures(held, found) is None
        assert merge_signatures(held, found, config(ONE)) is None


@pytest.mark.parametrize("more", [[TWO], [OTHER_KEY], [TWO, ONE, OTHER_KEY]])
def test_both_in_one_keep_every_signature_once(more: list[Json]) -> None:
    held = manifest(ONE, annotations={"kept": "1"})
    merged = merge_signatures(held, manifest(*more), config(ONE))
    assert merged is not None
    document = json.loads(merged.manifest.raw)
    added = [each for each in more if each != ONE]
    assert document["layers"] == [ONE, *added]
    assert document["annotations"] == {"kept": "1"}
    parsed = parse_manifest(merged.manifest.raw, OCI_MANIFEST)
    assert isinstance(parsed, ImageManifest)
    assert parsed.config.digest == digest_of(merged.config)
    assert parsed.config.size == len(merged.config)
    described = json.loads(merged.config)
    assert described["rootfs"]["diff_ids"] == [each["digest"] for each in (ONE, *added)]
    assert len(described["history"]) == 1 + len(added)


@pytest.mark.parametrize("plain", [b"{}", b'{"rootfs": null}', b'{"rootfs": {"diff_ids": 1}}'])
def test_a_config_without_layers_stays(plain: bytes) -> None:
    merged = merge_signatures(manifest(ONE), manifest(TWO), plain)
    assert merged is not None
    assert json.loads(merged.config) == json.loads(plain)


def test_a_config_that_is_no_object_is_refused() -> None:
    with pytest.raises(SourceInvalid):
        merge_signatures(manifest(ONE), manifest(TWO), b"[]")
