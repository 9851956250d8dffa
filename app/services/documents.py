"""Lists, entries and pushes as callers read them; an operation keeps one of these as its result."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from app.errors import TYPE_PREFIX
from app.lists.assessment import Assessment
from app.lists.draft import Draft, Entry
from app.lists.pushes import Push
from app.oci.digest import Digest
from app.oci.inspect import verbose_document
from app.oci.manifest import Manifest
from app.oci.platform import Platform
from app.oci.strict_json import loads


def list_document(
    draft: Draft, assessment: Assessment, replaced: Mapping[UUID, Digest] | None = None
) -> dict[str, Any]:
    """The list with its entries in the order of its index; `replaced` as `Amended` has it."""
    options = draft.options
    return {
        "id": str(draft.id),
        "reference": str(draft.reference),
        "session": draft.session,
        "revision": draft.revision,
        "state": draft.state.value,
        "complete": assessment.is_complete,
        "expected_platforms": [str(platform) for platform in options.expected_platforms],
        "missing_platforms": [str(platform) for platform in assessment.missing_platforms],
        "push_when_complete": options.push_when_complete,
        "allow_duplicate_platforms": options.allow_duplicate_platforms,
        "insecure": options.insecure,
        "format": options.format.value,
        "annotations": dict(options.annotations),
        "artifact_type": options.artifact_type,
        "subject": options.subject.document() if options.subject else None,
        "tags": list(options.tags),
        "targets": [str(target) for target in options.targets],
        "labels": dict(options.labels),
        "entries": [entry_document(entry, (replaced or {}).get(entry.id)) for entry in draft.in_order],
        **_index_facts(assessment),
        "findings": [finding.document() for finding in assessment.findings],
        "complete_by": instant(options.complete_by),
        "failures": dict(options.failures),
        "run_number": options.run_number,
        "same_revision": options.same_revision,
        "allow_partial": options.allow_partial,
        "allow_shrink": options.allow_shrink,
        "allow_older": options.allow_older,
        "referrers": options.referrers,
        "problem": dict(draft.problem) if draft.problem is not None else None,
        "push_operation_id": _text(draft.push_operation_id),
        "last_push_id": _text(draft.last_push_id),
        "created_by": draft.created_by,
        "created_at": instant(draft.created_at),
        "updated_at": instant(draft.updated_at),
        "expires_at": instant(options.expires_at),
    }


def list_event(draft: Draft, assessment: Assessment) -> dict[str, Any]:
    """What those are told who follow the lists of a project."""
    return {
        "list_id": str(draft.id),
        "reference": str(draft.reference),
        "session": draft.session,
        "revision": draft.revision,
        "state": draft.state.value,
        "complete": assessment.is_complete,
        "platforms": [str(entry.platform) for entry in draft.in_order if not entry.platform.is_unknown],
        "missing_platforms": [str(platform) for platform in assessment.missing_platforms],
        **_index_facts(assessment),
        "labels": dict(draft.options.labels),
        "problem": _told(draft.problem),
        "push_operation_id": _text(draft.push_operation_id),
    }


def push_event(push: Push) -> dict[str, Any]:
    """What those are told who follow the pushes: of each tag what it held, and how that differs."""
    document = push_document(push)
    members = ("list_id", "reference", "session", "state", "digest", "media_type", "partial")
    told = ("reference", "digest", "action", "previous_digest", "difference")
    return {
        "push_id": document["id"],
        **{name: document[name] for name in (*members, "missing_platforms")},
        "targets": [{name: target[name] for name in told} for target in document["targets"]],
        "problem": _told(push.problem),
        **{name: document[name] for name in ("restores", "labels", "created_by")},
    }


def with_replaced(document: dict[str, Any], replaced: Mapping[UUID, Digest]) -> dict[str, Any]:
    """The document of a list, for one of several who changed it at once; `replaced` as `Amended` has it."""
    named = {str(entry_id): str(digest) for entry_id, digest in replaced.items()}
    entries = [{**entry, "replaced": named.get(entry["id"])} for entry in document["entries"]]
    return {**document, "entries": entries}


def _told(problem: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A problem as documents outside of HTTP have it: with its type, and without a status."""
    if problem is None:
        return None
    rest = {name: value for name, value in problem.items() if name != "code"}
    return {"type": TYPE_PREFIX + problem["code"], **rest}


def entry_document(entry: Entry, replaced: Digest | None = None) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "reference": str(entry.reference),
        "descriptor": entry.descriptor.document(),
        "platform": platform_document(entry.platform),
        "resolved_platform": platform_document(entry.resolved_platform),
        "annotations": dict(entry.annotations),
        "image": entry.image.document(),
        "replaced": _text(replaced),
        "added_by": entry.added_by,
        "added_at": instant(entry.added_at),
    }


def entry_inspection(entry: Entry, manifest: Manifest) -> dict[str, Any]:
    """One entry with its exact manifest: `docker manifest inspect LIST MANIFEST`, plain and -v."""
    return {
        **entry_document(entry),
        "manifest": loads(manifest.raw, what=str(entry.reference)),
        "raw": base64.b64encode(manifest.raw).decode(),
        "inspection": verbose_entry(entry, manifest),
    }


def verbose_entry(entry: Entry, manifest: Manifest) -> dict[str, Any]:
    return verbose_document(str(entry.reference), entry.descriptor, manifest)


def platform_document(platform: Platform) -> dict[str, Any]:
    """Every member, null where the platform does not have it."""
    return {
        "os": platform.os or None,
        "architecture": platform.architecture or None,
        "variant": platform.variant or None,
        "os_version": platform.os_version or None,
        "os_features": list(platform.os_features),
    }


def push_document(push: Push) -> dict[str, Any]:
    """A push, with its result once it has ended well, and otherwise with its problem."""
    result = push.result or {}
    return {
        "id": str(push.id),
        "operation_id": str(push.operation_id),
        "list_id": _text(push.list_id),
        "reference": push.reference,
        "session": push.session,
        "state": push.state.value,
        "digest": str(push.plan.index.digest),
        "media_type": push.plan.index.media_type,
        "partial": bool(push.plan.missing_platforms),
        "missing_platforms": list(push.plan.missing_platforms),
        "targets": result.get("targets", []),
        "lines": result.get("lines", []),
        "problem": dict(push.problem) if push.problem is not None else None,
        "restores": _text(push.restores),
        "labels": dict(push.labels),
        "created_by": push.created_by,
        "created_at": instant(push.created_at),
        "ended_at": instant(push.ended_at),
    }


def instant(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else None


def _index_facts(assessment: Assessment) -> dict[str, str | None]:
    # Where there is no index yet, `findings` say why.
    index = assessment.index
    if index is None:
        return {"digest": None, "media_type": None}
    return {"digest": str(index.digest), "media_type": index.media_type}


def _text(value: object | None) -> str | None:
    return str(value) if value is not None else None
