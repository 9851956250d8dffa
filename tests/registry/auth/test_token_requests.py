"""What 401s have taught about a repository."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.registry.auth import token_requests
from app.registry.auth.challenge import Challenge
from app.registry.auth.scope import pulling, pushing
from app.registry.auth.token_requests import LearnedTokenRequests, TokenRequest
from app.registry.learned import LearnedKey
from tests.support.registry_clients import Clock

KEY = LearnedKey("a.test", insecure=False, account="account", path="app")
PINGED = Challenge("bearer", {"realm": "https://a.test/token"})
LEARNT = Challenge("bearer", {"realm": "https://b.test/token"})


def test_what_one_repository_or_account_teaches_is_not_used_for_another() -> None:
    learned = LearnedTokenRequests(600, Clock())
    learned.record(KEY, pulling("app"), TokenRequest(LEARNT, pulling("inner")))
    assert learned.find(KEY, PINGED, pulling("app")) == TokenRequest(LEARNT, pulling("inner"))
    assert learned.find(KEY, PINGED, pushing("app")) == TokenRequest(LEARNT, pushing("app"))
    for other in (
        replace(KEY, registry="b.test"),
        replace(KEY, insecure=True),
        replace(KEY, account="other"),
        replace(KEY, path="app2"),
    ):
        assert learned.find(other, PINGED, pulling("app")) == TokenRequest(PINGED, pulling("app"))
        assert learned.find(other, None, pulling("app")) is None


def test_what_was_learnt_is_forgotten_in_time_or_at_once() -> None:
    clock = Clock()
    learned = LearnedTokenRequests(600, clock)
    learned.record(KEY, pulling("app"), TokenRequest(LEARNT, pulling("inner")))
    clock.pass_by(599)
    assert learned.find(KEY, None, pulling("app")) == TokenRequest(LEARNT, pulling("inner"))
    clock.pass_by(1)
    assert learned.find(KEY, PINGED, pulling("app")) == TokenRequest(PINGED, pulling("app"))
    learned.record(KEY, pulling("app"), TokenRequest(LEARNT, pulling("inner")))
    learned.forget(KEY, pulling("app"))
    assert learned.find(KEY, PINGED, pulling("app")) == TokenRequest(PINGED, pulling("app"))


def test_the_number_of_ways_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_requests, "_MOST", 4)
    learned = LearnedTokenRequests(600, Clock())
    for number in range(5):
        key = replace(KEY, path=f"app{number}")
        learned.record(key, pulling("app"), TokenRequest(LEARNT, pulling("inner")))
    known = [learned.find(replace(KEY, path=f"app{number}"), None, pulling("app")) for number in range(5)]
    assert len([wanted for wanted in known if wanted is not None]) == 1


def test_two_challenges_are_one_way_if_they_ask_alike() -> None:
    said = Challenge("bearer", {**LEARNT.parameters, "scope": "x", "error": "invalid_token"})
    assert TokenRequest(said, pulling("app")).is_same(TokenRequest(LEARNT, pulling("app")))
    assert not TokenRequest(said, pulling("app")).is_same(TokenRequest(LEARNT, pushing("app")))
    assert not TokenRequest(PINGED, pulling("app")).is_same(TokenRequest(LEARNT, pulling("app")))
    assert not TokenRequest(Challenge("basic"), pulling("app")).is_same(
        TokenRequest(Challenge("bearer"), pulling("app"))
    )
