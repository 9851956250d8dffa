"""A process stops when one of its parts ends, so that it never accepts work that nothing performs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest

from app.services.shared_budgets import SharedBudgets
from app.settings import Settings
from app.wiring import build_parts
from app.wiring.server import serve
from tests.support.broker import KEY
from tests.support.operation_queue import PATIENCE_SECONDS


@dataclass(frozen=True)
class Part:
    run: Callable[[], Awaitable[None]]


async def test_a_failed_part_stops_the_server_with_its_error(database_url: str) -> None:
    listens = asyncio.Event()

    async def fail() -> None:
        await listens.wait()
        raise ZeroDivisionError

    settings = Settings.model_validate(
        {"database_url": database_url, "secret_key": KEY, "port": 0, "stop_seconds": 1.0}
    )
    parts = replace(build_parts(settings, database_url), registries=cast("SharedBudgets", Part(fail)))
    with pytest.raises(BaseExceptionGroup) as ended:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await serve(settings, parts, lambda _: listens.set(), with_worker=True)
    assert ended.group_contains(ZeroDivisionError)
