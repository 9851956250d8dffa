"""A page ends early when it has many bytes, and readers that do not read hold little memory."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.api.pagination import MAX_LIMIT, PAGE_BYTES
from tests.support.broker import KEY, Broker, StartBroker, check_problem, new_token
from tests.support.broker_process import running_broker
from tests.support.planted_images import plant_images
from tests.support.postgres import ask
from tests.support.registry import RegistryDouble

pytestmark = pytest.mark.slow

Json = dict[str, Any]
MEBIBYTE = 2**20
# As many bytes as 200 lists with 60 labels of 4 kB each have.
LABELS = "(SELECT jsonb_object_agg('l' || n, repeat('x', 4000)) FROM generate_series(1, 60) AS n)"
FILL = f"""
    WITH made AS (
        INSERT INTO lists (id, project_id, reference, registry, repository, created_by, labels)
        SELECT gen_random_uuid(), id, 'r.test/list:' || number, 'r.test', 'list', 'ci', {LABELS}
        FROM projects, generate_series(1, %d) AS number RETURNING id
    )
    SELECT count(*) FROM made
"""


async def read_pages(broker: Broker, path: str, limit: int = MAX_LIMIT) -> list[list[Json]]:
    """Every page of a listing, found by its links."""
    pages: list[list[Json]] = []
    cursor: dict[str, str] = {}
    while True:
        reply = await broker.client.get(path, params={"limit": str(limit), **cursor})
        assert reply.status_code == 200
        assert json.loads(reply.text) == reply.json()
        pages.append(reply.json()["items"])
        following = reply.json()["next_cursor"]
        assert (following is None) is ("Link" not in reply.headers)
        if following is None:
            return pages
        query = parse_qs(urlsplit(reply.headers["Link"].partition(">")[0][1:]).query)
        assert query["cursor"] == [following]
        cursor = {"cursor": following}


async def test_a_page_of_large_items_ends_early_and_every_item_comes_once(
    start_broker: StartBroker, database_url: str
) -> None:
    broker = await start_broker(worker=False)
    assert await ask(database_url, FILL % 30) == 30
    pages = await read_pages(broker, "/v1/lists")
    assert len(pages) > 1
    assert all(len(json.dumps(page)) <= PAGE_BYTES * 1.1 for page in pages)
    references = [each["reference"] for page in pages for each in page]
    assert references == [f"r.test/list:{number}" for number in range(30, 0, -1)]


async def test_a_single_item_that_is_larger_than_a_page_still_comes(
    start_broker: StartBroker, database_url: str
) -> None:
    broker = await start_broker(worker=False)
    assert await ask(database_url, FILL % 3) == 3
    large = LABELS.replace("60", "700")
    await ask(database_url, f"UPDATE lists SET labels = {large} WHERE right(reference, 1) = '2' RETURNING 1")
    pages = await read_pages(broker, "/v1/lists")
    assert [[each["reference"][-1] for each in page] for page in pages] == [["3"], ["2"], ["1"]]


@pytest.mark.parametrize("limit", [1, 7, 8, 9, 17, 100])
async def test_pages_of_small_items_have_as_many_as_the_limit_allows(
    start_broker: StartBroker, database_url: str, limit: int
) -> None:
    broker = await start_broker(worker=False)
    assert await ask(database_url, FILL.replace(LABELS, "'{}'::jsonb") % 18) == 18
    pages = await read_pages(broker, "/v1/lists", limit)
    assert [len(page) for page in pages] == [min(limit, 18 - start) for start in range(0, 18, limit)]


@pytest.mark.parametrize("path", ["/v1/operations", "/v1/events/history", "/v1/pushes"])
async def test_every_listing_with_the_labels_of_lists_ends_early(
    broker: Broker, registry: RegistryDouble, path: str
) -> None:
    (image,) = plant_images(registry, "linux/amd64")
    labels = {f"l{number}": "x" * 4_000 for number in range(60)}
    for number in range(10):
        made = await broker.create(f"{registry.host}/list:{number}", image, labels=labels)
        await broker.push(made["id"])
    pages = await read_pages(broker, path)
    assert len(pages) > 1
    ids = [each["id"] for page in pages for each in page]
    assert len(ids) == len(set(ids)) >= 10


async def test_a_stream_of_large_events_gives_all_of_them(broker: Broker, registry: RegistryDouble) -> None:
    (image,) = plant_images(registry, "linux/amd64")
    labels = {f"l{number}": "x" * 4_000 for number in range(60)}
    made = await broker.create(f"{registry.host}/list:1", image, labels=labels)
    for number in range(40):
        await broker.call("PATCH", f"/v1/lists/{made['id']}", {"labels": {"number": str(number)}})
    seen: list[str] = []
    async with asyncio.timeout(60), broker.client.stream("GET", "/v1/events?after=0") as reply:
        async for line in reply.aiter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: "))["data"]["labels"].get("number", ""))
            if len(seen) == 41:
                break
    assert seen == ["", *map(str, range(40))]


async def test_one_list_has_a_limit_of_its_own(start_broker: StartBroker, database_url: str) -> None:
    broker = await start_broker(worker=False)
    assert await ask(database_url, FILL % 1) == 1
    many = LABELS.replace("60", "2100")
    list_id = await ask(database_url, f"UPDATE lists SET labels = {many} RETURNING id")
    reply = await broker.client.patch(f"/v1/lists/{list_id}", json={"labels": {"more": "x"}})
    problem = check_problem(reply, 403, "quota-exceeded")
    assert problem["quota"] == "list_metadata_bytes"
    await broker.call("PATCH", f"/v1/lists/{list_id}", {"labels": {"l1": None}})


def peak_memory(pid: int) -> int:
    """The largest resident memory of the process so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = [each for each in status.splitlines() if each.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


async def test_twelve_readers_that_do_not_read_hold_little_memory(database_url: str, tmp_path: Path) -> None:
    token = new_token()
    settings = {
        "DATABASE_URL": database_url,
        "BROKER_ADMIN_TOKEN": token,
        "BROKER_SECRET_KEY": KEY,
    }
    async with running_broker(tmp_path, settings) as process, AsyncExitStack() as stack:
        assert await ask(database_url, FILL % 200) == 200
        url = urlsplit(process.base_url)
        loop = asyncio.get_running_loop()
        sockets = []
        for _ in range(12):
            connection = socket.create_connection((url.hostname, url.port))
            stack.callback(connection.close)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.setblocking(False)
            head = (
                f"GET /v1/lists?limit=200 HTTP/1.1\r\nHost: broker\r\nAuthorization: Bearer {token}\r\n\r\n"
            )
            await loop.sock_sendall(connection, head.encode())
            sockets.append(connection)
        for connection in sockets:
            assert (await loop.sock_recv(connection, 12)) == b"HTTP/1.1 200"
        assert peak_memory(process.pid) < 400 * MEBIBYTE
