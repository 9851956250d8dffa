"""Requests generated from the OpenAPI document get documented responses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.broker import Broker
from tests.support.openapi_contract import document, operations

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("BROKER_SCHEMATHESIS_EXAMPLES", "20"))
CONFORMING = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# The answer to bytes that are not HTTP, such as control characters in a header. No route sees them.
NO_HTTP = b"Invalid HTTP request received."
# No route sees a head that is too large.
TOO_LARGE = 431


@pytest.fixture
async def quiet_broker(database_url: str) -> AsyncIterator[Broker]:
    """Without a worker, because some generated references name real registries."""
    async with Broker(database_url, worker=False, max_body_bytes=64 * 2**20) as broker:
        yield broker


# This stream does not end; it has its own tests.
ENDLESS = {"stream_events"}
CASES = [
    pytest.param(operation["operationId"], mode, id=f"{operation['operationId']}-{mode}")
    for _method, _path, operation in operations()
    for mode in GenerationMode
    if operation["operationId"] not in ENDLESS
    # A route without input has no invalid requests.
    and (mode is GenerationMode.POSITIVE or operation.get("parameters") or "requestBody" in operation)
]


@pytest.mark.parametrize(("name", "mode"), CASES)
async def test_responses_to_generated_requests_conform_to_the_document(
    quiet_broker: Broker, name: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(document()).find_operation_by_id(name)
    checks = CONFORMING if mode is GenerationMode.POSITIVE else [*CONFORMING, negative_data_rejection]
    headers = {"Authorization": f"Bearer {quiet_broker.token}", "Prefer": "respond-async"}

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def conforms(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=quiet_broker.base_url, headers=headers)
        if response.content != NO_HTTP and response.status_code != TOO_LARGE:
            case.validate_response(response, checks=checks)

    await asyncio.to_thread(conforms)
