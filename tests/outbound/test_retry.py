"""Whether and when a request is made again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.retry import Outcome, is_passing, parse_reset, parse_retry_after, plan_retry
from app.registry.limits import Limits

LIMITS = Limits(attempts=4, backoff_seconds=0.25, longest_backoff_seconds=5.0, call_seconds=60.0)
NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "status", [408, 425, 429, 499, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529]
)
def test_trouble_that_may_pass(status: int) -> None:
    assert is_passing(status)


@pytest.mark.parametrize("status", [200, 202, 301, 400, 401, 403, 404, 409, 412, 413, 416, 501, 505, 511])
def test_final_statuses_are_not_retried(status: int) -> None:
    assert not is_passing(status)


@given(
    attempt=st.integers(1, 10),
    spent=st.floats(0, 100),
    jitter=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.floats(0, 300),
)
def test_attempts_and_time_are_bounded(
    attempt: int, spent: float, jitter: float, asked: float | None
) -> None:
    wait = plan_retry(Outcome(True, asked), attempt=attempt, spent=spent, jitter=jitter, limits=LIMITS)
    if wait is None:
        assert attempt >= LIMITS.attempts or spent + max(asked or 0, 2.0) >= LIMITS.call_seconds - 5
        return
    assert attempt < LIMITS.attempts
    assert wait >= (asked or 0)
    assert spent + wait < LIMITS.call_seconds
    assert wait > 0


def test_a_kept_connection_that_was_lost_is_replaced_at_once_but_only_once() -> None:
    lost = Outcome(may_pass=True, was_lost=True)
    assert plan_retry(lost, attempt=1, spent=0, jitter=0.5, limits=LIMITS) == 0.0
    again = plan_retry(lost, attempt=2, spent=0, jitter=0.5, limits=LIMITS)
    assert again is not None
    assert again > 0


@given(st.integers(1, 3), st.floats(0, 1, exclude_max=True))
def test_a_final_failure_is_never_retried(attempt: int, jitter: float) -> None:
    assert plan_retry(Outcome(False), attempt=attempt, spent=0, jitter=jitter, limits=LIMITS) is None


@pytest.mark.parametrize("asked", [0.0, 0.0125, 0.2])
def test_a_wait_of_milliseconds_is_a_quarter_of_a_second_at_least(asked: float) -> None:
    for jitter in (0.0, 0.99):
        wait = plan_retry(Outcome(True, asked), attempt=1, spent=0, jitter=jitter, limits=LIMITS)
        assert wait == pytest.approx(0.25 + jitter * 0.25)


def test_the_same_retry_after_spreads_over_different_waits() -> None:
    waits = [
        plan_retry(Outcome(True, 10.0), attempt=3, spent=0, jitter=jitter / 10, limits=LIMITS)
        for jitter in range(10)
    ]
    assert len(set(waits)) == 10
    assert all(wait is not None and 10 <= wait < 11 for wait in waits)


def test_waits_double_up_to_the_longest() -> None:
    limits = replace(LIMITS, attempts=9, longest_backoff_seconds=3.0)
    waits = [
        plan_retry(Outcome(True), attempt=attempt, spent=0, jitter=0.0, limits=limits)
        for attempt in range(1, 7)
    ]
    assert waits == [0.125, 0.25, 0.5, 1.0, 1.5, 1.5]


def test_waits_grow_and_differ() -> None:
    def wait(attempt: int, jitter: float) -> float:
        found = plan_retry(Outcome(True), attempt=attempt, spent=0, jitter=jitter, limits=LIMITS)
        assert found is not None
        return found

    assert wait(1, 0) < wait(1, 0.9) < wait(2, 0.9) < wait(3, 0.9)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("12.5ms", 0.0125),
        ("2s", 2.0),
        ("1m", 60.0),
        ("5 min", 300.0),
        ("30 seconds", 30.0),
        ("1.5 Minutes", 90.0),
        ("2h", 300.0),
        ("1m12.5s", 72.5),
        ("1 minute 30 seconds", 90.0),
        ("250us", 0.00025),
        ("250\u00b5s", 0.00025),
        ("250\u03bcs", 0.00025),
        ("500ns", 5e-07),
        ("1m0x", None),
        ("86400", 300.0),
        ("999999999", 300.0),
        ("Sun, 01 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Nov 2026 18:00:00 GMT", 300.0),
        ("soon", None),
        ("-5", None),
        ("\uff11\uff12", None),
        ("", None),
        ("nan", None),
        ("1e9", None),
    ],
)
def test_retry_after_is_read_in_every_form(header: str, seconds: float | None) -> None:
    assert parse_retry_after(header, now=NOW) == (None if seconds is None else pytest.approx(seconds))


def test_a_wait_that_is_only_in_the_words_counts_too() -> None:
    assert parse_retry_after(None, "toomanyrequests: retry-after: 12.5ms, allowed: 2000/minute") == 0.0125
    assert parse_retry_after(None, '{"retryAfter": "3"}') == 3.0
    assert parse_retry_after(None, r'{"message": "{\"retry-after\": \"4s\"}"}') == 4.0
    assert parse_retry_after(None, "Too many requests. Please try again in 20 seconds.") == 20.0
    assert parse_retry_after(None, "throttled, retry in 2 minutes") == 120.0
    assert parse_retry_after(None, "retry-after: 985\u00b5s, allowed: 44000/minute") == pytest.approx(985e-6)
    assert parse_retry_after(None, r"retry-after: 985.5\u00b5s, allowed") == pytest.approx(985.5e-6)
    assert parse_retry_after(None, "try again in 1m0s.") == 60.0
    assert parse_retry_after(None, "retry-after: 5parsecs") is None
    assert parse_retry_after(None, "retry-after: 985.86\u0394s") is None
    assert parse_retry_after(None, r"retry-after: 9\u0394s") is None
    assert parse_retry_after(None, "please wait") is None
    assert parse_retry_after("1", "retry-after: 9") == 1.0


@given(st.text(), st.text())
def test_any_text_is_read_without_failing(header: str, text: str) -> None:
    wait = parse_retry_after(header, text)
    assert wait is None or 0 <= wait <= 300


@pytest.mark.parametrize("zone", [" GMT", " +0000", " -0000", ""])
def test_a_date_without_a_zone_is_meant_as_gmt(zone: str) -> None:
    assert parse_retry_after(f"Sun, 01 Nov 2026 12:00:30{zone}", now=NOW) == 30.0


def test_a_date_that_no_calendar_has_is_no_wait() -> None:
    assert parse_retry_after("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", now=NOW) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"RateLimit": '"default";r=0;t=30'}, 30),
        ({"RateLimit": '"burst";r=9;t=1, "daily"; r=0; t=45'}, 45),
        ({"RateLimit": '"burst";r=0;t=20, "daily";r=7;t=200'}, 20),
        ({"RateLimit": '"default";r=5;t=30'}, None),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "12"}, 12),
        ({"RateLimit-Remaining": "0;w=21600", "RateLimit-Reset": "12;w=21600"}, 12),
        ({"RateLimit-Remaining": "3", "RateLimit-Reset": "12"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW.timestamp()) + 90)}, 90),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW.timestamp()) - 90)}, 0),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "86400"}, 300),
        ({"RateLimit-Remaining": "0;w=21600"}, None),
        ({"RateLimit-Remaining": "none", "RateLimit-Reset": "soon"}, None),
        ({}, None),
    ],
)
def test_a_quota_that_is_used_up_says_when_it_is_renewed(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert parse_reset(headers, now=NOW) == seconds
