"""Token services that ask for the credentials of others (T4 to T6 of the threats)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from app import errors
from tests.support.hostile_cases import Act, Case, check_case, copy, fetch, parametrized
from tests.support.hostile_servers import ELSEWHERE, FORBIDDEN, HOME, HostileServers, Reply, Seen, reply

Challenge = Callable[[HostileServers], str]


def _realm(text: str) -> Challenge:
    return lambda servers: f'Bearer realm="{_filled(text, servers)}",service="x"'


def _whole(text: str) -> Challenge:
    return lambda servers: _filled(text, servers)


def _filled(text: str, servers: HostileServers) -> str:
    return (
        text.replace("{registry}", servers.registry.url)
        .replace("{port}", str(servers.registry.port))
        .replace("{other}", servers.other_port.url)
        .replace("{storage}", servers.storage.url)
    )


def _asking(challenge: Challenge, act: Act = fetch) -> Act:
    async def perform(servers: HostileServers) -> object:
        servers.registry.asks = challenge(servers)
        return await act(servers)

    return perform


REALMS = {
    "another host": "{storage}/token",
    "another port": "{other}/token",
    "a forbidden address": f"http://{FORBIDDEN}:{{port}}/token",
    "a forbidden name": "http://evil.test:{port}/token",
    "a forbidden name by TLS": "https://evil.test:{port}/token",
    "a forbidden address by TLS": f"https://{FORBIDDEN}:{{port}}/token",
    "a mapped address": "http://[::ffff:127.0.0.2]:{port}/token",
    "a translated address": "https://[64:ff9b::7f00:2]:{port}/token",
    "a number": "http://2130706434:{port}/token",
    "the registry's name as userinfo": f"http://{HOME}:{{port}}@{FORBIDDEN}:{{port}}/token",
    "a user and a password": f"http://user:x@{HOME}:{{port}}/token",
    "a backslash": f"http://{FORBIDDEN}:{{port}}\\\\@{HOME}:{{port}}/token",
    "the registry's host without its port": f"http://{HOME}/token",
    "the registry's host as a suffix": "http://127.0.0.1.evil.test:{port}/token",
    "the registry's host as a prefix": "http://evil.test:{port}/127.0.0.1/token",
    "the registry's host with a dot": f"http://{HOME}.:{{port}}/token",
    "localhost": "http://localhost:{port}/token",
    "an unspecified address": "http://0.0.0.0:{port}/token",
    "no host": "http:///token",
    "no scheme": "//evil.test/token",
    "a path": "/token",
    "a name only": "token",
    "a script": "javascript:alert(1)",
    "a file": "file:///etc/passwd",
    "gopher": "gopher://evil.test:{port}/_x",
    "a fragment": "{registry}/token#@evil.test",
    "a space": "{registry}/to ken",
    "a tab": "{registry}/to\tken",
    "no port's number": f"http://{HOME}:x/token",
    "a port that is too large": f"http://{HOME}:99999/token",
    "port 0": f"http://{HOME}:0/token",
    "digits that are not ASCII": "http://\uff11\uff12\uff17.0.0.1/token".encode().decode("latin-1"),
    "a name that is not ASCII": "http://ev\xeel.test/token",
    "9,000 characters": "{registry}/" + "a" * 7_000 + "/token?" + "b" * 2_000,
    "metadata": "http://169.254.169.254/latest/meta-data/iam/security-credentials/role",
    "a private network": "http://10.0.0.1/token",
}
CHALLENGES = {
    "the realm twice": 'Bearer realm="{registry}/token",realm="{storage}/token"',
    "the realm twice, in two cases": 'Bearer realm="{registry}/token",Realm="{storage}/token"',
    "two challenges of which the first is false": (
        'Bearer realm="{storage}/token", Bearer realm="{registry}/token"'
    ),
    "a quoted pair in the host": 'Bearer realm="http://127.0.0.1:{port}\\\\@evil.test/token"',
    "quotes within quotes": 'Bearer realm="{registry}/token\\", realm=\\"{storage}/token"',
    "no realm": 'Bearer service="x"',
    "an empty realm": 'Bearer realm=""',
    "an open quote": 'Bearer realm="{storage}/token',
    "no scheme that is known": 'Negotiate realm="{storage}/token"',
    "a digest challenge": 'Digest realm="x", nonce="y", uri="{storage}"',
    "NTLM": "NTLM",
    "64 KiB of spaces": "Bearer " + " " * 7_900 + 'realm="{storage}/token"',
    "commas": "," * 7_000,
}


def _realms() -> Iterator[Case]:
    for name, realm in REALMS.items():
        yield Case(f"fetch: the realm is {name}", _asking(_realm(realm)))
        yield Case(f"copy: the realm is {name}", _asking(_realm(realm), copy))
    for name, text in CHALLENGES.items():
        yield Case(f"challenge: {name}", _asking(_whole(text)), may_succeed=True)


def _injections() -> Iterator[Case]:
    """The scope is ours, and what the registry gives is one parameter, whatever is in it."""
    for name, value in {
        "an account": "x&account=evil",
        "a scope": "x&scope=repository:other:push",
        "a fragment": "x#y",
        "a line": "x%0d%0aX-Evil: y",
        "a plus and a percent": "x+y%26scope=z",
        "8 KiB": "x" * 7_000,
        "letters that are not ASCII": "\xe9\xe8",
    }.items():

        async def ask(servers: HostileServers, value: str = value) -> object:
            scope = "repository:other:pull,push"
            servers.registry.asks = (
                f'Bearer realm="{servers.registry.url}/token",service="{value}",scope="{scope}"'
            )
            await fetch(servers)
            asked = next(seen for seen in servers.registry.received if seen.path == "/token")
            assert sorted(name for name, _ in asked.query) == ["account", "scope", "service"]
            assert dict(asked.query)["scope"] == "repository:app:pull"
            assert dict(asked.query)["account"] == "user"
            return None

        yield Case(f"the service is {name}", ask, outcome=None)


def _scopes() -> Iterator[Case]:
    """A registry that refuses our scope may name one other repository for the same actions, no more.

    A token for more would let it use the credential for what the request does not need.
    """
    ours, victims = "repository:app:pull", "repository:victim:pull"
    for name, scope, allowed in (
        ("another repository", victims, {victims}),
        ("another repository for more", "repository:victim:pull,push", {victims}),
        ("another repository for all", "repository:victim:*", set()),
        ("another repository for deletion", "repository:victim:delete", set()),
        ("two repositories", f"{victims} repository:second:pull", set()),
        ("ours and another", f"{ours} {victims}", set()),
        ("the catalog", "registry:catalog:*", set()),
        ("another repository and the catalog", f"{victims} registry:catalog:*", {victims}),
        ("a plugin", "repository(plugin):victim:pull", set()),
        ("a parent", "repository:../victim:pull", set()),
        ("a parameter", f"repository:x:pull&scope={victims}", set()),
        ("a line", f"{victims}%0d%0aX-Evil: y", set()),
        ("8 KiB", "repository:" + "x" * 7_000 + ":pull", set()),
    ):

        async def ask(servers: HostileServers, scope: str = scope, allowed: set[str] = allowed) -> object:
            said = f'Bearer realm="{servers.registry.url}/token",service="x",scope="{scope}"'
            servers.registry.asks = said
            servers.registry.on("/manifests/", reply(401, WWW_Authenticate=said))
            try:
                return await fetch(servers)
            finally:
                asked = [seen.query for seen in servers.registry.received if seen.path == "/token"]
                scopes = [[value for key, value in query if key == "scope"] for query in asked]
                assert scopes[0] == [ours]
                assert {each for (each,) in scopes} <= {ours, *allowed}
                # A realm that is named with a scope is checked as any other.
                assert len(asked) < 6

        yield Case(f"the scope is {name}", ask, outcome=errors.RegistryDenied)

        async def elsewhere(servers: HostileServers, scope: str = scope) -> object:
            said = f'Bearer realm="{servers.storage.url}/token",service="x",scope="{scope}"'
            servers.registry.asks = f'Bearer realm="{servers.registry.url}/token",service="x"'
            servers.registry.on("/manifests/", reply(401, WWW_Authenticate=said))
            return await fetch(servers)

        yield Case(f"the scope is {name}, and the realm elsewhere", elsewhere)


def _new_realms() -> Iterator[Case]:
    """Each 401 names another realm: the requests end."""

    async def ask(servers: HostileServers) -> object:
        def refuse(seen: Seen) -> Reply:
            number = len(servers.journal)
            realm = f'Bearer realm="{servers.registry.url}/token?{number}",error="invalid_token"'
            return reply(401, WWW_Authenticate=f'{realm},scope="repository:victim{number}:pull"')

        servers.registry.on("/manifests/", refuse)
        try:
            return await fetch(servers)
        finally:
            assert len(servers.registry.received) < 20

    yield Case("each 401 names another realm and another scope", ask, outcome=errors.RegistryDenied)


TOKENS: dict[str, Reply] = {
    "no JSON": reply(body=b"token"),
    "a list": reply(body=b"[]"),
    "null": reply(body=b"null"),
    "nothing": reply(body=b"{}"),
    "no content": reply(204),
    "a number": reply(body=b'{"token":5}'),
    "an object": reply(body=b'{"token":{"a":"b"}}'),
    "an empty text": reply(body=b'{"token":""}'),
    "two tokens under one name": reply(body=b'{"token":"a","token":"b"}'),
    "a line": reply(body=b'{"token":"a\\r\\nX-Evil: b"}'),
    "a space": reply(body=b'{"token":"a b"}'),
    "a NUL": reply(body=b'{"token":"a\\u0000"}'),
    "a text that is not ASCII": reply(body='{"token":"\u00e9"}'.encode()),
    "metadata of a cloud": reply(body=b'{"Code":"Success","AccessKeyId":"A","Token":"x","Expiration":"y"}'),
    "65 KiB": reply(body=b'{"token":"' + b"a" * 65_600 + b'"}'),
    "depth": reply(body=b'{"token":' + b"[" * 60_000),
    "width": reply(body=b'{"token":"a","x":[' + b"1," * 30_000),
    "compressed": Reply(200, (("Content-Encoding", "gzip"),), b"\x1f\x8b\x08"),
    "a page": reply(body=b"<html>", Content_Type="text/html"),
    "a denial": reply(401, body=b'{"details":"no"}'),
    "another challenge": reply(401, WWW_Authenticate=f'Basic realm="http://{ELSEWHERE}"'),
    "a cookie to bring back": Reply(200, (("Set-Cookie", "a=canary; Domain=127.0.0.1"),), b"{}"),
}


def _tokens() -> Iterator[Case]:
    for name, answer in TOKENS.items():

        async def answered(servers: HostileServers, answer: Reply = answer) -> object:
            servers.registry.asks = f'Bearer realm="{servers.registry.url}/token"'
            servers.registry.on("^/token$", answer)
            return await fetch(servers)

        yield Case(f"the token is {name}", answered, outcome=errors.RegistryError)
    for status in (301, 302, 303, 307, 308):
        for place in (
            f"http://{FORBIDDEN}:{{port}}/",
            "{storage}/token",
            "{registry}/other",
            "{other}/token",
        ):

            async def sent_on(servers: HostileServers, status: int = status, place: str = place) -> object:
                servers.registry.asks = f'Bearer realm="{servers.registry.url}/token"'
                servers.registry.on("^/token$", reply(status, Location=_filled(place, servers)))
                return await fetch(servers)

            yield Case(f"the token service answers {status} to {place}", sent_on)


@parametrized([*_realms(), *_injections(), *_scopes(), *_new_realms(), *_tokens()])
async def test_credentials_go_only_to_the_registrys_own_token_service(case: Case, tmp_path: Path) -> None:
    await check_case(case, tmp_path)
