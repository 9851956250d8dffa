"""The operator's admin token, and the one that the broker creates at its first start without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.errors import Unauthenticated
from app.services.tokens import Tokens
from app.store.database import Database

FIRST = "first-token-of-the-operator"
SECOND = "second-token-of-the-operator"
PROCESSES = 4


@pytest.fixture
def tokens(database: Database) -> Tokens:
    return Tokens(database)


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[list[Tokens]]:
    """Several processes, each with its own connection, which is open already."""
    databases = [Database(database_url, pool_size=1) for _ in range(PROCESSES)]
    tokens = [Tokens(database) for database in databases]
    await asyncio.gather(*(each.live() for each in tokens))
    yield tokens
    for database in databases:
        await database.dispose()


async def names(tokens: Tokens) -> list[str]:
    return [token.name for token in await tokens.live()]


async def assert_refused(tokens: Tokens, text: str) -> None:
    with pytest.raises(Unauthenticated):
        await tokens.identify(text)


async def test_the_operators_token_is_an_admin_token_and_survives_restarts(
    tokens: Tokens,
) -> None:
    for _ in range(3):
        assert await tokens.bootstrap(FIRST) is None
    caller = await tokens.identify(FIRST)
    assert (caller.admin, caller.project) == (True, "default")
    assert await names(tokens) == ["operator"]


async def test_a_changed_operators_token_revokes_the_one_before_it_and_may_be_changed_back(
    tokens: Tokens,
) -> None:
    for now, before in [(FIRST, SECOND), (SECOND, FIRST), (FIRST, SECOND), (SECOND, FIRST)]:
        await tokens.bootstrap(now)
        assert (await tokens.identify(now)).admin
        await assert_refused(tokens, before)
        assert await names(tokens) == ["operator"]


async def test_a_revoked_operators_token_is_valid_again_after_the_next_start(tokens: Tokens) -> None:
    await tokens.bootstrap(FIRST)
    (token,) = await tokens.live()
    await tokens.revoke(token.id)
    await assert_refused(tokens, FIRST)
    await tokens.bootstrap(FIRST)
    assert (await tokens.identify(FIRST)).admin
    assert [each.id for each in await tokens.live()] == [token.id]


async def test_the_token_of_the_first_start_can_become_the_operators_and_be_replaced_by_another(
    tokens: Tokens,
) -> None:
    made = await tokens.bootstrap(None)
    assert made is not None
    await tokens.bootstrap(made)
    assert (await tokens.identify(made)).admin
    await tokens.bootstrap(SECOND)
    await assert_refused(tokens, made)


async def test_any_token_that_the_operator_chooses_becomes_an_admin_token(tokens: Tokens) -> None:
    await tokens.ensure_project("team")
    _, text = await tokens.create("team", "ci", admin=False)
    await tokens.bootstrap(text)
    caller = await tokens.identify(text)
    assert (caller.admin, caller.project) == (True, "default")


async def test_a_new_operators_token_does_not_revoke_other_tokens(tokens: Tokens) -> None:
    await tokens.bootstrap(FIRST)
    await tokens.ensure_project("team")
    _, other = await tokens.create("team", "operator", admin=False)
    _, same_project = await tokens.create("default", "ci", admin=False)
    await tokens.bootstrap(SECOND)
    for text in (other, same_project):
        assert not (await tokens.identify(text)).admin


@pytest.mark.parametrize("before", [None, FIRST])
async def test_processes_that_start_together_all_accept_a_new_operators_token(
    processes: list[Tokens], before: str | None
) -> None:
    first = processes[0]
    await first.bootstrap(before)
    assert await asyncio.gather(*(each.bootstrap(SECOND) for each in processes)) == [None] * PROCESSES
    assert (await first.identify(SECOND)).admin
    assert (await names(first)).count("operator") == 1


@pytest.mark.parametrize("project", [None, "default"])
async def test_of_processes_that_start_together_one_creates_the_first_token(
    processes: list[Tokens], project: str | None
) -> None:
    if project is not None:
        await processes[0].ensure_project(project)
    made = await asyncio.gather(*(each.bootstrap(None) for each in processes))
    (text,) = [each for each in made if each is not None]
    assert (await processes[0].identify(text)).admin
    assert await names(processes[0]) == ["admin"]
    assert await processes[1].bootstrap(None) is None
