"""What a machine sends that knows nothing but the OpenAPI document."""

from __future__ import annotations

import asyncio
import os
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
from tests.support.contract import document, operations

EXAMPLES = int(os.environ.get("BROKER_SCHEMATHESIS_EXAMPLES", "20"))
CONFORMING = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Accepted although the document's schema would not have it, and why.
LENIENT = {
    "push_list": "a push without a body is a push with the defaults",
}


@pytest.fixture
async def quiet_broker(database_url: str) -> Any:
    """Without a worker: some of the references that are made up here lead to real registries."""
    async with Broker(database_url, worker=False) as broker:
        yield broker


CASES = [
    pytest.param(operation["operationId"], mode, id=f"{operation['operationId']}-{mode}")
    for _method, _path, operation in operations()
    for mode in GenerationMode
    # What takes nothing can't be asked wrongly.
    if mode is GenerationMode.POSITIVE or operation.get("parameters") or "requestBody" in operation
]


@pytest.mark.parametrize(("name", "mode"), CASES)
async def test_answers_to_made_up_requests_are_those_of_the_document(
    quiet_broker: Broker, name: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_dict(document()).find_operation_by_id(name)
    checks = [*CONFORMING]
    if mode is GenerationMode.NEGATIVE and name not in LENIENT:
        checks.append(negative_data_rejection)
    headers = {"Authorization": f"Bearer {quiet_broker.token}", "Prefer": "respond-async"}

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def conforms(case: schemathesis.Case) -> None:
        response = case.call(base_url=quiet_broker.base_url, headers=headers)
        case.validate_response(response, checks=checks)

    await asyncio.to_thread(conforms)
