"""Webhooks, with the encrypted secrets that sign their deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, any_, delete, func, insert, literal, or_, select, update

from app.errors import WebhookNotFound
from app.lists.events import EventKind
from app.projects.paging import Position
from app.projects.webhooks import NewWebhook, Webhook
from app.store.database import Transaction
from app.store.paging import begins_otherwise, newest_first
from app.store.tables import projects, webhooks


async def insert_webhook(tx: Transaction, new: NewWebhook) -> Webhook:
    statement = (
        insert(webhooks)
        .values(
            id=new.id,
            project_id=new.project_id,
            url=new.url,
            types=list(new.kinds),
            description=new.description,
            enabled=new.enabled,
            secret=new.secret,
            created_by=new.created_by,
        )
        .returning(webhooks)
    )
    return _view((await tx.execute(statement)).one())


async def count_webhooks(tx: Transaction, project_id: UUID) -> int:
    """The number of webhooks; until the transaction ends no other adds or counts webhooks of the project."""
    lock = select(projects.c.id).where(projects.c.id == project_id).with_for_update(key_share=True)
    await tx.execute(lock)
    statement = select(func.count()).select_from(webhooks).where(webhooks.c.project_id == project_id)
    found: int = (await tx.execute(statement)).scalar_one()
    return found


async def get_webhook(tx: Transaction, project_id: UUID, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    statement = select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.project_id == project_id)
    if lock:
        statement = statement.with_for_update(key_share=True)
    row = (await tx.execute(statement)).one_or_none()
    if row is None:
        raise WebhookNotFound(f"The webhook {webhook_id} does not exist.")
    return _view(row)


async def page_webhooks(
    tx: Transaction, project_id: UUID, *, before: Position | None, limit: int
) -> list[Webhook]:
    """Newest first; `before` is the position of the last one seen."""
    statement = select(webhooks).where(webhooks.c.project_id == project_id)
    return [_view(row) for row in await tx.execute(newest_first(statement, webhooks, before, limit))]


async def wanting(tx: Transaction, project_id: UUID, kind: EventKind) -> list[Webhook]:
    """The webhooks that receive such an event, locked against removal until the transaction ends.

    Without the lock the removal of a webhook at this moment would fail the transaction of the event.
    """
    statement = (
        select(webhooks)
        .where(
            webhooks.c.project_id == project_id,
            webhooks.c.enabled,
            or_(func.cardinality(webhooks.c.types) == 0, literal(kind.value) == any_(webhooks.c.types)),
        )
        .order_by(webhooks.c.created_at, webhooks.c.id)
        .with_for_update(read=True, key_share=True)
    )
    return [_view(row) for row in await tx.execute(statement)]


async def update_webhook(
    tx: Transaction, project_id: UUID, webhook_id: UUID, changes: Mapping[str, Any]
) -> Webhook:
    """Store `changes`, which are columns by name."""
    statement = (
        update(webhooks)
        .where(webhooks.c.id == webhook_id, webhooks.c.project_id == project_id)
        .values(**changes)
        .returning(webhooks)
    )
    row = (await tx.execute(statement)).one_or_none()
    if row is None:
        raise WebhookNotFound(f"The webhook {webhook_id} does not exist.")
    return _view(row)


async def disable(tx: Transaction, webhook: Webhook) -> None:
    """Disable the webhook if it still exists and has the same address."""
    await tx.execute(
        update(webhooks)
        .where(
            webhooks.c.id == webhook.id,
            webhooks.c.project_id == webhook.project_id,
            webhooks.c.url == webhook.url,
        )
        .values(enabled=False)
    )


async def delete_webhook(tx: Transaction, project_id: UUID, webhook_id: UUID) -> None:
    """Remove the webhook with its deliveries."""
    statement = delete(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.project_id == project_id)
    if (await tx.execute(statement)).rowcount == 0:
        raise WebhookNotFound(f"The webhook {webhook_id} does not exist.")


async def lock_sealed_otherwise(
    tx: Transaction, prefix: bytes, *, after: UUID | None, limit: int
) -> list[Webhook]:
    """Webhooks with a secret that does not begin with the prefix, in the order of their ids."""
    statement = select(webhooks).where(_is_sealed_otherwise(prefix))
    if after is not None:
        statement = statement.where(webhooks.c.id > after)
    statement = statement.order_by(webhooks.c.id).limit(limit).with_for_update(key_share=True)
    return [_view(row) for row in await tx.execute(statement)]


async def count_sealed_otherwise(tx: Transaction, prefix: bytes) -> int:
    statement = select(func.count()).select_from(webhooks).where(_is_sealed_otherwise(prefix))
    found: int = (await tx.execute(statement)).scalar_one()
    return found


def _is_sealed_otherwise(prefix: bytes) -> ColumnElement[bool]:
    # A null previous secret needs no key.
    return or_(*(begins_otherwise(each, prefix) for each in (webhooks.c.secret, webhooks.c.previous_secret)))


async def replace_secrets(
    tx: Transaction, webhook_id: UUID, secret: bytes | None, previous_secret: bytes | None
) -> None:
    """Store the same secrets after their re-encryption; None leaves one unchanged."""
    values = {"secret": secret, "previous_secret": previous_secret}
    changed = {name: value for name, value in values.items() if value is not None}
    if changed:
        await tx.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(**changed))


def _view(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        project_id=row.project_id,
        url=row.url,
        kinds=tuple(EventKind(each) for each in row.types),
        description=row.description,
        enabled=row.enabled,
        secret=bytes(row.secret),
        previous_secret=bytes(row.previous_secret) if row.previous_secret is not None else None,
        rotated_at=row.rotated_at,
        created_by=row.created_by,
        created_at=row.created_at,
    )
