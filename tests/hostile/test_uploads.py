"""Upload locations on other hosts, and layers that say where else they are (T8 and T10 of the threats)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from app import errors
from app.oci.manifest import ImageManifest, Manifest, parse_manifest
from app.registry.push.push import CopyChild, CopyTarget
from tests.support.clients import push_one
from tests.support.hostile_cases import Case, copy, parametrized, run
from tests.support.hostile_world import FORBIDDEN, HOME, IMAGE, Reply, Seen, World, reply
from tests.support.images import DOCKER_FOREIGN_LAYER, OCI_FOREIGN_LAYER, make_index

STEPS = {"opening": r"/copy/blobs/uploads/$"}
ELSEWHERE_PLACES = {
    "another host": "{storage}/v2/copy/blobs/uploads/1",
    "another port": "{other}/v2/copy/blobs/uploads/1",
    "another host without a scheme": "//{storage_authority}/v2/copy/blobs/uploads/1",
    "a forbidden address": f"http://{FORBIDDEN}:{{port}}/up",
    "a forbidden name": "http://evil.test:{port}/up",
    "a forbidden address without a scheme": f"//{FORBIDDEN}:{{port}}/up",
    "the registry as userinfo": f"http://{HOME}:{{port}}@{FORBIDDEN}:{{port}}/up",
    "the registry as a prefix": "http://127.0.0.1.evil.test:{port}/up",
    "a backslash": f"\\\\{FORBIDDEN}:{{port}}\\up",
    "two slashes and a backslash": f"/\\{FORBIDDEN}:{{port}}/up",
    "a mapped address": "http://[::ffff:127.0.0.2]:{port}/up",
    "a number": "http://2130706434:{port}/up",
    "another scheme": f"ftp://{HOME}:{{port}}/up",
    "a file": "file:///etc/passwd",
    "metadata": "http://169.254.169.254/up",
    "a tab": f"http://{FORBIDDEN}\t:{{port}}/up",
    "a space in front": f" http://{FORBIDDEN}:{{port}}/up",
    "nothing": "",
    "9,000 characters": "/" + "a" * 8_190,
}


def _filled(text: str, world: World) -> str:
    return (
        text.replace("{storage}", world.storage.url)
        .replace("{storage_authority}", world.storage.authority)
        .replace("{other}", world.other_port.url)
        .replace("{port}", str(world.registry.port))
    )


def _locations() -> Iterator[Case]:
    for name, location in ELSEWHERE_PLACES.items():
        for asks in ("", 'Basic realm="x"', 'Bearer realm="{registry}/token"'):

            async def opened(world: World, location: str = location, asks: str = asks) -> object:
                world.registry.asks = asks.format(registry=world.registry.url) or None
                where = _filled(location, world)
                world.registry.on(r"/copy/blobs/uploads/$", _signed(asks, world, reply(202, Location=where)))
                return await copy(world)

            yield Case(
                f"an upload at {name} of a registry that asks {asks.partition(' ')[0] or 'nothing'}", opened
            )
    for name, headers in {
        "no location": (),
        "two locations": (("Location", "/a"), ("Location", "/b")),
    }.items():

        async def unclear(world: World, headers: tuple[tuple[str, str], ...] = headers) -> object:
            world.registry.on(r"/copy/blobs/uploads/$", Reply(202, headers))
            return await copy(world)

        yield Case(f"an upload at {name}", unclear, outcome=errors.RegistryError)


def _signed(asks: str, world: World, answer: Reply) -> Callable[[Seen], Reply]:
    challenge = asks.format(registry=world.registry.url)

    def guarded(seen: Seen) -> Reply:
        if challenge and seen.header("Authorization") is None:
            return reply(401, WWW_Authenticate=challenge)
        return answer

    return guarded


def _foreign_layers() -> Iterator[Case]:
    places = {
        "a forbidden address": f"http://{FORBIDDEN}:{{port}}/layer",
        "a forbidden name": "https://evil.test:{port}/layer",
        "another host": "{storage}/layer",
        "metadata": "http://169.254.169.254/latest/",
        "a file": "file:///etc/passwd",
    }
    for name, place in places.items():
        for kind, media_type in {
            "a foreign layer of Docker's": DOCKER_FOREIGN_LAYER,
            "a foreign layer of OCI's": OCI_FOREIGN_LAYER,
            "an ordinary layer": "application/vnd.oci.image.layer.v1.tar+gzip",
        }.items():

            async def pushed(world: World, place: str = place, media_type: str = media_type) -> object:
                await _push_with_urls(world, _filled(place, world), media_type)
                assert not [seen for seen in world.journal if seen.path == "/layer"]
                return None

            yield Case(f"{kind} is said to be at {name}", pushed, outcome=None)


async def _push_with_urls(world: World, url: str, media_type: str) -> None:
    document = json.loads(IMAGE.raw)
    for layer in document["layers"]:
        layer.update({"urls": [url], "mediaType": media_type})
    raw = json.dumps(document).encode()
    world.registry.hold("/v2/app/manifests/1", IMAGE.media_type, raw)
    found = parse_manifest(raw, IMAGE.media_type)
    assert isinstance(found, ImageManifest)
    child = CopyChild(world.reference().repository, found.manifest, found.copyable_blobs)
    index = make_index([replace(IMAGE, raw=raw)], media="docker")
    goal = CopyTarget(world.reference("copy").repository, ("1",), Manifest.of(index.media_type, index.raw))
    await push_one(world.client, goal, [child], world.access)


@parametrized([*_locations(), *_foreign_layers()])
async def test_nothing_is_sent_to_and_fetched_from_where_a_registry_points(
    case: Case, tmp_path: Path
) -> None:
    await run(case, tmp_path)
