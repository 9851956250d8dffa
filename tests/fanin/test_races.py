"""Two sessions race for one tag, with legs in random order; FANIN_RACES sets the number of races."""

from __future__ import annotations

import os

from scripts.fanin_lib.calls import Apis
from scripts.fanin_lib.races import run_races
from tests.support.registry import RegistryDouble

RACES = int(os.environ.get("FANIN_RACES", "12"))


async def test_racing_sessions_never_mix_and_the_newer_one_gets_the_tag(
    apis: Apis, registry: RegistryDouble, seed: int
) -> None:
    """The newer run has the higher number, or without numbers, the list that was created later."""
    races = await run_races(RACES, seed, apis, registry, legs=4)
    assert races.wrong == []
    assert races.races == RACES
