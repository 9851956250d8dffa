"""Absolute addresses, and a strict reading of the ones that other servers send."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode, urljoin

from app import errors

__all__ = [
    "Url",
    "next_page",
    "origin_of",
    "parse_url",
    "redirect_target",
    "split_host",
    "upload_location",
    "with_query",
]

_DEFAULT_PORTS = {"https": 443, "http": 80}
_LONGEST = 8192
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
# RFC 8288, as far as paging needs it.
_LINK = re.compile(r"<([^<>]*)>([^,<]*)")
_NEXT = re.compile(r";\s*rel\s*=\s*\"?next\"?\s*(?:;|$)", re.IGNORECASE)
_PAGE = re.compile(r"(?:[A-Za-z0-9:_-]|%3A)+", re.IGNORECASE)
_LOCATION = re.compile(r"[!#-;=?@-\[\]_a-z{|}~A-Z]+")


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

    def __str__(self) -> str:
        query = "" if self.query is None else f"?{self.query}"
        return f"{self.printable}{query}"

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


def with_query(url: Url, parameters: list[tuple[str, str]]) -> Url:
    """The address with parameters behind the query that it has, which is left as it is."""
    added = urlencode(parameters, quote_via=quote, safe="")
    return replace(url, query=f"{url.query}&{added}" if url.query else added)


def upload_location(requested: Url, location: str, *, registry: str) -> Url:
    """Where a registry wants an upload: on its own origin, whatever scheme a proxy before it made of that.

    Distribution spec, "Pushing blobs": the location may be relative and its query is critical.
    """
    resolved = _join(requested, location, registry=registry)
    if resolved.host != requested.host or _is_another_port(resolved, requested):
        raise errors.UntrustedOrigin(
            f"{registry} wants uploads sent to {resolved.origin}, which is not the registry itself",
            registry=registry,
        )
    return requested.at(resolved.path, resolved.query)


def next_page(requested: Url, links: list[str], *, below: str, registry: str) -> Url | None:
    """Where the next page is: at the same origin and below a path, since the credential goes there too."""
    found = (match for link in links for match in _LINK.finditer(link) if _NEXT.search(match[2]))
    link = next(found, None)
    if link is None:
        return None
    resolved = _join(requested, link[1], registry=registry)
    is_elsewhere = resolved.host != requested.host or _is_another_port(resolved, requested)
    if is_elsewhere or not _is_below(resolved.path, below):
        raise errors.UntrustedOrigin(
            f"{registry} has its next page at {resolved.printable}, which is not the same list",
            registry=registry,
        )
    return requested.at(resolved.path, resolved.query)


def redirect_target(requested: Url, location: str, *, registry: str) -> Url:
    """Where a redirect leads; never from https to http."""
    resolved = _join(requested, location, registry=registry)
    if requested.scheme == "https" and resolved.scheme == "http":
        raise errors.UntrustedOrigin(
            f"{registry} redirects to {resolved.origin}, which gives up TLS", registry=registry
        )
    return resolved


def _join(requested: Url, location: str, *, registry: str) -> Url:
    joined = None
    if len(location) <= _LONGEST and _LOCATION.fullmatch(location):
        # Some say `host/path`, which would be a path below the one that was asked for.
        names_host = location.lower().startswith(f"{requested.authority}/")
        absolute = f"{requested.scheme}://{location}" if names_host else location
        joined = parse_url(urljoin(str(requested), absolute).partition("#")[0])
    if joined is None:
        raise errors.UntrustedOrigin(f"{registry} sends to an address that is not valid", registry=registry)
    return joined


def _is_below(path: str, below: str) -> bool:
    """One segment further, and no way out of it."""
    return path.startswith(below) and _PAGE.fullmatch(path.removeprefix(below)) is not None


def _is_another_port(resolved: Url, requested: Url) -> bool:
    # A registry behind a proxy that ends TLS often names itself by http:// and no port.
    defaults = set(_DEFAULT_PORTS.values())
    return resolved.port != requested.port and not {resolved.port, requested.port} <= defaults
