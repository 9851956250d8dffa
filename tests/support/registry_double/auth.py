"""Who may do what at the double: Basic, or bearer tokens from its own token service."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs

from tests.support.registry_double.wire import Answer, Exchange, error, json_answer

Mode = Literal["basic", "bearer"]
Spelling = Literal["token", "access_token", "both"]
Reading = Literal["all", "first", "last"]
Need = tuple[str, str]

ANONYMOUS = ""
SCOPE = re.compile(r"repository:(?P<repository>[^:]+):(?P<actions>[a-z*,]+)")


def needs(method: str, repository: str, mounts_from: str | None) -> list[Need]:
    """What a request needs, as distribution asks for it: a mount also needs to pull from its source."""
    if method in ("GET", "HEAD"):
        return [(repository, "pull")]
    if method == "DELETE":
        return [(repository, "delete")]
    source = [(mounts_from, "pull")] if mounts_from else []
    return [(repository, "pull"), (repository, "push"), *source]


def scope_texts(wanted: Sequence[Need]) -> list[str]:
    """Needs as scopes, the actions on one repository joined."""
    actions: dict[str, list[str]] = {}
    for repository, action in wanted:
        actions.setdefault(repository, []).append(action)
    return [f"repository:{name}:{','.join(dict.fromkeys(each))}" for name, each in actions.items()]


@dataclass(slots=True)
class Authority:
    """Users, their rights and the tokens handed out.

    `grants` maps user → repository pattern → actions; a user without an entry may do everything. The name of
    the anonymous user is empty.
    """

    mode: Mode
    users: Mapping[str, str] = field(default_factory=dict)
    grants: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    identity_tokens: dict[str, str] = field(default_factory=dict)
    service: str = "double"
    realm: str = ""
    spelling: Spelling = "token"
    expires_in: int | None = None
    oauth_post: bool = True
    scope_reading: Reading = "all"
    tokens: dict[str, frozenset[Need]] = field(default_factory=dict)
    issued: int = 0
    token_prefix: str = "token"
    rename: Callable[[str], str] = str
    """The name behind a front that rewrites paths."""

    def expire_tokens(self) -> None:
        """From now on no token handed out so far is good for anything."""
        self.tokens.clear()

    # --- the registry's side ---

    def refuse(self, exchange: Exchange, needed: Sequence[Need]) -> Answer | None:
        wanted = [(self.rename(repository), action) for repository, action in needed]
        scheme, _, value = exchange.request.headers.get("Authorization", "").partition(" ")
        if self.mode == "basic":
            return self._refuse_basic(scheme, value, wanted)
        access = self.tokens.get(value) if scheme.lower() == "bearer" else None
        if access is None:
            return self.unauthorized(wanted, "invalid_token" if value else "")
        return None if set(wanted) <= access else self.unauthorized(wanted, "insufficient_scope")

    def _refuse_basic(self, scheme: str, value: str, wanted: Sequence[Need]) -> Answer | None:
        user = self._basic_user(scheme, value)
        if user is None:
            return self.unauthorized(wanted)
        if all(self._may(user, *need) for need in wanted) and (user or (wanted and ANONYMOUS in self.grants)):
            return None
        return self.unauthorized(wanted) if not user else error(403, "DENIED", "requested access is denied")

    def unauthorized(self, wanted: Sequence[Need], reason: str = "") -> Answer:
        detail = [{"Type": "repository", "Class": "", "Name": n, "Action": a} for n, a in wanted] or None
        answer = error(401, "UNAUTHORIZED", "authentication required", detail)
        return answer.with_headers(WWW_Authenticate=self.challenge(wanted, reason))

    def challenge(self, wanted: Sequence[Need], reason: str = "") -> str:
        if self.mode == "basic":
            return f'Basic realm="{self.service}"'
        scopes = " ".join(scope_texts(wanted))
        said = [("realm", self.realm), ("service", self.service), ("scope", scopes), ("error", reason)]
        return "Bearer " + ",".join(f'{name}="{value}"' for name, value in said if value)

    def _basic_user(self, scheme: str, value: str) -> str | None:
        """The user's name, the empty one without credentials, None for wrong ones."""
        if not value:
            return ANONYMOUS
        try:
            name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        right = self.users.get(name)
        return name if scheme.lower() == "basic" and right is not None and right == password else None

    def _may(self, user: str, repository: str, action: str) -> bool:
        if user not in self.grants:
            return user != ANONYMOUS
        patterns = self.grants[user].items()
        return any(action in actions and re.fullmatch(pattern, repository) for pattern, actions in patterns)

    # --- the token service's side (distribution, token and oauth documents) ---

    async def token(self, exchange: Exchange) -> Answer:
        if exchange.request.method == "GET":
            return self._token_by_get(exchange)
        if exchange.request.method == "POST" and self.oauth_post:
            return self._token_by_post(await exchange.body())
        return Answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")

    def _token_by_get(self, exchange: Exchange) -> Answer:
        scheme, _, value = exchange.request.headers.get("Authorization", "").partition(" ")
        user = self._basic_user(scheme, value)
        if user is None:
            return json_answer(401, {"details": "incorrect username or password"})
        query = exchange.request.query
        identity = self._identity_of(user) if user and query.get("offline_token") == "true" else None
        return self._hand_out(user, query.getall("scope", []), identity)

    def _token_by_post(self, body: bytes) -> Answer:
        form = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        if form.get("grant_type") == "refresh_token":
            user = self.identity_tokens.get(form.get("refresh_token", ""))
        else:
            name = form.get("username", "")
            user = name if name and self.users.get(name) == form.get("password") else None
        if user is None:
            return json_answer(401, {"error": "invalid_grant", "details": "the grant is not valid"})
        wants_identity = form.get("access_type") == "offline" or "refresh_token" in form
        return self._hand_out(
            user, form.get("scope", "").split(), self._identity_of(user) if wants_identity else None
        )

    def _identity_of(self, user: str) -> str:
        for token, owner in self.identity_tokens.items():
            if owner == user:
                return token
        token = secrets.token_urlsafe(24)
        self.identity_tokens[token] = user
        return token

    def _hand_out(self, user: str, scopes: Sequence[str], identity: str | None) -> Answer:
        """As Docker's own service does: what was asked for, less what the user may not do, and no error."""
        self.issued += 1
        token = f"{self.token_prefix}-{self.issued}-{secrets.token_urlsafe(16)}"
        asked = self._read([scope for text in scopes for scope in text.split()])
        self.tokens[token] = frozenset(need for need in asked if self._may(user, *need))
        document: dict[str, str | int] = {}
        if self.spelling in ("token", "both"):
            document["token"] = token
        if self.spelling in ("access_token", "both"):
            document["access_token"] = token
        if self.expires_in is not None:
            document["expires_in"] = self.expires_in
        if identity is not None:
            document["refresh_token"] = identity
        return json_answer(200, document)

    def _read(self, scopes: list[str]) -> list[Need]:
        """Some services honour only the first or the last scope they are asked for."""
        if self.scope_reading != "all":
            scopes = scopes[:1] if self.scope_reading == "first" else scopes[-1:]
        forms = [form for form in map(SCOPE.fullmatch, scopes) if form]
        return [(form["repository"], action) for form in forms for action in form["actions"].split(",")]
