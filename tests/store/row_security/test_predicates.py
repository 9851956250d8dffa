"""Without any one of its conditions on the project, the store still gives and changes no foreign row.

Each mutant runs twice with the ids of another project: under the role of the service, where it must behave
like the store itself, and as a superuser, which shows that the condition alone was keeping the rows apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import NoResultFound

from app.errors import BrokerError, TooManyOperations
from app.lists.events import ALL, EventFilter, EventKind
from app.lists.pushes import PushFilter, PushState
from app.lists.views import ListFilter
from app.oci.digest import parse_digest
from app.oci.reference import parse_reference
from app.operations.operation import NewOperation, OperationLimits
from app.operations.states import Kind
from app.projects.deliveries import DeliveryState
from app.projects.quotas import Quota
from app.projects.tokens import Project
from app.store import (
    deliveries,
    events,
    heads,
    idempotency,
    lists,
    manifests,
    operation_changes,
    operations,
    pushes,
    tokens,
    webhooks,
)
from app.store.database import Database, Transaction
from app.store.quotas import usage
from app.store.row_security.roles import roles_of
from app.store.row_security.scopes import SYSTEM
from tests.support.postgres import ask, connected, new_database
from tests.support.predicate_mutants import Predicate, TextPredicate, predicates
from tests.support.registry import RegistryDouble
from tests.support.tenants import Tenant, fill_tenant, rows_of

pytestmark = pytest.mark.slow

STATES = list(DeliveryState)
# The name of a token that has expired.
EXPIRED = "expired"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
# Without its condition, this locks the rows of all projects and reads none.
ONLY_LOCKS = {"app.store.webhooks.count_webhooks-1"}


@dataclass(frozen=True, slots=True)
class Foreign:
    """The caller's own project, and the rows of another one."""

    url: str
    mine: UUID
    tenant: Tenant
    digest: str
    event_id: int
    keys: list[str]
    draft: Any
    webhook: Any

    @property
    def labels(self) -> dict[str, str]:
        return {"canary": self.tenant.canary}

    def id(self, parameter: str) -> UUID:
        return UUID(self.tenant.ids[parameter][0])


@pytest.fixture(scope="session")
async def foreign(postgres_server: str, template_database: str) -> AsyncIterator[Foreign]:
    async with new_database(postgres_server, template=template_database) as url, RegistryDouble() as registry:
        theirs = await fill_tenant(url, registry, "theirs")
        where = f"WHERE project_id = '{theirs.project_id}'"
        async with opened(url) as database, database.transaction() as tx:
            it = Project(UUID(theirs.project_id), "theirs", NOON)
            await tokens.insert_token(tx, it, name=EXPIRED, admin=False, hashed=b"0", expires_at=NOON)
            mine = (await tokens.ensure_project(tx, "mine")).id
            project_id = UUID(theirs.project_id)
            found = Foreign(
                url,
                mine,
                theirs,
                digest=str(await ask(url, f"SELECT min(digest) FROM manifests {where}")),
                event_id=int(str(await ask(url, f"SELECT max(id) FROM project_events {where}"))),
                keys=[
                    str(await ask(url, f"SELECT keys[1] FROM operations {where} AND keys <> '{{}}' LIMIT 1"))
                ],
                draft=await lists.get_list(tx, project_id, UUID(theirs.ids["list_id"][0])),
                webhook=await webhooks.get_webhook(tx, project_id, UUID(theirs.ids["webhook_id"][0])),
            )
        yield found


@asynccontextmanager
async def opened(url: str, *, is_bound: bool = False) -> AsyncIterator[Database]:
    database = Database(url, roles=roles_of(url) if is_bound else None, pool_size=1)
    yield database
    await database.dispose()


Probe = Callable[[Transaction, Foreign], Awaitable[Any]]


async def both(first: Awaitable[Any], second: Awaitable[Any]) -> list[Any]:
    return [await first, await second]


