"""What an operation is and where it stands."""

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
    CREATE_LIST = "create_list"
    ADD_ENTRIES = "add_entries"
    REFRESH_LIST = "refresh_list"
    INSPECT_IMAGE = "inspect_image"
    INSPECT_IMAGES = "inspect_images"
    PUSH_LIST = "push_list"
    RESTORE_PUSH = "restore_push"
