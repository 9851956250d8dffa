"""Sends every outgoing request, with address checks, limits, budgets and retries."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, field, replace
from types import MappingProxyType, TracebackType
from typing import Self

import httpx2
from multidict import CIMultiDict

from app import errors
from app.concurrency.document_memory import MemoryReservation
from app.concurrency.resizable import ResizableSemaphore
from app.outbound.account_budgets import AccountBudget, Budgets
from app.outbound.adaptive import Refusal
from app.outbound.connections import Connections, TransportFactory
from app.outbound.failures import FAILURES, RequestContext, concealed, translate, was_lost
from app.outbound.limits import OutboundLimits
from app.outbound.messages import ExactRequest, first_headers
from app.outbound.policy import AccessPolicy
from app.outbound.resolver import Lookup
from app.outbound.retry import Outcome, is_passing, parse_reset, parse_retry_after, plan_retry
from app.outbound.tls import TlsTrust
from app.outbound.transfers import TransferLimits, TransferSlots
from app.outbound.url import Url

__all__ = [
    "Answer",
    "AnswerTest",
    "OutboundClient",
    "Queueing",
    "Request",
    "body_of",
    "read_head",
    "read_start",
]

# Decides from status, body and context what a response means.
AnswerTest = Callable[[int, bytes, RequestContext], bool]
# Gives the context manager that is entered while a request waits for others.
Queueing = Callable[[], AbstractContextManager[None]]

_log = logging.getLogger(__name__)

_HEADERS = {"User-Agent": "manifest-broker", "Accept-Encoding": "identity"}
_MOST_ORIGINS = 4096
_MAX_HEADER_BYTES = 32 * 1024
_SUCCESSES = range(200, 300)
_TOO_MANY, _OVERLOADED = 429, 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, whose address goes out byte for byte; `limit` bounds the body of a success."""

    method: str
    url: Url
    context: RequestContext
    account: str | None = None
    """The account that the host counts the request for; None for a request of no account."""
    area: str = ""
    """The part of the host that the request is for. One area may refuse requests that another accepts."""
    verify: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    authorization: str | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    limit: int = 64 * 1024
    memory: MemoryReservation | None = field(default=None, repr=False)
    """The reservation that grows with the body while it is read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end; of one that is no success, only the start is read."""

    status: int
    headers: CIMultiDict[str]
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        return self.status in _SUCCESSES

    @property
    def is_framed(self) -> bool:
        """Whether the response named the end of its body; if not, a broken connection looks like an end."""
        return "Content-Length" in self.headers or "Transfer-Encoding" in self.headers


