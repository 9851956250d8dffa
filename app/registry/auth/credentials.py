"""Credentials for registries, from a Docker config.json, a request header or a credential helper."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app import errors
from app.oci.reference import canonical_registry
from app.registry.auth.helpers import HelperCache
from app.registry.limits import Limits

__all__ = ["ANONYMOUS", "TOKEN_USER", "Credential", "Keychain", "parse_registry_auth"]

Json = Any

_LONGEST_HEADER = 64 * 1024
# The user name that Docker's credential helpers return with an identity token.
TOKEN_USER = "<token>"  # noqa: S105 - a marker, no secret
_API_PATHS = frozenset({"", "/", "/v1", "/v1/", "/v2", "/v2/"})
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Credential:
    """A name and password, an identity token, a registry token, or nothing (anonymous)."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        ways = [bool(self.username or self.password), bool(self.identity_token), bool(self.registry_token)]
        if sum(ways) > 1:
            raise ValueError("give only one of a password, an identity token and a registry token")
        if ":" in self.username or any(ord(c) < ord(" ") for c in self.username + self.password):
            raise ValueError(
                "a user name has no colon, and neither it nor the password has control characters"
            )
        if not all("!" <= c <= "~" for c in self.identity_token + self.registry_token):
            raise ValueError("a token consists of visible ASCII characters")

    @property
    def is_anonymous(self) -> bool:
        return self == ANONYMOUS

    @property
    def basic(self) -> str | None:
        """The value of Authorization for Basic (RFC 7617), when there is a password."""
        if not (self.username or self.password):
            return None
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


ANONYMOUS = Credential()


class Keychain:
    """Credentials by exact host; a host without one gets anonymous requests."""

    def __init__(
        self,
        credentials: Mapping[str, Credential] | None = None,
        *,
        helpers: Mapping[str, str] | None = None,
        default_helper: str | None = None,
        cache: HelperCache | None = None,
    ) -> None:
        self._credentials = {canonical_registry(host): one for host, one in (credentials or {}).items()}
        self._helpers = {canonical_registry(host): name for host, name in (helpers or {}).items()}
        self._default_helper = default_helper
        self._cache = cache or HelperCache(Limits())

    def __repr__(self) -> str:
        return f"Keychain({', '.join(sorted(self._credentials))})"

    @classmethod
    def from_docker_config(
        cls, document: Mapping[str, Json], *, cache: HelperCache | None = None
    ) -> Keychain:
        """Read a Docker `config.json`; raise InvalidInput if it is not valid."""
        credentials = {}
        for key, entry in _object(document, "auths").items():
            host = _parse_host(key)
            credential = _parse_entry(entry, key)
            if host is not None and not credential.is_anonymous:
                credentials[host] = credential
        helpers = {
            host: _parse_helper(name)
            for key, name in _object(document, "credHelpers").items()
            if (host := _parse_host(key)) is not None
        }
        store = document.get("credsStore")
        return cls(
            credentials,
            helpers=helpers,
            default_helper=_parse_helper(store) if store else None,
            cache=cache,
        )

    def with_credential(self, registry: str, credential: Credential) -> Keychain:
        """A copy with one more credential, which replaces any other for its registry."""
        return Keychain(
            {**self._credentials, canonical_registry(registry): credential},
            helpers={h: n for h, n in self._helpers.items() if h != canonical_registry(registry)},
            default_helper=self._default_helper,
            cache=self._cache,
        )

    async def find(self, registry: str, *, refused: Credential | None = None) -> Credential:
        """The credential for a registry's host, ANONYMOUS if none is known.

        `refused` is a credential that the registry no longer accepts: a helper may have a new one.
        """
        host = canonical_registry(registry)
        helper = self._helpers.get(host)
        if helper is None and host in self._credentials:
            return self._credentials[host]
        helper = helper or self._default_helper
        if helper is None:
            return ANONYMOUS
        pair = None if refused is None else _pair_of(refused)
        answer = await self._cache.ask(helper, _helper_key(host), refused=pair)
        return ANONYMOUS if answer is None else _of_pair(*answer)


def parse_registry_auth(header: str) -> tuple[str | None, Credential]:
    """Parse the registry and the credential of an `X-Registry-Auth` header (Docker Engine API)."""
    if len(header) > _LONGEST_HEADER:
        raise _bad_header("It is too long.")
    text = header.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        document = json.loads(raw)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _bad_header("It is not the base64 form of a JSON object.") from error
    if not isinstance(document, dict):
        raise _bad_header("It is not the base64 form of a JSON object.")
    try:
        credential = _parse_entry(document, "X-Registry-Auth")
    except errors.InvalidInput as error:
        raise _bad_header(error.detail) from error
    address = _text(document, "serveraddress", "X-Registry-Auth")
    host = _parse_host(address) if address else None
    if address and host is None:
        raise _bad_header("Its serveraddress is not the host of a registry.")
    return host, credential


def _bad_header(reason: str) -> errors.InvalidHeader:
    return errors.InvalidHeader(
        f"X-Registry-Auth can't be read. {reason}",
        errors=(errors.FieldError("header:X-Registry-Auth", reason),),
    )


def _parse_entry(entry: Json, where: str) -> Credential:
    if not isinstance(entry, dict):
        raise errors.InvalidInput(f"The credential for {where} is not an object.")
    username, password = _text(entry, "username", where), _text(entry, "password", where)
    identity_token = _text(entry, "identitytoken", where)
    registry_token = _text(entry, "registrytoken", where)
    auth = _text(entry, "auth", where)
    if auth and not (username or password):
        username, password = _parse_pair(auth, where)
    # Docker stores the user name next to a token, and prefers the token.
    try:
        if registry_token:
            return Credential(registry_token=registry_token)
        if identity_token:
            return Credential(identity_token=identity_token)
        return Credential(username, password)
    except ValueError as error:
        raise errors.InvalidInput(f"The credential for {where} is not valid: {error}.") from error


def _parse_pair(auth: str, where: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(auth, validate=True).decode().rstrip("\0")
    except ValueError as error:
        raise errors.InvalidInput(f"The auth for {where} is not the base64 form of name:password.") from error
    username, colon, password = pair.partition(":")
    if not colon:
        raise errors.InvalidInput(f"The auth for {where} is not the base64 form of name:password.")
    return username, password


def _of_pair(username: str, secret: str) -> Credential:
    if username == TOKEN_USER:
        return Credential(identity_token=secret)
    return Credential(username, secret)


def _pair_of(credential: Credential) -> tuple[str, str]:
    if credential.identity_token:
        return TOKEN_USER, credential.identity_token
    return credential.username, credential.password


def _object(document: Mapping[str, Json], name: str) -> dict[str, Json]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.InvalidInput(f"{name} of the Docker configuration is not an object.")
    return value


def _text(document: Mapping[str, Json], name: str, where: str) -> str:
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise errors.InvalidInput(f"{name} for {where} is not a string.")
    return value


def _parse_host(key: str) -> str | None:
    """The host of a key; None for a key with a path, which Docker does not use."""
    bare = re.sub(r"^https?://", "", key.strip(), flags=re.IGNORECASE)
    host, slash, path = bare.partition("/")
    if not host or slash + path not in _API_PATHS or any(c in host for c in "@?#\\ "):
        return None
    return canonical_registry(host)


def _parse_helper(name: Json) -> str:
    if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
        raise errors.InvalidInput("A credential helper of the Docker configuration has no valid name.")
    return name


def _helper_key(host: str) -> str:
    return "https://index.docker.io/v1/" if host == "docker.io" else host
