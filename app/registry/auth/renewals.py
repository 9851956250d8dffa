"""Authorizes one request, and meets its 401s with other tokens, other scopes, and at last with no token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from app import errors
from app.oci.reference import Repository
from app.outbound.client import Answer, Request
from app.outbound.retry import is_passing
from app.registry.auth.access import Access
from app.registry.auth.challenge import Challenge
from app.registry.auth.credentials import ANONYMOUS
from app.registry.auth.scope import Scopes, path_of, rewritten
from app.registry.auth.token_requests import LearnedTokenRequests, TokenRequest
from app.registry.auth.tokens import Authorizer
from app.registry.endpoints import Endpoint, Endpoints, challenge_of
from app.registry.learned import LearnedKey

__all__ = ["AuthorizedRequest", "Renewals", "Signer"]

R = TypeVar("R", bound=Request)

_UNAUTHORIZED = 401
_REFUSALS = range(400, 500)
_MOST_STEPS = 8
_MOST_TOKENS_OF_ONE_REQUEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizedRequest(Request):
    """A request to a registry; `refusal` says why it has no token although its registry wants one."""

    refusal: errors.BrokerError | None = None


@dataclass(frozen=True, slots=True)
class Signer:
    """Gets the tokens for one caller's requests to a repository that need certain scopes."""

    authorizer: Authorizer
    learned: LearnedTokenRequests
    endpoints: Endpoints
    endpoint: Endpoint
    access: Access
    repository: Repository
    scopes: Scopes
    key: LearnedKey

    def known_request(self) -> TokenRequest | None:
        return self.learned.find(self.key, self.endpoint.challenge, self.scopes)

    async def authorize(self) -> tuple[str | None, errors.BrokerError | None]:
        """The first Authorization of a request, and why it is missing.

        What is remembered of the registry may be out of date. So if no token is issued, the request goes
        out without one, and the registry says what it wants now.
        """
        try:
            return await self.sign(self.known_request(), frozenset()), None
        except errors.RateLimited:
            raise
        except errors.RegistryError as error:
            return None, error

    async def sign(self, wanted: TokenRequest | None, refused: frozenset[str]) -> str | None:
        """The Authorization for a token request.

        The challenge for one repository does not decide the destination of credentials. If it names an
        untrusted realm, the signer discovers the registry's `/v2/` again, since the registry may have
        changed.
        """
        try:
            authorization = await self._authorize(self.endpoint, wanted, refused)
        except errors.UntrustedOrigin:
            endpoint = await self.endpoints.renew(self.endpoint, insecure=self.access.insecure)
            if endpoint == self.endpoint:
                raise
            authorization = await self._authorize(endpoint, wanted, refused)
        if authorization is not None:
            self.access.used.add_token(str(self.repository), authorization.partition(" ")[2])
        return authorization

    async def is_for_another_credential(self, wanted: TokenRequest) -> bool:
        """Whether a challenge's scopes name repositories for which the caller has a different credential.

        Where parts of a host have credentials of their own, one part's credential must not fetch a token for
        another part.
        """
        registry, find = self.repository.registry, self.access.keychain.find
        ours = await find(registry, self.repository.path)
        paths = [path_of(scope) for scope in wanted.scopes - self.scopes]
        return any([await find(registry, path) not in (ours, ANONYMOUS) for path in paths])

    async def _authorize(
        self, endpoint: Endpoint, wanted: TokenRequest | None, refused: frozenset[str]
    ) -> str | None:
        return await self.authorizer.authorize(
            endpoint,
            self.access,
            self.repository,
            self.scopes if wanted is None else wanted.scopes,
            challenge=None if wanted is None else wanted.challenge,
            refused=refused,
        )


