"""The trace id of a caller appears in log lines and is not sent to registries."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from app.api.middleware.tracing import TraceContext, parse_traceparent
from app.logs import current_trace
from tests.support.broker import Broker
from tests.support.planted_images import plant_images
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traces(logging.Handler):
    """The trace id of each log record, by the name of its logger."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str | None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.name, current_trace()))

    def of(self, name: str) -> set[str | None]:
        return {trace for logger, trace in self.seen if logger == name}


@pytest.fixture
def traces() -> Iterator[Traces]:
    handler, ours = Traces(), logging.getLogger("app")
    before = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    yield handler
    ours.removeHandler(handler)
    ours.setLevel(before)


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 3),
        (f"cc-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
    ],
)
def test_a_valid_traceparent_is_read(header: str, flags: int) -> None:
    assert parse_traceparent(header) == TraceContext(TRACE, flags)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01.",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f"0\u0966-{TRACE}-{SPAN}-01",
    ],
)
def test_an_invalid_traceparent_is_ignored(header: str | None) -> None:
    assert parse_traceparent(header) is None


async def test_the_callers_trace_id_is_used_for_its_operation_and_the_push_that_follows(
    broker: Broker, registry: RegistryDouble, traces: Traces
) -> None:
    body = {
        "reference": f"{registry.host}/app:1",
        "sources": plant_images(registry, "linux/amd64"),
        "expected_platforms": ["linux/amd64"],
        "push_when_complete": True,
        "insecure": True,
    }
    reply = await broker.client.post("/v1/lists", json=body, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert reply.status_code == 201
    version, trace_id, span_id, flags = reply.headers["traceresponse"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id != SPAN
    await broker.ended(reply.json()["push_operation_id"])
    assert traces.of("app.services.operations.accept") == traces.of("app.runner.execution") == {TRACE}
    assert [name for name, _ in traces.seen].count("app.runner.execution") == 2
    # The trace id must not reach registries.
    assert not any(TRACE in str(received.headers) for received in registry.journal)


@pytest.mark.parametrize("sent", [[], ["nonsense"], [f"00-{TRACE}-{SPAN}-01"] * 2])
async def test_without_a_valid_traceparent_each_request_starts_a_trace(
    broker: Broker, sent: list[str]
) -> None:
    headers = [("traceparent", each) for each in sent]
    begun = set()
    for _ in range(2):
        reply = await broker.client.get("/v1/lists", headers=headers)
        assert reply.status_code == 200
        begun.add(parse_traceparent(reply.headers["traceresponse"]))
    assert len(begun) == 2
    assert None not in begun
    assert TraceContext(TRACE, 1) not in begun
