"""Untrusted documents are parsed without blocking others."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import AsyncIterator

import pytest

from app import errors
from app.oci import strict_json
from app.oci.manifest import parse_manifest
from app.oci.media_types import OCI_MANIFEST
from app.registry.parsing import Parsers
from tests.support import hostile_documents
from tests.support.parser_functions import environment_of, forever, process_of

LARGE = 100_000


@pytest.fixture
async def parsers() -> AsyncIterator[Parsers]:
    made = Parsers()
    yield made
    await made.close()


async def test_a_small_document_is_read_at_once(parsers: Parsers) -> None:
    assert await parsers.run(process_of, b"") == os.getpid()


async def test_a_large_document_is_read_whole_in_another_process(parsers: Parsers) -> None:
    raw = hostile_documents.raw(hostile_documents.image(annotations={"a": "b" * LARGE}))
    assert await parsers.run(parse_manifest, raw, OCI_MANIFEST) == parse_manifest(raw, OCI_MANIFEST)
    assert await parsers.run(strict_json.loads, raw, what="x") == strict_json.loads(raw, what="x")


async def test_an_error_of_the_parser_keeps_its_facts(parsers: Parsers) -> None:
    raw = hostile_documents.raw(hostile_documents.image("application/json", annotations={"a": "b" * LARGE}))
    with pytest.raises(errors.SourceInvalid, match="was served as") as caught:
        await parsers.run(parse_manifest, raw, OCI_MANIFEST)
    assert caught.value.members["media_type"] == OCI_MANIFEST


async def test_an_error_does_not_keep_the_document(parsers: Parsers) -> None:
    """Its frames would keep it, for as long as a reference cycle lives."""
    with pytest.raises(errors.SourceInvalid) as caught:
        await parsers.run(strict_json.loads, b"[" * LARGE, what="x")
    trace = caught.tb.tb_next
    while trace is not None:
        assert caught.value not in trace.tb_frame.f_locals.values()
        trace = trace.tb_next


async def test_concurrent_callers_each_get_their_own_answer(parsers: Parsers) -> None:
    raws = [str(place).encode().rjust(LARGE + place) for place in range(20)]
    found = await asyncio.gather(*(parsers.run(strict_json.loads, raw, what="x") for raw in raws))
    assert found == list(range(20))


async def test_a_cancelled_caller_leaves_no_answer_for_the_next(parsers: Parsers) -> None:
    for _ in range(3):
        endless = asyncio.create_task(parsers.run(forever, b" " * LARGE))
        await asyncio.sleep(0.05)
        endless.cancel()
        with pytest.raises(asyncio.CancelledError):
            await endless
    for place in range(3):
        raw = str(place).encode().rjust(LARGE)
        assert await parsers.run(strict_json.loads, raw, what="x") == place


async def test_a_process_that_dies_is_replaced(parsers: Parsers) -> None:
    children = set[int]()
    for _ in range(2):
        pid = await parsers.run(process_of, b" " * LARGE)
        children.add(pid)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(errors.Unavailable):
            await parsers.run(process_of, b" " * LARGE)
    assert len(children) == 2
    assert os.getpid() not in children


async def test_the_processes_have_none_of_our_environment(parsers: Parsers) -> None:
    """The broker's environment holds its secrets."""
    found = await parsers.run(environment_of, b" " * LARGE)
    assert not set(found) & set(os.environ)


async def test_closing_ends_the_processes(parsers: Parsers) -> None:
    pid = await parsers.run(process_of, b" " * LARGE)
    await parsers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_errors_survive_the_way_between_processes() -> None:
    given = errors.SourceInvalid("detail", errors=[errors.FieldError("/a", "b")], registry="r")
    found = pickle.loads(pickle.dumps(given))
    assert (found.detail, found.errors, found.members) == (given.detail, given.errors, given.members)
