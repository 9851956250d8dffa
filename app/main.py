"""The application's OpenAPI document, made without a service that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.api.app import create_app
from app.api.context import Services
from app.wiring import broker_version


def openapi_document() -> dict[str, Any]:
    """The document of the API, which needs no running service."""
    return create_app(_nothing, version=broker_version(), max_body_bytes=1).openapi()


@asynccontextmanager
async def _nothing() -> AsyncIterator[Services]:
    yield _refuse()


def _refuse() -> Services:
    raise RuntimeError("this application is only for its document")
