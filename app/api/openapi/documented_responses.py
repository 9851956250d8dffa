"""The responses that the OpenAPI document lists for each route that starts an operation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app import errors
from app.api.openapi.problem_responses import problem_responses
from app.api.schemas.common import RawManifest
from app.api.schemas.operations import Operation
from app.errors import BrokerError

Json = dict[str, Any]

# Exact bytes are JSON too: a generated client parses every media type that ends in +json.
RAW_MANIFEST: Json = {"schema": {"$ref": f"#/components/schemas/{RawManifest.__name__}"}}


def documented_responses(
    status: int,
    model: Any,
    description: str,
    *failures: type[BrokerError],
    example: Json | None = None,
    raw: Iterable[str] = (),
) -> dict[int | str, Json]:
    """The OpenAPI responses of a route that starts an operation.

    `raw` lists the media types under which the route returns exact bytes.
    """
    content = dict.fromkeys(raw, RAW_MANIFEST)
    if example is not None:
        content["application/json"] = {"example": example}
    return {
        status: {"model": model, "description": description, **({"content": content} if content else {})},
        202: {
            "model": Operation,
            "description": "The operation has not ended yet. Follow it at `Location`.",
            "headers": {
                "Location": {"schema": {"type": "string"}, "description": "The URL of the operation."}
            },
        },
        **problem_responses(errors.IdempotencyMismatch, *failures),
    }
