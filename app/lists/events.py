"""What can happen in a project that others are told of."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    LIST_CREATED = "list.created"
    LIST_CHANGED = "list.changed"
    LIST_COMPLETED = "list.completed"
    LIST_FAILED = "list.failed"
    LIST_PUSHED = "list.pushed"
    LIST_REMOVED = "list.removed"
    PUSH_FAILED = "push.failed"
    WEBHOOK_TEST = "webhook.test"
