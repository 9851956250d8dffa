"""Liveness, readiness, metrics and version."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app import errors
from app.api.dependencies import BEARER, ServicesDep, admit_to_operator_pages
from app.api.openapi.problem_responses import problem_responses
from app.api.schemas.health import Health, Version

_KEPT_BACK = frozenset({401, 403, 404, 429})

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="get_health", response_model=Health)
async def get_health() -> Response:
    """Check that the process answers."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    operation_id="get_readiness",
    response_model=Health,
    responses={503: problem_responses(errors.Unavailable)[503]},
)
async def get_readiness(services: ServicesDep) -> Response:
    """Check that the database answers and has the tables of this version."""
    await services.readiness.check()
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    operation_id="get_metrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Metrics in the Prometheus text format.",
        },
        # The operator may restrict the metrics to admin tokens, or turn them off.
        **{
            status: described
            for status, described in problem_responses(errors.Forbidden, errors.NotFound).items()
            if status in _KEPT_BACK
        },
    },
    openapi_extra={"security": [{}, {BEARER.scheme_name: []}]},
)
async def get_metrics(request: Request) -> Response:
    """Get the metrics of this process."""
    await admit_to_operator_pages(request)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/version", operation_id="get_version", response_model=Version)
async def get_version(services: ServicesDep) -> Response:
    """Get the version of the broker."""
    return JSONResponse({"version": services.version})
