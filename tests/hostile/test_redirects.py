"""Redirects to any place at every step forward no secrets (T7 of the threats)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from app import errors
from tests.support.hostile_cases import (
    Act,
    Case,
    check_case,
    copy,
    fetch,
    fetch_config,
    head,
    parametrized,
    put,
)
from tests.support.hostile_servers import FORBIDDEN, HOME, HostileServers, Origin, Reply, Seen, reply

Where = Callable[[HostileServers, Seen], str]

STATUSES = (301, 302, 303, 307, 308)
BASIC = 'Basic realm="x"'
# The step that is redirected: the path at which, the method, and what leads to it.
STEPS: dict[str, tuple[str, str | None, Act]] = {
    "ping": (r"^/v2/$", "GET", fetch),
    "manifest": (r"/app/manifests/", "GET", fetch),
    "head": (r"/app/manifests/", None, head),
    "put": (r"/copy/manifests/", "PUT", put),
    "opening": (r"/copy/blobs/uploads/$", "POST", copy),
    "upload": (r"/copy/blobs/uploads/1", "PUT", copy),
    "config": (r"/app/blobs/", "GET", fetch_config),
    "layer": (r"/app/blobs/", "GET", copy),
}
# Blobs may lie elsewhere; all other redirects are followed by nobody.
BLOBS = ("config", "layer")


def _at(host: str) -> Where:
    return lambda servers, seen: f"{servers.registry.scheme}://{host}:{servers.registry.port}{seen.target}"


def _fixed(location: str) -> Where:
    return lambda servers, seen: location


FORBIDDEN_PLACES: dict[str, Where] = {
    "a forbidden address": _at(FORBIDDEN),
    "a forbidden name": _at("evil.test"),
    "a name that is forbidden in part": _at("mixed.test"),
    "a mapped address": _at("[::ffff:127.0.0.2]"),
    "a translated address": _at("[64:ff9b::7f00:2]"),
    "an address as a number": _at("2130706434"),
    "an address in hexadecimal": _at("0x7f.0.0.2"),
    "a short address": _at("127.2"),
    "userinfo": _at(f"{HOME}@{FORBIDDEN}"),
    "a backslash": lambda servers, seen: f"http://{FORBIDDEN}:{servers.registry.port}\\@{HOME}/",
    "no scheme": lambda servers, seen: f"//{FORBIDDEN}:{servers.registry.port}/",
    "another scheme": lambda servers, seen: f"gopher://{FORBIDDEN}:{servers.registry.port}/",
    "a file": _fixed("file:///etc/passwd"),
    "nowhere": _fixed(""),
    "a private network": _fixed("http://10.0.0.1/"),
    "a cloud's metadata": _fixed("http://169.254.169.254/latest/meta-data/"),
}
OTHER_ORIGINS: dict[str, Callable[[HostileServers], Origin]] = {
    "another port": lambda servers: servers.other_port,
    "another host": lambda servers: servers.storage,
}


def _redirecting(step: str, status: int, where: Where) -> Act:
    path, method, act = STEPS[step]

    async def perform(servers: HostileServers) -> object:
        def elsewhere(seen: Seen) -> Reply:
            return reply(status, Location=where(servers, seen))

        servers.registry.asks = BASIC
        servers.registry.on(path, elsewhere if step == "ping" else _guarded(elsewhere), method=method)
        return await act(servers)

    return perform


def _guarded(answer: Callable[[Seen], Reply]) -> Callable[[Seen], Reply]:
    """Only who is signed in gets it, so that there is something to lose."""

    def guarded(seen: Seen) -> Reply:
        return answer(seen) if seen.header("Authorization") else reply(401, WWW_Authenticate=BASIC)

    return guarded


def _to_forbidden_places() -> Iterator[Case]:
    for step in STEPS:
        for place, where in FORBIDDEN_PLACES.items():
            # All kinds of redirect are one to the client; the steps are not.
            statuses = STATUSES if place == "a forbidden address" else (307,)
            for status in statuses:
                yield Case(f"{step} {status} to {place}", _redirecting(step, status, where))


def _to_other_origins() -> Iterator[Case]:
    for step in STEPS:
        for place, origin in OTHER_ORIGINS.items():
            for status in STATUSES:
                yield Case(
                    f"{step} {status} to {place}",
                    _to(step, status, origin),
                    outcome=None if step in BLOBS else errors.BrokerError,
                )


def _to(step: str, status: int, origin: Callable[[HostileServers], Origin]) -> Act:
    act = _redirecting(step, status, lambda servers, seen: f"{origin(servers).url}{seen.target}")

    async def perform(servers: HostileServers) -> object:
        origin(servers).contents.update(servers.registry.contents)
        return await act(servers)

    return perform


def _that_never_end() -> Iterator[Case]:
    for step in BLOBS:
        path, _, act = STEPS[step]

        async def circle(servers: HostileServers, path: str = path, act: Act = act) -> object:
            servers.registry.on(path, lambda seen: reply(307, Location=f"{servers.storage.url}{seen.target}"))
            servers.storage.on(path, lambda seen: reply(307, Location=f"{servers.registry.url}{seen.target}"))
            return await act(servers)

        async def chain(servers: HostileServers, path: str = path, act: Act = act) -> object:
            def onwards(seen: Seen) -> Reply:
                return reply(307, Location=f"{seen.target}x")

            servers.registry.on(path, onwards)
            return await act(servers)

        yield Case(f"{step} in a circle", circle)
        yield Case(f"{step} in a chain without end", chain)


def _that_ask_for_more() -> Iterator[Case]:
    for scheme in (BASIC, 'Bearer realm="{registry}/token"', 'Bearer realm="{storage}/token"'):

        async def ask(servers: HostileServers, scheme: str = scheme) -> object:
            """Where a redirect leads, nobody is answered who asks for a password."""
            asks = scheme.format(registry=servers.registry.url, storage=servers.storage.url)
            servers.registry.on("/app/blobs/", lambda seen: reply(307, Location=f"{servers.storage.url}/x"))
            servers.storage.asks = asks
            return await fetch_config(servers)

        yield Case(f"a redirect to who answers 401 with {scheme}", ask)


def _that_give_up_tls() -> Iterator[Case]:
    for step in BLOBS:

        async def plain(servers: HostileServers, step: str = step) -> object:
            where = f"http://{servers.storage.authority}/x"
            return await _redirecting(step, 307, _fixed(where))(servers)

        yield Case(f"{step} from https to http", plain, outcome=errors.UntrustedOrigin, tls=True)
    for place, origin in OTHER_ORIGINS.items():
        for step in STEPS:
            yield Case(
                f"{step} by TLS to {place}",
                _to(step, 307, origin),
                outcome=None if step in BLOBS else errors.BrokerError,
                tls=True,
            )


@parametrized(
    [
        *_to_forbidden_places(),
        *_to_other_origins(),
        *_that_never_end(),
        *_that_ask_for_more(),
        *_that_give_up_tls(),
    ]
)
async def test_a_redirect_forwards_no_secrets(case: Case, tmp_path: Path) -> None:
    await check_case(case, tmp_path)
