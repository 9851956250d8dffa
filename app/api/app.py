"""Constructs the ASGI application from its routes and middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI

from app.api import problem_handlers
from app.api.admission import literal_paths
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
    quotas,
    tokens,
    webhooks,
)
from app.api.wrong_tokens import WrongTokens

DESCRIPTION = """\
`docker manifest` as a service. Create multi-arch images from images, annotate their platforms, push them
atomically, inspect and delete them. Calls that reach a registry are operations: if an operation ends in time,
the response is its result; otherwise the response is `202` with the operation to follow.
"""

Running = Callable[[], AbstractAsyncContextManager[BrokerServices]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppOptions:
    """The operator's choices for the application.

    `wrong_tokens` is the number of wrong tokens that one address may send per minute. `operator_pages` sets
    the access to the documentation and the metrics: public, admin tokens only, or off. `hsts_seconds` applies
    to browsers that connect over TLS.
    """

    max_body_bytes: int
    wrong_tokens: int = 100
    operator_pages: Literal["public", "admin", "off"] = "public"
    hsts_seconds: int = 0


def create_app(running: Running, options: AppOptions, *, version: str) -> FastAPI:
    """The application; `running` provides the services while it runs."""

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
    app.state.options = options
    app.state.max_body_bytes = options.max_body_bytes
    app.state.wrong_tokens = WrongTokens(options.wrong_tokens)
    routers = (
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
        quotas.router,
        health.router,
    )
    for router in routers:
        app.include_router(router)
    app.state.literal_paths = literal_paths(routers)
    app.webhooks.include_router(webhooks.announced)
    problem_handlers.install(app)
    app.add_middleware(Hardening, max_body_bytes=options.max_body_bytes, hsts_seconds=options.hsts_seconds)
    app.add_middleware(Metrics)
    app.add_middleware(CorrelationIdMiddleware, header_name="X-Request-ID")
    app.add_middleware(Tracing)
    return app
