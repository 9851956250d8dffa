"""Registries that a hostile project controls, and a proxy with one path that is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.support.images import Image, make_image

HOST = "127.0.0.1"
CLOSED, DRIPPING = "closed", "dripping"
PAUSE_SECONDS = 300
LAYER_BYTES = 8 * 1024 * 1024
BYTES_A_SECOND, DRIPS_A_SECOND = 20_000, 2
# Of a message between two connections, and not between a client and the registry.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})


@asynccontextmanager
async def hostile_registries(count: int) -> AsyncIterator[list[str]]:
    """So many registries, each of which has a repository that is closed and one that drips."""
    image = make_image(layers=[LAYER_BYTES], seed="dripping")
    app = web.Application()
    app.router.add_get("/v2/", _hello)
    app.router.add_get(f"/v2/{DRIPPING}/manifests/{{reference}}", _manifest_of(image))
    app.router.add_get(f"/v2/{DRIPPING}/blobs/{{digest}}", _blobs_of(image))
    app.router.add_route("*", f"/v2/{CLOSED}/{{rest:.*}}", _closed)
    async with _serving(app, count) as hosts:
        yield hosts


@asynccontextmanager
async def partly_closed(upstream: str) -> AsyncIterator[str]:
    """A proxy that passes everything on, but closes one repository."""
    async with aiohttp.ClientSession(f"http://{upstream}", auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.Response:
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP
            }
            async with session.request(
                request.method,
                request.rel_url,
                data=await request.read(),
                headers=headers,
                allow_redirects=False,
            ) as reply:
                kept = {
                    name: value for name, value in reply.headers.items() if name.lower() not in HOP_BY_HOP
                }
                if request.method == "HEAD":
                    return web.Response(status=reply.status, headers=kept)
                kept.pop("Content-Length", None)
                return web.Response(status=reply.status, headers=kept, body=await reply.read())

        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", f"/v2/{CLOSED}/{{rest:.*}}", _closed)
        app.router.add_route("*", "/{rest:.*}", forward)
        async with _serving(app, 1) as hosts:
            yield hosts[0]


@asynccontextmanager
async def _serving(app: web.Application, count: int) -> AsyncIterator[list[str]]:
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for _ in range(count):
            await web.TCPSite(runner, HOST, 0).start()
        yield [f"{HOST}:{port}" for _, port in runner.addresses]
    finally:
        await runner.cleanup()


async def _hello(_: web.Request) -> web.Response:
    return web.json_response({})


async def _closed(_: web.Request) -> web.Response:
    return web.Response(status=503, headers={"Retry-After": str(PAUSE_SECONDS)})


def _manifest_of(image: Image) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    headers = {"Docker-Content-Digest": image.digest, "Content-Type": image.media_type}

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=image.raw, headers=headers)

    return answer


def _blobs_of(image: Image) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        blob = image.blobs.get(request.match_info["digest"])
        if blob is None:
            return web.Response(status=404)
        reply = web.StreamResponse(headers={"Content-Length": str(len(blob))})
        await reply.prepare(request)
        if len(blob) < LAYER_BYTES:
            await reply.write(blob)
            return reply
        step = BYTES_A_SECOND // DRIPS_A_SECOND
        for begun in range(0, len(blob), step):
            await reply.write(blob[begun : begun + step])
            await asyncio.sleep(1 / DRIPS_A_SECOND)
        return reply

    return answer
