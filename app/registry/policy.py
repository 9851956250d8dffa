"""The operator's policy for registries: their names, and the hosts of their tokens and manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Unpack
from urllib.parse import urlsplit

from app import errors
from app.oci.reference import api_host, canonical_registry
from app.outbound.policy import AccessPolicy, PolicyTexts, is_loopback_host, matches_host
from app.outbound.url import origin_of, parse_url

__all__ = ["RegistryPolicy"]

# Registries whose documented token service is at another host.
_KNOWN_TOKEN_ORIGINS: Mapping[str, frozenset[str]] = {
    "docker.io": frozenset({"https://auth.docker.io"}),
    "registry.gitlab.com": frozenset({"https://gitlab.com"}),
}
# A front for the registries of Google's regions, which answers each GET of a manifest with a redirect.
_KNOWN_REDIRECT_HOSTS: Mapping[str, tuple[str, ...]] = {"registry.k8s.io": ("*.pkg.dev",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryPolicy(AccessPolicy):
    """The policy for outgoing connections, and the rules for registries.

    `registries` are host patterns: if the operator lists any, callers may name no other registry.
    `token_origins` maps a registry to the origins, such as `https://auth.example.com`, that may receive its
    credentials. `redirect_hosts` maps a registry to patterns of the hosts that may serve its manifests; any
    host may serve blobs. `upload_hosts` maps a registry to patterns of the hosts that may receive its uploads
    and, with them, its credentials.
    """

    registries: tuple[str, ...] = ()
    token_origins: Mapping[str, frozenset[str]] = field(default_factory=dict)
    redirect_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    upload_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @staticmethod
    def parse(
        *,
        registries: Iterable[str] = (),
        token_origins: Mapping[str, Iterable[str]] | None = None,
        redirect_hosts: Mapping[str, Iterable[str]] | None = None,
        upload_hosts: Mapping[str, Iterable[str]] | None = None,
        **outbound: Unpack[PolicyTexts],
    ) -> RegistryPolicy:
        """Parse the operator's texts; raise ValueError for a text that is not a network or an origin."""
        access = AccessPolicy.parse(**outbound)
        return RegistryPolicy(
            **{each.name: getattr(access, each.name) for each in fields(access)},
            registries=tuple(canonical_registry(pattern) for pattern in registries),
            token_origins={
                canonical_registry(host): frozenset(_parse_origin(text) for text in origins)
                for host, origins in (token_origins or {}).items()
            },
            redirect_hosts=_patterns(redirect_hosts),
            upload_hosts=_patterns(upload_hosts),
        )

    def check_registry(self, registry: str) -> None:
        """Refuse a registry whose name is not a host, or that the operator does not allow.

        The grammar of references, which is Docker's, accepts ports of any length.
        """
        url = parse_url(f"https://{api_host(registry)}")
        if url is None:
            raise errors.InvalidReference(
                f"{registry} is not a valid registry: its port must be from 1 to 65535, and its host have "
                "at most 253 characters.",
                registry=registry,
            )
        self.check_port(url.port, peer=registry)
        host = canonical_registry(registry)
        if self.registries and not any(matches_host(pattern, host) for pattern in self.registries):
            raise errors.RegistryForbidden(
                f"{registry} is not among the registries that the operator allows"
                f"{self.setting('registries')}.",
                registry=registry,
            )

    def trusts_token_origin(self, registry: str, origin: str) -> bool:
        """Whether the operator, or the built-in table, lets this origin have the registry's credentials."""
        host = canonical_registry(registry)
        listed = self.token_origins.get(host, frozenset())
        return origin in listed or origin in _KNOWN_TOKEN_ORIGINS.get(host, frozenset())

    def may_redirect(self, registry: str, host: str) -> bool:
        """Whether a registry's manifests may lie on another host; no credential goes there."""
        name = canonical_registry(registry)
        patterns = (*self.redirect_hosts.get(name, ()), *_KNOWN_REDIRECT_HOSTS.get(name, ()))
        return any(matches_host(pattern, host.lower()) for pattern in patterns)

    def may_upload(self, registry: str, host: str) -> bool:
        """Whether a host may receive a registry's uploads, and with them its credentials."""
        patterns = self.upload_hosts.get(canonical_registry(registry), ())
        is_own = canonical_registry(host) == canonical_registry(api_host(registry))
        return is_own or any(matches_host(pattern, host.lower()) for pattern in patterns)


def _patterns(hosts: Mapping[str, Iterable[str]] | None) -> dict[str, tuple[str, ...]]:
    return {
        canonical_registry(host): tuple(canonical_registry(pattern) for pattern in patterns)
        for host, patterns in (hosts or {}).items()
    }


def _parse_origin(text: str) -> str:
    parts = urlsplit(text.strip() if "://" in text else f"https://{text.strip()}")
    is_local = is_loopback_host(parts.netloc)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise ValueError(f"{text!r} is not an origin such as https://auth.example.com")
    return origin_of(parts.geturl())
