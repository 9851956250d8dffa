"""Two brokers with a worker each on one database, and the calls to both."""

from __future__ import annotations

import random

import pytest

from scripts.fanin_lib.calls import Apis
from tests.support.broker import StartBroker


@pytest.fixture
async def apis(start_broker: StartBroker, seed: int) -> Apis:
    brokers = [await start_broker() for _ in range(2)]
    return Apis([broker.client for broker in brokers], random.Random(seed))
