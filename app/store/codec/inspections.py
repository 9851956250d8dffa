"""The results of inspections, as operations keep them for their callers."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from app.errors import BrokerError
from app.lists.inspections import Inspection, InspectionOutcome
from app.store.codec.pushes import Document


def encode_inspection(inspection: Inspection) -> Document:
    manifest = inspection.manifest
    document: Document = {
        "reference": str(inspection.reference),
        "from": inspection.source.value,
        "digest": str(manifest.digest),
        "media_type": manifest.media_type,
        "manifest": inspection.content,
        "raw": base64.b64encode(manifest.raw).decode(),
    }
    if inspection.images is not None:
        document["images"] = list(inspection.images)
    return document


def encode_outcomes(outcomes: Iterable[InspectionOutcome]) -> Document:
    return {"results": [_encode_outcome(outcome) for outcome in outcomes]}


def _encode_outcome(outcome: InspectionOutcome) -> Document:
    reference = str(outcome.reference)
    if isinstance(outcome.result, BrokerError):
        return {"reference": reference, "problem": outcome.result.document()}
    return {"reference": reference, "result": encode_inspection(outcome.result)}
