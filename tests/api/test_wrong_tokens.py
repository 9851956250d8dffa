"""Guessing tokens is refused after a while; a valid token always passes."""

from __future__ import annotations

import pytest

from app.api.wrong_tokens import WrongTokens
from tests.support.broker import StartBroker, check_problem

LIMIT = 7


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.slow
async def test_many_wrong_tokens_from_one_address_are_refused(start_broker: StartBroker) -> None:
    broker = await start_broker(worker=False, wrong_tokens_per_minute=LIMIT)
    async with broker.client_with("mbt_wrong") as guessing, broker.client_with(None) as nobody:
        for _ in range(LIMIT):
            check_problem(await guessing.get("/v1/lists"), 401, "unauthenticated")
        for path in ("/v1/lists", "/v1/tokens", "/v1/operations"):
            reply = await guessing.get(path)
            check_problem(reply, 429, "too-many-requests")
            assert 1 <= int(reply.headers["Retry-After"]) <= 60
        # The same address holds valid tokens, too, and forgets to send one.
        assert (await broker.client.get("/v1/lists")).status_code == 200
        check_problem(await nobody.get("/v1/lists"), 401, "unauthenticated")
        check_problem(await guessing.get("/v1/lists"), 429, "too-many-requests")


def test_each_minute_and_each_address_counts_for_itself() -> None:
    clock = Clock()
    wrong = WrongTokens(2, clock)
    assert [wrong.count("192.0.2.1") for _ in range(3)] == [None, None, 60.0]
    assert wrong.count("192.0.2.2") is None
    clock.now = 59.0
    assert wrong.count("192.0.2.1") == 1.0
    clock.now = 60.0
    assert wrong.count("192.0.2.1") is None


def test_the_addresses_of_one_ipv6_network_count_together() -> None:
    wrong = WrongTokens(1, Clock())
    assert wrong.count("2001:db8::1") is None
    assert wrong.count("2001:db8::2:1") is not None
    assert wrong.count("2001:db8:0:1::1") is None
    assert wrong.count("::ffff:192.0.2.1") is None
    assert wrong.count("192.0.2.1") is not None


def test_the_memory_for_addresses_is_bounded() -> None:
    wrong = WrongTokens(1, Clock())
    for number in range(25_000):
        wrong.count(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert len(wrong) <= 10_000
