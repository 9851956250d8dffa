"""One repository with the access of a caller: requests are authorized, and repeated after a 401."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.concurrency.document_memory import DocumentMemory, MemoryReservation
from app.concurrency.locks import KeyedLocks
from app.oci.digest import Digest
from app.oci.reference import Repository
from app.outbound.client import Answer, OutboundClient, Request
from app.outbound.failures import RequestContext
from app.outbound.url import Url
from app.registry.auth.access import Access
from app.registry.auth.challenge import Challenge
from app.registry.auth.scope import Scopes
from app.registry.auth.tokens import Authorizer
from app.registry.capabilities import Capabilities
from app.registry.endpoints import Endpoint, Endpoints, challenge_of
from app.registry.limits import Limits
from app.registry.parsing import Parsers
from app.registry.policy import RegistryPolicy

__all__ = ["ClientState", "RemoteRepository"]

_UNAUTHORIZED = 401
_MOST_RENEWALS = 3


@dataclass(frozen=True, slots=True)
class ClientState:
    """The state that all repositories of one client share."""

    outbound: OutboundClient
    endpoints: Endpoints
    authorizer: Authorizer
    limits: Limits
    policy: RegistryPolicy
    capabilities: Capabilities
    parsers: Parsers
    document_memory: DocumentMemory
    locks: KeyedLocks


@dataclass(frozen=True, slots=True)
class RemoteRepository:
    """A repository on its registry, with the access of a caller."""

    state: ClientState
    repository: Repository
    access: Access

    @property
    def path(self) -> str:
        return self.repository.path

    @property
    def registry(self) -> str:
        return self.repository.registry

    def context(self, reference: object = None) -> RequestContext:
        return RequestContext(self.registry, str(reference or self.repository))

    # The paths of the distribution API (distribution spec, "Endpoints").

    def manifest_path(self, target: str) -> str:
        return f"/v2/{self.path}/manifests/{target}"

    def blob_path(self, digest: Digest) -> str:
        return f"/v2/{self.path}/blobs/{digest}"

    @property
    def uploads_path(self) -> str:
        return f"/v2/{self.path}/blobs/uploads/"

    def referrers_path(self, subject: Digest | None = None) -> str:
        """The path of the referrers of a manifest; without a subject, the path above all of them."""
        return f"/v2/{self.path}/referrers/{subject or ''}"

    async def endpoint(self) -> Endpoint:
        return await self.state.endpoints.find(self.registry, insecure=self.access.insecure)

    async def build_request(
        self,
        method: str,
        target: str | Url,
        scopes: Scopes,
        *,
        query: str | None = None,
        context: RequestContext | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        limit: int | None = None,
        memory: MemoryReservation | None = None,
    ) -> Request:
        """An authorized request to a path, or to an address on the registry's own origin."""
        endpoint = await self.endpoint()
        authorization = await self.state.authorizer.authorize(
            endpoint, self.access, self.repository, scopes, challenge=endpoint.challenge
        )
        return Request(
            method=method,
            url=endpoint.base.at(target, query) if isinstance(target, str) else target,
            context=context or self.context(),
            account=await self.access.account_at(self.repository),
            verify=endpoint.verify,
            headers=headers or {},
            authorization=authorization,
            content=content,
            limit=limit if limit is not None else self.state.limits.error_bytes,
            memory=memory,
        )

    async def call(self, request: Request, scopes: Scopes) -> Answer:
        """Send a request; after a 401, renew its token and repeat it."""
        answer, renewals = await self.state.outbound.call(request), 0
        while answer.status == _UNAUTHORIZED:
            renewed = await self.renew(request, scopes, answer, renewals=renewals)
            if renewed is None:
                break
            request, renewals = renewed, renewals + 1
            answer = await self.state.outbound.call(request)
        return answer

    async def renew(
        self, request: Request, scopes: Scopes, answer: Answer, *, renewals: int = 0
    ) -> Request | None:
        """The request with a new Authorization; None if no other is available.

        A second renewal happens only if the challenge says that the token is invalid, and not that
        its scope is too small (RFC 6750, section 3.1): a token may be revoked on its way.
        """
        said = challenge_of(answer)
        if renewals and not (renewals < _MOST_RENEWALS and _is_token_at_fault(said)):
            return None
        endpoint = await self.endpoint()
        challenge = said or endpoint.challenge
        if challenge is not None:
            self.state.endpoints.record_challenge(endpoint, challenge, insecure=self.access.insecure)
        authorization = await self.state.authorizer.authorize(
            endpoint, self.access, self.repository, scopes, challenge=challenge, refused=request.authorization
        )
        if authorization is None or authorization == request.authorization:
            return None
        return replace(request, authorization=authorization)


def _is_token_at_fault(challenge: Challenge | None) -> bool:
    return challenge is not None and challenge.parameters.get("error") == "invalid_token"
