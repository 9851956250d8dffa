"""Operations and their progress."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from app.api.problem_mapping import problem_of
from app.api.schemas.common import Document, JsonObject
from app.api.schemas.problems import Problem, render_recorded
from app.oci.timestamps import rfc3339
from app.operations.operation import Operation as StoredOperation
from app.operations.states import Kind, State


class OperationStep(Document):
    """The progress of one step."""

    name: str
    done: int
    total: int


class OperationProgress(Document):
    """The progress of an operation."""

    steps: list[OperationStep] = Field(default_factory=list)
    bytes_done: int = 0
    bytes_total: int = 0


class Operation(Document):
    """A long-running operation (AIP-151). It ends exactly once: succeeded, failed or cancelled."""

    id: str
    kind: Kind
    state: State
    progress: OperationProgress
    attempts: int
    cancel_requested: bool
    result: JsonObject | None = Field(
        None, description="The response body of the call that started the operation."
    )
    problem: Problem | None = None
    list_id: str | None = None
    push_id: str | None = None
    created_by: str
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None


class OperationPage(Document):
    items: list[Operation]
    next_cursor: str | None = None


def operation_document(operation: StoredOperation) -> dict[str, Any]:
    result = operation.result
    if result is not None:
        result = _readable(operation.kind, result)
    return {
        "id": str(operation.id),
        "kind": operation.kind.value,
        "state": operation.state.value,
        "progress": {"steps": [], "bytes_done": 0, "bytes_total": 0, **operation.progress},
        "attempts": operation.attempt,
        "cancel_requested": operation.cancel_requested,
        "result": result,
        "problem": problem_of(operation.problem),
        "list_id": str(operation.list_id) if operation.list_id else None,
        "push_id": str(operation.push_id) if operation.push_id else None,
        "created_by": operation.created_by,
        "created_at": rfc3339(operation.created_at),
        "started_at": rfc3339(operation.started_at),
        "ended_at": rfc3339(operation.ended_at),
    }


def _readable(kind: Kind, result: dict[str, Any]) -> dict[str, Any]:
    """The result with its problems rendered as problem documents."""
    match kind:
        case Kind.INSPECT_IMAGES:
            return inspections_document(result)
        case Kind.CREATE_LIST | Kind.ADD_ENTRIES | Kind.REFRESH_LIST | Kind.PLAN_PUSH:
            return render_recorded(result)
        case _:
            return result


def inspections_document(result: dict[str, Any]) -> dict[str, Any]:
    """The outcomes with their problems rendered as problem documents."""
    return {
        "results": [
            {**each, "problem": problem_of(each["problem"])} if "problem" in each else each
            for each in result["results"]
        ]
    }
