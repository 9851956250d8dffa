"""How long callers may have their answers held."""

from __future__ import annotations

import pytest

from app.api.preferences import LONGEST_SECONDS, parse_prefer


@pytest.mark.parametrize("asked", [LONGEST_SECONDS + 1, 999_999_999])
def test_nobody_waits_longer_than_proxies_let_them_and_is_told_so(asked: int) -> None:
    wait = parse_prefer(f"wait={asked}", 10)
    assert (wait.seconds, wait.applied) == (LONGEST_SECONDS, f"wait={LONGEST_SECONDS}")
