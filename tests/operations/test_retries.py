"""Which failures are tried again, and when."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import (
    AttemptsExhausted,
    BrokerError,
    DeadlineExceeded,
    RateLimited,
    RegistryDenied,
    RegistryUnavailable,
    SourceNotFound,
    Unavailable,
    error_classes,
)
from app.operations.retries import GiveUp, Park, RetryAt, RetryPolicy, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAR = NOW + timedelta(days=1)
POLICY = RetryPolicy()


def decided(
    failure: BrokerError, *, attempt: int = 1, deadline: datetime = FAR, share: float = 0.5
) -> RetryAt | Park | GiveUp:
    return decide(failure, attempt=attempt, now=NOW, deadline=deadline, policy=POLICY, random=lambda: share)


def seconds(decision: RetryAt | Park | GiveUp) -> float:
    assert isinstance(decision, RetryAt | Park)
    return decision.delay.total_seconds()


@pytest.mark.parametrize("failure", [SourceNotFound("gone"), RegistryDenied("no"), BrokerError("?")])
def test_a_permanent_failure_is_final(failure: BrokerError) -> None:
    assert decided(failure) == GiveUp(failure)


def test_a_transient_failure_is_retried_until_the_last_attempt() -> None:
    failure = RegistryUnavailable("503")
    for attempt in range(1, POLICY.max_attempts):
        assert isinstance(decided(failure, attempt=attempt), RetryAt)
    assert decided(failure, attempt=POLICY.max_attempts) == GiveUp(failure)


def test_an_unreachable_database_never_counts_as_an_attempt() -> None:
    decision = decided(Unavailable("away", retry_after=2), attempt=1000)
    assert isinstance(decision, RetryAt)
    assert decision.excused


def test_nothing_is_retried_after_the_deadline() -> None:
    assert isinstance(decided(DeadlineExceeded("late")), GiveUp)
    assert isinstance(decided(AttemptsExhausted("often")), GiveUp)


def test_a_retry_waits_for_the_time_that_the_registry_names() -> None:
    assert seconds(decided(RateLimited("slow down", retry_after=17), share=0.0)) == 17


def test_a_very_long_retry_after_is_cut_to_five_minutes() -> None:
    assert seconds(decided(RateLimited("slow down", retry_after=86400), share=0.0)) == 300


@pytest.mark.parametrize("retry_after", [0.0, 0.0125, 0.25])
def test_a_very_short_retry_after_becomes_a_quarter_of_a_second(retry_after: float) -> None:
    assert seconds(decided(RateLimited("slow down", retry_after=retry_after), share=0.0)) == 0.25


@pytest.mark.parametrize("retry_after", [math.nan, -math.inf, -5.0])
def test_an_invalid_retry_after_is_ignored(retry_after: float) -> None:
    assert seconds(decided(RateLimited("slow down", retry_after=retry_after), share=0.0)) == 0


@pytest.mark.parametrize("failure", [RateLimited, RegistryUnavailable])
def test_an_operation_is_parked_as_often_as_its_registry_asks_for_a_pause(
    failure: type[BrokerError],
) -> None:
    assert isinstance(decided(failure("later", retry_after=3), attempt=1000), Park)
    assert isinstance(decided(failure("later"), attempt=1000), GiveUp)
    assert isinstance(decided(failure("at once", retry_after=0), attempt=1000), GiveUp)


def test_repeated_short_pauses_make_the_delays_grow() -> None:
    failure = RateLimited("slow down", retry_after=1)
    waits = [
        seconds(
            decide(
                failure,
                attempt=1,
                now=NOW,
                deadline=FAR,
                policy=POLICY,
                random=lambda: 0.5,
                excused_before=before,
            )
        )
        for before in range(10)
    ]
    assert waits == sorted(waits)
    assert waits[-1] > 10


def test_a_pause_beyond_the_policy_fails_the_operation() -> None:
    policy = RetryPolicy(longest_park=60)
    for asked, kind in ((60, Park), (61, GiveUp)):
        decision = decide(
            RateLimited("slow down", retry_after=asked),
            attempt=1,
            now=NOW,
            deadline=FAR,
            policy=policy,
            random=lambda: 0.0,
        )
        assert isinstance(decision, kind)


def test_an_operation_fails_if_its_deadline_comes_before_the_next_attempt() -> None:
    failure = RateLimited("slow down", retry_after=60)
    assert decided(failure, deadline=NOW + timedelta(seconds=60)) == GiveUp(failure)
    assert isinstance(decided(failure, deadline=NOW + timedelta(seconds=61), share=0.0), Park)


@given(
    cls=st.sampled_from(list(error_classes())),
    attempt=st.integers(1, 10**6),
    share=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(),
    left=st.timedeltas(timedelta(0), timedelta(days=30)),
)
def test_every_retry_is_bounded_and_before_the_deadline(
    cls: type[BrokerError], attempt: int, share: float, retry_after: float | None, left: timedelta
) -> None:
    failure = cls("failed", retry_after=retry_after)
    decision = decided(failure, attempt=attempt, deadline=NOW + left, share=share)
    if isinstance(decision, GiveUp):
        assert decision.failure is failure
    else:
        assert failure.retryable
        assert timedelta(0) <= decision.delay < left
        assert decision.delay <= timedelta(seconds=POLICY.longest_wait + POLICY.cap)
        assert isinstance(decision, Park) or decision.excused or attempt < POLICY.max_attempts


@given(attempt=st.integers(1, 100), share=st.floats(0, 1, exclude_max=True))
def test_delays_double_up_to_the_cap_with_full_jitter(attempt: int, share: float) -> None:
    policy = RetryPolicy(max_attempts=1000)
    decision = decide(
        RegistryUnavailable("503"),
        attempt=attempt,
        now=NOW,
        deadline=FAR,
        policy=policy,
        random=lambda: share,
    )
    ceiling = min(policy.cap, policy.base * 2 ** (attempt - 1))
    assert seconds(decision) == pytest.approx(share * ceiling, abs=1e-5)
