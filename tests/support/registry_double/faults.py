"""Faults: each one answers in place of the registry, or changes the registry's answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from aiohttp import web

from tests.support.registry_double import senders
from tests.support.registry_double.wire import Answer, Exchange, error, send_never, send_nothing


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that does nothing; the others override one or more of its three steps."""

    def concerns(self, request: web.BaseRequest) -> bool:
        return True

    async def instead(self, exchange: Exchange) -> Answer | None:
        """An answer given before the registry has done anything, or None to let it work."""
        return None

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        """What becomes of the registry's answer, once the request has taken effect."""
        return answer


# --- answers in place of the registry's ---


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """Any status with any body; with `takes_effect` the registry does what was asked first."""

    code: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_effect: bool = False

    @classmethod
    def oci(
        cls,
        code: int,
        error_code: str,
        message: str = "",
        *,
        detail: object = None,
        headers: Mapping[str, str] | None = None,
        takes_effect: bool = False,
    ) -> Status:
        """A status with an error in distribution-spec's JSON."""
        answer = error(code, error_code, message, detail)
        return cls(code, answer.body, {**answer.headers, **(headers or {})}, takes_effect)

    async def instead(self, exchange: Exchange) -> Answer | None:
        return None if self.takes_effect else Answer(self.code, self.headers, self.body)

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return Answer(self.code, self.headers, self.body) if self.takes_effect else answer


@dataclass(frozen=True, slots=True)
class Meanwhile(Status):
    """A status, before which something else happens: others push, or time passes."""

    happens: Callable[[], object] = lambda: None

    async def instead(self, exchange: Exchange) -> Answer | None:
        self.happens()
        return await Status.instead(self, exchange)


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """The connection is reset before the request has had any effect, its body unread."""

    async def instead(self, exchange: Exchange) -> Answer | None:
        return Answer(0, send=send_nothing)


@dataclass(frozen=True, slots=True)
class CutUpload(Fault):
    """The connection is reset in the middle of the request's body; what came by then has taken effect."""

    keep: int

    async def instead(self, exchange: Exchange) -> Answer | None:
        exchange.cut_after = self.keep
        return None


@dataclass(frozen=True, slots=True)
class LostReply(Fault):
    """The request takes effect, then the connection is reset without an answer."""

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return replace(answer, send=send_nothing)


@dataclass(frozen=True, slots=True)
class Silence(Fault):
    """No answer, ever; with `takes_effect` the request still takes effect.

    `reached` is set once the request is where it will stay.
    """

    takes_effect: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def instead(self, exchange: Exchange) -> Answer | None:
        return None if self.takes_effect else self.spoil(Answer(0), exchange)

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        self.reached.set()
        return replace(answer, send=send_never)


@dataclass(frozen=True, slots=True)
class Html(Fault):
    """A web server that says yes to everything."""

    status: int = 200
    body: bytes = b"<!doctype html><title>Welcome</title><p>This is not a registry."

    async def instead(self, exchange: Exchange) -> Answer | None:
        return Answer(self.status, {"Content-Type": "text/html; charset=utf-8"}, self.body)


@dataclass(frozen=True, slots=True)
class Redirect(Fault):
    """A redirect: `{target}` in the location stands for the request's path and query."""

    location: str
    status: int = 307

    async def instead(self, exchange: Exchange) -> Answer | None:
        return Answer(self.status, {"Location": self.location.replace("{target}", exchange.received.target)})


@dataclass(frozen=True, slots=True)
class ExpiredToken(Fault):
    """401 as for an expired token."""

    async def instead(self, exchange: Exchange) -> Answer | None:
        answer = error(401, "UNAUTHORIZED", "authentication required")
        return answer.with_headers(WWW_Authenticate=exchange.challenge("invalid_token"))


@dataclass(frozen=True, slots=True)
class MountDeclined(Fault):
    """A mount is declined: 202 opens an upload instead, any other status is an error."""

    status: int = 202

    def concerns(self, request: web.BaseRequest) -> bool:
        return request.method == "POST" and "mount" in request.query

    async def instead(self, exchange: Exchange) -> Answer | None:
        if self.status == 202:
            repository = exchange.request.path.removeprefix("/v2/").removesuffix("/blobs/uploads/")
            return exchange.open_upload(repository)
        return error(self.status, "UNSUPPORTED", "mounting is not possible here")


@dataclass(frozen=True, slots=True)
class OfMounts(Fault):
    """Another fault, for mounts only."""

    fault: Fault

    def concerns(self, request: web.BaseRequest) -> bool:
        return request.method == "POST" and "mount" in request.query and self.fault.concerns(request)

    async def instead(self, exchange: Exchange) -> Answer | None:
        return await self.fault.instead(exchange)

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return self.fault.spoil(answer, exchange)


