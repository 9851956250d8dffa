"""Names and the addresses behind them, when someone plays with the answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from app import errors
from app.outbound.connections import CheckedResolver
from app.registry.client import AccessPolicy

PUBLIC = ("93.184.216.34", int(socket.AF_INET))
PUBLIC_V6 = ("2606:4700::1111", int(socket.AF_INET6))
LOOPBACK = ("127.0.0.1", int(socket.AF_INET))
METADATA = ("169.254.169.254", int(socket.AF_INET))
WRAPPED = ("64:ff9b::a9fe:a9fe", int(socket.AF_INET6))
SCOPED = ("fe80::1%1", int(socket.AF_INET6))


def resolver(*answers: list[tuple[str, int]]) -> CheckedResolver:
    """Each question gets the next of the answers."""
    coming: Iterator[list[tuple[str, int]]] = iter(answers)

    async def look_up(host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        return next(coming)

    return CheckedResolver(AccessPolicy(), look_up, seconds=10.0)


async def test_what_is_connected_to_is_what_was_checked() -> None:
    found = await resolver([PUBLIC, PUBLIC_V6]).resolve("reg.test", 443)
    assert [(each["host"], each["port"]) for each in found] == [(PUBLIC[0], 443), (PUBLIC_V6[0], 443)]
    assert all(each["flags"] & socket.AI_NUMERICHOST for each in found)


@pytest.mark.parametrize("bad", [LOOPBACK, METADATA, WRAPPED, SCOPED])
async def test_one_bad_address_among_good_ones_is_enough(bad: tuple[str, int]) -> None:
    for answer in ([bad], [PUBLIC, bad], [bad, PUBLIC], [PUBLIC, PUBLIC_V6, bad]):
        with pytest.raises(errors.RegistryForbidden) as caught:
            await resolver(answer).resolve("reg.test", 443)
        assert caught.value.members["registry"] == "reg.test"


async def test_an_answer_that_changes_is_checked_anew() -> None:
    changing = resolver([PUBLIC], [LOOPBACK])
    await changing.resolve("reg.test", 443)
    with pytest.raises(errors.RegistryForbidden):
        await changing.resolve("reg.test", 443)
