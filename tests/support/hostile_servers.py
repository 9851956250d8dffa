"""A registry, its storage and an attacker on addresses of this machine; each records its requests.

Two oracles speak for every case: no secret comes to an origin that it was not given for, and nothing connects
to an address that the policy forbids.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from app.oci.reference import Reference, Repository
from app.outbound.client import OutboundClient
from app.outbound.resolver import Lookup
from app.registry.client import Access, Credential, Keychain, Limits, RegistryClient, RegistryPolicy
from app.registry.error_bodies import is_rate_limit, may_pass
from app.services.webhooks.sender import WebhookSender
from tests.support.certificates import CertificateAuthority
from tests.support.images import Image, make_image
from tests.support.registry import digest_text

SECRET = "canary-5ecret"  # what must go nowhere else
TOKEN = "canary-t0ken"
USER = Credential("user", SECRET)
BASIC = base64.b64encode(f"user:{SECRET}".encode()).decode()
CANARIES = (SECRET, TOKEN, BASIC)

HOME, ELSEWHERE, FORBIDDEN = "127.0.0.1", "127.0.0.3", "127.0.0.2"
TLS_RECORD = b"\x16"
QUICK = Limits(attempts=2, backoff_seconds=0.001, longest_backoff_seconds=0.002, call_seconds=10.0)
IMAGE = make_image()

NAMES: Mapping[str, Sequence[str]] = {
    "registry.test": [HOME],
    "evilregistry.test": [ELSEWHERE],
    "registry.test.evil.test": [ELSEWHERE],
    "storage.test": [ELSEWHERE],
    "evil.test": [FORBIDDEN],
    "localhost": [FORBIDDEN],
    "mixed.test": [ELSEWHERE, FORBIDDEN],
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, and the origin that it reached."""

    origin: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it goes out; `raw` goes out instead where it is set, and no length is said without one."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    raw: bytes | None = None
    drip: float | None = None

    def encoded(self, method: str) -> bytes:
        if self.raw is not None:
            return self.raw
        named = {name.lower() for name, _ in self.headers}
        length = () if "content-length" in named else (("Content-Length", str(len(self.body))),)
        lines = "".join(f"{name}: {value}\r\n" for name, value in (*self.headers, *length))
        head = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n{lines}\r\n".encode()
        return head if method == "HEAD" else head + self.body


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Reply:
    """With headers by name, `_` standing for `-`."""
    return Reply(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()), body)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]
Answer = Reply | Callable[[Seen], Reply]


@dataclass(frozen=True, slots=True)
class Rule:
    answer: Answer
    method: str | None
    path: re.Pattern[str]

    def fits(self, seen: Seen) -> bool:
        return self.method in {None, seen.method} and self.path.search(seen.path) is not None


