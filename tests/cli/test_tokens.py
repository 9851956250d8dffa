"""Commands report an unmigrated database and leave it unchanged; tokens are managed on a migrated one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from app.store.database import Database
from app.store.migrate import is_current, upgrade
from tests.support.postgres import execute

PROJECT = Path(__file__).parents[2]
COMMANDS = [
    ["serve", "--no-worker", "--port", "0"],
    ["token", "list"],
    ["token", "create", "ci"],
    ["token", "revoke", str(UUID(int=1))],
]


async def manifest_broker(
    database_url: str, *arguments: str, **variables: str
) -> tuple[int | None, str, str]:
    """Run the command; returns status, output and errors."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from app.cli import main; main()", *arguments),
        cwd=PROJECT,
        env={**inherited, "DATABASE_URL": database_url, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def is_migrated(url: str) -> bool:
    database = Database(url, pool_size=1)
    try:
        async with database.transaction() as tx:
            return await is_current(tx)
    finally:
        await database.dispose()


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
async def test_an_unmigrated_database_is_reported_in_one_line_and_not_changed(
    empty_database_url: str, arguments: list[str]
) -> None:
    status, output, errors = await manifest_broker(empty_database_url, *arguments)
    assert (status, output) == (1, "")
    assert len(errors.splitlines()) == 1
    assert "Run manifest-broker migrate." in errors
    assert not await is_migrated(empty_database_url)


async def test_token_list_does_not_migrate_the_database(
    empty_database_url: str,
) -> None:
    await upgrade(empty_database_url)
    await execute(empty_database_url, "UPDATE alembic_version SET version_num = 'of_another_version'")
    status, _, errors = await manifest_broker(empty_database_url, "token", "list")
    assert status == 1
    assert "Run manifest-broker migrate." in errors


async def test_the_command_rejects_the_same_names_as_the_api(database_url: str) -> None:
    for arguments in (["A b"], ["x" * 64], ["ci", "--project", "Team"]):
        status, output, errors = await manifest_broker(database_url, "token", "create", *arguments)
        assert (status, output) == (1, "")
        assert "is not a valid name." in errors
    assert (await manifest_broker(database_url, "token", "list"))[1] == ""


async def test_tokens_are_created_listed_and_revoked_on_a_migrated_database(database_url: str) -> None:
    status, text, errors = await manifest_broker(database_url, "token", "create", "ci", "--project", "team")
    assert (status, errors) == (0, "")
    assert text.startswith("mbt_")
    _, listed, _ = await manifest_broker(database_url, "token", "list")
    (line,) = listed.splitlines()
    assert line.endswith("team/ci")
    status, _, _ = await manifest_broker(database_url, "token", "revoke", line.split()[0])
    assert status == 0
    assert (await manifest_broker(database_url, "token", "list"))[1] == ""
