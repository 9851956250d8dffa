"""Absolute addresses, read by a strict grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

__all__ = [
    "MASK",
    "Url",
    "origin_of",
    "parse_url",
    "split_host",
    "with_query",
]

_DEFAULT_PORTS = {"https": 443, "http": 80}
_LONGEST = 8192
MASK = "***"
_HIGHEST_PORT = 65535

# A grammar instead of a URL parser: no userinfo, backslash, space or control character, nothing beyond ASCII.
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!$-;=@-\[\]_a-z{|}~]*)?"
    r"(?:\?(?P<query>[!$-;=?@-\[\]_a-z{|}~]*))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https address whose path and query are kept byte for byte."""

    scheme: str
    host: str
    port: int
    path: str = "/"
    query: str | None = None

    @property
    def authority(self) -> str:
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return self.host
        return f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def printable(self) -> str:
        """Without the query, which may hold signatures: for logs and messages."""
        return f"{self.origin}{self.path}"

    @property
    def masked(self) -> str:
        """The URL with its parameter names, but without their values, any of which may be a secret."""
        if not self.query:
            return self.printable
        pairs = (part.rpartition("=")[0] for part in self.query.split("&"))
        return f"{self.printable}?{'&'.join(f'{name}={MASK}' if name else MASK for name in pairs)}"

    @property
    def target(self) -> str:
        """Path and query, as a request line has them."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    def at(self, path: str, query: str | None = None) -> Url:
        return replace(self, path=path, query=query)


def parse_url(text: str) -> Url | None:
    """The address that a text is, or None where the strict grammar doesn't have it."""
    found = _URL.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    scheme = found["scheme"].lower()
    port = int(found["port"] or _DEFAULT_PORTS[scheme])
    if not 0 < port <= _HIGHEST_PORT:
        return None
    return Url(scheme, found["host"].lower(), port, found["path"] or "/", found["query"])


def split_host(host: str) -> tuple[str, int | None]:
    """`host[:port]` in its two parts; the brackets of an IPv6 address stay."""
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and not (":" in name and not name.endswith("]")):
        return name, int(port)
    return host, None


def origin_of(text: str) -> str:
    """Scheme, host and port of an address; raises ValueError when it isn't one."""
    url = parse_url(text)
    if url is None:
        raise ValueError(f"{text!r} is not an http or https address")
    return url.origin


def with_query(url: Url, parameters: list[tuple[str, str]], *, safe: str = "") -> Url:
    """The address with parameters after its own query, which stays as it is; `safe` characters stay plain."""
    added = urlencode(parameters, quote_via=quote, safe=safe)
    return replace(url, query=f"{url.query}&{added}" if url.query else added)
