"""Addresses in a registry's answers (uploads, next pages, redirects), and where they may lead."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from app import errors
from app.outbound.failures import RequestContext
from app.outbound.url import Url, parse_url
from app.registry.policy import RegistryPolicy

__all__ = ["next_page", "redirect_target", "upload_location"]

_USUAL_PORTS = frozenset({80, 443})
_LONGEST = 8192
# The part of RFC 8288 that paging needs.
_LINK = re.compile(r"<([^<>]*)>([^,<]*)")
_NEXT = re.compile(r";\s*rel\s*=\s*\"?next\"?\s*(?:;|$)", re.IGNORECASE)
_PAGE = re.compile(r"(?:[A-Za-z0-9:_-]|%3A)+", re.IGNORECASE)
_LOCATION = re.compile(r"[!#-;=?@-\[\]_a-z{|}~A-Z]+")


def upload_location(requested: Url, location: str, *, context: RequestContext, policy: RegistryPolicy) -> Url:
    """The upload address. It keeps the request's origin and scheme, or is on a host that the policy allows.

    Distribution spec, "Pushing blobs": the location may be relative and its query is critical. A proxy that
    terminates TLS may have changed its scheme.
    """
    resolved = _join(requested, location, context=context)
    if resolved.host == requested.host and not _is_another_port(resolved, requested):
        return requested.at(resolved.path, resolved.query)
    shown = _shown(resolved.origin, context)
    if requested.scheme == "https" and resolved.scheme == "http":
        raise errors.UntrustedOrigin(
            f"{context.registry} asks for uploads at {shown}, without TLS.", registry=context.registry
        )
    if not policy.may_upload(context.registry, resolved.authority):
        raise errors.UntrustedOrigin(
            f"{context.registry} asks for uploads at {shown}, which is not the registry itself. If that is "
            f"right, the operator must list {_shown(resolved.authority, context)} as an upload host of "
            f"{context.registry}{policy.setting('upload_hosts')}.",
            registry=context.registry,
        )
    return resolved


def next_page(requested: Url, links: list[str], *, below: str, context: RequestContext) -> Url | None:
    """The next page: on the same origin and below a path, since the credential goes there too."""
    found = (match for link in links for match in _LINK.finditer(link) if _NEXT.search(match[2]))
    link = next(found, None)
    if link is None:
        return None
    resolved = _join(requested, link[1], context=context)
    is_elsewhere = resolved.host != requested.host or _is_another_port(resolved, requested)
    if is_elsewhere or not _is_below(resolved.path, below):
        raise errors.UntrustedOrigin(
            f"{context.registry} links to {_shown(resolved.printable, context)} as the next page, which is "
            "not the same list.",
            registry=context.registry,
        )
    return requested.at(resolved.path, resolved.query)


def redirect_target(requested: Url, location: str, *, context: RequestContext) -> Url:
    """The target of a redirect; never from https to http."""
    resolved = _join(requested, location, context=context)
    if requested.scheme == "https" and resolved.scheme == "http":
        raise errors.UntrustedOrigin(
            f"{context.registry} redirects to {_shown(resolved.origin, context)}, away from TLS.",
            registry=context.registry,
        )
    return resolved


def _join(requested: Url, location: str, *, context: RequestContext) -> Url:
    joined = None
    if len(location) <= _LONGEST and _LOCATION.fullmatch(location):
        # Some registries send `host/path`, which would otherwise be a path below the requested one.
        names_host = location.lower().startswith(f"{requested.authority}/")
        absolute = f"{requested.scheme}://{location}" if names_host else location
        joined = parse_url(urljoin(str(requested), absolute).partition("#")[0])
    if joined is None:
        raise errors.UntrustedOrigin(
            f"{context.registry} sends the broker to an address that is not valid.", registry=context.registry
        )
    return joined


def _shown(address: str, context: RequestContext) -> str:
    return context.quoting.fact(address) or "another address"


def _is_below(path: str, below: str) -> bool:
    """Whether a path is exactly one segment below another."""
    return path.startswith(below) and _PAGE.fullmatch(path.removeprefix(below)) is not None


def _is_another_port(resolved: Url, requested: Url) -> bool:
    # A registry behind a proxy that ends TLS often names itself by http:// without a port.
    return resolved.port != requested.port and not {resolved.port, requested.port} <= _USUAL_PORTS
