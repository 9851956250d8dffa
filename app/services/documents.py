"""Lists, entries and pushes as callers read them; an operation keeps one of these as its result."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.lists.assessment import Assessment
from app.lists.draft import Draft, Entry
from app.oci.digest import Digest
from app.oci.inspect import verbose_document
from app.oci.manifest import Manifest
from app.oci.platform import Platform
from app.oci.strict_json import loads
from app.oci.timestamps import rfc3339


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
        "complete_by": rfc3339(options.complete_by),
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
        "created_at": rfc3339(draft.created_at),
        "updated_at": rfc3339(draft.updated_at),
        "expires_at": rfc3339(options.expires_at),
    }


def with_replaced(document: dict[str, Any], replaced: Mapping[UUID, Digest]) -> dict[str, Any]:
    """The document of a list, for one of several who changed it at once; `replaced` as `Amended` has it."""
    named = {str(entry_id): str(digest) for entry_id, digest in replaced.items()}
    entries = [{**entry, "replaced": named.get(entry["id"])} for entry in document["entries"]]
    return {**document, "entries": entries}


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
        "added_at": rfc3339(entry.added_at),
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


def _index_facts(assessment: Assessment) -> dict[str, str | None]:
    # Where there is no index yet, `findings` say why.
    index = assessment.index
    if index is None:
        return {"digest": None, "media_type": None}
    return {"digest": str(index.digest), "media_type": index.media_type}


def _text(value: object | None) -> str | None:
    return str(value) if value is not None else None
