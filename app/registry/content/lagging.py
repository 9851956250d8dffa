"""Asks again for content that has just been pushed, and that a replica may not have yet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from app import errors
from app.outbound.retry import Outcome, plan_retry
from app.registry.limits import Limits

__all__ = ["ask_until_there"]

T = TypeVar("T")


async def ask_until_there(ask: Callable[[], Awaitable[T]], limits: Limits) -> T:
    """The result of `ask`, which is repeated while the registry says that it has no such content."""
    patience = replace(
        limits,
        attempts=limits.lag_attempts,
        backoff_seconds=limits.lag_seconds,
        longest_backoff_seconds=limits.longest_lag_seconds,
    )
    attempt = 1
    while True:
        try:
            return await ask()
        except errors.SourceNotFound:
            seconds = plan_retry(
                Outcome(may_pass=True),
                attempt=attempt,
                spent=0.0,
                jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
                limits=patience,
            )
            if seconds is None:
                raise
        await asyncio.sleep(seconds)
        attempt += 1
