"""The secrets of webhooks, and the signatures made with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from app.errors import DeliveryFailed, NoSecretKey
from app.projects.webhooks import Webhook
from app.services.encryption import SecretBox
from app.services.webhooks.signing import ROTATION, Secrets, make_secret

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
BODY = '{"type":"list.pushed","data":"é…"}'.encode()
OLD, NEW = make_secret(), make_secret()
KEY = b"k" * 32


@pytest.fixture
def now() -> datetime:
    """The current time, because the library compares timestamps with the clock."""
    return datetime.now(UTC)


def webhook(secrets: Secrets, secret: str) -> Webhook:
    identity = uuid4()
    return Webhook(
        id=identity,
        project_id=uuid4(),
        url="https://receiver.example.com/",
        kinds=(),
        description="",
        enabled=True,
        secret=secrets.encrypt(identity, secret),
        previous_secret=None,
        rotated_at=None,
        created_by="tests",
        created_at=CREATED,
    )


def rotated(secrets: Secrets, at: datetime) -> Webhook:
    hook = webhook(secrets, OLD)
    return replace(hook, secret=secrets.encrypt(hook.id, NEW), previous_secret=hook.secret, rotated_at=at)


@pytest.fixture
def secrets() -> Secrets:
    return Secrets(SecretBox(KEY))


def test_the_standards_library_verifies_a_signature(secrets: Secrets, now: datetime) -> None:
    headers = secrets.headers(webhook(secrets, NEW), "message-1", BODY, now)
    assert Verifier(NEW).verify(BODY, headers)["type"] == "list.pushed"
    for changed in (
        (BODY + b" ", headers),
        (BODY, {**headers, "webhook-id": "message-2"}),
        (BODY, {**headers, "webhook-timestamp": str(int(now.timestamp()) + 1)}),
    ):
        with pytest.raises(WebhookVerificationError):
            Verifier(NEW).verify(*changed)


def test_a_receiver_refuses_an_old_signature(secrets: Secrets, now: datetime) -> None:
    headers = secrets.headers(webhook(secrets, NEW), "message-1", BODY, now - timedelta(minutes=6))
    with pytest.raises(WebhookVerificationError, match="too old"):
        Verifier(NEW).verify(BODY, headers)


def test_the_old_secret_signs_too_until_it_expires(secrets: Secrets, now: datetime) -> None:
    hook = rotated(secrets, now - ROTATION + timedelta(seconds=1))
    headers = secrets.headers(hook, "message-1", BODY, now)
    assert Verifier(NEW).verify(BODY, headers) == Verifier(OLD).verify(BODY, headers)
    headers = secrets.headers(rotated(secrets, now - ROTATION), "message-1", BODY, now)
    assert Verifier(NEW).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD).verify(BODY, headers)


def rotate_again(secrets: Secrets, hook: Webhook, secret: str, at: datetime) -> Webhook:
    """The webhook after one more rotation."""
    return replace(
        hook,
        secret=secrets.encrypt(hook.id, secret),
        previous_secret=secrets.retire(hook, at),
        rotated_at=at,
    )


def test_a_second_rotation_expires_no_secret_early(secrets: Secrets, now: datetime) -> None:
    middle = make_secret()
    first = now - ROTATION + timedelta(seconds=1)
    hook = rotate_again(secrets, webhook(secrets, OLD), middle, first)
    hook = rotate_again(secrets, hook, NEW, now - timedelta(hours=1))
    headers = secrets.headers(hook, "message-1", BODY, now)
    for secret in (OLD, middle, NEW):
        assert Verifier(secret).verify(BODY, headers)
    headers = secrets.headers(hook, "message-1", BODY, now + timedelta(seconds=1))
    assert Verifier(middle).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD).verify(BODY, headers)
    made = [make_secret() for _ in range(6)]
    for secret in made:
        hook = rotate_again(secrets, hook, secret, now)
    headers = secrets.headers(hook, "message-1", BODY, now)
    # The newest comes first, for receivers that check only one signature.
    signatures = headers["webhook-signature"].split(" ")
    assert signatures == [Verifier(secret).sign("message-1", now, BODY.decode()) for secret in made[:0:-1]]


@pytest.mark.parametrize("box", [SecretBox(b"j" * 32), SecretBox(KEY)], ids=["another key", "the same key"])
def test_a_new_secret_signs_even_if_the_old_one_is_unreadable(
    box: SecretBox, secrets: Secrets, now: datetime
) -> None:
    others = Secrets(box)
    hook = rotate_again(others, webhook(secrets, OLD), NEW, now)
    assert Verifier(NEW).verify(BODY, others.headers(hook, "message-1", BODY, now))
    unreadable = replace(hook, previous_secret=b"unreadable, and so it is left out")
    assert Verifier(NEW).verify(BODY, others.headers(unreadable, "message-1", BODY, now))


def test_a_secret_is_decrypted_for_its_own_webhook_only(secrets: Secrets, now: datetime) -> None:
    one, other = webhook(secrets, OLD), webhook(secrets, NEW)
    with pytest.raises(DeliveryFailed):
        secrets.headers(replace(one, secret=other.secret), "message-1", BODY, now)


def test_a_changed_key_fails_a_delivery_which_can_be_retried_once_the_key_is_restored(
    secrets: Secrets, now: datetime
) -> None:
    hook = webhook(secrets, NEW)
    for box in (SecretBox(b"j" * 32), SecretBox(None)):
        with pytest.raises(DeliveryFailed) as caught:
            Secrets(box).headers(hook, "message-1", BODY, now)
        assert caught.value.retryable
    with pytest.raises(NoSecretKey):
        Secrets(SecretBox(None)).encrypt(hook.id, NEW)
