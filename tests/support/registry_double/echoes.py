"""A registry that repeats the credential of a request in its answer."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.support.registry_double.faults import Fault
from tests.support.registry_double.wire import Answer, Exchange

__all__ = ["Echo", "Place", "sent_secret"]

Place = Literal[
    "message", "code", "text", "content type", "redirect", "upload", "warning", "realm", "next page"
]
_BODIES = frozenset({"message", "code", "text"})
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Echo(Fault):
    """Repeats the password or token of a request in a form and at a place; other requests are served."""

    form: Callable[[str], str] = str
    place: Place = "message"
    status: int = 403
    seen: list[str] = field(default_factory=list, compare=False)

    async def instead(self, exchange: Exchange) -> Answer | None:
        said = self._said(exchange)
        if said is None or self.place in {"warning", "content type", "upload"}:
            return None
        if self.place == "redirect":
            return Answer(307, {"Location": f"http://{said}.test/blob"})
        if self.place == "realm":
            return Answer(401, {"WWW-Authenticate": f'Bearer realm="https://{said}.test/token",service="s"'})
        if self.place == "text":
            return Answer(self.status, {"Content-Type": "text/plain"}, f"user {said} has no access".encode())
        error = {"code": said} if self.place == "code" else {"code": "DENIED", "message": f"user {said} no"}
        return Answer(
            self.status, {"Content-Type": "application/json"}, json.dumps({"errors": [error]}).encode()
        )

    def spoil(self, answer: Answer, exchange: Exchange) -> Answer:
        said = self._said(exchange)
        if said is None:
            return answer
        if self.place == "warning":
            return answer.with_headers(Warning=f'299 - "the password {said} is old"')
        if self.place == "content type":
            return replace(answer.with_headers(Content_Type=f"text/{said}"), status=200)
        if self.place == "upload" and "Location" in answer.headers:
            return answer.with_headers(Location=f"http://{said}.test/upload")
        return answer

    def _said(self, exchange: Exchange) -> str | None:
        secret = sent_secret(exchange.request.headers.get("Authorization", ""))
        if secret is None:
            return None
        self.seen.append(secret)
        said = self.form(secret)
        # No header can have a control character.
        return said if self.place in _BODIES else _CONTROLS.sub(" ", said)


def sent_secret(authorization: str) -> str | None:
    """The password or token of a request."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return value or None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None
