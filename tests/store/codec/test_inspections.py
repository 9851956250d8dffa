"""Inspections in JSON: with what was asked for, and nothing in place of the rest."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from app.errors import SourceNotFound
from app.lists.inspections import Inspection, InspectionOutcome, InspectionSource, VerboseImage
from app.oci.manifest import Manifest
from app.oci.media_types import OCI_MANIFEST
from app.oci.reference import parse_reference
from app.store.codec.inspections import encode_inspection, encode_outcomes
from tests.store.codec.documents import stored

REFERENCE = parse_reference("r.test/app:1")
MANIFEST = Manifest.of(OCI_MANIFEST, b'{"a":1}')
PLAIN = Inspection(REFERENCE, InspectionSource.REGISTRY, MANIFEST, {"a": 1})


@pytest.mark.parametrize("text", stored("operations.result", "inspect"))
def test_the_members_of_an_inspection_are_in_the_order_of_before(text: str) -> None:
    before = json.loads(text)
    images: VerboseImage = {"Ref": "r.test/app:1"}
    inspection = replace(PLAIN, images=(images,) if "images" in before else None)
    assert list(encode_inspection(inspection)) == list(before)


def test_an_inspection_has_the_bytes_of_the_manifest_and_what_they_say() -> None:
    assert encode_inspection(PLAIN) == {
        "reference": "r.test/app:1",
        "from": "registry",
        "digest": str(MANIFEST.digest),
        "media_type": OCI_MANIFEST,
        "manifest": {"a": 1},
        "raw": base64.b64encode(MANIFEST.raw).decode(),
    }


def test_each_of_several_has_a_result_or_a_problem() -> None:
    error = SourceNotFound("The registry does not have it.")
    outcomes = [InspectionOutcome(REFERENCE, PLAIN), InspectionOutcome(REFERENCE, error)]
    first, second = encode_outcomes(outcomes)["results"]
    assert first == {"reference": "r.test/app:1", "result": encode_inspection(PLAIN)}
    assert second == {"reference": "r.test/app:1", "problem": error.document()}
