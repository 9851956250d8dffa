"""A worker meets the requests of an older or a newer version, for each kind that a caller can start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from sqlalchemy import Row, select, update

from app.operations.operation import Operation
from app.operations.request_codec import decode_request
from app.operations.requests import DeliverRequest, InspectImageRequest, RefreshListRequest
from app.operations.states import Kind, State
from app.services.operations.attempts import Attempt, Handler
from app.store.database import Database, Transaction
from app.store.notifications import Notifications
from app.store.tables import operations
from tests.support.broker import Broker
from tests.support.operation_queue import ended, enqueued, event_kinds, read, running, until
from tests.support.planted_images import plant_images
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]
Call = tuple[str, Json]


def create(registry: RegistryDouble, draft: Json, sources: list[str]) -> Call:
    return "/v1/lists", {"reference": f"{registry.host}/app:2", "sources": sources}


def add(registry: RegistryDouble, draft: Json, sources: list[str]) -> Call:
    return f"/v1/lists/{draft['id']}/entries", {"sources": sources}


def refresh(registry: RegistryDouble, draft: Json, sources: list[str]) -> Call:
    return f"/v1/lists/{draft['id']}/refresh", {}


def push(registry: RegistryDouble, draft: Json, sources: list[str]) -> Call:
    return f"/v1/lists/{draft['id']}/push", {}


def plan(registry: RegistryDouble, draft: Json, sources: list[str]) -> Call:
    return f"/v1/lists/{draft['id']}/plan", {}


def inspect_many(registry: RegistryDouble, draft: Json, sources: list[str]) -> Call:
    return "/v1/inspections", {"references": sources}


STARTS = {
    Kind.CREATE_LIST: create,
    Kind.ADD_ENTRIES: add,
    Kind.REFRESH_LIST: refresh,
    Kind.PUSH_LIST: push,
    Kind.PLAN_PUSH: plan,
    Kind.INSPECT_IMAGES: inspect_many,
}
EACH_KIND = pytest.mark.parametrize(("kind", "start"), list(STARTS.items()))
Start = Callable[[RegistryDouble, Json, list[str]], Call]


async def accept(database_url: str, registry: RegistryDouble, start: Start) -> None:
    """An operation that waits for a worker, on a list with one entry."""
    sources = plant_images(registry, "linux/amd64", "linux/arm64")
    async with Broker(database_url) as broker:
        draft = await broker.create(f"{registry.host}/app:1", sources[0])
    async with Broker(database_url, worker=False) as api:
        path, body = start(registry, draft, sources)
        await api.call("POST", path, {**body, "insecure": True}, status=202, Prefer="respond-async")


async def rewrite(database: Database, change: Callable[[Json], Json]) -> None:
    """Store the request of the operation that waits as another version would have written it."""
    async with database.transaction() as tx:
        row = (await tx.execute(select(operations).where(operations.c.state == State.QUEUED))).one()
        await tx.execute(
            update(operations).where(operations.c.id == row.id).values(request=change(row.request))
        )


async def waiting(database: Database, kind: Kind) -> Row[Any]:
    """The newest operation of that kind."""
    statement = select(operations).where(operations.c.kind == kind).order_by(operations.c.sequence.desc())
    async with database.transaction() as tx:
        row = (await tx.execute(statement.limit(1))).first()
    assert row is not None
    return row


def with_unknown_members(request: Json) -> Json:
    changed = {**request, "added_later": {"any": ["thing"]}}
    if "options" in request:
        changed["options"] = {**request["options"], "added_later": True}
    if "plan" in request:
        consent = {**request["plan"].get("consent", {}), "added_later": True}
        changed["plan"] = {**request["plan"], "added_later": 1, "consent": consent}
    if "inspections" in request:
        changed["inspections"] = [{**each, "added_later": 1} for each in request["inspections"]]
    return changed


def without_optional_members(request: Json) -> Json:
    # `insecure` stays, because the registry of the test needs it.
    return {
        name: value
        for name, value in request.items()
        if name not in {"session", "amend", "options", "purge", "follows"}
    }


@EACH_KIND
@pytest.mark.parametrize("change", [with_unknown_members, without_optional_members])
async def test_a_worker_carries_out_a_request_with_unknown_or_missing_members(
    *,
    database_url: str,
    database: Database,
    registry: RegistryDouble,
    kind: Kind,
    start: Start,
    change: Callable[[Json], Json],
) -> None:
    await accept(database_url, registry, start)
    await rewrite(database, change)
    async with Broker(database_url):
        await until(lambda: _has_ended(database, kind))
    operation = await waiting(database, kind)
    assert (operation.state, operation.problem) == (State.SUCCEEDED, None)


@EACH_KIND
async def test_a_worker_gives_back_a_request_that_requires_a_newer_version(
    database_url: str, database: Database, registry: RegistryDouble, kind: Kind, start: Start
) -> None:
    await accept(database_url, registry, start)
    await rewrite(database, lambda request: {**request, "requires": 3})
    async with Broker(database_url):
        await until(lambda: _was_given_back(database, kind))
    operation = await waiting(database, kind)
    assert (operation.state, operation.attempt, operation.excused) == (State.QUEUED, 1, 1)


async def _has_ended(database: Database, kind: Kind) -> bool:
    return State((await waiting(database, kind)).state).ended


async def _was_given_back(database: Database, kind: Kind) -> bool:
    operation = await waiting(database, kind)
    return bool(operation.state == State.QUEUED and operation.attempt > 0)


class NewerInspection(InspectImageRequest):
    version: ClassVar[int] = 2


class NewerRefresh(RefreshListRequest):
    version: ClassVar[int] = 2


@pytest.mark.parametrize(
    ("older", "newer", "request_document"),
    [
        (InspectImageRequest, NewerInspection, {"reference": "registry.example/app:1"}),
        (RefreshListRequest, NewerRefresh, {"list_id": "0b9c1f0e-8a8d-4b5c-9d0e-1f2a3b4c5d6e"}),
    ],
)
async def test_a_newer_worker_claims_an_operation_that_an_older_one_has_given_back(
    *,
    database: Database,
    notifications: Notifications,
    project_id: UUID,
    older: type[InspectImageRequest | RefreshListRequest],
    newer: type[InspectImageRequest | RefreshListRequest],
    request_document: Json,
) -> None:
    operation = await enqueued(
        database, project_id, kind=older.kind, request={**request_document, "requires": 2}
    )
    async with running(database, notifications, {older.kind: _decoding(database, older)}):
        await until(lambda: _was_given_back(database, older.kind))
    assert (await event_kinds(database, operation))[-1] == "retrying"
    async with database.transaction() as tx:
        await tx.execute(update(operations).values(run_at=operations.c.run_at - timedelta(minutes=1)))
    async with running(database, notifications, {older.kind: _decoding(database, newer)}):
        outcome = await ended(database, notifications, await read(database, operation))
    assert (outcome.state, outcome.result) == (State.SUCCEEDED, {"read_by": newer.__name__})


async def test_an_unreadable_request_does_not_keep_its_operation_from_ending(
    database: Database, notifications: Notifications, project_id: UUID
) -> None:
    """Otherwise the worker tries to end it again and again, and claims nothing else."""

    async def never(_attempt: Attempt) -> None:
        raise AssertionError

    async def decode(_tx: Transaction, operation: Operation, _state: State) -> None:
        decode_request(DeliverRequest, operation.request)

    document = {"delivery_id": str(project_id), "requires": 2}
    overdue = await enqueued(
        database, project_id, kind=Kind.DELIVER, request=document, deadline_in=timedelta(0)
    )
    other = await enqueued(database, project_id, kind=Kind.INSPECT_IMAGE, request={"reference": "alpine"})
    handlers = {
        Kind.DELIVER: Handler(never, decode),
        Kind.INSPECT_IMAGE: _decoding(database, InspectImageRequest),
    }
    async with running(database, notifications, handlers):
        assert (await ended(database, notifications, other)).state is State.SUCCEEDED
        assert (await ended(database, notifications, overdue)).state is State.FAILED


def _decoding(database: Database, wanted: type[InspectImageRequest | RefreshListRequest]) -> Handler:
    async def perform(attempt: Attempt) -> None:
        decode_request(wanted, attempt.operation.request)
        async with database.transaction() as tx:
            await attempt.succeed(tx, {"read_by": wanted.__name__})

    return Handler(perform)
