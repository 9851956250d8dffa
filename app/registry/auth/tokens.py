"""Answer challenges with Basic, a registry token, or a bearer token that is cached until it ages."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from app import errors
from app.concurrency.singleflight import SingleFlight
from app.oci import strict_json
from app.oci.reference import Repository
from app.outbound.client import Answer, OutboundClient, Request
from app.outbound.failures import RequestContext
from app.outbound.quoting import Quoting
from app.outbound.url import with_query
from app.registry.auth.access import Access, account_of
from app.registry.auth.challenge import Challenge
from app.registry.auth.credentials import ANONYMOUS, TOKEN_USER, Credential
from app.registry.auth.places import namespace_of
from app.registry.auth.realm import Realm, plan_realm
from app.registry.auth.scope import Scopes, in_order
from app.registry.endpoints import Endpoint
from app.registry.errors import refusal
from app.registry.limits import Limits
from app.registry.policy import RegistryPolicy

__all__ = ["Authorizer"]

Json = Any

_CLIENT = "manifest-broker"
_USED_LIFE = 0.8
# Docker's token specification: "expires_in ... if omitted, this defaults to 60 seconds".
_DEFAULT_LIFE = 60.0
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_POST_UNKNOWN = frozenset({400, 401, 404, 405})
# RFC 3986, section 3.4 allows these in a query; token services have always received `repository:a/b:pull`.
_PLAIN_IN_QUERY = "!$'()*,/:?@"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The token that a challenge asks for."""

    endpoint: Endpoint
    tenant: str
    path: str
    scopes: Scopes
    challenge: Challenge
    quoting: Quoting


@dataclass(frozen=True, slots=True)
class _Key:
    """The cache key of a token. Every member is needed to keep two callers' tokens apart (threat T25)."""

    tenant: str
    registry: str
    credential: Credential
    realm: str
    service: str
    path: str
    scopes: Scopes


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    until: float


class Authorizer:
    """Builds the Authorization of requests, and caches tokens for 80 % of their life by its own clock."""

    def __init__(
        self, outbound: OutboundClient, policy: RegistryPolicy, limits: Limits, now: Callable[[], float]
    ) -> None:
        self._outbound = outbound
        self._policy = policy
        self._limits = limits
        self._now = now
        self._tokens: dict[_Key, _Token] = {}
        self._flights: SingleFlight[_Key, _Token] = SingleFlight()

    async def authorize(
        self,
        endpoint: Endpoint,
        access: Access,
        repository: Repository,
        scopes: Scopes,
        *,
        challenge: Challenge | None,
        refused: Collection[str] = (),
    ) -> str | None:
        """The value of Authorization; `refused` are those that the registry no longer accepts.

        A refused registry token leaves the rights of everybody: it can't be exchanged for another.
        """
        credential = await access.credential_at(repository)
        if credential.registry_token:
            if (given := f"Bearer {credential.registry_token}") not in refused:
                return given
            credential = ANONYMOUS
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            if credential.basic in refused:
                credential = await access.credential_at(repository, refused=credential)
            return _password_for(endpoint, credential)
        quoting = access.quoting_at(repository)
        wanted = _Wanted(endpoint, access.tenant, repository.path, scopes, challenge, quoting)
        try:
            return await self._bearer(wanted, credential, refused)
        except errors.RegistryDenied:
            other = await access.credential_at(repository, refused=credential)
            if other == credential or other.registry_token:
                raise
            return await self._bearer(wanted, other, refused)

    def drop(self, header: str, tenant: str) -> None:
        """Forget a token that a registry refused."""
        for key in [key for key, token in self._tokens.items() if token.header == header]:
            if key.tenant == tenant:
                del self._tokens[key]

    async def _bearer(self, wanted: _Wanted, credential: Credential, refused: Collection[str]) -> str:
        endpoint, parameters = wanted.endpoint, wanted.challenge.parameters
        realm = plan_realm(
            parameters["realm"],
            context=RequestContext(endpoint.registry, quoting=wanted.quoting),
            base=endpoint.base,
            base_verify=endpoint.verify,
            policy=self._policy,
            has_secret=not credential.is_anonymous,
            pinned="" if endpoint.challenge is None else endpoint.challenge.parameters.get("realm", ""),
        )
        service = parameters.get("service", "")
        if not credential.is_anonymous and realm.url.origin != endpoint.base.origin:
            _check_service(endpoint, service)
        key = _Key(
            wanted.tenant, endpoint.registry, credential, str(realm.url), service, wanted.path, wanted.scopes
        )
        token = self._tokens.get(key)
        if token is None or token.header in refused or self._now() >= token.until:
            context = RequestContext(endpoint.registry, quoting=wanted.quoting)
            token = await self._flights.run(key, lambda: self._renew(key, realm, context))
        return token.header

    async def _renew(self, key: _Key, realm: Realm, context: RequestContext) -> _Token:
        attempt = 1
        while True:
            asked = self._now()
            answer = await self._ask(key, realm, context)
            if answer.status != 200:  # noqa: PLR2004
                raise _token_refusal(answer, context)
            found = _parse_token(answer.body)
            if found is not None:
                break
            if answer.is_framed or attempt >= self._limits.attempts:
                raise _no_token(context)
            attempt += 1
        text, life = found
        token = _Token(f"Bearer {text}", asked + life * _USED_LIFE)
        self._forget_old()
        self._tokens[key] = token
        return token

    async def _ask(self, key: _Key, realm: Realm, context: RequestContext) -> Answer:
        """Send GET with Basic, or the OAuth2 POST for an identity token (Docker's token specifications).

        A service without POST (GCR answers 404, Artifactory 401, ACR 400) gets the identity token as
        a password.
        """
        try:
            if not key.credential.identity_token:
                return await self._outbound.call(self._get_request(key, realm, context, key.credential))
            answer = await self._outbound.call(self._post_request(key, realm, context))
            if answer.status not in _POST_UNKNOWN:
                return answer
            as_password = Credential(TOKEN_USER, key.credential.identity_token)
            second = await self._outbound.call(self._get_request(key, realm, context, as_password))
        except errors.SourceUnusable as error:
            raise _no_token(context) from error
        return second if second.is_success else answer

    def _post_request(self, key: _Key, realm: Realm, context: RequestContext) -> Request:
        form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", key.credential.identity_token),
            ("client_id", _CLIENT),
            ("scope", " ".join(in_order(key.scopes))),
            *_service(key),
        ]
        return Request(
            method="POST",
            url=realm.url,
            context=context,
            account=account_of(key.tenant, key.credential),
            area=namespace_of(key.path),
            verify=realm.verify,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            content=urlencode(form).encode(),
            limit=self._limits.token_bytes,
        )

    def _get_request(
        self, key: _Key, realm: Realm, context: RequestContext, credential: Credential
    ) -> Request:
        account = [("account", key.credential.shown_name)] if key.credential.username else []
        query = [*_service(key), *(("scope", scope) for scope in in_order(key.scopes)), *account]
        return Request(
            method="GET",
            url=with_query(realm.url, query, safe=_PLAIN_IN_QUERY) if query else realm.url,
            context=context,
            account=account_of(key.tenant, key.credential),
            area=namespace_of(key.path),
            verify=realm.verify,
            authorization=credential.basic,
            limit=self._limits.token_bytes,
        )

    def _forget_old(self) -> None:
        now = self._now()
        if len(self._tokens) >= self._limits.kept_tokens:
            self._tokens = {key: token for key, token in self._tokens.items() if token.until > now}
        if len(self._tokens) >= self._limits.kept_tokens:
            self._tokens.clear()


