"""Credentials for registries, and how a JSON object states one."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app import errors

__all__ = ["ANONYMOUS", "TOKEN_USER", "Credential", "decode_base64", "parse_entry", "text_member"]

Json = Any

# The user name that Docker's credential helpers return with an identity token.
TOKEN_USER = "<token>"  # noqa: S105 - a marker, no secret
_STANDARD = str.maketrans("-_", "+/")
# Bytes that are not UTF-8 are kept as they are: Basic carries bytes, and Docker sends what the file holds.
_BYTES = "surrogateescape"


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
        if ":" in self.username:
            raise ValueError("a user name has no colon")
        if not all("!" <= c <= "~" for c in self.identity_token + self.registry_token):
            raise ValueError("a token consists of visible ASCII characters")
        try:
            self._pair()
        except UnicodeEncodeError:
            raise ValueError("a user name and a password consist of Unicode characters") from None

    @property
    def is_anonymous(self) -> bool:
        return self == ANONYMOUS

    @property
    def basic(self) -> str | None:
        """The value of Authorization for Basic (RFC 7617), when there is a password.

        The base64 form carries all bytes, such as the lines of the key file that is Google's password.
        """
        if not (self.username or self.password):
            return None
        return f"Basic {base64.b64encode(self._pair()).decode()}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret texts: the password, the base64 of user name and password, and the tokens."""
        basic = self.basic
        pair = basic.partition(" ")[2] if basic is not None else ""
        given = self.password, pair if self.password else "", self.identity_token, self.registry_token
        return tuple(secret for secret in given if secret)

    @property
    def shown_name(self) -> str:
        """The user name as text that can be encoded."""
        return self.username.encode(errors=_BYTES).decode(errors="replace")

    def _pair(self) -> bytes:
        return f"{self.username}:{self.password}".encode(errors=_BYTES)


ANONYMOUS = Credential()


def parse_entry(entry: Json, where: str) -> Credential:
    """The credential in an entry of `config.json` or of the header; `where` names it in errors."""
    if not isinstance(entry, dict):
        raise errors.InvalidInput(f"The credential for {where} is not an object.")
    username, password = text_member(entry, "username", where), text_member(entry, "password", where)
    identity_token = text_member(entry, "identitytoken", where)
    registry_token = text_member(entry, "registrytoken", where)
    auth = text_member(entry, "auth", where)
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


def text_member(document: Mapping[str, Json], name: str, where: str) -> str:
    """A member that is a string; an absent one is empty."""
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise errors.InvalidInput(f"{name} for {where} is not a string.")
    return value


def decode_base64(text: str) -> bytes:
    """Decode both alphabets, with or without padding; raise ValueError for anything else.

    Tools write all of these forms. Docker's decoder skips line breaks, which the base64 command inserts into
    long values.
    """
    joined = text.replace("\r", "").replace("\n", "").strip().translate(_STANDARD).rstrip("=")
    return base64.b64decode(joined + "=" * (-len(joined) % 4), validate=True)


def _parse_pair(auth: str, where: str) -> tuple[str, str]:
    try:
        raw = decode_base64(auth)
    except ValueError as error:
        raise errors.InvalidInput(f"The auth for {where} is not the base64 form of name:password.") from error
    username, colon, password = raw.decode(errors=_BYTES).rstrip("\0").partition(":")
    if not colon:
        raise errors.InvalidInput(f"The auth for {where} is not the base64 form of name:password.")
    return username, password
