"""One repository with the access of a caller: requests are authorized, and repeated after a 401."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from app.concurrency.document_memory import DocumentMemory, MemoryReservation
from app.concurrency.locks import KeyedLocks
from app.oci.digest import Digest
from app.oci.reference import Repository
from app.outbound.client import Answer, OutboundClient, Request
from app.outbound.failures import RequestContext
from app.outbound.url import Url
from app.registry.auth.access import Access
from app.registry.auth.places import namespace_of
from app.registry.auth.renewals import AuthorizedRequest, Renewals, Signer
from app.registry.auth.scope import Scopes
from app.registry.auth.token_requests import LearnedTokenRequests
from app.registry.auth.tokens import Authorizer
from app.registry.capabilities import Capabilities, RepositoryCapabilities
from app.registry.endpoints import Endpoint, Endpoints
from app.registry.error_bodies import refuses_token
from app.registry.learned import LearnedKey
from app.registry.limits import Limits
from app.registry.parsing import Parsers
from app.registry.policy import RegistryPolicy
from app.registry.pushed_blobs import PushedBlobs
from app.registry.warnings import WarningLog

__all__ = ["ClientState", "RemoteRepository"]


@dataclass(frozen=True, slots=True)
class ClientState:
    """The state that all repositories of one client share."""

    outbound: OutboundClient
    endpoints: Endpoints
    authorizer: Authorizer
    learned_token_requests: LearnedTokenRequests
    limits: Limits
    policy: RegistryPolicy
    capabilities: Capabilities
    parsers: Parsers
    document_memory: DocumentMemory
    locks: KeyedLocks
    pushed_blobs: PushedBlobs


@dataclass(frozen=True, slots=True)
class RemoteRepository:
    """A repository on its registry, with the access of a caller."""

    state: ClientState
    repository: Repository
    access: Access
    warnings: WarningLog | None = None
    """Records what the registry warns of, if that is wanted."""

    @property
    def path(self) -> str:
        return self.repository.path

    @property
    def registry(self) -> str:
        return self.repository.registry

    def context(self, reference: object = None) -> RequestContext:
        quoting = self.access.quoting_at(self.repository)
        return RequestContext(self.registry, str(reference or self.repository), quoting)

    # The paths of the distribution API (distribution spec, "Endpoints").

    def manifest_path(self, target: str) -> str:
        return f"/v2/{self.path}/manifests/{target}"

    def blob_path(self, digest: Digest) -> str:
        return f"/v2/{self.path}/blobs/{digest}"

    @property
    def uploads_path(self) -> str:
        return f"/v2/{self.path}/blobs/uploads/"

    @property
    def tags_path(self) -> str:
        return f"/v2/{self.path}/tags/list"

    def referrers_path(self, subject: Digest | None = None) -> str:
        """The path of the referrers of a manifest; without a subject, the path above all of them."""
        return f"/v2/{self.path}/referrers/{subject or ''}"

    def lock_for(self, what: str) -> asyncio.Lock:
        """A lock for writers of the same object in this repository, within this process.

        Each tenant has its own locks, so that tenants never block each other.
        """
        return self.state.locks.of(f"{self.access.tenant} {self.repository} {what}")

    def may_be_insecure_at(self, url: Url) -> bool:
        """Whether the caller requests insecure access and the operator allows it for another host."""
        return self.access.insecure and self.state.policy.may_be_insecure(url.authority)

    def reserve_memory(self) -> AbstractAsyncContextManager[MemoryReservation]:
        """Reserve the memory for one document. Tenants never wait for each other's slow documents."""
        return self.state.document_memory.reserve(self.access.tenant, self.registry)

    async def endpoint(self) -> Endpoint:
        return await self.state.endpoints.find(self.registry, insecure=self.access.insecure)

    async def capabilities(self) -> RepositoryCapabilities:
        """The capabilities that this caller's account has observed at the repository."""
        return self.state.capabilities.of(await self._learned_key())

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
    ) -> AuthorizedRequest:
        """An authorized request to a path, or to an address on the registry's own origin."""
        signer = await self._signer(scopes)
        endpoint = signer.endpoint
        authorization, refusal = await signer.authorize()
        return AuthorizedRequest(
            method=method,
            url=endpoint.base.at(target, query) if isinstance(target, str) else target,
            context=context or self.context(),
            account=signer.key.account,
            area=namespace_of(self.path),
            verify=endpoint.verify,
            headers=headers or {},
            authorization=authorization,
            refusal=refusal,
            content=content,
            limit=limit if limit is not None else self.state.limits.error_bytes,
            memory=memory,
        )

    async def renewals(self, request: Request, scopes: Scopes) -> Renewals:
        """What follows the 401s to a request."""
        return Renewals(await self._signer(scopes), request)

    async def call(self, request: AuthorizedRequest, scopes: Scopes) -> Answer:
        """Send a request; after a 401, repeat it with other tokens, and once with none."""
        answer = await self._call(request, scopes)
        if self.warnings is not None:
            self.warnings.record(answer.headers.getall("Warning", []), request.context)
        return answer

    async def _call(self, request: AuthorizedRequest, scopes: Scopes) -> Answer:
        answer = await self.state.outbound.call(request)
        if not refuses_token(answer.status, answer.body) and request.refusal is None:
            return answer
        renewals = await self.renewals(request, scopes)
        while refuses_token(answer.status, answer.body):
            renewed = await renewals.next(request, answer)
            if renewed is None:
                break
            request = renewed
            answer = await self.state.outbound.call(request)
        return await renewals.settle(answer)

    async def _signer(self, scopes: Scopes) -> Signer:
        return Signer(
            self.state.authorizer,
            self.state.learned_token_requests,
            self.state.endpoints,
            await self.endpoint(),
            self.access,
            self.repository,
            scopes,
            await self._learned_key(),
        )

    async def _learned_key(self) -> LearnedKey:
        account = await self.access.account_at(self.repository)
        return LearnedKey(self.registry, self.access.insecure, account, self.path)
