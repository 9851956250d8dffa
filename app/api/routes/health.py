"""What machines ask of a service: is it there, is it ready, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app import errors
from app.api.dependencies import ServicesDep
from app.api.openapi.problem_responses import problem_responses
from app.api.schemas.health import Health, Version

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="get_health", response_model=Health)
async def get_health() -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    operation_id="get_readiness",
    response_model=Health,
    responses={503: problem_responses(errors.Unavailable)[503]},
)
async def get_readiness(services: ServicesDep) -> Response:
    """The database answers too, and has the tables that this version expects."""
    await services.readiness.check()
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    operation_id="get_metrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Prometheus's format.",
        }
    },
)
async def get_metrics() -> Response:
    """Counters of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/version", operation_id="get_version", response_model=Version)
async def get_version(services: ServicesDep) -> Response:
    """Which version runs."""
    return JSONResponse({"version": services.version})
