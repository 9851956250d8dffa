"""Each question is asked within a project: with a stranger's, what is there is as good as not there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import pytest

from app.errors import (
    DeliveryNotFound,
    IdempotencyMismatch,
    ListNotFound,
    NotFound,
    PushNotFound,
    WebhookNotFound,
)
from app.lists.assessment import assess
from app.lists.draft import Draft, ListState
from app.lists.events import ALL, EventKind
from app.lists.push_plan import plan_push
from app.lists.pushes import Push, PushFilter, PushState
from app.lists.run_order import RunOrder
from app.lists.views import ListFilter
from app.oci.digest import digest_of
from app.oci.manifest import Manifest
from app.oci.reference import parse_reference
from app.projects.deliveries import Delivery, DeliveryState
from app.projects.webhooks import NewWebhook, Webhook
from app.services.webhooks.deliveries import begin
from app.store import deliveries, events, heads, idempotency, lists, manifests, pushes, webhooks
from app.store.database import Database, Transaction
from app.store.heads import TagHead
from tests.lists.builders import NOW, draft, entry
from tests.support.operation_queue import new_project

REFERENCE = parse_reference("registry.test/app:1")
MANIFEST = Manifest.of("application/vnd.oci.image.manifest.v1+json", b"{}")
HEAD = TagHead(RunOrder(NOW), None, uuid4(), MANIFEST.digest)


@dataclass(frozen=True, slots=True)
class Belongings:
    """One of everything that a project may have."""

    draft: Draft
    push: Push
    webhook: Webhook
    delivery: Delivery
    event_id: int


@pytest.fixture
async def mine(database: Database, project_id: UUID) -> Belongings:
    async with database.transaction() as tx:
        made = replace(draft(str(REFERENCE), [entry("registry.test/a:1")]), id=uuid4())
        await lists.insert_list(tx, project_id, made)
        await manifests.keep_manifests(tx, project_id, [MANIFEST])
        push = await _push(tx, project_id, made)
        await heads.save_head(tx, project_id, [REFERENCE], HEAD)
        hook = await webhooks.insert_webhook(tx, _webhook(project_id))
        event = await events.record(tx, project_id, EventKind.LIST_PUSHED, {})
        delivery_id = await begin(tx, hook, event.id)
        delivery = await deliveries.get_delivery(tx, project_id, hook.id, delivery_id)
        return Belongings(made, push, hook, delivery, event.id)


async def _push(tx: Transaction, project_id: UUID, made: Draft) -> Push:
    push = Push(
        id=uuid4(),
        operation_id=uuid4(),
        list_id=made.id,
        reference=REFERENCE,
        session="",
        labels={},
        plan=plan_push(made, assess(made), NOW),
        created_by="ci",
    )
    await pushes.insert_push(tx, project_id, push)
    return push


def _webhook(project_id: UUID) -> NewWebhook:
    return NewWebhook(
        id=uuid4(),
        project_id=project_id,
        url="https://receiver.example.com/",
        kinds=(),
        description="",
        enabled=True,
        secret=b"sealed",
        created_by="ci",
    )


@pytest.fixture
async def stranger(database: Database) -> UUID:
    return await new_project(database)


async def test_lists(database: Database, project_id: UUID, stranger: UUID, mine: Belongings) -> None:
    made = mine.draft
    async with database.transaction() as tx:
        for ask in (lists.get_list, lists.get_state):
            with pytest.raises(ListNotFound):
                await ask(tx, stranger, made.id)
        assert await lists.find_due_push(tx, stranger, made.id) is None
        assert await lists.find_list(tx, stranger, made.reference, "") is None
        assert await lists.find_list_id(tx, stranger, made.reference, "") is None
        assert await lists.page_lists(tx, stranger, ListFilter(), before=None, limit=9) == []
        assert not await lists.delete_list(tx, stranger, made.id)
        await lists.save_state(tx, stranger, replace(made, state=ListState.FAILED))
        assert await lists.get_state(tx, project_id, made.id) is ListState.OPEN
        # The same name is free there.
        assert await lists.insert_list(tx, stranger, replace(made, id=uuid4(), entries=()))


async def test_pushes(database: Database, project_id: UUID, stranger: UUID, mine: Belongings) -> None:
    async with database.transaction() as tx:
        with pytest.raises(PushNotFound):
            await pushes.get_push(tx, stranger, mine.push.id)
        assert await pushes.page_pushes(tx, stranger, PushFilter(), before=None, limit=9) == []
        await pushes.end_push(tx, stranger, mine.push.id, PushState.FAILED, ended_at=NOW)
        assert (await pushes.get_push(tx, project_id, mine.push.id)).state is PushState.QUEUED


async def test_tags_and_manifests(
    database: Database, project_id: UUID, stranger: UUID, mine: Belongings
) -> None:
    async with database.transaction() as tx:
        assert await heads.load_heads(tx, stranger, [REFERENCE]) == {}
        await heads.save_head(tx, stranger, [REFERENCE], replace(HEAD, digest=digest_of(b"theirs")))
        assert await heads.load_heads(tx, project_id, [REFERENCE]) == {REFERENCE: HEAD}
        with pytest.raises(NotFound):
            await manifests.load_manifests(tx, stranger, [MANIFEST.digest])


async def test_webhooks(database: Database, project_id: UUID, stranger: UUID, mine: Belongings) -> None:
    hook = mine.webhook
    async with database.transaction() as tx:
        with pytest.raises(WebhookNotFound):
            await webhooks.get_webhook(tx, stranger, hook.id)
        with pytest.raises(WebhookNotFound):
            await webhooks.update_webhook(tx, stranger, hook.id, {"enabled": False})
        with pytest.raises(WebhookNotFound):
            await webhooks.delete_webhook(tx, stranger, hook.id)
        await webhooks.disable(tx, replace(hook, project_id=stranger))
        assert await webhooks.page_webhooks(tx, stranger, before=None, limit=9) == []
        assert await webhooks.count_webhooks(tx, stranger) == 0
        assert await webhooks.wanting(tx, stranger, EventKind.LIST_PUSHED) == []
        assert await webhooks.wanting(tx, project_id, EventKind.LIST_PUSHED) == [hook]


async def test_deliveries(database: Database, stranger: UUID, mine: Belongings) -> None:
    hook, delivery = mine.webhook, mine.delivery
    async with database.transaction() as tx:
        with pytest.raises(DeliveryNotFound):
            await deliveries.get_delivery(tx, stranger, hook.id, delivery.id)
        assert await deliveries.find_delivery(tx, stranger, delivery.id) is None
        assert await deliveries.page_deliveries(tx, stranger, hook.id, before=None, limit=9) == []
        every = list(DeliveryState)
        assert await deliveries.to_replay(tx, stranger, hook.id, every, since=None, limit=9) == []


async def test_events(database: Database, project_id: UUID, stranger: UUID, mine: Belongings) -> None:
    async with database.transaction() as tx:
        assert await events.page(tx, stranger, ALL, before=None, limit=9) == []
        assert await events.newest(tx, stranger) == 0
        theirs = await events.record(tx, stranger, EventKind.LIST_CHANGED, {})
        assert await events.read_after(tx, stranger, 0, ALL, 9) == ([theirs], theirs.id, False)
        found, end, _ = await events.read_after(tx, project_id, 0, ALL, 9)
        assert ([event.id for event in found], end) == ([mine.event_id], mine.event_id)


async def test_idempotency_keys(database: Database, project_id: UUID, stranger: UUID) -> None:
    ours, theirs = uuid4(), uuid4()
    async with database.transaction() as tx:
        assert await idempotency.remember(tx, project_id, "key", b"one", ours) is None
        assert await idempotency.remember(tx, stranger, "key", b"other", theirs) is None
        assert await idempotency.remember(tx, project_id, "key", b"one", uuid4()) == ours
        with pytest.raises(IdempotencyMismatch):
            await idempotency.remember(tx, stranger, "key", b"one", uuid4())
