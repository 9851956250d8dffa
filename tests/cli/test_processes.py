"""Serve reports an address that it can't listen on, and creates no token."""

from __future__ import annotations

import socket

from app.store.migrate import upgrade
from tests.cli.test_tokens import manifest_broker
from tests.support.postgres import ask


async def test_a_port_in_use_is_reported_in_one_line_and_no_token_is_created(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, output, errors = await manifest_broker(
            empty_database_url, "serve", "--no-worker", "--port", port
        )
    assert (status, output) == (1, "")
    (line,) = errors.splitlines()
    assert f"Can't listen on 127.0.0.1 port {port}: Address already in use" in line
    assert not await ask(empty_database_url, "SELECT count(*) FROM tokens")


async def test_a_foreign_host_is_reported_in_one_line(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    status, _, errors = await manifest_broker(
        empty_database_url, "serve", "--no-worker", "--host", "192.0.2.1", "--port", "0"
    )
    assert status == 1
    (line,) = errors.splitlines()
    assert "Can't listen on 192.0.2.1 port 0" in line
