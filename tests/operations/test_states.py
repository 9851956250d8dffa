"""States and progress as callers read them."""

from __future__ import annotations

from app.operations.progress import Progress, ProgressStep
from app.operations.states import State


def test_succeeded_failed_and_cancelled_are_final_states() -> None:
    assert {state for state in State if state.ended} == {State.SUCCEEDED, State.FAILED, State.CANCELLED}


def test_progress_names_its_steps_and_bytes() -> None:
    progress = Progress((ProgressStep("blobs", 3, 8),), bytes_done=10, bytes_total=20)
    assert progress.document() == {
        "steps": [{"name": "blobs", "done": 3, "total": 8}],
        "bytes_done": 10,
        "bytes_total": 20,
    }