@dataclass(frozen=True, slots=True)
class Hold(Fault):
    """The request waits, having done nothing yet, until the test opens the gate."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def instead(self, exchange: Exchange) -> Answer | None:
        self.reached.set()
        stop = asyncio.ensure_future(exchange.stopping.wait())
        opened = asyncio.ensure_future(self.gate.wait())
        _, waiting = await asyncio.wait((stop, opened), return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
        return None


# --- the registry's answer, spoilt ---


@dataclass(frozen=True, slots=True)
class Truncated(Fault):
    """Only part of the body; without a length the early end looks like a clean one."""

    keep: int | None = None
    with_length: bool = True

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        keep = len(answer.body) // 2 if self.keep is None else self.keep
        return replace(answer, send=senders.truncated(keep, with_length=self.with_length))


@dataclass(frozen=True, slots=True)
class Drip(Fault):
    """The body comes byte by byte, one per interval."""

    interval: float = 0.5

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return replace(answer, send=senders.dripping(self.interval))


@dataclass(frozen=True, slots=True)
class Endless(Fault):
    """The body continues as long as the client reads."""

    filler: bytes = b" " * 65536

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return replace(answer, send=senders.endless(self.filler))


@dataclass(frozen=True, slots=True)
class Oversize(Fault):
    """The body, blank-padded to this many bytes; still good JSON if it was."""

    size: int

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return replace(answer, body=answer.body.ljust(self.size))


@dataclass(frozen=True, slots=True)
class Gzipped(Fault):
    """The body compressed, whether the client wants that or not."""

    coding: str = "gzip"

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        packed = gzip.compress(answer.body, mtime=0)
        return replace(answer, body=packed).with_headers(Content_Encoding=self.coding)


@dataclass(frozen=True, slots=True)
class FlippedByte(Fault):
    """One bit of the body is wrong, in the middle or at the given position."""

    at: int | None = None

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        body = bytearray(answer.body)
        if body:
            body[len(body) // 2 if self.at is None else self.at] ^= 1
        return replace(answer, body=bytes(body))


@dataclass(frozen=True, slots=True)
class OtherBody(Fault):
    """Another body under the registry's own headers."""

    body: bytes

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return replace(answer, body=self.body)


@dataclass(frozen=True, slots=True)
class WrongDigestHeader(Fault):
    """Docker-Content-Digest names something else."""

    digest: str = "sha256:" + "0" * 64

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return answer.with_headers(Docker_Content_Digest=self.digest)


@dataclass(frozen=True, slots=True)
class WithoutHeader(Fault):
    """A header is missing, by default Docker-Content-Digest."""

    name: str = "Docker-Content-Digest"

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return answer.without_header(self.name)


@dataclass(frozen=True, slots=True)
class OtherStatus(Fault):
    """The registry's own answer under another status."""

    code: int

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return replace(answer, status=self.code)


@dataclass(frozen=True, slots=True)
class WithHeaders(Fault):
    """Headers are added to the answer, or replaced in it."""

    headers: Mapping[str, str]

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        return answer.with_headers(**self.headers)


@dataclass(frozen=True, slots=True)
class ContentType(Fault):
    """Another Content-Type, or none."""

    media_type: str | None

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        if self.media_type is None:
            return replace(answer.without_header("Content-Type"), send=senders.untyped)
        return answer.with_headers(Content_Type=self.media_type)


@dataclass(frozen=True, slots=True)
class UploadLocation(Fault):
    """The Location of an upload, rewritten.

    `base` is a scheme and host to put in front, or "//host" for one without a scheme; the empty one makes it
    relative.
    `query` is added after what the session needs itself, exactly as written.
    """

    base: str = ""
    query: str = ""

    def concerns(self, request: web.BaseRequest) -> bool:
        return "/blobs/uploads/" in request.path

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        if "Location" not in answer.headers or answer.status == 201:
            return answer
        parts = urlsplit(answer.headers["Location"])
        query = "&".join(filter(None, (parts.query, self.query)))
        return answer.with_headers(Location=f"{self.base}{parts.path}?{query}")


@dataclass(frozen=True, slots=True)
class TokenDocument(Fault):
    """The token document with other fields: replaced, or removed where None."""

    fields: Mapping[str, object]

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        document = {**json.loads(answer.body), **self.fields}
        kept = {name: value for name, value in document.items() if value is not None}
        return replace(answer, body=json.dumps(kept).encode())


# --- when ---


@dataclass(slots=True)
class Rule:
    """When a fault strikes; `hits` counts the times it has.

    A rule without hits fails its test, unless it is `optional`.
    """

    fault: Fault
    method: str | None = None
    path: re.Pattern[str] | None = None
    times: int | None = 1
    after: int = 0
    probability: float | None = None
    dice: random.Random = field(default_factory=random.Random)
    optional: bool = False
    hits: int = 0
    active: bool = True

    def strikes(self, request: web.BaseRequest) -> bool:
        """Counts as a hit what it says yes to."""
        if not (self.active and self._fits(request)):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.probability is not None and self.dice.random() >= self.probability:
            return False
        self.hits += 1
        self.active = self.times is None or self.hits < self.times
        return True

    def stop(self) -> None:
        self.active = False

    def __str__(self) -> str:
        where = f"{self.method or 'any method'} {self.path.pattern if self.path else 'any path'}"
        return f"{self.fault} at {where}" + (f", after {self.after} more" if self.after else "")

    def _fits(self, request: web.BaseRequest) -> bool:
        right_method = self.method in (None, request.method)
        right_path = self.path is None or self.path.search(request.path) is not None
        return right_method and right_path and self.fault.concerns(request)