class OutboundClient:
    """One client for a process; it is used inside `async with`.

    `trusts` has the TLS settings of single hosts. `is_rate_limit` recognises a rate limit in a response,
    `may_pass` a refusal that another attempt may not meet.
    `tls` replaces the system's certificate authorities, `lookup` its resolver, `open_transport` the engine,
    `now` the clock.
    """

    def __init__(
        self,
        policy: AccessPolicy,
        limits: OutboundLimits,
        *,
        trusts: Mapping[str, TlsTrust] | None = None,
        is_rate_limit: AnswerTest | None = None,
        may_pass: AnswerTest | None = None,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
        open_transport: TransportFactory | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.budgets = Budgets(limits, now)
        self._limits = limits
        self._is_rate_limit = is_rate_limit or _is_too_many
        self._may_pass = may_pass or _is_passing
        self._now = now
        self._is_open = False
        self._answered: set[str] = set()
        self._connections = Connections(
            policy, limits, trusts=trusts, tls=tls, lookup=lookup, open_transport=open_transport
        )
        self._downloads = TransferLimits(limits.transfers)
        self._uploads = TransferLimits(limits.transfers)

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise RuntimeError("an OutboundClient is opened once at a time")
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        await self._connections.close()

    async def call(self, request: Request) -> Answer:
        """Make a request, with retries; return any response, or raise a network error."""
        attempt, spent = 1, 0.0
        budget = self.budgets.at(request.context.registry, request.account, request.area)
        while True:
            async with budget.slot(request.context) as began:
                result = await self._try(request, self._limits.call_seconds - spent)
                spent += self._now() - began
            outcome, refusal = self._outcome(result, request), None
            if isinstance(result, Answer):
                refusal = self._refusal(result, request)
                budget.record_response(refusal, began)
            wait = plan_retry(
                outcome,
                attempt=attempt,
                spent=spent,
                jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
                limits=self._limits,
            )
            if wait is None or wait > self._limits.patience_seconds:
                return _settle(result, refusal, budget.pause)
            await asyncio.sleep(wait)
            attempt, spent = attempt + 1, spent + wait

    def upload_slot(self, registry: str, account: str | None = None) -> AbstractAsyncContextManager[None]:
        """Hold one of the account's upload slots; take it before the source is opened.

        Refusals reduce the number of slots: some registries refuse the fifth concurrent upload.

        The holder of an upload slot may wait for a download slot, and the holder of a download slot for
        single requests, which wait for neither. So copies in opposite directions can't deadlock, and long
        transfers do not delay small requests.
        """
        return self._uploads.of(registry, account).semaphore.slot()

    async def send(
        self, request: Request, body: AsyncIterator[bytes] | bytes, queueing: Queueing = nullcontext
    ) -> Answer:
        """Make a request with a streamed body, once; its caller bounds the time."""
        self._admit(request)
        # The slot belongs to the registry, even if the upload was redirected to another host.
        slots = self._uploads.of(request.context.registry, request.account)
        budget = self.budgets.at(request.context.registry, request.account, request.area)
        with queueing():
            sent = await budget.admit(request.context)
        with self._translated(request), slots.under_way():
            async with self._exchange(request, body) as response:
                answer = await self._read(response, request)
            _record_transfer(slots, budget, self._refusal(answer, request), sent)
        return answer

    @asynccontextmanager
    async def open(
        self, request: Request, queueing: Queueing = nullcontext
    ) -> AsyncIterator[httpx2.Response]:
        """Make a request, once, whose caller reads the response body as it arrives.

        `queueing` is entered while the request waits for a slot: that time is not the peer's fault.
        """
        self._admit(request)
        slots = self._downloads.of(request.url.authority, request.account)
        budget = self.budgets.at(request.context.registry, request.account, request.area)
        async with _entered(slots.semaphore, queueing):
            with queueing():
                sent = await budget.admit(request.context)
            with self._translated(request), slots.under_way():
                async with asyncio.timeout(self._limits.call_seconds) as deadline:
                    async with self._exchange(request) as response:
                        head = read_head(response, request.context)
                        _record_transfer(slots, budget, self._refusal(head, request), sent)
                        deadline.reschedule(None)
                        yield response

    async def post(self, request: Request, sign: Callable[[], Mapping[str, str]], seconds: float) -> Answer:
        """Make a request, once, and read only the head of the response.

        `sign` gives the headers that depend on the time of sending; it is called after the wait for a slot.
        """
        # The path of a webhook may be its secret, so it is not logged.
        self._admit(request, request.url.origin)
        budget = self.budgets.at(request.context.registry, request.account, request.area)
        async with AsyncExitStack() as stack:
            sent = await self._enter(stack, budget, request, seconds)
            headers = sign()
            with self._translated(request):
                async with (
                    asyncio.timeout(seconds),
                    self._exchange(request, request.content, headers) as response,
                ):
                    answer = read_head(response, request.context)
        budget.record_response(self._refusal(answer, request), sent)
        return answer

    async def _enter(
        self, stack: AsyncExitStack, budget: AccountBudget, request: Request, seconds: float
    ) -> float:
        """Take a slot of the budget, or raise RateLimited if none is free in time."""
        try:
            async with asyncio.timeout(seconds):
                return await stack.enter_async_context(budget.slot(request.context))
        except TimeoutError:
            raise errors.RateLimited(
                f"{request.context.registry} is busy with other requests. The request was not sent.",
                **request.context.members,
                retry_after=seconds,
            ) from None

    async def _try(self, request: Request, seconds: float) -> Answer | errors.RegistryError:
        """Return a response, or a failure of the network that another attempt may not meet."""
        try:
            self._admit(request)
            with self._translated(request):
                async with asyncio.timeout(seconds), self._exchange(request, request.content) as response:
                    return await self._read(response, request)
        except (errors.RegistryUnreachable, errors.RegistryTimeout) as error:
            return error

    @asynccontextmanager
    async def _exchange(
        self,
        request: Request,
        body: AsyncIterator[bytes] | bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> AsyncIterator[httpx2.Response]:
        if not self._is_open:
            raise RuntimeError("an OutboundClient is used inside `async with`")
        peer = request.context.registry
        transport = self._connections.transport(request.url, peer=peer, verify=request.verify)
        try:
            response = await transport.handle_async_request(_message(request, body, headers))
        except errors.RegistryForbidden as error:
            # The name resolves to an address that the policy forbids.
            raise self._shown(error, request) from error
        self._remember(request.url)
        try:
            yield response
        finally:
            await response.aclose()

    @contextmanager
    def _translated(self, request: Request) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            failure = translate(error, request.context)
            has_answered = request.url.origin in self._answered and not isinstance(error, httpx2.ConnectError)
            raise (failure if has_answered else self._shown(failure, request)) from error

    def _remember(self, url: Url) -> None:
        """Remember that a host is reachable: its later failures reveal nothing about the network."""
        if len(self._answered) >= _MOST_ORIGINS:
            self._answered.clear()
        self._answered.add(url.origin)

    def _shown(self, error: errors.BrokerError, request: Request) -> errors.BrokerError:
        return error if self.policy.shows_failures else concealed(error, request.context)

    def _admit(self, request: Request, shown: str | None = None) -> None:
        try:
            self.policy.check_host(request.url.authority, peer=request.context.registry)
        except errors.RegistryForbidden as error:
            raise self._shown(error, request) from error
        _log.debug("%s %s", request.method, shown or request.url.printable)

    async def _read(self, response: httpx2.Response, request: Request) -> Answer:
        head = read_head(response, request.context)
        if head.is_success:
            try:
                body = await _read_whole(response, head, request)
            except BaseException:
                if request.memory is not None:
                    await request.memory.release()
                raise
        else:
            body = await read_start(response, self._limits.error_bytes)
        return Answer(head.status, head.headers, body)

    def _outcome(self, result: Answer | errors.RegistryError, request: Request) -> Outcome:
        if isinstance(result, errors.RegistryError):
            return Outcome(may_pass=True, was_lost=was_lost(result))
        what = result.status, result.body, request.context
        if self._may_pass(*what) or self._is_rate_limit(*what):
            return Outcome(may_pass=True, retry_after=_asked_wait(result))
        return Outcome(may_pass=False)

    def _refusal(self, answer: Answer, request: Request) -> Refusal | None:
        limits_rate = self._is_rate_limit(answer.status, answer.body, request.context)
        if limits_rate or answer.status == _OVERLOADED:
            return Refusal(_asked_wait(answer), limits_rate)
        return None


def _message(
    request: Request, body: AsyncIterator[bytes] | bytes | None, more: Mapping[str, str]
) -> httpx2.Request:
    headers = {**_HEADERS, **request.headers, **more}
    if request.authorization is not None:
        headers["Authorization"] = request.authorization
    return ExactRequest(request.method, request.url, headers, body)


def _record_transfer(
    slots: TransferSlots, budget: AccountBudget, refusal: Refusal | None, sent: float
) -> None:
    """Record a response to a transfer.

    A refusal always counts against the number of transfers. It counts against requests of all kinds too if it
    asks for a pause, or if no other transfer is in flight.
    """
    slots.record(is_refused=refusal is not None)
    if refusal is None or refusal.retry_after or not slots.others:
        budget.record_response(refusal, sent)


@asynccontextmanager
async def _entered(semaphore: ResizableSemaphore, queueing: Queueing) -> AsyncIterator[None]:
    with queueing():
        await semaphore.acquire()
    try:
        yield
    finally:
        semaphore.release()


def _is_too_many(status: int, _body: bytes, _context: RequestContext) -> bool:
    return status == _TOO_MANY


def _is_passing(status: int, _body: bytes, _context: RequestContext) -> bool:
    return is_passing(status)


def _asked_wait(answer: Answer) -> float | None:
    text = answer.body[:4096].decode(errors="replace")
    asked = parse_retry_after(answer.headers.get("Retry-After"), text)
    # Servers may send these headers with any response. They describe a refusal only on this status.
    return parse_reset(answer.headers) if asked is None and answer.status == _TOO_MANY else asked


def _settle(result: Answer | errors.RegistryError, refusal: Refusal | None, pause: float) -> Answer:
    if isinstance(result, errors.RegistryError):
        raise result
    limits_rate = refusal is not None and refusal.is_rate_limit
    if limits_rate and pause and "Retry-After" not in result.headers:
        # The response named no time: the pause of the budget stands in for it.
        headers = CIMultiDict(result.headers, **{"Retry-After": f"{pause:.3f}"})
        return replace(result, headers=headers)
    return result


def read_head(response: httpx2.Response, context: RequestContext) -> Answer:
    """The response without its body; raise NotARegistry for too many headers."""
    headers = first_headers(response)
    if sum([len(name) + len(value) for name, value in headers.items()]) > _MAX_HEADER_BYTES:
        raise errors.NotARegistry(f"{context.registry} sent too many headers.", **context.members)
    return Answer(response.status_code, headers, b"")


async def _read_whole(response: httpx2.Response, head: Answer, request: Request) -> bytes:
    encoding = head.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity"} and request.method != "HEAD":
        raise errors.SourceInvalid(
            f"{request.context.registry} sent {request.context} compressed, which is not accepted.",
            **request.context.members,
        )
    parts, size = [], 0
    async for chunk in body_of(response):
        size += len(chunk)
        if size > request.limit:
            raise errors.SourceTooLarge(
                f"{request.context.registry} sent more than {request.limit} bytes for {request.context}, "
                "which is the limit.",
                **request.context.members,
            )
        if request.memory is not None:
            await request.memory.grow_to(size)
        parts.append(chunk)
    return b"".join(parts)


async def read_start(response: httpx2.Response, limit: int) -> bytes:
    """Read the start of a body, at most `limit` bytes."""
    start = bytearray()
    async for chunk in body_of(response):
        start += chunk
        if len(start) >= limit:
            break
    return bytes(start[:limit])


def body_of(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as the wire has it, in the chunks of the transport."""
    if not isinstance(response.stream, httpx2.AsyncByteStream):
        raise TypeError("the stream of a response must be asynchronous")
    return aiter(response.stream)
