"""The ASGI application, put together from its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI

from app.api import problem_handlers
from app.api.dependencies import BrokerServices
from app.api.middleware.hardening import Hardening
from app.api.middleware.metrics import Metrics
from app.api.middleware.tracing import Tracing
from app.api.openapi.document import Application
from app.api.routes import (
    deliveries,
    entries,
    events,
    health,
    inspections,
    lists,
    operations,
    pushes,
    tokens,
    webhooks,
)

DESCRIPTION = """\
`docker manifest` as a service: create multi-arch images from images, annotate their platforms, push them at
once and whole, inspect and remove them. Calls that reach a registry are operations: they are answered in
their natural form if they end in time, else with `202` and the operation to follow.
"""

Running = Callable[[], AbstractAsyncContextManager[BrokerServices]]


def create_app(running: Running, *, version: str, max_body_bytes: int) -> FastAPI:
    """`running` gives the services for as long as the application runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running() as services:
            app.state.services = services
            yield

    app = Application(
        title="Manifest Broker",
        version=version,
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.max_body_bytes = max_body_bytes
    for router in (
        lists.router,
        entries.router,
        pushes.list_router,
        pushes.router,
        inspections.router,
        operations.router,
        events.router,
        webhooks.router,
        deliveries.router,
        tokens.router,
        health.router,
    ):
        app.include_router(router)
    app.webhooks.include_router(webhooks.announced)
    problem_handlers.install(app)
    app.add_middleware(Hardening, max_body_bytes=max_body_bytes)
    app.add_middleware(Metrics)
    app.add_middleware(CorrelationIdMiddleware, header_name="X-Request-ID")
    app.add_middleware(Tracing)
    return app
