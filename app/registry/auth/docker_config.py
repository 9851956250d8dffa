"""Reads a Docker `config.json`; an entry that can't be used disables its own registry only."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from app import errors
from app.registry.auth.credentials import ANONYMOUS, Credential, parse_entry
from app.registry.auth.places import parse_config_key

__all__ = ["DockerConfig", "parse_docker_config"]

Json = Any
T = TypeVar("T")

_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """Credentials by place, helpers by host, and why other entries can't be used."""

    credentials: Mapping[str, Credential]
    helpers: Mapping[str, str]
    default_helper: str | None
    unusable: Mapping[str, str]


def parse_docker_config(document: Mapping[str, Json]) -> DockerConfig:
    """Raise InvalidInput if the document as a whole can't be read; warn of each entry that can't be used."""
    unusable: dict[str, str] = {}
    helpers = _entries(document, "credHelpers", lambda name, _: _parse_helper(name), unusable)
    # A helper comes before an entry under the same host, which is often empty beside it.
    unread: dict[str, str] = {}
    credentials = _entries(document, "auths", _parse_login, unread)
    unusable.update((place, reason) for place, reason in unread.items() if place not in helpers)
    store = document.get("credsStore")
    return DockerConfig(
        credentials,
        {place: name for place, name in helpers.items() if "/" not in place},
        _parse_helper(store) if store else None,
        unusable,
    )


def _entries(
    document: Mapping[str, Json], name: str, read: Callable[[Json, str], T], unusable: dict[str, str]
) -> dict[str, T]:
    """The entries by place. A key that is spelt as the place itself comes before a URL of it."""
    found: dict[str, T] = {}
    members = _object(document, name)
    for key in sorted(members, key=lambda key: "://" not in key):
        place = parse_config_key(key)
        if place is None:
            # A key may hold a password before the host.
            logger.warning(
                "%s of the Docker configuration has a key that names no registry: %r",
                name,
                key.rpartition("@")[2],
            )
            continue
        try:
            entry = read(members[key], place)
        except errors.InvalidInput as error:
            logger.warning("%s can't be used, and requests there are refused: %s", place, error.detail)
            found.pop(place, None)
            unusable[place] = error.detail
            continue
        if entry != ANONYMOUS:
            found[place] = entry
            unusable.pop(place, None)
    return found


def _object(document: Mapping[str, Json], name: str) -> dict[str, Json]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.InvalidInput(f"{name} of the Docker configuration is not an object.")
    return value


def _parse_login(entry: Json, where: str) -> Credential:
    return ANONYMOUS if entry is None else parse_entry(entry, where)


def _parse_helper(name: Json) -> str:
    if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
        raise errors.InvalidInput("A credential helper of the Docker configuration has no valid name.")
    return name
