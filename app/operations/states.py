"""The states and the kinds of operations."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in (State.QUEUED, State.RUNNING)


class Kind(StrEnum):
    CREATE_LIST = "create"
    ADD_ENTRIES = "add"
    INSPECT_IMAGE = "inspect"
    INSPECT_IMAGES = "inspect_many"
    REFRESH_LIST = "refresh"
    PLAN_PUSH = "plan"
    PUSH_LIST = "push"
    DELIVER = "deliver"
