"""Upload locations on other hosts, and layers that name other URLs (T8 and T10 of the threats)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from app import errors
from app.oci.manifest import ImageManifest, Manifest, parse_manifest
from app.registry.push.model import CopyChild, CopyTarget
from tests.support.hostile_cases import Case, check_case, copy, parametrized
from tests.support.hostile_servers import FORBIDDEN, HOME, IMAGE, HostileServers, Reply, Seen, reply
from tests.support.images import DOCKER_FOREIGN_LAYER, OCI_FOREIGN_LAYER, make_index
from tests.support.registry_clients import push_one

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


def _filled(text: str, servers: HostileServers) -> str:
    return (
        text.replace("{storage}", servers.storage.url)
        .replace("{storage_authority}", servers.storage.authority)
        .replace("{other}", servers.other_port.url)
        .replace("{port}", str(servers.registry.port))
    )


def _locations() -> Iterator[Case]:
    for name, location in ELSEWHERE_PLACES.items():
        for asks in ("", 'Basic realm="x"', 'Bearer realm="{registry}/token"'):

            async def opened(servers: HostileServers, location: str = location, asks: str = asks) -> object:
                servers.registry.asks = asks.format(registry=servers.registry.url) or None
                where = _filled(location, servers)
                servers.registry.on(
                    r"/copy/blobs/uploads/$", _signed(asks, servers, reply(202, Location=where))
                )
                return await copy(servers)

            yield Case(
                f"an upload at {name} of a registry that asks {asks.partition(' ')[0] or 'nothing'}", opened
            )
    for name, headers in {
        "no location": (),
        "two locations": (("Location", "/a"), ("Location", "/b")),
    }.items():

        async def unclear(servers: HostileServers, headers: tuple[tuple[str, str], ...] = headers) -> object:
            servers.registry.on(r"/copy/blobs/uploads/$", Reply(202, headers))
            return await copy(servers)

        yield Case(f"an upload at {name}", unclear, outcome=errors.RegistryError)


def _signed(asks: str, servers: HostileServers, answer: Reply) -> Callable[[Seen], Reply]:
    challenge = asks.format(registry=servers.registry.url)

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

            async def pushed(
                servers: HostileServers, place: str = place, media_type: str = media_type
            ) -> object:
                await _push_with_urls(servers, _filled(place, servers), media_type)
                assert not [seen for seen in servers.journal if seen.path == "/layer"]
                return None

            yield Case(f"{kind} is said to be at {name}", pushed, outcome=None)


async def _push_with_urls(servers: HostileServers, url: str, media_type: str) -> None:
    document = json.loads(IMAGE.raw)
    for layer in document["layers"]:
        layer.update({"urls": [url], "mediaType": media_type})
    raw = json.dumps(document).encode()
    servers.registry.hold("/v2/app/manifests/1", IMAGE.media_type, raw)
    found = parse_manifest(raw, IMAGE.media_type)
    assert isinstance(found, ImageManifest)
    child = CopyChild(servers.reference().repository, found.manifest, found.copyable_blobs)
    index = make_index([replace(IMAGE, raw=raw)], media="docker")
    goal = CopyTarget(servers.reference("copy").repository, ("1",), Manifest.of(index.media_type, index.raw))
    await push_one(servers.client, goal, [child], servers.access)


@parametrized([*_locations(), *_foreign_layers()])
async def test_upload_locations_and_layer_urls_of_other_hosts_are_not_followed(
    case: Case, tmp_path: Path
) -> None:
    await check_case(case, tmp_path)
