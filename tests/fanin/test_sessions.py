"""Concurrent legs of a session, to two brokers on one database; FANIN_SESSIONS makes it longer."""

from __future__ import annotations

import os

from scripts.fanin_lib.calls import Apis
from scripts.fanin_lib.matrix import PLATFORMS, make_matrix
from scripts.fanin_lib.sessions import MATRICES, Plan, run_sessions
from tests.support.images import OCI_INDEX
from tests.support.registry import RegistryDouble

SESSIONS = int(os.environ.get("FANIN_SESSIONS", "6"))


async def test_every_session_publishes_its_own_complete_list_once(
    apis: Apis, registry: RegistryDouble, seed: int
) -> None:
    tally = await run_sessions(Plan(SESSIONS, seed, at_once=4), apis, registry)
    assert tally.wrong == []
    assert (tally.sessions, tally.pushes, tally.digests) == (SESSIONS, SESSIONS, min(SESSIONS, MATRICES))


def test_the_expected_index_depends_on_the_images_alone() -> None:
    matrix = make_matrix("a")
    assert matrix.digest == make_matrix("a").digest != make_matrix("b").digest
    assert matrix.index.count(b'"digest"') == len(PLATFORMS)
    assert OCI_INDEX.encode() in matrix.index
