"""Requests are accepted as operations, each once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from app.errors import IdempotencyMismatch, InvalidHeader, ListNotFound, TooManyOperations
from app.operations.operation import OperationFilter, OperationLimits
from app.operations.requests import InspectImageRequest
from app.operations.states import Kind, State
from app.registry.auth.credentials import Credential
from app.registry.auth.keychain import Keychain
from app.services.callers import Call, Idempotency
from app.services.encryption import SecretBox
from app.services.operations.accept import OperationAcceptor, OperationSpec
from app.services.operations.credentials import Credentials
from app.store import operation_changes, operations
from app.store.database import Database, Transaction

REQUEST = InspectImageRequest("docker.io/library/alpine:3")
SPEC = OperationSpec(REQUEST, ["index.docker.io", "registry.example", "docker.io"], keys=("tag",))
KEY = Idempotency("key", b"fingerprint")


async def decide(_tx: Transaction, _operation_id: UUID) -> OperationSpec:
    return SPEC


@pytest.fixture
def acceptor(database: Database) -> OperationAcceptor:
    return OperationAcceptor(database, Credentials(Keychain({}), SecretBox(b"k" * 32)))


async def accepted(database: Database, project_id: UUID) -> list[UUID]:
    async with database.transaction() as tx:
        found = await operations.page(tx, project_id, OperationFilter(), limit=10)
    return [each.id for each in found]


async def test_an_accepted_operation_has_the_request_and_the_registries_of_its_spec(
    acceptor: OperationAcceptor, project_id: UUID
) -> None:
    operation = await acceptor.accept(Call(project_id, "ci"), decide)
    assert (operation.kind, operation.state) == (Kind.INSPECT_IMAGE, State.QUEUED)
    assert (operation.project_id, operation.created_by) == (project_id, "ci")
    assert operation.request == REQUEST.document()
    assert operation.keys == ("tag",)
    # Both names of Docker Hub are one registry.
    assert operation.registries == ("docker.io", "registry.example")


async def test_a_repeated_request_returns_the_first_operation_without_deciding_again(
    acceptor: OperationAcceptor, database: Database, project_id: UUID
) -> None:
    call = Call(project_id, "ci", idempotency=KEY)
    first = await acceptor.accept(call, decide)

    async def never(_tx: Transaction, _operation_id: UUID) -> OperationSpec:
        raise AssertionError

    assert await acceptor.accept(call, never) == first
    assert await accepted(database, project_id) == [first.id]


async def test_concurrent_requests_with_one_key_start_one_operation(
    acceptor: OperationAcceptor, database: Database, project_id: UUID
) -> None:
    call = Call(project_id, "ci", idempotency=KEY)
    found = await asyncio.gather(*(acceptor.accept(call, decide) for _ in range(5)))
    assert {each.id for each in found} == {found[0].id}
    assert await accepted(database, project_id) == [found[0].id]


async def test_a_key_of_another_request_is_refused(acceptor: OperationAcceptor, project_id: UUID) -> None:
    call = Call(project_id, "ci", idempotency=KEY)
    await acceptor.accept(call, decide)
    with pytest.raises(IdempotencyMismatch):
        await acceptor.accept(replace(call, idempotency=Idempotency("key", b"other")), decide)


async def test_a_refused_request_stores_nothing_and_leaves_its_key_free(
    acceptor: OperationAcceptor, database: Database, project_id: UUID
) -> None:
    call = Call(project_id, "ci", idempotency=KEY)

    async def refuse(_tx: Transaction, _operation_id: UUID) -> OperationSpec:
        raise ListNotFound("The list does not exist.")

    with pytest.raises(ListNotFound):
        await acceptor.accept(call, refuse)
    assert await accepted(database, project_id) == []
    assert (await acceptor.accept(call, decide)).state is State.QUEUED


async def test_a_credential_without_the_operators_key_is_refused(
    database: Database, project_id: UUID
) -> None:
    acceptor = OperationAcceptor(database, Credentials(Keychain({}), SecretBox(None)))
    call = Call(project_id, "ci", credentials={"registry.example": Credential("user", "password")})
    with pytest.raises(InvalidHeader):
        await acceptor.accept(call, decide)
    assert await accepted(database, project_id) == []


async def test_an_operation_that_follows_from_a_change_ignores_the_callers_key(
    acceptor: OperationAcceptor, database: Database, project_id: UUID
) -> None:
    call = Call(project_id, "ci", idempotency=KEY)
    first = await acceptor.accept(call, decide)
    async with database.transaction() as tx:
        second = await acceptor.enqueue(tx, call, uuid4(), SPEC)
    assert second.id != first.id


async def test_a_refused_request_leaves_nothing_behind_and_its_key_is_free(
    database: Database, project_id: UUID
) -> None:
    credentials = Credentials(Keychain({}), SecretBox(b"k" * 32))
    acceptor = OperationAcceptor(database, credentials, OperationLimits(1, 10))
    first = await acceptor.accept(Call(project_id, "ci"), decide)
    call = Call(project_id, "ci", idempotency=KEY)
    with pytest.raises(TooManyOperations):
        await acceptor.accept(call, decide)
    async with database.transaction(project_id) as tx:
        await operation_changes.request_cancel(tx, project_id, first.id)
    again = await acceptor.accept(call, decide)
    # A repeated request still gets the operation that it has started.
    assert await acceptor.accept(call, decide) == again
