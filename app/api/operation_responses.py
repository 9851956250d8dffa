"""Responds to a request that started an operation: with its result if it ends in time, else with 202."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from app.api.addresses import address
from app.api.preferences import Wait
from app.api.problem_mapping import response_of
from app.api.schemas.operations import operation_document
from app.errors import OperationCancelled, revive
from app.operations.operation import Operation
from app.operations.states import State
from app.services.operations.wait import Operations

Json = dict[str, Any]


def json_result(
    status: int,
    headers: Callable[[Json], Mapping[str, str]] | None = None,
    readable: Callable[[Json], Json] = dict,
) -> Callable[[Json], Response]:
    """Render the stored result of the operation as JSON; `readable` converts it first."""

    def render(result: Json) -> Response:
        return JSONResponse(readable(result), status, dict(headers(result)) if headers else None)

    return render


async def respond_when_done(
    operations: Operations, accepted: Operation, wait: Wait, render: Callable[[Json], Response]
) -> Response:
    """Wait as long as the caller prefers; a failed operation is answered with its problem and status."""
    operation = accepted
    if not operation.state.ended and wait.seconds > 0:
        async with wait.unless_revoked():
            operation = await operations.wait(accepted, wait.seconds)
    response = _ended(operation, render) if operation.state.ended else _accepted(operation)
    if wait.applied is not None and not (operation.state.ended and wait.is_async):
        response.headers["Preference-Applied"] = wait.applied
    return response


def operation_path(operation_id: object) -> str:
    return f"/v1/operations/{operation_id}"


def _accepted(operation: Operation) -> Response:
    headers = {"Location": address(operation_path(operation.id)), "Retry-After": "1"}
    return JSONResponse(operation_document(operation), 202, headers)


def _ended(operation: Operation, render: Callable[[Json], Response]) -> Response:
    if operation.state is State.SUCCEEDED and operation.result is not None:
        return render(operation.result)
    error = revive(operation.problem or {})
    if operation.state is State.CANCELLED:
        error = OperationCancelled("The operation was cancelled.")
    return response_of(error.with_members(operation_id=str(operation.id)), operation_path(operation.id))
