"""Sends every outgoing request, with address checks, limits, budgets and retries."""

from __future__ import annotations

import asyncio
import logging
import math
import random
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
from weakref import WeakValueDictionary

from multidict import CIMultiDict

from app import errors
from app.concurrency.document_memory import MemoryReservation
from app.concurrency.resizable import ResizableSemaphore
from app.outbound.budget import AccountBudget, Budgets, Refusal
from app.outbound.connections import Opened, Pool, Pools
from app.outbound.failures import FAILURES, RequestContext, is_rate_limit, translate, was_lost
from app.outbound.limits import OutboundLimits
from app.outbound.policy import AccessPolicy
from app.outbound.retry import Outcome, is_passing, parse_retry_after, plan_retry
from app.outbound.url import Url

__all__ = ["Answer", "OutboundClient", "Queueing", "Request", "read_start"]

# Gives what is entered while a request waits for others.
Queueing = Callable[[], AbstractContextManager[None]]

_log = logging.getLogger(__name__)

_MAX_HEADER_BYTES = 32 * 1024
_SUCCESSES = range(200, 300)
_TOO_MANY, _OVERLOADED = 429, 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What goes out; `limit` bounds the body of a success, `is_raw` keeps the address byte for byte."""

    method: str
    url: Url
    context: RequestContext
    account: str | None = None
    """Whose it is where a registry counts, as `Access.account_at` names it; None if it is nobody's."""
    verify: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    authorization: str | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    limit: int = 64 * 1024
    is_raw: bool = False
    memory: MemoryReservation | None = field(default=None, repr=False)
    """The reservation that grows with the body while it is read."""

    @property
    def all_headers(self) -> dict[str, str]:
        if self.authorization is None:
            return dict(self.headers)
        return {**self.headers, "Authorization": self.authorization}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, read to its end or, where it is no success, as far as errors are read."""

    status: int
    headers: CIMultiDict[str]
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        return self.status in _SUCCESSES

    @property
    def is_framed(self) -> bool:
        """Whether the answer said where its body ends; if not, a connection that breaks looks like that."""
        return "Content-Length" in self.headers or "Transfer-Encoding" in self.headers


class OutboundClient:
    """Decides on addresses, TLS, limits, retries and requests per host, for all of the client."""

    def __init__(
        self,
        policy: AccessPolicy,
        limits: OutboundLimits,
        pools: Pools,
        *,
        now: Callable[[], float] = time.monotonic,
        budgets: Budgets,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._now = now
        self._pools = pools
        self._budgets = budgets
        self._downloads = _TransferSlots(limits.transfers)
        self._uploads = _TransferSlots(limits.transfers)

    async def close(self) -> None:
        await self._pools.close()

    async def call(self, request: Request) -> Answer:
        """A request that may be made again: the answer, whatever its status, or an error of the way there."""
        attempt, spent = 1, 0.0
        budget = self._budgets.at(request.context.registry, request.account)
        while True:
            async with budget.slot(request.context) as began:
                result = await self._try(request, self._limits.call_seconds - spent)
                spent += self._now() - began
            outcome, refusal = _outcome(result, request), None
            if isinstance(result, Answer):
                refusal = _refusal(result, request)
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

    def upload_slot(
        self, url: Url, registry: str, account: str | None = None
    ) -> AbstractAsyncContextManager[None]:
        """What is held while a blob is sent there, from before its source is opened.

        They become fewer with the requests at once that the registry bears: some refuse the fifth upload.

        Who holds one waits for a download, and who has that for single requests, which wait for neither:
        copies in opposite directions can't block each other, and long ones don't keep small requests waiting.
        """
        return self._uploads.of(url.authority, self._budgets.at(registry, account)).slot()

    async def send(
        self, request: Request, body: AsyncIterator[bytes] | bytes, queueing: Queueing = nullcontext
    ) -> Answer:
        """A request with a streamed body, made once; how long it may take is its caller's to watch."""
        self._admit(request)
        budget = self._budgets.at(request.context.registry, request.account)
        with queueing():
            sent = await budget.admit(request.context)
        with _translated(request):
            pool = self._pool(request)
            async with pool.stream(request.method, request.url, request.all_headers, body) as opened:
                answer = await self._read(opened, request)
        budget.record_response(_refusal(answer, request), sent)
        return answer

    @asynccontextmanager
    async def open(self, request: Request, queueing: Queueing = nullcontext) -> AsyncIterator[Opened]:
        """An answer whose body is read by the caller, as it comes; made once.

        `queueing` is entered while others are before it, which is no fault of those whose bytes these are.
        """
        self._admit(request)
        budget = self._budgets.at(request.context.registry, request.account)
        async with _entered(self._downloads.of(request.url.authority, budget), queueing):
            with queueing():
                sent = await budget.admit(request.context)
            with _translated(request):
                async with asyncio.timeout(self._limits.call_seconds) as deadline:
                    pool = self._pool(request)
                    async with pool.stream(request.method, request.url, request.all_headers) as opened:
                        _check_headers(opened, request)
                        answer = Answer(opened.status, opened.headers, b"")
                        budget.record_response(_refusal(answer, request), sent)
                        deadline.reschedule(None)
                        yield opened

    async def post(self, request: Request, sign: Callable[[], Mapping[str, str]], seconds: float) -> Answer:
        """A request that is made once, and the head of its answer: what is said below it is not read.

        `sign` gives the headers that tell when it was sent; so it is asked after the wait for a place.
        """
        # Of a receiver the path may be all that keeps others from posting there.
        self._admit(request, request.url.origin)
        budget = self._budgets.at(request.context.registry, request.account)
        async with AsyncExitStack() as stack:
            sent = await self._enter(stack, budget, request, seconds)
            headers = {**request.all_headers, **sign()}
            with _translated(request):
                async with asyncio.timeout(seconds):
                    pool = self._pool(request)
                    async with pool.stream(request.method, request.url, headers, request.content) as opened:
                        _check_headers(opened, request)
                        answer = Answer(opened.status, opened.headers, b"")
        budget.record_response(_refusal(answer, request), sent)
        return answer

    async def _enter(
        self, stack: AsyncExitStack, budget: AccountBudget, request: Request, seconds: float
    ) -> float:
        """Takes a place among the requests of a budget, which is free in time or not waited for."""
        try:
            async with asyncio.timeout(seconds):
                return await stack.enter_async_context(budget.slot(request.context))
        except TimeoutError:
            raise errors.RateLimited(
                f"{request.context.registry} is busy with other requests; it was not asked",
                **request.context.members,
                retry_after=seconds,
            ) from None

    async def _try(self, request: Request, seconds: float) -> Answer | errors.RegistryError:
        """An answer, or what may be otherwise the next time: no connection, or none in time."""
        self._admit(request)
        try:
            with _translated(request):
                async with asyncio.timeout(seconds):
                    return await self._exchange(request)
        except (errors.RegistryUnreachable, errors.RegistryTimeout) as error:
            return error

    async def _exchange(self, request: Request) -> Answer:
        pool = self._pool(request)
        engine = pool.stream if request.is_raw else pool.call
        async with engine(request.method, request.url, request.all_headers, request.content) as opened:
            return await self._read(opened, request)

    def _pool(self, request: Request) -> Pool:
        return self._pools.of(request.url, registry=request.context.registry, verify=request.verify)

    def _admit(self, request: Request, shown: str | None = None) -> None:
        self._policy.check_host(request.url.authority, registry=request.context.registry)
        _log.debug("%s %s", request.method, shown or request.url.printable)

    async def _read(self, opened: Opened, request: Request) -> Answer:
        _check_headers(opened, request)
        if opened.status in _SUCCESSES:
            try:
                body = await _read_whole(opened, request)
            except BaseException:
                if request.memory is not None:
                    await request.memory.release()
                raise
        else:
            body = await read_start(opened, self._limits.error_bytes)
        return Answer(opened.status, opened.headers, body)


