"""The place of a credential: a registry (`host`), or its repositories below a path (`host/team`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.oci.reference import canonical_registry
from app.outbound.url import parse_url

__all__ = ["is_repository_path", "namespace_of", "parse_config_key", "parse_place", "places_of"]

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_API_PATHS = frozenset({"", "v1", "v2"})
_COMPONENT = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")


def parse_place(text: str) -> str | None:
    """The one spelling of a place; None if the text names none. The API's own paths stand for the host."""
    host, _, path = _SCHEME.sub("", text.strip(), count=1).partition("/")
    path = path.removesuffix("/")
    if parse_url(f"https://{host}") is None:
        return None
    if path in _API_PATHS:
        return canonical_registry(host)
    return f"{canonical_registry(host)}/{path}" if _PATH.fullmatch(path) else None


def parse_config_key(key: str) -> str | None:
    """The place of a key in `config.json`.

    Docker and podman read a URL as its whole host and ignore its path. Podman and crane read a key without a
    scheme as a host with a path. Docker takes such a key for the whole host, which is not followed: a
    credential for a part of a registry is not a credential for the whole registry.
    """
    text = key.strip()
    scheme = _SCHEME.match(text)
    return parse_place(text[scheme.end() :].partition("/")[0] if scheme else text)


def places_of(registry: str, path: str) -> Iterator[str]:
    """The places that cover a repository, the longest first; the registry itself is the last.

    Only whole components match, so `team/app` does not cover `team/app2`.
    """
    host = canonical_registry(registry)
    while path:
        yield f"{host}/{path}"
        path = path.rpartition("/")[0]
    yield host


def is_repository_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None


def namespace_of(path: str) -> str:
    """The first component of a path: an owner, a project, or a proxy for another registry."""
    return path.partition("/")[0]
