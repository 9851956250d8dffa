"""The secrets of webhooks, and the signatures of Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from standardwebhooks import Webhook as Signer

from app.errors import DeliveryFailed, InvalidSecret, NoSecretKey
from app.projects.webhooks import Webhook
from app.services.encryption import DecryptionFailed, MissingKey, SecretBox

PREFIX = "whsec_"
# The standard's bounds, in bytes.
SHORTEST, LONGEST = 24, 64
# How long requests are signed with the previous secret too, so that receivers have time to switch.
ROTATION = timedelta(hours=24)
# How many previous secrets still sign. A caller that rotates again because it lost an answer invalidates
# none of the secrets that its receiver may use.
MOST_RETIRED = 4


def make_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def parse_secret(text: str) -> str:
    """Check a caller's secret; the library accepts any text and drops characters outside base64."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        detail = f"A secret must be {PREFIX} and base64 of {SHORTEST} to {LONGEST} random bytes."
        raise InvalidSecret(detail)
    return text


@dataclass(frozen=True, slots=True)
class _Retired:
    """A secret that was replaced, and the time until which it still signs."""

    secret: str = field(repr=False)
    until: datetime


class Secrets:
    """Encrypts the secrets of webhooks, and signs with them."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    def encrypt(self, webhook_id: UUID, secret: str) -> bytes:
        try:
            return self._box.encrypt(secret.encode(), owner_of_secret(webhook_id))
        except MissingKey:
            raise NoSecretKey(
                "This broker can't store a webhook's secret. Its operator must set BROKER_SECRET_KEY."
            ) from None

    def headers(self, webhook: Webhook, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
        """The headers that let a receiver verify the sender and the time of a message."""
        signatures = [
            Signer(secret).sign(message_id, now, body.decode())
            for secret in self._signing_secrets(webhook, now)
        ]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def retire(self, webhook: Webhook, now: datetime) -> bytes | None:
        """The encrypted secrets that sign beside a new one: the current one and those retired recently."""
        kept = list(self._retired(webhook, now))
        if (current := self._decrypt(webhook, webhook.secret)) is not None:
            kept.append(_Retired(current, now + ROTATION))
        text = "\n".join(f"{each.secret} {each.until.isoformat()}" for each in kept[-MOST_RETIRED:])
        return self.encrypt(webhook.id, text) if text else None

    def _signing_secrets(self, webhook: Webhook, now: datetime) -> Sequence[str]:
        current = self._decrypt(webhook, webhook.secret)
        if current is None:
            # Retryable: the operator may restore the key, or the caller may rotate the secret.
            raise DeliveryFailed(
                "The broker's secret key has changed, so the webhook's secret can't be read. Rotate it."
            )
        return [current, *(each.secret for each in reversed(self._retired(webhook, now)))]

    def _retired(self, webhook: Webhook, now: datetime) -> Sequence[_Retired]:
        """The retired secrets that still sign; those that can't be decrypted are left out."""
        if webhook.previous_secret is None or webhook.rotated_at is None:
            return []
        lines = (self._decrypt(webhook, webhook.previous_secret) or "").splitlines()
        found = [_parse_retired(line, webhook.rotated_at + ROTATION) for line in lines]
        return [each for each in found if now < each.until]

    def _decrypt(self, webhook: Webhook, sealed: bytes) -> str | None:
        try:
            return self._box.decrypt(sealed, owner_of_secret(webhook.id)).decode()
        except (MissingKey, DecryptionFailed):
            return None


def _parse_retired(line: str, default_until: datetime) -> _Retired:
    """Parse one retired secret; those that versions with only one stored have no time of their own."""
    secret, _, until = line.partition(" ")
    return _Retired(secret, datetime.fromisoformat(until) if until else default_until)


def utc_now() -> datetime:
    return datetime.now(UTC)


def owner_of_secret(webhook_id: UUID) -> bytes:
    """The owner for which a webhook's secrets are encrypted."""
    return b"webhook:" + webhook_id.bytes
