"""Each test has a database of its own."""

from __future__ import annotations

import pytest

from tests.support.postgres import ask, execute


@pytest.mark.parametrize("round_", [1, 2])
async def test_tests_do_not_see_the_writes_of_each_other(database_url: str, round_: int) -> None:
    tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'mine'"
    assert await ask(database_url, tables) == 0
    await execute(database_url, "CREATE TABLE mine (id int)")
    assert await ask(database_url, tables) == 1


async def test_a_database_speaks_utf8_and_utc(database_url: str) -> None:
    assert await ask(database_url, "SHOW server_encoding") == "UTF8"
    assert await ask(database_url, "SHOW timezone") == "UTC"
