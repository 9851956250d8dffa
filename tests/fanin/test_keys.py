"""Repeated requests with one Idempotency-Key to two brokers; FANIN_KEYS makes it longer."""

from __future__ import annotations

import os

from scripts.fanin_lib.calls import Apis
from scripts.fanin_lib.keys import run_keys
from tests.support.registry import RegistryDouble

KEYS = int(os.environ.get("FANIN_KEYS", "60"))


async def test_repeated_requests_with_one_key_make_one_operation(
    apis: Apis, registry: RegistryDouble, seed: int
) -> None:
    tally = await run_keys(KEYS, seed, apis, registry)
    assert tally.wrong == []
    assert tally.keys == tally.operations == tally.refused == KEYS
    assert tally.requests > KEYS
