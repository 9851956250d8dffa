"""Re-encrypts the stored secrets under the first key of the ring, while the service runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from app.errors import InvalidInput
from app.services.encryption import DecryptionFailed, SecretBox
from app.services.operations.credentials import owner_of_credential
from app.services.webhooks.signing import owner_of_secret
from app.store import operation_changes, webhooks
from app.store.database import Database, Transaction
from app.store.row_security.scopes import SYSTEM

# Small batches keep row locks short.
AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """The result of a rotation, with the ids of the keys.

    `left` counts the rows whose secrets are not under the first key yet. `unreadable` counts those among them
    that no key can decrypt.
    """

    first: str
    others: tuple[str, ...]
    webhooks: int
    operations: int
    unreadable: int
    left: int

    @property
    def is_complete(self) -> bool:
        """Whether the old keys can be removed, as soon as no process encrypts with them."""
        return not self.left


class Keys:
    """Rotates the keys of the stored secrets."""

    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box
        self._unreadable = 0

    async def rotate(self) -> KeyRotation:
        """Re-encrypt all secrets that are not under the first key. The operation is idempotent."""
        if not self._box.prefix or not self._box.key_ids:
            raise InvalidInput(
                "There is no ring of keys. Set BROKER_SECRET_KEYS to the new key and the old ones, in this "
                "order."
            )
        self._unreadable = 0
        of_webhooks = await self._repeat(self._next_webhooks)
        of_operations = await self._repeat(self._next_operations)
        async with self._database.transaction(SYSTEM) as tx:
            left = await webhooks.count_sealed_otherwise(tx, self._box.prefix)
            left += await operation_changes.count_sealed_otherwise(tx, self._box.prefix)
        first, *others = self._box.key_ids
        return KeyRotation(first, tuple(others), of_webhooks, of_operations, self._unreadable, left)

    async def _repeat(self, step: Callable[[Transaction, UUID | None], Awaitable[_Step]]) -> int:
        """Process all rows in bounded batches, each in its own transaction; return the number changed."""
        changed, last = 0, None
        while True:
            async with self._database.transaction(SYSTEM) as tx:
                done = await step(tx, last)
            changed, last = changed + done.changed, done.last
            if last is None:
                return changed

    async def _next_webhooks(self, tx: Transaction, after: UUID | None) -> _Step:
        found = await webhooks.lock_sealed_otherwise(tx, self._box.prefix, after=after, limit=AT_ONCE)
        changed = 0
        for webhook in found:
            owner = owner_of_secret(webhook.id)
            secret = self._seal_again(webhook.secret, owner)
            previous = self._seal_again(webhook.previous_secret, owner)
            await webhooks.replace_secrets(tx, webhook.id, secret, previous)
            changed += secret is not None or previous is not None
        return _Step(changed, found[-1].id if len(found) == AT_ONCE else None)

    async def _next_operations(self, tx: Transaction, after: UUID | None) -> _Step:
        found = await operation_changes.lock_sealed_otherwise(
            tx, self._box.prefix, after=after, limit=AT_ONCE
        )
        changed = 0
        for operation_id, sealed in found:
            secret = self._seal_again(sealed, owner_of_credential(operation_id))
            if secret is not None:
                await operation_changes.replace_secret(tx, operation_id, secret)
                changed += 1
        return _Step(changed, found[-1][0] if len(found) == AT_ONCE else None)

    def _seal_again(self, sealed: bytes | None, owner: bytes) -> bytes | None:
        if sealed is None:
            return None
        try:
            return self._box.encrypt(self._box.decrypt(sealed, owner), owner)
        except DecryptionFailed:
            self._unreadable += 1
            return None


@dataclass(frozen=True, slots=True)
class _Step:
    """The number of rows that a batch changed, and its last id if there may be more rows."""

    changed: int
    last: UUID | None
