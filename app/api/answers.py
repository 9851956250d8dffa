"""How a caller meets an operation: its natural answer when it ends in time, 202 when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from app import errors
from app.api.preferences import Wait
from app.api.problems import problems, response_of
from app.api.schemas.common import RawManifest
from app.api.schemas.operations import Operation as OperationSchema
from app.api.schemas.operations import operation_document
from app.errors import BrokerError, OperationCancelled, revive
from app.operations.states import State
from app.services.operations.wait import Operations
from app.store.operations import Operation

Json = dict[str, Any]

# Exact bytes are JSON too, as which a generated client reads whatever ends in +json.
MANIFEST: Json = {"schema": {"$ref": f"#/components/schemas/{RawManifest.__name__}"}}


def json_answer(
    status: int,
    headers: Callable[[Json], Mapping[str, str]] | None = None,
    readable: Callable[[Json], Json] = dict,
) -> Callable[[Json], Response]:
    """The natural answer that is the operation's result, as `readable` makes it of what was kept."""

    def render(result: Json) -> Response:
        return JSONResponse(readable(result), status, dict(headers(result)) if headers else None)

    return render


async def answer(
    operations: Operations, accepted: Operation, wait: Wait, render: Callable[[Json], Response]
) -> Response:
    """Wait as the caller asked; the problem of an operation that failed comes under its own status."""
    operation = accepted
    if not operation.state.ended and wait.seconds > 0:
        operation = await operations.wait(accepted, wait.seconds)
    response = _ended(operation, render) if operation.state.ended else _accepted(operation)
    if wait.applied is not None and not (operation.state.ended and wait.is_async):
        response.headers["Preference-Applied"] = wait.applied
    return response


def answers(
    status: int,
    model: Any,
    description: str,
    *failures: type[BrokerError],
    example: Json | None = None,
    raw: Iterable[str] = (),
) -> dict[int | str, Json]:
    """The OpenAPI responses of a route that starts an operation; `raw` are types of exact bytes."""
    content = dict.fromkeys(raw, MANIFEST)
    if example is not None:
        content["application/json"] = {"example": example}
    return {
        status: {"model": model, "description": description, **({"content": content} if content else {})},
        202: {
            "model": OperationSchema,
            "description": "Not ended yet: follow the operation at `Location`.",
            "headers": {"Location": {"schema": {"type": "string"}, "description": "The operation."}},
        },
        **problems(errors.IdempotencyMismatch, *failures),
    }


def operation_path(operation_id: object) -> str:
    return f"/v1/operations/{operation_id}"


def _accepted(operation: Operation) -> Response:
    headers = {"Location": operation_path(operation.id), "Retry-After": "1"}
    return JSONResponse(operation_document(operation), 202, headers)


def _ended(operation: Operation, render: Callable[[Json], Response]) -> Response:
    if operation.state is State.SUCCEEDED and operation.result is not None:
        return render(operation.result)
    error = revive(operation.problem or {})
    if operation.state is State.CANCELLED:
        error = OperationCancelled("The operation was cancelled")
    error.members["operation_id"] = str(operation.id)
    return response_of(error, operation_path(operation.id))
