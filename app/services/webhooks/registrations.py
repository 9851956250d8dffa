"""Webhooks: the receivers of a project's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from app.errors import InvalidReceiver, ReceiverForbidden, TooManyWebhooks, WebhookDisabled
from app.lists.events import EventKind, WebhookTest
from app.outbound.url import MASK
from app.projects.deliveries import Delivery
from app.projects.paging import Position
from app.projects.quotas import Quota
from app.projects.webhooks import NewWebhook, Webhook
from app.services.callers import Caller
from app.services.quotas import Quotas
from app.services.webhooks import deliveries
from app.services.webhooks.sender import WebhookSender, shown_address
from app.services.webhooks.signing import Secrets, make_secret, parse_secret, utc_now
from app.store import events
from app.store import webhooks as stored
from app.store.codec.events import encode_event
from app.store.database import Database
from app.store.deliveries import get_delivery


class Webhooks:
    """Registers webhooks. A secret is shown once, when it is created."""

    def __init__(self, database: Database, sender: WebhookSender, secrets: Secrets, quotas: Quotas) -> None:
        self._database = database
        self._sender = sender
        self._secrets = secrets
        self._limit = quotas.limit(Quota.WEBHOOKS)

    async def create(
        self,
        caller: Caller,
        url: str,
        *,
        kinds: Sequence[EventKind],
        description: str,
        enabled: bool,
        secret: str | None,
    ) -> tuple[Webhook, str]:
        """Create a webhook; return it with its secret, which is the caller's own or a new one."""
        self._check(url)
        secret = parse_secret(secret) if secret is not None else make_secret()
        webhook_id = uuid4()
        new = NewWebhook(
            id=webhook_id,
            project_id=caller.project_id,
            url=url,
            kinds=_each_once(kinds),
            description=description,
            enabled=enabled,
            secret=self._secrets.encrypt(webhook_id, secret),
            created_by=caller.name,
        )
        async with self._database.transaction(caller.project_id) as tx:
            used = await stored.count_webhooks(tx, caller.project_id)
            if used >= self._limit:
                raise TooManyWebhooks(
                    f"A project has at most {self._limit} webhooks. Delete one.",
                    quota=Quota.WEBHOOKS.value,
                    used=used,
                    limit=self._limit,
                )
            return await stored.insert_webhook(tx, new), secret

    async def get(self, project_id: UUID, webhook_id: UUID) -> Webhook:
        async with self._database.transaction(project_id) as tx:
            return await stored.get_webhook(tx, project_id, webhook_id)

    async def page(self, project_id: UUID, *, before: Position | None, limit: int) -> list[Webhook]:
        async with self._database.transaction(project_id) as tx:
            return await stored.page_webhooks(tx, project_id, before=before, limit=limit)

    async def update(self, project_id: UUID, webhook_id: UUID, changes: Mapping[str, Any]) -> Webhook:
        """Change a webhook; `changes` may have url, types, description and enabled."""
        values = dict(changes)
        if "url" in values:
            if await self._is_shown_url(project_id, webhook_id, values["url"]):
                del values["url"]
            else:
                self._check(values["url"])
        if "types" in values:
            values["types"] = list(_each_once(values["types"]))
        async with self._database.transaction(project_id) as tx:
            if not values:
                return await stored.get_webhook(tx, project_id, webhook_id)
            return await stored.update_webhook(tx, project_id, webhook_id, values)

    async def delete(self, project_id: UUID, webhook_id: UUID) -> None:
        """Delete a webhook; no request to it starts after that, but one under way may finish."""
        async with self._database.transaction(project_id) as tx:
            await stored.delete_webhook(tx, project_id, webhook_id)

    async def rotate(self, project_id: UUID, webhook_id: UUID, secret: str | None) -> tuple[Webhook, str]:
        """Set a new secret; for ROTATION, requests are signed with the previous ones too."""
        secret, now = parse_secret(secret) if secret is not None else make_secret(), utc_now()
        values: dict[str, Any] = {"secret": self._secrets.encrypt(webhook_id, secret), "rotated_at": now}
        async with self._database.transaction(project_id) as tx:
            webhook = await stored.get_webhook(tx, project_id, webhook_id, lock=True)
            values["previous_secret"] = self._secrets.retire(webhook, now)
            return await stored.update_webhook(tx, project_id, webhook_id, values), secret

    async def test(self, caller: Caller, webhook_id: UUID) -> Delivery:
        """Send a test event to this webhook alone, whichever kinds it subscribes to."""
        async with self._database.transaction(caller.project_id) as tx:
            webhook = await stored.get_webhook(tx, caller.project_id, webhook_id, lock=True)
            if not webhook.enabled:
                raise WebhookDisabled(f"Webhook {webhook_id} is disabled.")
            data = encode_event(WebhookTest(webhook_id, caller.name))
            event = await events.record(tx, caller.project_id, EventKind.WEBHOOK_TEST, data)
            delivery_id = await deliveries.begin(tx, webhook, event.id)
            return await get_delivery(tx, caller.project_id, webhook_id, delivery_id)

    async def _is_shown_url(self, project_id: UUID, webhook_id: UUID, url: str) -> bool:
        """Whether a caller sends back the address in its masked form, without the values of its query."""
        if MASK not in url:
            return False
        webhook = await self.get(project_id, webhook_id)
        return url == shown_address(webhook.url)

    def _check(self, url: str) -> None:
        try:
            self._sender.parse_receiver(url)
        except (InvalidReceiver, ReceiverForbidden) as error:
            raise error.located_at("/url") from None


def _each_once(kinds: Sequence[EventKind]) -> tuple[EventKind, ...]:
    return tuple(dict.fromkeys(kinds))