@dataclass(slots=True)
class Origin:
    """One host and port that answers by the first rule that fits, and else like an honest registry."""

    scheme: str
    host: str
    journal: list[Seen]
    port: int = 0
    rules: list[Rule] = field(default_factory=list)
    asks: str | None = None
    """What it asks of who comes, as the value of WWW-Authenticate."""
    contents: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def received(self) -> list[Seen]:
        return [seen for seen in self.journal if seen.origin == self.url]

    def on(self, path: str, answer: Answer, *, method: str | None = None) -> None:
        self.rules.append(Rule(answer, method, re.compile(path)))

    def hold(self, path: str, media_type: str, body: bytes) -> None:
        self.contents[path] = (media_type, body)

    def hold_image(self, image: Image, repository: str = "app", tag: str = "1") -> None:
        for name in (tag, image.digest):
            self.hold(f"/v2/{repository}/manifests/{name}", image.media_type, image.raw)
        for blob in (image.config, *image.layers):
            self.hold(f"/v2/{repository}/blobs/{digest_text(blob)}", "application/octet-stream", blob)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                start = await reader.readexactly(1)
                if start == TLS_RECORD:
                    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                while start != TLS_RECORD:
                    seen = await self._receive(start, reader)
                    self.journal.append(seen)
                    await self._send(writer, seen, self._answer(seen))
                    start = await reader.readexactly(1)
        finally:
            writer.close()

    async def _receive(self, start_byte: bytes, reader: asyncio.StreamReader) -> Seen:
        head = (start_byte + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = start.split(" ", 2)
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        seen = Seen(self.url, method, target, headers)
        length = int(seen.header("Content-Length") or 0)
        return replace(seen, body=await reader.readexactly(length)) if length else seen

    async def _send(self, writer: asyncio.StreamWriter, seen: Seen, answer: Reply) -> None:
        data = answer.encoded(seen.method)
        if answer.drip is None:
            writer.write(data)
            await writer.drain()
        else:
            for place in range(len(data)):
                writer.write(data[place : place + 1])
                await writer.drain()
                await asyncio.sleep(answer.drip)
        if answer.raw is not None:
            writer.close()

    def _answer(self, seen: Seen) -> Reply:
        rule = next((rule for rule in self.rules if rule.fits(seen)), None)
        if rule is not None:
            return rule.answer(seen) if callable(rule.answer) else rule.answer
        if self.asks is not None and seen.path != "/token" and seen.header("Authorization") is None:
            return reply(401, WWW_Authenticate=self.asks)
        return self._honest(seen)

    def _honest(self, seen: Seen) -> Reply:
        if seen.path == "/v2/":
            return reply(body=b"{}", Content_Type="application/json")
        if seen.path == "/token":
            document = f'{{"token":"{TOKEN}"}}'.encode()
            return reply(body=document, Content_Type="application/json")
        if seen.method == "POST":
            return reply(202, Location=f"{seen.path}1?_state=x")
        if seen.method == "PUT" and "/manifests/" in seen.path:
            self.hold(seen.path, seen.header("Content-Type") or "", seen.body)
            self.hold(seen.path.rpartition("/")[0] + "/" + digest_text(seen.body), *self.contents[seen.path])
            return reply(201)
        if seen.method in {"PUT", "PATCH"}:
            digest = dict(seen.query).get("digest", "")
            repository = seen.path.partition("/blobs/")[0]
            self.hold(f"{repository}/blobs/{digest}", "application/octet-stream", seen.body)
            return reply(201)
        found = self.contents.get(seen.path)
        return reply(404) if found is None else reply(body=found[1], Content_Type=found[0])


@dataclass(slots=True)
class Attacker:
    """Listens where nobody may connect, and counts who does."""

    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@dataclass(slots=True)
class HostileServers:
    """`registry` is where the credential is for; `storage` may be reached, and `attacker` may not."""

    registry: Origin
    other_port: Origin
    storage: Origin
    attacker: Attacker
    journal: list[Seen]
    client: RegistryClient
    sender: WebhookSender
    access: Access
    answers: dict[str, list[Sequence[str]]]
    """For a name, what each question for it is answered; the last answer stays."""

    def reference(self, rest: str = "app:1", origin: Origin | None = None) -> Reference:
        at = origin or self.registry
        name, _, tag = rest.partition(":")
        return Reference(Repository(at.authority, name), tag or "1", None)

    def signed_in(self, origin: Origin, *, insecure: bool = True, tenant: str = "") -> Access:
        return Access(Keychain({origin.authority: USER}), insecure=insecure, tenant=tenant)

    def check(self, *pins: Origin) -> None:
        """The oracles; `pins` are where the credential may come to."""
        allowed = {origin.url for origin in pins or (self.registry,)}
        for seen in self.journal:
            if seen.origin in allowed:
                continue
            for name in ("Authorization", "Proxy-Authorization", "Cookie"):
                assert seen.header(name) is None, f"{name} at {seen.origin}: {seen.target}"
            headers = [f"{name}: {value}" for name, value in seen.headers]
            said = "\n".join([seen.target, *headers, seen.body.decode("latin-1")])
            assert not [canary for canary in CANARIES if canary in said], f"a secret at {seen.origin}"
        assert self.attacker.connections == 0, "a connection to a forbidden address"


@asynccontextmanager
async def servers(
    tmp_path: Path, *, tls: bool = False, seconds: float = 10.0
) -> AsyncIterator[HostileServers]:
    """Fresh origins; by TLS with certificates that the client believes, or by plain HTTP."""
    authority = CertificateAuthority(tmp_path) if tls else None
    context = authority.server(HOME, ELSEWHERE, *NAMES) if authority else None
    journal: list[Seen] = []
    scheme = "https" if tls else "http"
    async with contextlib.AsyncExitStack() as stack:
        registry, other_port, storage = (Origin(scheme, host, journal) for host in (HOME, HOME, ELSEWHERE))
        for origin in (registry, other_port, storage):
            origin.port = await _listen(stack, origin.serve, origin.host, 0, context)
        attacker = Attacker()
        for port in {registry.port, other_port.port, storage.port}:
            # Another process may use the port; the other ports still catch requests.
            with contextlib.suppress(OSError):
                await _listen(stack, attacker.serve, FORBIDDEN, port, None)
        answers: dict[str, list[Sequence[str]]] = {}
        policy = RegistryPolicy.parse(
            allowed_networks=[f"{HOME}/32", f"{ELSEWHERE}/32"],
            insecure_hosts=[] if tls else [registry.authority, f"registry.test:{registry.port}"],
        )
        limits = replace(QUICK, call_seconds=seconds)
        outbound = await stack.enter_async_context(
            OutboundClient(
                policy,
                limits,
                is_rate_limit=is_rate_limit,
                may_pass=may_pass,
                tls=authority.believed() if authority else None,
                lookup=_lookup(answers),
            )
        )
        client = await stack.enter_async_context(RegistryClient(policy, limits=limits, outbound=outbound))
        sender = WebhookSender(outbound, seconds=seconds)
        registry.hold_image(IMAGE)
        access = Access(Keychain({registry.authority: USER}), insecure=not tls)
        yield HostileServers(
            registry, other_port, storage, attacker, journal, client, sender, access, answers
        )


async def _listen(
    stack: contextlib.AsyncExitStack, serve: Serve, host: str, port: int, context: ssl.SSLContext | None
) -> int:
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, host, port, ssl=context)

    async def stop() -> None:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(stop)
    return int(server.sockets[0].getsockname()[1])


def _lookup(answers: dict[str, list[Sequence[str]]]) -> Lookup:
    """Names of the tests only: nobody else is asked, so that nothing leaves the machine."""

    async def look_up(host: str, port: int, family: socket.AddressFamily) -> list[tuple[str, int]]:
        coming = answers.get(host)
        found = NAMES.get(host, ())
        if coming:
            found = coming.pop(0) if len(coming) > 1 else coming[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(each, int(socket.AF_INET6 if ":" in each else socket.AF_INET)) for each in found]

    return look_up
