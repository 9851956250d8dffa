"""The registry client: one per process, with its connections and the capabilities of registries."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from app.concurrency.document_memory import DocumentMemory
from app.concurrency.locks import KeyedLocks
from app.oci.config import ImageConfig
from app.oci.descriptor import Descriptor
from app.oci.digest import Digest
from app.oci.manifest import Manifest
from app.oci.reference import Reference, Repository, api_host
from app.outbound.account_budgets import Budgets
from app.outbound.client import OutboundClient
from app.outbound.connections import TransportFactory
from app.outbound.resolver import Lookup
from app.outbound.tls import TlsTrust
from app.registry.auth.access import Access
from app.registry.auth.credentials import ANONYMOUS, Credential
from app.registry.auth.keychain import Keychain
from app.registry.auth.registry_auth import parse_registry_auth
from app.registry.auth.token_requests import LearnedTokenRequests
from app.registry.auth.tokens import Authorizer
from app.registry.capabilities import Capabilities
from app.registry.content import configs, manifests
from app.registry.content.lagging import ask_until_there
from app.registry.content.manifests import FetchedManifest
from app.registry.content.referrers import list_referrers
from app.registry.endpoints import Endpoints
from app.registry.error_bodies import is_rate_limit, may_pass
from app.registry.limits import Limits
from app.registry.parsing import Parsers
from app.registry.policy import RegistryPolicy
from app.registry.pushed_blobs import PushedBlobs
from app.registry.repository import ClientState, RemoteRepository

__all__ = [
    "ANONYMOUS",
    "Access",
    "Credential",
    "FetchedManifest",
    "Keychain",
    "Limits",
    "RegistryClient",
    "RegistryPolicy",
    "TlsTrust",
    "parse_registry_auth",
]

P = ParamSpec("P")
T = TypeVar("T")

_OUTSIDE = "A RegistryClient works inside `async with` only."


class RegistryClient:
    """Talks to all registries for all callers; each call takes the `Access` of its caller.

    It uses the `outbound` client that it is given, or opens its own with `trusts`, `tls`, `lookup` and
    `open_transport`. `now` is the clock by which tokens age.
    """

    def __init__(
        self,
        policy: RegistryPolicy,
        *,
        limits: Limits | None = None,
        outbound: OutboundClient | None = None,
        trusts: Mapping[str, TlsTrust] | None = None,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
        open_transport: TransportFactory | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.limits = limits or Limits()
        self._owns_outbound = outbound is None
        self._outbound = outbound or OutboundClient(
            policy,
            self.limits,
            trusts=trusts,
            is_rate_limit=is_rate_limit,
            may_pass=may_pass,
            tls=tls,
            lookup=lookup,
            open_transport=open_transport,
            now=now,
        )
        self._now = now
        self._state: ClientState | None = None

    async def __aenter__(self) -> Self:
        if self._state is not None:
            raise RuntimeError("The RegistryClient is open already.")
        outbound = self._outbound
        if self._owns_outbound:
            await outbound.__aenter__()
        self._state = ClientState(
            outbound=outbound,
            endpoints=Endpoints(outbound, self.policy, self.limits, self._now),
            authorizer=Authorizer(outbound, self.policy, self.limits, self._now),
            learned_token_requests=LearnedTokenRequests(self.limits.remembered_seconds, self._now),
            limits=self.limits,
            policy=self.policy,
            parsers=Parsers(),
            document_memory=DocumentMemory(),
            locks=KeyedLocks(),
            pushed_blobs=PushedBlobs(),
            capabilities=Capabilities(self.limits.remembered_seconds, self._now),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state is not None:
            state, self._state = self._state, None
            if self._owns_outbound:
                await state.outbound.__aexit__(kind, error, trace)
            await state.parsers.close()

    @property
    def budgets(self) -> Budgets:
        return self._outbound.budgets

    def remote(self, repository: Repository, access: Access) -> RemoteRepository:
        """A repository with the access of a caller."""
        if self._state is None:
            raise RuntimeError(_OUTSIDE)
        self.policy.check_registry(repository.registry)
        return RemoteRepository(self._state, repository, access)

    def access_at(self, registry: str, access: Access, among: Collection[str]) -> Access:
        """The access to one of several registries: insecure only where the operator allows it.

        So a request for insecure access weakens no other registry's TLS, and does not fail for it. If
        no registry among them allows it, the access stays insecure and is refused.
        """
        if not access.insecure or not any(self.policy.may_be_insecure(api_host(each)) for each in among):
            return access
        return replace(access, insecure=self.policy.may_be_insecure(api_host(registry)))

    async def fetch_manifest(
        self, reference: Reference, access: Access, *, described: str = "", patiently: bool = False
    ) -> FetchedManifest:
        """The manifest of a reference, its bytes verified; a digest takes precedence over a tag.

        `described` is the media type in the descriptor that refers to the manifest. `patiently` retries while
        the registry does not have it yet.
        """
        remote = self.remote(reference.repository, access)

        async def fetch() -> FetchedManifest:
            return await manifests.fetch_manifest(remote, reference, described=described)

        if patiently:
            return await ask_until_there(fetch, self.limits)
        return await fetch()

    async def head_manifest(self, reference: Reference, access: Access) -> Descriptor | None:
        """The descriptor of a reference; None only when the registry says that it does not exist."""
        return await manifests.head_manifest(self.remote(reference.repository, access), reference)

    async def fetch_config(self, repository: Repository, descriptor: Descriptor, access: Access) -> bytes:
        """The config of an image, its size and digest verified."""
        remote = self.remote(repository, access)
        return await configs.fetch_blob(remote, descriptor, limit=self.limits.config_bytes)

    async def fetch_image_config(
        self, repository: Repository, descriptor: Descriptor, access: Access, *, patiently: bool = False
    ) -> ImageConfig:
        """The config of an image, verified and parsed; `patiently` asks again if it is not there yet."""
        remote, limit = self.remote(repository, access), self.limits.config_bytes
        if patiently:
            return await ask_until_there(
                lambda: configs.fetch_config(remote, descriptor, limit=limit), self.limits
            )
        return await configs.fetch_config(remote, descriptor, limit=limit)

    async def parse(
        self, read: Callable[Concatenate[bytes, P], T], raw: bytes, *args: P.args, **named: P.kwargs
    ) -> T:
        """Run `read(raw, …)` on bytes from a registry; a large document does not block the event loop."""
        if self._state is None:
            raise RuntimeError(_OUTSIDE)
        return await self._state.parsers.run(read, raw, *args, **named)

    async def list_referrers(
        self, repository: Repository, subject: Digest, access: Access
    ) -> tuple[Descriptor, ...]:
        """The referrers of a manifest, such as its signatures, from the API or the referrers tag."""
        return await list_referrers(self.remote(repository, access), subject)

    async def put_manifest(
        self, repository: Repository, target: str, manifest: Manifest, access: Access
    ) -> None:
        """Put exact bytes under a tag or a digest."""
        await manifests.put_manifest(self.remote(repository, access), target, manifest)
