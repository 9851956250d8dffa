"""Reads the bodies of refusals: the error codes of the distribution spec, or plain text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from app.outbound.failures import RequestContext
from app.outbound.quoting import PLAIN, Quoting
from app.outbound.retry import is_passing

__all__ = [
    "Upstream",
    "first_error_text",
    "is_final",
    "is_html",
    "is_rate_limit",
    "may_pass",
    "means_full",
    "means_immutable",
    "means_not_yet",
    "means_rate_limit",
    "parse_upstream",
    "refuses_token",
]

_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY = 401, 403, 429
_RATE_LIMIT = re.compile(
    r"(?i)\brate[ _-]?limit|\brate exceeded|\btoo[ _-]?many[ _-]?requests|\bthrottl|\babuse detection"
    # Storage has quotas too.
    r"|\bquota\b.{0,80}(\bper (second|minute|hour|day)\b|\brequests?\b)|\brequests?\b.{0,40}\bquota\b"
)
_IMMUTABLE = re.compile(
    r"(?i)immutab|already exists|overwrit|existing tag"
    r"|does not allow updating|operation is disallowed"  # Nexus, and Azure of a locked tag
)
# Storage that is used up; what is counted by time is a rate limit.
_FULL = re.compile(
    r"(?i)\bno space left|\binsufficient[ _-]?storage|\b(disk|storage|quota) ?(is )?full|\bover[ _-]quota"
    r"|\bquota\b.{0,60}\b(exceed|reached)|\bexceed\w*.{0,80}\b(quota|(storage|upper) limit)"
    r"|\bstorage (quota|limit)\b.{0,40}\b(exceed|reached)|\bLimitExceeded|\bLIMIT_EXCEEDED"
)
_OF_STORAGE = re.compile(
    r"(?i)\bstorage|\bdisk|\bspace\b|\bupper limit|\d ?[kmgt]i?b\b|\bbytes\b|\bsize\b|LimitExceeded"
)
# The code of each 429, regardless of the message.
_TOO_MANY_REQUESTS = re.compile(r"(?i)too[ _-]?many[ _-]?requests(?:: |$)")
_NOT_YET = re.compile(
    r"(?i)\b(try|retry|please retry) (again|later)|\bin progress\b|\bis being\b|\bnot yet (ready|available)"
    r"|\btemporar|\bconcurrent|\block(ed)? by another"
)
# Amazon's registry uses this code with status 403.
_EXPIRED = re.compile(
    r"(?i)\b(token|credentials?|session)\b.{0,40}\bexpired\b|\bexpired (\w+ )?(token|credential|session)"
)
# The registry has understood the request and refuses it for good, even if its status suggests otherwise.
_FINAL_CODES = frozenset(
    {"DENIED", "UNSUPPORTED", "MANIFEST_INVALID", "NAME_INVALID", "TAG_INVALID", "SIZE_INVALID"}
)
_REFUSED, _SERVER_ERROR = 400, 500
# Other refusals with these statuses are final.
_PERHAPS_NOT_YET = frozenset({400, 409, 412, 423})
_WITH_SLASH = re.compile(r"\S*/\S*")
_CODE = re.compile(r"[A-Za-z][A-Za-z_]{0,63}")
_OF_A_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Upstream:
    """The first error in a response: the distribution spec's code, and the message."""

    code: str | None = None
    message: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.code, self.message) if part)


def parse_upstream(body: bytes, quoting: Quoting = PLAIN) -> Upstream:
    """Distribution spec, "Error Codes"; anything else counts as plain text."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Upstream(message="" if is_html(None, body) else quoting.words(body.decode(errors="replace")))
    listed = document.get("errors") if isinstance(document, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else document
    if not isinstance(first, dict):
        return Upstream()
    code = first.get("code")
    message = first.get("message") or first.get("details") or first.get("error_description") or ""
    return Upstream(
        code=_code(code, quoting) if isinstance(code, str) else None,
        message=quoting.words(message) if isinstance(message, str) else "",
    )


def _code(text: str, quoting: Quoting) -> str | None:
    """An error code. Where quotation is suppressed, only codes in the usual format are returned."""
    if quoting.suppresses_quotation and not _CODE.fullmatch(text):
        return None
    return quoting.fact(text) or None


def is_rate_limit(status: int, body: bytes, context: RequestContext) -> bool:
    """Whether a response limits the rate: GitHub and some proxies send 403 where they mean 429."""
    if status not in {_FORBIDDEN, _TOO_MANY}:
        return False
    text = first_error_text(body)
    is_one = status == _TOO_MANY or means_rate_limit(text, context.reference)
    return is_one and not means_full(text, context.reference)


def refuses_token(status: int, body: bytes) -> bool:
    """Whether a response rejects the token or password, rather than the request itself."""
    if status == _FORBIDDEN:
        return bool(_EXPIRED.search(_WITH_SLASH.sub(" ", first_error_text(body))))
    return status == _UNAUTHORIZED


def first_error_text(body: bytes) -> str:
    """The first error, or the start of the body."""
    upstream = parse_upstream(body)
    return str(upstream) or body[:4096].decode(errors="replace")


def is_html(content_type: str | None, body: bytes = b"") -> bool:
    """Whether a body is a web page: some servers send pages with another media type."""
    if content_type is not None and "html" in content_type.lower():
        return True
    return body[:64].lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<body"))


def means_rate_limit(text: str, reference: str | None) -> bool:
    """Whether a text speaks of too many requests; it may repeat the requested `reference`."""
    return bool(_RATE_LIMIT.search(_without_names(text, reference)))


def is_final(status: int, body: bytes, context: RequestContext) -> bool:
    """Whether a refusal won't change, although its status is one that often does."""
    if means_full(first_error_text(body), context.reference):
        return True
    return status >= _SERVER_ERROR and parse_upstream(body).code in _FINAL_CODES


def may_pass(status: int, body: bytes, context: RequestContext) -> bool:
    """Whether the same request may have another result later: by what a refusal says, then by its status."""
    if status < _REFUSED or is_final(status, body, context):
        return False
    if is_passing(status):
        return True
    may_be_soon = status in _PERHAPS_NOT_YET and not is_html(None, body)
    return may_be_soon and means_not_yet(first_error_text(body), context.reference)


def means_full(text: str, reference: str | None) -> bool:
    """Whether a message reports exhausted storage.

    The code for too many requests does not mention storage, so the message must.
    """
    coded = _TOO_MANY_REQUESTS.match(text)
    spoken = _without_names(text[coded.end() :] if coded else text, reference)
    if not _FULL.search(spoken) or _RATE_LIMIT.search(spoken):
        return False
    return coded is None or bool(_OF_STORAGE.search(spoken))


def means_not_yet(text: str, reference: str | None) -> bool:
    """Whether a text asks for another attempt."""
    spoken = _without_names(text, reference)
    return bool(_NOT_YET.search(spoken)) and not _IMMUTABLE.search(spoken)


def means_immutable(text: str, reference: str | None) -> bool:
    """Whether a text speaks of a rule against moving a tag."""
    return bool(_IMMUTABLE.search(_without_names(text, reference)))


def _without_names(text: str, reference: str | None) -> str:
    """Drop names: anyone may call a repository `ratelimit`, and refusals repeat the name."""
    names = set(_OF_A_NAME.findall(reference or ""))
    spoken = _WITH_SLASH.sub(" ", text)
    return _OF_A_NAME.sub(lambda word: " " if word[0].strip(".") in names else word[0], spoken)
