"""Lists of referrers that lead to other hosts, in circles, or never end (T9 of the threats)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from app import errors
from app.oci.digest import parse_digest
from tests.support.hostile_cases import Act, Case, check_case, parametrized
from tests.support.hostile_servers import FORBIDDEN, IMAGE, HostileServers, Reply, Seen, reply
from tests.support.images import OCI_INDEX, OCI_MANIFEST, digest_of

BASIC = 'Basic realm="x"'
PATH = f"/v2/app/referrers/{IMAGE.digest}"
Links = Callable[[HostileServers, Seen], str]
MOST_PAGES = 100


async def list_referrers(servers: HostileServers) -> object:
    repository = servers.reference().repository
    return await servers.client.list_referrers(repository, parse_digest(IMAGE.digest), servers.access)


def page(names: list[str], link: str, weight: int) -> Reply:
    says = {"annotations": {"x": "x" * weight}} if weight else {}
    listed = [
        {"mediaType": OCI_MANIFEST, "size": 3, "digest": digest_of(name.encode()), **says} for name in names
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
    return reply(body=json.dumps(document).encode(), Content_Type=OCI_INDEX, Link=link)


def serving(links: Links, *, most: int, per_page: int = 1, weight: int = 0) -> Act:
    """Each page leads on by `links`; no more than so many are asked for, and nobody else is."""

    async def perform(servers: HostileServers) -> object:
        def answer(seen: Seen) -> Reply:
            if not seen.header("Authorization"):
                return reply(401, WWW_Authenticate=BASIC)
            names = [f"{len(servers.journal)}/{n}" for n in range(per_page)]
            return page(names, links(servers, seen), weight)

        servers.registry.asks = BASIC
        servers.registry.on("/referrers/", answer)
        try:
            return await list_referrers(servers)
        finally:
            asked = [seen for seen in servers.registry.received if "/referrers/" in seen.path]
            assert len(asked) <= most, f"{len(asked)} pages were asked for"

    return perform


def at(url: str) -> Links:
    return lambda servers, seen: f'<{url.replace("{port}", str(servers.registry.port))}>; rel="next"'


ELSEWHERE: dict[str, Links] = {
    "a forbidden address": at(f"http://{FORBIDDEN}:{{port}}{PATH}?n=1"),
    "a forbidden name": at(f"http://evil.test:{{port}}{PATH}"),
    "no scheme": at(f"//{FORBIDDEN}:{{port}}{PATH}"),
    "another port": lambda servers, seen: f'<{servers.other_port.url}{PATH}?n=1>; rel="next"',
    "another host": lambda servers, seen: f'<{servers.storage.url}{PATH}?n=1>; rel="next"',
    "a name that begins like it": at(f"http://registry.test.evil.test:{{port}}{PATH}"),
    "userinfo": lambda servers, seen: f'<http://{servers.registry.authority}@{FORBIDDEN}{PATH}>; rel="next"',
    "a cloud's metadata": at("http://169.254.169.254/latest/meta-data/"),
    "another scheme": at("gopher://127.0.0.1/"),
    "a file": at("file:///etc/passwd"),
    "another path": at("/v2/other/referrers/sha256:x"),
    "another repository below it": at(f"/v2/app/referrers/../../other/{IMAGE.digest}"),
    "dots in code": at("/v2/app/referrers/%2e%2e/manifests/1"),
    "a slash in code": at("/v2/app/referrers/x%2f..%2fy"),
    "dots by a whole address": lambda servers, seen: (
        f'<{servers.registry.url}/v2/app/referrers/../manifests/1>; rel="next"'
    ),
    "a backslash": at("/v2/app/referrers/\\..\\x"),
    "a control character": at("/v2/app/referrers/x\x0b"),
    "nothing": at(""),
}


def endless(servers: HostileServers, seen: Seen) -> str:
    return f'<{PATH}?last={len(servers.journal)}>; rel="next"'


def between_two(servers: HostileServers, seen: Seen) -> str:
    return f'<{PATH}?page={"b" if "page=a" in seen.target else "a"}>; rel="next"'


def _elsewhere() -> Iterator[Case]:
    for name, links in ELSEWHERE.items():
        # The first 401 brings the credential; what it is asked for with that is the only page.
        yield Case(f"to {name}", serving(links, most=2), errors.UntrustedOrigin)


def _circles() -> Iterator[Case]:
    yield Case("to itself", serving(at(PATH), most=2), errors.NotARegistry)
    circle = serving(between_two, most=4)
    yield Case("back and forth", circle, errors.NotARegistry)
    ends = serving(endless, most=MOST_PAGES + 1)
    yield Case("to no end", ends, errors.SourceTooLarge)
    wide = serving(endless, most=7, per_page=1000)
    yield Case("to no end, and many at a time", wide, errors.SourceTooLarge)
    heavy = serving(endless, most=11, weight=1024 * 1024)
    yield Case("to no end, and much at a time", heavy, errors.SourceTooLarge)


@parametrized([*_elsewhere(), *_circles()])
async def test_a_list_of_referrers_stays_at_its_registry_and_is_limited(case: Case, tmp_path: Path) -> None:
    await check_case(case, tmp_path)