async def accepted(tx: Transaction, it: Foreign, limits: OperationLimits) -> bool:
    """Whether an operation is within the limits; it is not kept, so that the next call finds none."""
    new = NewOperation(
        project_id=it.mine, kind=Kind.PUSH_LIST, request={}, created_by="ci", deadline_in=timedelta(1)
    )
    kept = await tx.begin_nested()
    try:
        await operation_changes.enqueue(tx, new, limits)
    except TooManyOperations:
        return False
    finally:
        await kept.rollback()
    return True


# By function: a call in the caller's own project with the ids of the other one.
PROBES: dict[str, Probe] = {
    "deliveries.get_delivery": lambda tx, it: deliveries.get_delivery(
        tx, it.mine, it.id("webhook_id"), it.id("delivery_id")
    ),
    "deliveries.find_delivery": lambda tx, it: deliveries.find_delivery(tx, it.mine, it.id("delivery_id")),
    "deliveries.page_deliveries": lambda tx, it: deliveries.page_deliveries(
        tx, it.mine, it.id("webhook_id"), before=None, limit=9
    ),
    "deliveries.to_replay": lambda tx, it: deliveries.to_replay(
        tx, it.mine, it.id("webhook_id"), STATES, since=None, limit=9
    ),
    "events.get": lambda tx, it: events.get(tx, it.mine, it.event_id),
    "events.newest": lambda tx, it: events.newest(tx, it.mine),
    "events._narrowed": lambda tx, it: both(
        events.page(tx, it.mine, ALL, before=None, limit=9),
        events.page(tx, it.mine, EventFilter(session=it.tenant.session), before=None, limit=9),
    ),
    "heads._load": lambda tx, it: heads.load_heads(
        tx, it.mine, [parse_reference(each) for each in it.tenant.references]
    ),
    "idempotency._find": lambda tx, it: idempotency._find(  # noqa: SLF001 - reached only in a race
        tx, it.mine, it.tenant.key, [b"other"]
    ),
    "lists.save_state": lambda tx, it: lists.save_state(tx, it.mine, replace(it.draft, revision=99)),
    "lists.get_state": lambda tx, it: lists.get_state(tx, it.mine, it.id("list_id")),
    "lists.find_due_push": lambda tx, it: lists.find_due_push(tx, it.mine, it.id("list_id")),
    "lists.find_list_id": lambda tx, it: lists.find_list_id(
        tx, it.mine, parse_reference(it.tenant.references[0]), it.tenant.session
    ),
    "lists.page_lists": lambda tx, it: both(
        lists.page_lists(tx, it.mine, ListFilter(), before=None, limit=9),
        lists.page_lists(tx, it.mine, ListFilter(labels=it.labels), before=None, limit=9),
    ),
    "lists.delete_list": lambda tx, it: lists.delete_list(tx, it.mine, it.id("list_id")),
    "lists._find": lambda tx, it: lists.get_list(tx, it.mine, it.id("list_id"), lock=True),
    "manifests.load_manifests": lambda tx, it: manifests.load_manifests(
        tx, it.mine, [parse_digest(it.digest)]
    ),
    "operations.get": lambda tx, it: operations.get(tx, it.mine, it.id("operation_id")),
    "operations.page": lambda tx, it: operations.page(tx, it.mine, limit=9),
    "operations.events_after": lambda tx, it: operations.events_after(
        tx, it.mine, it.id("operation_id"), 0, 9
    ),
    "operation_changes._ENQUEUE_WITHIN": lambda tx, it: accepted(tx, it, OperationLimits(1, 9)),
    "operation_changes._FULL_KEYS": lambda tx, it: operation_changes._refusal(  # noqa: SLF001 - reached in a race
        tx, {"project_id": it.mine, "keys": it.keys}, OperationLimits(9, 1)
    ),
    "pushes.end_push": lambda tx, it: pushes.end_push(
        tx, it.mine, it.id("push_id"), PushState.FAILED, ended_at=NOON
    ),
    "pushes.get_push": lambda tx, it: pushes.get_push(tx, it.mine, it.id("push_id")),
    "pushes.page_pushes": lambda tx, it: both(
        pushes.page_pushes(tx, it.mine, PushFilter(), before=None, limit=9),
        pushes.page_pushes(tx, it.mine, PushFilter(labels=it.labels), before=None, limit=9),
    ),
    "tokens.put_only_token": lambda tx, it: tokens.put_only_token(
        tx, Project(it.mine, "mine", NOON), name=it.tenant.canary, hashed=uuid4().bytes
    ),
    "tokens.count_live": lambda tx, it: tokens.count_live(tx, it.mine),
    "tokens._revoke_expired": lambda tx, it: tokens._revoke_expired(  # noqa: SLF001 - part of an insert
        tx, Project(it.mine, "mine", NOON), EXPIRED
    ),
    "quotas.usage.read_used": lambda tx, it: usage.read_used(tx, it.mine, tuple(Quota)),
    "quotas.usage._count": lambda tx, it: usage.count_rows(tx, it.mine),
    "webhooks.count_webhooks": lambda tx, it: webhooks.count_webhooks(tx, it.mine),
    "webhooks.get_webhook": lambda tx, it: webhooks.get_webhook(tx, it.mine, it.id("webhook_id")),
    "webhooks.page_webhooks": lambda tx, it: webhooks.page_webhooks(tx, it.mine, before=None, limit=9),
    "webhooks.wanting": lambda tx, it: webhooks.wanting(tx, it.mine, EventKind.LIST_PUSHED),
    "webhooks.update_webhook": lambda tx, it: webhooks.update_webhook(
        tx, it.mine, it.id("webhook_id"), {"description": "changed"}
    ),
    "webhooks.disable": lambda tx, it: webhooks.disable(tx, replace(it.webhook, project_id=it.mine)),
    "webhooks.delete_webhook": lambda tx, it: webhooks.delete_webhook(tx, it.mine, it.id("webhook_id")),
}
# What works for all projects, and narrows its scope itself.
FOR_ALL_PROJECTS = {"tokens.put_only_token", "tokens._revoke_expired"}