class _TransferSlots:
    """A semaphore per host for blobs, which lives as long as a transfer holds it or waits for it."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._semaphores: WeakValueDictionary[str, ResizableSemaphore] = WeakValueDictionary()

    def of(self, host: str, budget: AccountBudget) -> ResizableSemaphore:
        semaphore = self._semaphores.get(host)
        if semaphore is None:
            semaphore = self._semaphores[host] = ResizableSemaphore(self._slots)
        semaphore.resize(math.ceil(self._slots * budget.share))
        return semaphore


@asynccontextmanager
async def _entered(semaphore: ResizableSemaphore, queueing: Queueing) -> AsyncIterator[None]:
    with queueing():
        await semaphore.acquire()
    try:
        yield
    finally:
        semaphore.release()


@contextmanager
def _translated(request: Request) -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise translate(error, request.context) from error


def _outcome(result: Answer | errors.RegistryError, request: Request) -> Outcome:
    if isinstance(result, errors.RegistryError):
        return Outcome(may_pass=True, was_lost=was_lost(result))
    if is_passing(result.status) or is_rate_limit(result.status, result.body, request.context):
        return Outcome(may_pass=True, retry_after=_asked_wait(result))
    return Outcome(may_pass=False)


def _refusal(answer: Answer, request: Request) -> Refusal | None:
    limits_rate = answer.status == _TOO_MANY or is_rate_limit(answer.status, answer.body, request.context)
    if limits_rate or answer.status == _OVERLOADED:
        return Refusal(_asked_wait(answer), limits_rate)
    return None


def _asked_wait(answer: Answer) -> float | None:
    text = answer.body[:4096].decode(errors="replace")
    return parse_retry_after(answer.headers.get("Retry-After"), text)


def _settle(result: Answer | errors.RegistryError, refusal: Refusal | None, pause: float) -> Answer:
    if isinstance(result, errors.RegistryError):
        raise result
    limits_rate = refusal is not None and refusal.is_rate_limit
    if limits_rate and pause and "Retry-After" not in result.headers:
        # The registry did not say for how long; what its budget made of that is as good for who must wait.
        headers = CIMultiDict(result.headers, **{"Retry-After": f"{pause:.3f}"})
        return replace(result, headers=headers)
    return result


def _check_headers(opened: Opened, request: Request) -> None:
    if sum(len(name) + len(value) for name, value in opened.headers.items()) > _MAX_HEADER_BYTES:
        raise errors.NotARegistry(
            f"{request.context.registry} answers with too many headers", **request.context.members
        )


async def _read_whole(opened: Opened, request: Request) -> bytes:
    encoding = opened.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity"} and request.method != "HEAD":
        raise errors.SourceInvalid(
            f"{request.context.registry} sent {request.context} compressed, although none was accepted",
            **request.context.members,
        )
    parts, size = [], 0
    async for chunk in opened.chunks:
        size += len(chunk)
        if size > request.limit:
            raise errors.SourceTooLarge(
                f"what {request.context.registry} sent for {request.context} is larger than "
                f"{request.limit} bytes, the most that is read",
                **request.context.members,
            )
        if request.memory is not None:
            await request.memory.grow_to(size)
        parts.append(chunk)
    return b"".join(parts)


async def read_start(opened: Opened, limit: int) -> bytes:
    """As much of a body as errors are read for."""
    start = bytearray()
    async for chunk in opened.chunks:
        start += chunk
        if len(start) >= limit:
            break
    return bytes(start[:limit])
