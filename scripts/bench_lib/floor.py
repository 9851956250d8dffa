"""The floor: a bare client makes the requests of the broker as soon as the data allow.

It keeps nothing and checks only statuses. It waits for an answer only where the next request depends on it: a
config after its manifest, mounts after the check that they are needed, a manifest after its blobs, the index
after all of them, and push after create.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter

import aiohttp

from scripts.bench_lib.recording import Recording, Request, Stage
from scripts.bench_lib.scenario import Failed, Round
from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

AT_ONCE = 32
ACCEPT = {"Accept": f"{DOCKER_LIST}, {DOCKER_MANIFEST}, {OCI_INDEX}, {OCI_MANIFEST}"}
BAD_REQUEST, NOT_FOUND = 400, 404

CREATE = (Stage.MANIFEST, Stage.CONFIG)
CHILDREN = (Stage.LOOK, Stage.BLOB, Stage.CHILD)
END = (Stage.TAG, Stage.VERIFY)


@asynccontextmanager
async def bare_client(host: str) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(f"http://{host}", connector=connector, auto_decompress=False) as session:
        yield session


async def run_floor(session: aiohttp.ClientSession, recording: Recording, target: str) -> Round:
    requests = recording.aimed_at(target)
    began = perf_counter()
    await _side_by_side(session, requests, CREATE)
    between = perf_counter()
    await _side_by_side(session, requests, CHILDREN)
    await _one_after_the_other(session, requests, END)
    return Round(between - began, perf_counter() - between)


async def _side_by_side(
    session: aiohttp.ClientSession, requests: Sequence[Request], stages: Sequence[Stage]
) -> None:
    """Each image goes through the stages by itself; the client's limit is the only thing they share."""
    images: dict[str | None, list[Request]] = {}
    for request in requests:
        images.setdefault(request.image, []).append(request)
    await asyncio.gather(*(_one_after_the_other(session, of, stages) for of in images.values()))


async def _one_after_the_other(
    session: aiohttp.ClientSession, requests: Sequence[Request], stages: Sequence[Stage]
) -> None:
    for stage in stages:
        await asyncio.gather(*(_send(session, request) for request in requests if request.stage is stage))


async def _send(session: aiohttp.ClientSession, request: Request) -> None:
    headers = {"Content-Type": request.media_type} if request.media_type else ACCEPT
    async with session.request(request.method, request.path, data=request.body, headers=headers) as reply:
        await reply.read()
    looked_in_vain = request.stage is Stage.LOOK and reply.status == NOT_FOUND
    if reply.status >= BAD_REQUEST and not looked_in_vain:
        raise Failed(f"the floor was answered {reply.status} for {request.method} {request.path}")