class Undone(Exception):
    """Rolls a transaction back."""


async def behaviour(foreign: Foreign, function: str, *, is_bound: bool) -> tuple[str, dict[str, Any]]:
    """What the probe gives or raises, and the rows of the other project after it.

    As the service, the transaction is committed; as a superuser, it is rolled back.
    """
    async with opened(foreign.url, is_bound=is_bound) as database:
        if is_bound:
            async with database.transaction(SYSTEM if function in FOR_ALL_PROJECTS else foreign.mine) as tx:
                found = await answer(tx, foreign, function)
            async with connected(foreign.url) as connection:
                return found, await rows_of(connection, foreign.tenant)
        with suppress(Undone):
            async with database.transaction() as tx:
                found, rows = await answer(tx, foreign, function), await rows_of(tx, foreign.tenant)
                raise Undone
        return found, rows


async def answer(tx: Transaction, foreign: Foreign, function: str) -> str:
    try:
        return repr(await PROBES[function](tx, foreign))
    except (BrokerError, NoResultFound) as failure:
        return repr(failure)


def test_each_condition_has_a_probe() -> None:
    assert {name_of(each) for each in predicates()} == set(PROBES)


def name_of(predicate: Predicate | TextPredicate) -> str:
    return f"{predicate.module.removeprefix('app.store.')}.{predicate.function}"


@pytest.mark.parametrize("predicate", predicates(), ids=str)
async def test_without_a_condition_on_the_project_no_foreign_row_is_read_or_changed(
    predicate: Predicate | TextPredicate, foreign: Foreign
) -> None:
    function = name_of(predicate)
    async with connected(foreign.url) as connection:
        before = await rows_of(connection, foreign.tenant)
    complete = await behaviour(foreign, function, is_bound=True)
    assert complete[1] == before
    with predicate.removed():
        assert await behaviour(foreign, function, is_bound=True) == complete
        unprotected = await behaviour(foreign, function, is_bound=False)
    assert (unprotected == complete) is (str(predicate) in ONLY_LOCKS)
