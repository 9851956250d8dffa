"""Names and addresses that lead to forbidden places, and credentials of another host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from app import errors
from app.oci.reference import parse_reference
from app.registry.client import Access, Credential, Keychain
from tests.support.hostile_cases import Case, check_case, parametrized
from tests.support.hostile_servers import (
    ELSEWHERE,
    FORBIDDEN,
    HOME,
    USER,
    HostileServers,
    reply,
)

# Written into a request as a registry's name; {port} is one at which the attacker listens.
FORBIDDEN_NAMES = (
    "127.0.0.2:{port}",
    "127.0.0.2",
    "127.2:{port}",
    "127.0.2:{port}",
    "2130706434:{port}",
    "0x7f000002:{port}",
    "0x7f.0.0.2:{port}",
    "0177.0.0.2:{port}",
    "017700000002:{port}",
    "127.0.0.2.:{port}",
    "127.0.0.02:{port}",
    "127.0.0.0x2:{port}",
    "0:{port}",
    "0.0.0.0:{port}",
    "localhost:{port}",
    "localhost",
    "localhost.:{port}",
    "LOCALHOST:{port}",
    "evil.test:{port}",
    "evil.test",
    "EVIL.test:{port}",
    "evil.test.:{port}",
    "mixed.test:{port}",
    "[::1]:{port}",
    "[::]:{port}",
    "[::ffff:127.0.0.2]:{port}",
    "[::ffff:7f00:2]:{port}",
    "[::127.0.0.2]:{port}",
    "[64:ff9b::7f00:2]:{port}",
    "[2002:7f00:2::]:{port}",
    "[2001:0:7f00:2::]:{port}",
    "[fe80::1]:{port}",
    "[fe80::1%25lo]:{port}",
    "[fe80::5efe:7f00:2]:{port}",
    "[fc00::1]:{port}",
    "[ff02::1]:{port}",
    "[fd00:ec2::254]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "203.0.113.5",
    "user@evil.test:{port}",
    "user:x@127.0.0.2:{port}",
    "127.0.0.1:{port}@evil.test",
    "evil.test:{port}#x.test",
    "evil.test:{port}?x.test",
    "evil.test\\.registry.test:{port}",
    "evil.test%2f.registry.test:{port}",
    "evil.test\t:{port}",
    "evil.test\n:{port}",
    "evil.test\x00:{port}",
    "evil.test :{port}",
    "http://evil.test:{port}",
    "//evil.test:{port}",
    "evil.test:{port}:443",
    "evil.test:",
    "evil.test:-1",
    "evil.test:0",
    "evil.test:99999",
    "\uff11\uff12\uff17.0.0.2:{port}",
    "\u2460\u2461\u2466.0.0.2:{port}",
    "ev\u0131l.test:{port}",
    "evil\u3002test:{port}",
    "xn--.test:{port}",
    "..:{port}",
    ".evil.test:{port}",
    "-evil.test:{port}",
    "evil..test:{port}",
    "a" * 300 + ".test",
)

REPOSITORIES = (
    "..",
    "../app",
    "a/../app",
    "a/../../v2/other",
    "a//b",
    "a/./b",
    "%2e%2e/app",
    "a%2fb",
    "a\\b",
    "A",
    "a b",
    "a\nb",
    "a\x00b",
    "a\u00e9",
    "_a",
    "a..b/c/..",
    "a/",
    "/a",
    "a" * 300,
    "a?x=y",
    "a#x",
    "a@b",
    "a;b",
    "a\u2215b",
)

DIGESTS = (
    "sha256:" + "A" * 64,
    "SHA256:" + "a" * 64,
    "sha256:" + "a" * 63,
    "sha256:" + "a" * 65,
    "sha256:" + "g" * 64,
    "md5:" + "a" * 32,
    "sha1:" + "a" * 40,
    "sha256+b64:" + "a" * 43,
    "sha512:" + "a" * 64,
    "sha384:" + "a" * 64,
    "sha256:",
    ":" + "a" * 64,
    "sha256:" + "a" * 64 + "\n",
    "sha256:" + "\uff11" * 64,
    "sha256:../../other",
    "sha256:" + "a" * 60 + "/../",
    "sha256:" + "a" * 64 + "?x",
    "sha256:" + "a" * 64 + "#",
    "sha256 :" + "a" * 64,
    "multihash:" + "a" * 64,
)


def _names() -> Iterator[Case]:
    for name in FORBIDDEN_NAMES:

        async def named(servers: HostileServers, name: str = name) -> object:
            host = name.replace("{port}", str(servers.storage.port))
            access = Access(Keychain({"registry.test": USER}), insecure=False)
            return await servers.client.fetch_manifest(parse_reference(f"{host}/app:1"), access)

        yield Case(f"name {name!a:.60}", named, tls=True, pins=lambda servers: ())


def _rebinding() -> Iterator[Case]:
    wrappers = (
        "::ffff:127.0.0.2",
        "::127.0.0.2",
        "64:ff9b::7f00:2",
        "64:ff9b:1::7f00:2",
        "2002:7f00:2::",
        "::1",
        "::",
        "fe80::1%1",
        "fec0::1",
        "fd00:ec2::254",
        "2001:0:7f00:2::",
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "198.18.0.1",
        "168.63.129.16",
        "255.255.255.255",
    )
    answers: dict[str, list[Sequence[str]]] = {
        "a forbidden address": [[FORBIDDEN]],
        "an allowed address, then a forbidden one": [[HOME], [FORBIDDEN]],
        "a forbidden address among allowed ones": [[HOME, ELSEWHERE, FORBIDDEN]],
        "a forbidden address in front": [[FORBIDDEN, HOME]],
        "an allowed address once in three": [[HOME], [FORBIDDEN], [HOME]],
        **{f"{wrapper} beside an allowed address": [[HOME, wrapper]] for wrapper in wrappers},
    }
    for name, coming in answers.items():

        async def resolved(servers: HostileServers, coming: list[Sequence[str]] = coming) -> object:
            """Each answer ends its connection, so that the next one asks for the name again."""
            servers.registry.on("", reply(401, WWW_Authenticate='Basic realm="x"', Connection="close"))
            servers.answers["rebind.test"] = list(coming)
            reference = parse_reference(f"rebind.test:{servers.registry.port}/app:1")
            access = Access(Keychain({reference.registry: USER}))
            return await servers.client.fetch_manifest(reference, access)

        yield Case(f"a name with {name}", resolved, tls=True)


def _references() -> Iterator[Case]:
    for repository in REPOSITORIES:

        async def asked(servers: HostileServers, repository: str = repository) -> object:
            found = parse_reference(f"{servers.registry.authority}/{repository}:1")
            # A repository is what is asked for, and nothing beside it.
            servers.registry.asks = 'Basic realm="x"'
            return await servers.client.fetch_manifest(found, servers.access)

        yield Case(f"repository {repository!a:.40}", asked)
    for digest in DIGESTS:

        async def pinned(servers: HostileServers, digest: str = digest) -> object:
            text = f"{servers.registry.authority}/app@{digest}"
            return await servers.client.fetch_manifest(parse_reference(text), servers.access)

        yield Case(f"digest {digest!a:.90}", pinned, outcome=errors.InvalidInput)


def _credentials() -> Iterator[Case]:
    """The credential is for one host and port, in one spelling or another, and for no other."""
    for held in (
        "registry.test",
        "registry.test:1",
        "registry.test:443",
        "test",
        "*.test",
        "*",
        "",
        "gistry.test:{port}",
        "registry.tes",
        "storage.test:{port}",
        "127.0.0.3",
        "registry.test:{port}.evil.test",
        "https://registry.test",
        "registry.test:{port}/evil",
        "registry.test:{other}",
    ):

        async def other(servers: HostileServers, held: str = held) -> object:
            host = held.replace("{port}", str(servers.storage.port)).replace(
                "{other}", str(servers.other_port.port)
            )
            servers.storage.asks = 'Basic realm="x"'
            reference = parse_reference(f"evilregistry.test:{servers.storage.port}/app:1")
            return await servers.client.fetch_manifest(reference, Access(Keychain({host: USER})))

        yield Case(
            f"a credential for {held!r} at another host", other, outcome=errors.RegistryDenied, tls=True
        )


@parametrized([*_names(), *_rebinding(), *_references(), *_credentials()])
async def test_a_name_reaches_only_its_own_registry(case: Case, tmp_path: Path) -> None:
    await check_case(case, tmp_path)


async def _two_tenants(servers: HostileServers, first: Credential, second: Credential) -> None:
    servers.registry.asks = f'Bearer realm="{servers.registry.url}/token"'
    for tenant, credential in (("one", first), ("two", second)):
        access = Access(Keychain({servers.registry.authority: credential}), insecure=True, tenant=tenant)
        await servers.client.fetch_manifest(servers.reference(), access)


def _tenants() -> Iterator[Case]:
    for name, first, second in (
        ("two passwords", USER, Credential("user", "another")),
        ("one password", USER, USER),
        ("a password and none", USER, Credential()),
        ("none and a password", Credential(), USER),
        ("an identity token and a password", Credential(identity_token="i"), USER),
    ):

        async def apart(
            servers: HostileServers, first: Credential = first, second: Credential = second
        ) -> object:
            """A token that one of them was given is not used for the other (T25)."""
            await _two_tenants(servers, first, second)
            assert len([seen for seen in servers.registry.received if seen.path == "/token"]) == 2
            return None

        yield Case(f"tenants with {name}", apart, outcome=None)


def _insecure() -> Iterator[Case]:
    """Only the operator makes a registry insecure, never who asks, and never for where it leads (T39)."""
    for name, asks in {"plain HTTP": False, "plain HTTP, though asked for": True}.items():

        async def plain(servers: HostileServers, asks: bool = asks) -> object:
            reference = servers.reference(origin=servers.storage)
            return await servers.client.fetch_manifest(
                reference, servers.signed_in(servers.storage, insecure=asks)
            )

        yield Case(
            f"{name} at a host that may not be insecure", plain, pins=lambda servers: (servers.registry,)
        )

        async def unverified(servers: HostileServers, asks: bool = asks) -> object:
            reference = parse_reference(f"unknown.test:{servers.registry.port}/app:1")
            servers.answers["unknown.test"] = [[HOME]]
            access = Access(Keychain({reference.registry: USER}), insecure=asks)
            return await servers.client.fetch_manifest(reference, access)

        yield Case(f"a certificate for another name, for {name}", unverified, tls=True)


@parametrized([*_tenants(), *_insecure()])
async def test_no_caller_uses_the_credentials_of_another(case: Case, tmp_path: Path) -> None:
    await check_case(case, tmp_path)
