"""One seed for everything random in the tests; the end of a run prints it.

TEST_SEED repeats a run. CI always uses the same seed, so that it judges the change and not chance; every
other run draws a new one.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import settings

__all__ = ["seed"]

VARIABLE = "TEST_SEED"
IS_CI = bool(os.environ.get("CI"))
CI_SEED = 1


def pytest_configure() -> None:
    # Worker processes inherit it.
    os.environ.setdefault(VARIABLE, str(CI_SEED if IS_CI else random.SystemRandom().randrange(10**6)))
    # Properties have no deadline, since the machines are shared.
    settings.register_profile("unhurried", deadline=None, derandomize=IS_CI)
    settings.load_profile("unhurried")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.line(f"{VARIABLE}={os.environ[VARIABLE]} repeats what was random")


@pytest.fixture(scope="session")
def seed() -> int:
    return int(os.environ[VARIABLE])
