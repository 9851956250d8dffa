"""Redirects to anywhere, at every step: nothing that matters goes along (T7 of the threats)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from app import errors
from tests.support.hostile_cases import Act, Case, copy, fetch, fetch_config, head, parametrized, put, run
from tests.support.hostile_world import FORBIDDEN, HOME, Origin, Reply, Seen, World, reply

Where = Callable[[World, Seen], str]

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
    return lambda world, seen: f"{world.registry.scheme}://{host}:{world.registry.port}{seen.target}"


def _fixed(location: str) -> Where:
    return lambda world, seen: location


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
    "a backslash": lambda world, seen: f"http://{FORBIDDEN}:{world.registry.port}\\@{HOME}/",
    "no scheme": lambda world, seen: f"//{FORBIDDEN}:{world.registry.port}/",
    "another scheme": lambda world, seen: f"gopher://{FORBIDDEN}:{world.registry.port}/",
    "a file": _fixed("file:///etc/passwd"),
    "nowhere": _fixed(""),
    "a private network": _fixed("http://10.0.0.1/"),
    "a cloud's metadata": _fixed("http://169.254.169.254/latest/meta-data/"),
}
OTHER_ORIGINS: dict[str, Callable[[World], Origin]] = {
    "another port": lambda world: world.other_port,
    "another host": lambda world: world.storage,
}


def _redirecting(step: str, status: int, where: Where) -> Act:
    path, method, act = STEPS[step]

    async def perform(world: World) -> object:
        def elsewhere(seen: Seen) -> Reply:
            return reply(status, Location=where(world, seen))

        world.registry.asks = BASIC
        world.registry.on(path, elsewhere if step == "ping" else _guarded(elsewhere), method=method)
        return await act(world)

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


def _to(step: str, status: int, origin: Callable[[World], Origin]) -> Act:
    act = _redirecting(step, status, lambda world, seen: f"{origin(world).url}{seen.target}")

    async def perform(world: World) -> object:
        origin(world).contents.update(world.registry.contents)
        return await act(world)

    return perform


def _that_never_end() -> Iterator[Case]:
    for step in BLOBS:
        path, _, act = STEPS[step]

        async def circle(world: World, path: str = path, act: Act = act) -> object:
            world.registry.on(path, lambda seen: reply(307, Location=f"{world.storage.url}{seen.target}"))
            world.storage.on(path, lambda seen: reply(307, Location=f"{world.registry.url}{seen.target}"))
            return await act(world)

        async def chain(world: World, path: str = path, act: Act = act) -> object:
            def onwards(seen: Seen) -> Reply:
                return reply(307, Location=f"{seen.target}x")

            world.registry.on(path, onwards)
            return await act(world)

        yield Case(f"{step} in a circle", circle)
        yield Case(f"{step} in a chain without end", chain)


def _that_ask_for_more() -> Iterator[Case]:
    for scheme in (BASIC, 'Bearer realm="{registry}/token"', 'Bearer realm="{storage}/token"'):

        async def ask(world: World, scheme: str = scheme) -> object:
            """Where a redirect leads, nobody is answered who asks for a password."""
            asks = scheme.format(registry=world.registry.url, storage=world.storage.url)
            world.registry.on("/app/blobs/", lambda seen: reply(307, Location=f"{world.storage.url}/x"))
            world.storage.asks = asks
            return await fetch_config(world)

        yield Case(f"a redirect to who answers 401 with {scheme}", ask)


def _that_give_up_tls() -> Iterator[Case]:
    for step in BLOBS:

        async def plain(world: World, step: str = step) -> object:
            where = f"http://{world.storage.authority}/x"
            return await _redirecting(step, 307, _fixed(where))(world)

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
async def test_a_redirect_takes_nothing_along(case: Case, tmp_path: Path) -> None:
    await run(case, tmp_path)