class Renewals:
    """The token requests that are tried for one request after its 401s.

    A refused token is dropped. Then come a new token as before, one with the scope that the challenge names
    (see `rewritten`), and one request without any token, whose challenge is tried in the same manner: a 401
    to a token may name a useless realm. Each token request is tried once, and again only if the challenge
    says that the token is invalid, and not that its scope is too small (RFC 6750, section 3.1): a token may
    be revoked while it is in use.
    """

    def __init__(self, signer: Signer, request: Request) -> None:
        self._signer = signer
        self._steps = 0
        self._tried: list[TokenRequest] = []
        self._refused: frozenset[str] = frozenset()
        self._was_bare = False
        self._is_bare = False
        self._last: Answer | None = None
        self._failure: errors.BrokerError | None = None
        if isinstance(request, AuthorizedRequest) and request.refusal is not None:
            self._failure, self._is_bare, self._was_bare = request.refusal, True, True
            known = signer.known_request()
            self._tried = [known] if known is not None else []

    async def next(self, request: R, answer: Answer) -> R | None:
        """The request to send after a 401; None if no token request is left to try."""
        self._steps += 1
        if request.authorization is None:
            self._was_bare = True
            self._last = self._last or answer
        else:
            self._last = answer
            self._refused |= {request.authorization}
            self._signer.authorizer.drop(request.authorization, self._signer.access.tenant)
        said = challenge_of(answer)
        if self._steps < _MOST_STEPS:
            for wanted in self._untried(said):
                if (renewed := await self._renew(request, wanted)) is not None:
                    return renewed
            if not self._was_bare and (
                self._failure is not None or not _has_error(said, "insufficient_scope")
            ):
                self._is_bare = self._was_bare = True
                return replace(request, authorization=None)
        self._signer.learned.forget(self._signer.key, self._signer.scopes)
        return None

    async def settle(self, answer: Answer) -> Answer:
        """The answer that counts; raise the refusal of the token service if there was one.

        Registries tell strangers that private content does not exist. So a caller with a credential is not
        given the refusal of a request without a token, but the one before.
        """
        if answer.status != _UNAUTHORIZED and not (self._is_bare and await self._is_for_strangers(answer)):
            return answer
        if self._failure is not None:
            raise self._failure
        return self._last or answer

    async def _is_for_strangers(self, answer: Answer) -> bool:
        if answer.status not in _REFUSALS or is_passing(answer.status):
            return False
        repository = self._signer.repository
        credential = await self._signer.access.credential_at(repository)
        return not credential.is_anonymous

    async def _renew(self, request: R, wanted: TokenRequest) -> R | None:
        self._tried.append(wanted)
        try:
            if await self._signer.is_for_another_credential(wanted):
                return None
            authorization = await self._signer.sign(wanted, self._refused)
        except errors.RateLimited:
            raise
        except errors.BrokerError as error:
            self._failure = self._failure or error
            return None
        if authorization is None or authorization in self._refused:
            return None
        self._is_bare = False
        known = self._signer.known_request()
        if known is None or not wanted.is_same(known):
            self._signer.learned.record(self._signer.key, self._signer.scopes, wanted)
        return replace(request, authorization=authorization)

    def _untried(self, said: Challenge | None) -> Iterator[TokenRequest]:
        signer, known = self._signer, self._signer.known_request()
        challenge = said or (known.challenge if known is not None else None)
        if challenge is None:
            return
        candidates = [] if known is None else [TokenRequest(challenge, known.scopes)]
        candidates.append(TokenRequest(challenge, signer.scopes))
        scope = "" if said is None else said.parameters.get("scope", "")
        scopes = rewritten(signer.scopes, signer.repository.path, scope)
        if scopes is not None:
            candidates.append(TokenRequest(challenge, scopes))
        for wanted in candidates:
            if not self._times_tried(wanted):
                yield wanted
        if _has_error(said, "invalid_token"):
            for wanted in candidates:
                if self._times_tried(wanted) < _MOST_TOKENS_OF_ONE_REQUEST:
                    yield wanted

    def _times_tried(self, wanted: TokenRequest) -> int:
        return sum(wanted.is_same(each) for each in self._tried)


def _has_error(said: Challenge | None, error: str) -> bool:
    return said is not None and said.parameters.get("error") == error
