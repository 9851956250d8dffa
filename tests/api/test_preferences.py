"""The Prefer header limits how long a request waits."""

from __future__ import annotations

import pytest

from app.api.preferences import LONGEST_SECONDS, parse_prefer


@pytest.mark.parametrize("asked", [LONGEST_SECONDS + 1, 999_999_999])
def test_a_wait_is_limited_to_what_proxies_permit_and_the_limit_is_reported(asked: int) -> None:
    wait = parse_prefer(f"wait={asked}", 10)
    assert (wait.seconds, wait.applied) == (LONGEST_SECONDS, f"wait={LONGEST_SECONDS}")
