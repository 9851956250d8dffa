"""The documents of events, which streams and webhooks pass on as they were recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from app.errors import TYPE_PREFIX
from app.lists.events import EventFacts, ListEvent, PushEvent, WebhookTest
from app.store.codec.pushes import Document, encode_target_head, optional_text


def encode_event(facts: EventFacts) -> Document:
    match facts:
        case ListEvent():
            return _encode_list(facts)
        case PushEvent():
            return _encode_push(facts)
        case WebhookTest(webhook_id, requested_by):
            return {"webhook_id": str(webhook_id), "requested_by": requested_by}
        case _:
            assert_never(facts)


def _encode_list(event: ListEvent) -> Document:
    return {
        "list_id": str(event.list_id),
        "reference": str(event.reference),
        "session": event.session,
        "revision": event.revision,
        "state": event.state.value,
        "complete": event.is_complete,
        "platforms": [platform.full_name for platform in event.platforms],
        "missing_platforms": [platform.full_name for platform in event.missing_platforms],
        "digest": optional_text(event.digest),
        "media_type": event.media_type,
        "labels": dict(event.labels),
        "problem": _problem(event.problem),
        "push_operation_id": optional_text(event.push_operation_id),
    }


def _encode_push(event: PushEvent) -> Document:
    push = event.push
    return {
        "push_id": str(push.id),
        "list_id": optional_text(push.list_id),
        "reference": str(push.reference),
        "session": push.session,
        "state": push.state.value,
        "digest": str(push.digest),
        "media_type": push.media_type,
        "partial": push.is_partial,
        "missing_platforms": list(push.missing_platforms),
        "targets": [encode_target_head(target) for target in push.result.targets],
        "problem": _problem(push.problem),
        "restores": optional_text(push.restores),
        "labels": dict(push.labels),
        "created_by": push.created_by,
    }


def _problem(problem: Mapping[str, Any] | None) -> Document | None:
    """A problem as documents outside of HTTP have it: with its type, and without a status."""
    if problem is None:
        return None
    rest = {name: value for name, value in problem.items() if name != "code"}
    return {"type": TYPE_PREFIX + problem["code"], **rest}