def _password_for(endpoint: Endpoint, credential: Credential) -> str | None:
    if credential.basic is not None and not endpoint.takes_passwords:
        raise errors.UntrustedOrigin(
            f"{endpoint.registry} asks for a password in one repository, although its /v2/ asks for tokens "
            "alone. The password was not sent.",
            registry=endpoint.registry,
        )
    return credential.basic


def _check_service(endpoint: Endpoint, service: str) -> None:
    """Refuse a service that differs from the service of the registry's `/v2/`.

    A token service shared by several registries would otherwise issue a token for another registry, and this
    registry would receive it.
    """
    pinned = endpoint.challenge
    if pinned is not None and pinned.scheme == "bearer" and pinned.parameters.get("service", "") != service:
        raise errors.UntrustedOrigin(
            f"{endpoint.registry} asks for a token of another service in one repository than in its /v2/.",
            registry=endpoint.registry,
        )


def _service(key: _Key) -> list[tuple[str, str]]:
    return [("service", key.service)] if key.service else []


def _token_refusal(answer: Answer, context: RequestContext) -> errors.BrokerError:
    error = refusal(answer.status, answer.headers, answer.body, context, doing="the request for a token")
    if isinstance(error, errors.SourceNotFound | errors.RegistryRejected):
        return error.recast(errors.RegistryDenied)
    return error


def _parse_token(body: bytes) -> tuple[str, float] | None:
    """The token and its life in seconds; services name it `token`, `access_token` or both."""
    try:
        document: Json = strict_json.loads(body, what="the token service's answer")
    except errors.SourceInvalid:
        document = None
    if not isinstance(document, dict):
        return None
    text = document.get("token") or document.get("access_token")
    if not isinstance(text, str) or not _TOKEN68.fullmatch(text):
        return None
    life: Json = document.get("expires_in")
    # bool is an int in Python. A life of zero or less is invalid too.
    return text, float(life) if type(life) in {int, float} and life > 0 else _DEFAULT_LIFE


def _no_token(context: RequestContext) -> errors.NotARegistry:
    return errors.NotARegistry(
        f"The token service of {context.registry} answered with something other than a token.",
        **context.members,
    )
