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
def test_a_failure_that_will_not_pass_is_final(failure: BrokerError) -> None:
    assert decided(failure) == GiveUp(failure)


def test_a_failure_that_may_pass_is_tried_again_until_the_last_attempt() -> None:
    failure = RegistryUnavailable("503")
    for attempt in range(1, POLICY.max_attempts):
        assert isinstance(decided(failure, attempt=attempt), RetryAt)
    assert decided(failure, attempt=POLICY.max_attempts) == GiveUp(failure)


def test_a_database_that_is_away_excuses_the_attempt_however_many_there_were() -> None:
    decision = decided(Unavailable("away", retry_after=2), attempt=1000)
    assert isinstance(decision, RetryAt)
    assert decision.excused


def test_a_deadline_that_passed_is_no_reason_to_try_again() -> None:
    assert isinstance(decided(DeadlineExceeded("late")), GiveUp)
    assert isinstance(decided(AttemptsExhausted("often")), GiveUp)


def test_a_registry_that_names_a_time_is_not_asked_before_it() -> None:
    assert seconds(decided(RateLimited("slow down", retry_after=17), share=0.0)) == 17


def test_a_registry_that_names_too_long_a_time_is_asked_after_five_minutes() -> None:
    assert seconds(decided(RateLimited("slow down", retry_after=86400), share=0.0)) == 300


@pytest.mark.parametrize("retry_after", [0.0, 0.0125, 0.25])
def test_a_registry_that_names_milliseconds_is_given_a_quarter_of_a_second(retry_after: float) -> None:
    assert seconds(decided(RateLimited("slow down", retry_after=retry_after), share=0.0)) == 0.25


@pytest.mark.parametrize("retry_after", [math.nan, -math.inf, -5.0])
def test_a_time_that_makes_no_sense_is_ignored(retry_after: float) -> None:
    assert seconds(decided(RateLimited("slow down", retry_after=retry_after), share=0.0)) == 0


@pytest.mark.parametrize("failure", [RateLimited, RegistryUnavailable])
def test_an_operation_that_waits_as_long_as_a_registry_asked_is_parked_however_often(
    failure: type[BrokerError],
) -> None:
    assert isinstance(decided(failure("later", retry_after=3), attempt=1000), Park)
    assert isinstance(decided(failure("later"), attempt=1000), GiveUp)
    assert isinstance(decided(failure("at once", retry_after=0), attempt=1000), GiveUp)


def test_a_registry_that_only_ever_names_short_waits_is_asked_less_and_less() -> None:
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


def test_a_pause_longer_than_the_policy_waits_for_is_the_caller_s_to_know() -> None:
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


def test_what_can_not_be_tried_before_the_deadline_has_failed() -> None:
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
def test_waits_grow_twofold_up_to_the_cap_and_are_spread_over_all_of_it(attempt: int, share: float) -> None:
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
