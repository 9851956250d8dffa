"""The views of lists and entries, as operations keep them for their callers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.lists.options import OPTION_NAMES, Options
from app.lists.refreshing import Refreshed
from app.lists.views import EntryView, ListView, RefreshedListView
from app.oci.descriptor import Descriptor
from app.oci.platform import Platform
from app.oci.reference import Reference
from app.oci.timestamps import rfc3339
from app.store.codec.findings import encode_finding
from app.store.codec.pushes import Document, optional_text


def encode_list_view(view: ListView) -> Document:
    options = _encode_options(view.options)
    # The members between the options have kept their places.
    following: Mapping[str, Document] = {
        "expected_platforms": {"missing_platforms": [each.full_name for each in view.missing_platforms]},
        "labels": {
            "entries": [encode_entry_view(entry) for entry in view.entries],
            "digest": optional_text(view.digest),
            "media_type": view.media_type,
            "copies": optional_text(view.copies),
            "findings": [encode_finding(finding) for finding in view.findings],
        },
        "referrers": {
            "problem": dict(view.problem) if view.problem is not None else None,
            "push_operation_id": optional_text(view.push_operation_id),
            "last_push_id": optional_text(view.last_push_id),
            "created_by": view.created_by,
            "created_at": rfc3339(view.created_at),
            "updated_at": rfc3339(view.updated_at),
        },
    }
    document = {
        "id": str(view.id),
        "reference": str(view.reference),
        "session": view.session,
        "revision": view.revision,
        "state": view.state.value,
        "complete": view.is_complete,
    }
    for name, value in options.items():
        document |= {name: value, **following.get(name, {})}
    return document


def _encode_options(options: Options) -> Document:
    return {name: _encode_option(getattr(options, name)) for name in OPTION_NAMES}


def _encode_option(value: Any) -> Any:
    match value:
        case Platform() | Reference():
            return value.full_name if isinstance(value, Platform) else str(value)
        case Descriptor():
            return value.document()
        case datetime():
            return rfc3339(value)
        case tuple():
            return [_encode_option(each) for each in value]
        case Mapping():
            return dict(value)
        case _:
            return value


def encode_entry_view(entry: EntryView) -> Document:
    return {
        "id": str(entry.id),
        "reference": str(entry.reference),
        "descriptor": entry.descriptor.document(),
        "platform": _encode_platform(entry.platform),
        "resolved_platform": _encode_platform(entry.resolved_platform),
        "index_platform": _encode_platform(entry.index_platform) if entry.index_platform else None,
        "annotations": dict(entry.annotations),
        "image": entry.image.known,
        "replaced": optional_text(entry.replaced),
        "added_by": entry.added_by,
        "added_at": rfc3339(entry.added_at),
    }


def _encode_platform(platform: Platform) -> Document:
    """Every member, null where the platform does not have it."""
    return {
        "os": platform.os or None,
        "architecture": platform.architecture or None,
        "variant": platform.variant or None,
        "os_version": platform.os_version or None,
        "os_features": list(platform.os_features),
    }


def encode_refreshed_view(refreshed: RefreshedListView) -> Document:
    entries = [_encode_refreshed(each) for each in refreshed.refreshed]
    return {**encode_list_view(refreshed.view), "refreshed": entries}


def _encode_refreshed(each: Refreshed) -> Document:
    return {
        "entry_id": str(each.entry_id),
        "reference": str(each.reference),
        "platform": each.platform.full_name,
        "old_digest": optional_text(each.before),
        "new_digest": optional_text(each.after),
    }
