"""Push plans as they are stored before a push, and the results of plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from app.lists.planned_push import PlannedList, PlannedPush, PlannedTag, PlannedTarget
from app.lists.push_plan import FIRST, Conditions, Consent, PushChild, PushPlan
from app.lists.run_order import RunOrder
from app.lists.targets import PushTarget
from app.oci.digest import parse_digest
from app.oci.manifest import Manifest
from app.oci.reference import parse_reference
from app.store.codec.findings import encode_finding, read_finding
from app.store.codec.platforms import encode_platform, read_platform
from app.store.codec.pushes import (
    Document,
    encode_difference,
    encode_manifests,
    encode_referrers,
    optional_text,
    read_optional_digest,
    read_repository,
)

Json = Mapping[str, Any]


def encode_plan(plan: PushPlan) -> Document:
    """The plan without the bytes of its index, which are stored beside it."""
    document: Document = {
        "children": [
            {
                "reference": str(child.reference),
                "digest": str(child.digest),
                "media_type": child.media_type,
                "size": child.size,
            }
            for child in plan.children
        ],
        "targets": [
            {"repository": str(target.repository), "tags": list(target.tags)} for target in plan.targets
        ],
        "order": {"began_at": plan.order.began_at.isoformat(), "number": plan.order.number},
        "conditions": _encode_conditions(plan.conditions),
        "consent": {
            "shrink": plan.consent.shrink,
            "older": plan.consent.older,
            **({"unverified": True} if plan.consent.unverified else {}),
        },
        "referrers": plan.referrers,
        "missing_platforms": list(plan.missing_platforms),
    }
    if plan.choices:
        document["choices"] = [
            {"platform": encode_platform(platform), "digest": str(digest)}
            for platform, digest in plan.choices
        ]
    if plan.origins:
        document["origins"] = [str(origin) for origin in plan.origins]
    return document


def read_plan(index: Manifest, document: Json) -> PushPlan:
    consent = document.get("consent", {})
    return PushPlan(
        index=index,
        children=tuple(
            PushChild(
                parse_reference(child["reference"]),
                parse_digest(child["digest"]),
                child["media_type"],
                child["size"],
            )
            for child in document["children"]
        ),
        targets=tuple(
            PushTarget(read_repository(target["repository"]), tuple(target["tags"]))
            for target in document["targets"]
        ),
        order=_read_order(document["order"]) if "order" in document else FIRST,
        conditions=Conditions(
            document["conditions"]["if_absent"], read_optional_digest(document["conditions"]["if_digest"])
        ),
        consent=Consent(
            consent.get("shrink", False), consent.get("older", False), consent.get("unverified", False)
        ),
        referrers=document.get("referrers", False),
        missing_platforms=tuple(document.get("missing_platforms", ())),
        choices=tuple(
            (read_platform(choice["platform"]), parse_digest(choice["digest"]))
            for choice in document.get("choices", ())
        ),
        origins=tuple(parse_reference(origin) for origin in document.get("origins", ())),
    )


def _read_order(document: Json) -> RunOrder:
    return RunOrder(datetime.fromisoformat(document["began_at"]), document["number"])


def _encode_conditions(conditions: Conditions) -> Document:
    return {"if_absent": conditions.if_absent, "if_digest": optional_text(conditions.if_digest)}


def encode_planned_list(planned: PlannedList) -> Document:
    return {
        "list_id": str(planned.id),
        "revision": planned.revision,
        "reference": str(planned.reference),
        "session": planned.session,
        "findings": [encode_finding(finding) for finding in planned.findings],
    }


def read_planned_list(document: Json) -> PlannedList:
    return PlannedList(
        id=UUID(document["list_id"]),
        revision=document["revision"],
        reference=parse_reference(document["reference"]),
        session=document["session"],
        findings=tuple(read_finding(finding) for finding in document["findings"]),
    )


def encode_planned_push(planned: PlannedPush) -> Document:
    return {
        **encode_planned_list(planned.planned_list),
        "digest": str(planned.digest),
        "media_type": planned.media_type,
        "size": planned.size,
        "partial": bool(planned.missing_platforms),
        "missing_platforms": list(planned.missing_platforms),
        "conditions": _encode_conditions(planned.conditions) if planned.conditions is not None else None,
        "targets": [_encode_target(target) for target in planned.targets],
        "problem": dict(planned.problem) if planned.problem is not None else None,
    }


def _encode_target(target: PlannedTarget) -> Document:
    return {
        "repository": str(target.repository),
        "tags": [_encode_tag(tag) for tag in target.tags],
        "manifests": encode_manifests(target.repository, target.manifests),
        "referrers": encode_referrers(target.repository, target.referrers),
        "blobs": [
            {
                "digest": str(blob.digest),
                "size": blob.size,
                "action": blob.action.value,
                "from": optional_text(blob.source),
            }
            for blob in target.blobs
        ],
        "totals": asdict(target.totals),
    }


def _encode_tag(tag: PlannedTag) -> Document:
    return {
        "reference": str(tag.reference),
        "action": tag.action.value,
        "previous_digest": optional_text(tag.previous),
        "difference": encode_difference(tag.difference) if tag.difference is not None else None,
        "unreadable": tag.is_unreadable,
    }
