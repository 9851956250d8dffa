"""The registry double: it listens, keeps the journal, applies its rules and answers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import ssl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from aiohttp import web
from multidict import CIMultiDict

from tests.support.registry_double import blobs, listings, manifests, uploads
from tests.support.registry_double.auth import Authority, Mode, Need, needs
from tests.support.registry_double.content import Content, StoredManifest, digest_text
from tests.support.registry_double.faults import Fault, Rule
from tests.support.registry_double.journal import Journal, Received, TagPut
from tests.support.registry_double.manifests import Rules
from tests.support.registry_double.tls import SelfSigned, make_certificate
from tests.support.registry_double.wire import Answer, CutOff, Exchange, error, send_nothing

PATHS = re.compile(
    r"/v2/(?P<repository>.+?)/(?P<kind>manifests|blobs/uploads|blobs|tags|referrers)/(?P<rest>[^/]*)"
)
NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
UNSUPPORTED = error(405, "UNSUPPORTED", "the operation is unsupported")
NOT_FOUND = Answer(404, {"Content-Type": "text/plain; charset=utf-8"}, b"404 page not found\n")


class RegistryDouble:
    """A registry in the test's own loop that keeps to the spec unless a rule makes it misbehave.

    `async with RegistryDouble() as double:` and it answers at `double.host`; `double.journal` has it all.
    """

    def __init__(
        self,
        *,
        auth: Mode | None = None,
        users: Mapping[str, str] | None = None,
        anonymous_pull: bool = False,
        tls: bool | ssl.SSLContext = False,
        name: Literal["127.0.0.1", "localhost"] = "127.0.0.1",
        token_service: Literal["same", "other port"] = "same",
        rules: Rules | None = None,
    ) -> None:
        self.content = Content()
        self.log = Journal()
        self.rules = rules or Rules()
        self.misbehaviour: list[Rule] = []
        self._required: list[Rule] = []
        self.authority = Authority(auth, dict(users or {})) if auth else None
        if self.authority and anonymous_pull:
            self.authority.grants[""] = {".*": {"pull"}}
        self.name = name
        self.port = 0
        self.certificate: SelfSigned | None = None
        self._tls = tls
        self._token_port_apart = token_service == "other port"
        self._token_port = 0
        self._stopping = asyncio.Event()
        self._cleanup = contextlib.AsyncExitStack()

    # --- its address ---

    @property
    def host(self) -> str:
        return f"{self.name}:{self.port}"

    @property
    def scheme(self) -> str:
        return "https" if self._tls else "http"

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://{self.host}"

    # --- its journal ---

    @property
    def journal(self) -> list[Received]:
        return self.log.requests

    @property
    def tag_puts(self) -> list[TagPut]:
        return self.log.tag_puts

    @property
    def partial_tag_puts(self) -> list[TagPut]:
        """Tags that were to be moved to something incomplete; a careful client leaves this empty."""
        return [put for put in self.log.tag_puts if put.missing]

    def forget(self) -> None:
        """Begin a new journal, for instance after seeding by HTTP."""
        self.log.requests.clear()
        self.log.tag_puts.clear()

    def received(self, method: str | None = None, path: str = "") -> list[Received]:
        return list(self.log.matching(method, path))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on the journal; nothing is polled and nothing timed."""
        await self.log.until(condition)

    # --- its content, past the wire ---

    def add_blob(self, repository: str, data: bytes) -> str:
        digest = digest_text(data)
        self.content.at(repository).blobs[digest] = data
        return digest

    def add_manifest(self, repository: str, reference: str | None, raw: bytes, media_type: str) -> str:
        """Kept unchecked, so that things can be there that no registry takes; None leaves it untagged."""
        digest = digest_text(raw)
        held = self.content.at(repository)
        held.manifests[digest] = StoredManifest(media_type, raw)
        if reference is not None and ":" not in reference:
            held.tags[reference] = digest
        return digest

    def get_manifest(self, repository: str, reference: str) -> tuple[str, bytes]:
        """The media type and bytes; KeyError where there is none."""
        held = self.content.find(repository)
        found = held.find_manifest(reference) if held else None
        if found is None:
            raise KeyError(f"{repository}:{reference}")
        return found[1].media_type, found[1].raw

    def blobs(self, repository: str) -> set[str]:
        held = self.content.find(repository)
        return set(held.blobs) if held else set()

    def tags(self, repository: str) -> dict[str, str]:
        held = self.content.find(repository)
        return dict(held.tags) if held else {}

    # --- its faults ---

    def misbehave(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        path: str | None = None,
        times: int | None = 1,
        after: int = 0,
        probability: float | None = None,
        seed: int = 0,
        optional: bool = False,
    ) -> Rule:
        """Strike `times` times (None: always), once `after` matching requests have passed unharmed.

        `path` is a regular expression searched in the path without the query. Of several rules the one that
        was made first strikes.

        A rule that never struck fails the test when the double closes; `optional` allows that, for requests
        that may be missing.
        """
        pattern = re.compile(path) if path is not None else None
        rule = Rule(fault, method, pattern, times, after, probability, random.Random(seed), optional)
        self.misbehaviour.append(rule)
        if not optional:
            self._required.append(rule)
        return rule

    def behave(self) -> None:
        self.misbehaviour.clear()

    # --- its life ---

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            if self._tls is True:
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="double-"))
                self.certificate = make_certificate(Path(directory))
            self.port = await self._listen(stack)
            self._token_port = await self._listen(stack) if self._token_port_apart else self.port
            stack.callback(self._stopping.set)
            self._cleanup = stack.pop_all()
        if self.authority:
            self.authority.realm = f"{self.scheme}://{self.name}:{self._token_port}/token"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cleanup.aclose()
        if kind is None and (idle := [str(rule) for rule in self._required if rule.hits == 0]):
            raise AssertionError(f"The registry double never misbehaved as asked: {'; '.join(idle)}.")

    async def _listen(self, stack: contextlib.AsyncExitStack) -> int:
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        context = self._context()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port = int(runner.addresses[0][1])
        # Some clients try the other loopback first; the port may be in use there.
        with contextlib.suppress(OSError):
            await web.TCPSite(runner, "::1", port, ssl_context=context).start()
        return port

    def _context(self) -> ssl.SSLContext | None:
        if isinstance(self._tls, ssl.SSLContext):
            return self._tls
        return self.certificate.server_context() if self.certificate else None

    # --- one request ---

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange = self._exchange(request)
        self.log.enter(exchange.received)
        try:
            answer = await self._answer(exchange)
            # A header may be there several times.
            headers = CIMultiDict(answer.headers)
            headers.setdefault("Docker-Distribution-Api-Version", "registry/2.0")
            if answer.says_status:
                exchange.received.status = answer.status
            return await answer.send(exchange, Answer(answer.status, headers, answer.body, answer.send))
        finally:
            self.log.leave()

    def _exchange(self, request: web.BaseRequest) -> Exchange:
        local = request.transport.get_extra_info("sockname") if request.transport else None
        received = Received(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            target=request.raw_path,
            port=local[1] if local else 0,
        )
        wanted = self._needs(request)
        return Exchange(
            request=request,
            received=received,
            log=self.log,
            stopping=self._stopping,
            challenge=lambda reason: self.authority.challenge(wanted, reason) if self.authority else "",
            open_upload=lambda repository: uploads.begin(self.content, repository),
        )

    async def _answer(self, exchange: Exchange) -> Answer:
        fault = self._fault(exchange.request)
        if fault is None:
            return await self._honest(exchange)
        exchange.received.fault = type(fault).__name__
        try:
            instead = await fault.instead(exchange)
            return instead or fault.spoil(await self._honest(exchange), exchange)
        except CutOff:
            return Answer(0, send=send_nothing)

    def _fault(self, request: web.BaseRequest) -> Fault | None:
        return next((rule.fault for rule in self.misbehaviour if rule.strikes(request)), None)

    async def _honest(self, exchange: Exchange) -> Answer:
        path = exchange.request.path
        if self.authority and path == "/token" and exchange.received.port == self._token_port:
            return await self.authority.token(exchange)
        if exchange.received.port != self.port:
            return NOT_FOUND
        refusal = self._refuse(exchange)
        if refusal or path in ("/v2/", "/v2"):
            return refusal or Answer(200, {"Content-Type": "application/json"}, b"{}")
        return await self._routed(exchange)

    def _refuse(self, exchange: Exchange) -> Answer | None:
        return self.authority.refuse(exchange, self._needs(exchange.request)) if self.authority else None

    def _needs(self, request: web.BaseRequest) -> list[Need]:
        found = PATHS.fullmatch(request.path)
        return needs(request.method, found["repository"], request.query.get("from")) if found else []

    async def _routed(self, exchange: Exchange) -> Answer:
        found = PATHS.fullmatch(exchange.request.path)
        if found is None:
            return NOT_FOUND
        repository, kind, rest = found["repository"], found["kind"], found["rest"]
        if not NAME.fullmatch(repository):
            return error(400, "NAME_INVALID", "invalid repository name", repository)
        match kind:
            case "manifests":
                return await self._manifest(repository, rest, exchange)
            case "blobs":
                return self._blob(repository, rest, exchange)
            case "blobs/uploads":
                return await self._upload(repository, rest, exchange)
            case _:
                return self._listing(repository, kind, rest, exchange)

    async def _manifest(self, repository: str, reference: str, exchange: Exchange) -> Answer:
        match exchange.request.method:
            case "GET" | "HEAD":
                accept = exchange.request.headers.getall("Accept", [])
                return manifests.get(self.content, self.rules, repository, reference, accept)
            case "PUT":
                return await manifests.put(self.content, self.log, self.rules, exchange)
            case "DELETE":
                return manifests.delete(self.content, repository, reference)
        return UNSUPPORTED

    def _blob(self, repository: str, digest: str, exchange: Exchange) -> Answer:
        match exchange.request.method:
            case "GET" | "HEAD":
                wanted = exchange.request.headers.get("Range") if self.rules.ranges else None
                return blobs.get(self.content, repository, digest, wanted)
            case "DELETE":
                return blobs.delete(self.content, repository, digest)
        return UNSUPPORTED

    async def _upload(self, repository: str, identity: str, exchange: Exchange) -> Answer:
        if identity:
            return await uploads.proceed(self.content, self.rules, repository, identity, exchange)
        if exchange.request.method == "POST":
            return await uploads.post(self.content, self.rules, repository, exchange)
        return UNSUPPORTED

    def _listing(self, repository: str, kind: str, rest: str, exchange: Exchange) -> Answer:
        if exchange.request.method not in ("GET", "HEAD"):
            return UNSUPPORTED
        query = exchange.request.query
        if kind == "referrers":
            return listings.referrers(self.content, self.rules, repository, rest, query)
        return listings.tags(self.content, self.rules, repository, query) if rest == "list" else NOT_FOUND
