"""Secrets of webhooks, and what is signed with them."""

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
    """The library compares with the clock, so this is the moment of the test and no other."""
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
        secret=secrets.close(identity, secret),
        previous_secret=None,
        rotated_at=None,
        created_by="tests",
        created_at=CREATED,
    )


def rotated(secrets: Secrets, at: datetime) -> Webhook:
    hook = webhook(secrets, OLD)
    return replace(hook, secret=secrets.close(hook.id, NEW), previous_secret=hook.secret, rotated_at=at)


@pytest.fixture
def secrets() -> Secrets:
    return Secrets(SecretBox(KEY))


def test_what_is_signed_is_verified_by_the_standards_library(secrets: Secrets, now: datetime) -> None:
    headers = secrets.headers(webhook(secrets, NEW), "message-1", BODY, now)
    assert Verifier(NEW).verify(BODY, headers)["type"] == "list.pushed"
    for changed in (
        (BODY + b" ", headers),
        (BODY, {**headers, "webhook-id": "message-2"}),
        (BODY, {**headers, "webhook-timestamp": str(int(now.timestamp()) + 1)}),
    ):
        with pytest.raises(WebhookVerificationError):
            Verifier(NEW).verify(*changed)


def test_what_was_signed_long_ago_is_refused_by_its_receiver(secrets: Secrets, now: datetime) -> None:
    headers = secrets.headers(webhook(secrets, NEW), "message-1", BODY, now - timedelta(minutes=6))
    with pytest.raises(WebhookVerificationError, match="too old"):
        Verifier(NEW).verify(BODY, headers)


def test_the_old_secret_signs_too_until_its_time_is_over(secrets: Secrets, now: datetime) -> None:
    hook = rotated(secrets, now - ROTATION + timedelta(seconds=1))
    headers = secrets.headers(hook, "message-1", BODY, now)
    assert Verifier(NEW).verify(BODY, headers) == Verifier(OLD).verify(BODY, headers)
    headers = secrets.headers(rotated(secrets, now - ROTATION), "message-1", BODY, now)
    assert Verifier(NEW).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD).verify(BODY, headers)


def again(secrets: Secrets, hook: Webhook, secret: str, at: datetime) -> Webhook:
    """As it is after one more rotation."""
    return replace(
        hook,
        secret=secrets.close(hook.id, secret),
        previous_secret=secrets.retire(hook, at),
        rotated_at=at,
    )


def test_who_rotates_twice_takes_no_secret_before_its_time(secrets: Secrets, now: datetime) -> None:
    middle = make_secret()
    first = now - ROTATION + timedelta(seconds=1)
    hook = again(secrets, webhook(secrets, OLD), middle, first)
    hook = again(secrets, hook, NEW, now - timedelta(hours=1))
    headers = secrets.headers(hook, "message-1", BODY, now)
    for secret in (OLD, middle, NEW):
        assert Verifier(secret).verify(BODY, headers)
    headers = secrets.headers(hook, "message-1", BODY, now + timedelta(seconds=1))
    assert Verifier(middle).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD).verify(BODY, headers)
    made = [make_secret() for _ in range(6)]
    for secret in made:
        hook = again(secrets, hook, secret, now)
    headers = secrets.headers(hook, "message-1", BODY, now)
    # The newest comes first, for receivers that look at one alone.
    signatures = headers["webhook-signature"].split(" ")
    assert signatures == [Verifier(secret).sign("message-1", now, BODY.decode()) for secret in made[:0:-1]]


@pytest.mark.parametrize("box", [SecretBox(b"j" * 32), SecretBox(KEY)], ids=["another key", "the same key"])
def test_a_new_secret_signs_whatever_became_of_the_old_one(
    box: SecretBox, secrets: Secrets, now: datetime
) -> None:
    others = Secrets(box)
    hook = again(others, webhook(secrets, OLD), NEW, now)
    assert Verifier(NEW).verify(BODY, others.headers(hook, "message-1", BODY, now))
    unreadable = replace(hook, previous_secret=b"unreadable, and so it is left out")
    assert Verifier(NEW).verify(BODY, others.headers(unreadable, "message-1", BODY, now))


def test_a_secret_opens_for_its_own_webhook_only(secrets: Secrets, now: datetime) -> None:
    one, other = webhook(secrets, OLD), webhook(secrets, NEW)
    with pytest.raises(DeliveryFailed):
        secrets.headers(replace(one, secret=other.secret), "message-1", BODY, now)


def test_a_key_that_has_changed_fails_a_delivery_that_may_succeed_when_it_is_given_back(
    secrets: Secrets, now: datetime
) -> None:
    hook = webhook(secrets, NEW)
    for box in (SecretBox(b"j" * 32), SecretBox(None)):
        with pytest.raises(DeliveryFailed) as caught:
            Secrets(box).headers(hook, "message-1", BODY, now)
        assert caught.value.retryable
    with pytest.raises(NoSecretKey):
        Secrets(SecretBox(None)).close(hook.id, NEW)
