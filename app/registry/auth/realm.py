"""Decide whether the token service of a registry may receive a request and a credential (threat T4)."""

from __future__ import annotations

from dataclasses import dataclass

from app import errors
from app.outbound.failures import RequestContext
from app.outbound.policy import is_loopback_host
from app.outbound.url import Url, parse_url
from app.registry.policy import RegistryPolicy

__all__ = ["Realm", "plan_realm"]


@dataclass(frozen=True, slots=True)
class Realm:
    """The address of a token service, and whether to verify its certificate."""

    url: Url
    verify: bool


def plan_realm(
    text: str,
    *,
    context: RequestContext,
    base: Url,
    base_verify: bool,
    policy: RegistryPolicy,
    has_secret: bool,
) -> Realm:
    """The token service to use; raise UntrustedOrigin if a request would leak a credential.

    A credential may go to the registry's own host, to the origins that the operator lists for it, and to
    those of the built-in table. An anonymous request leaks nothing, so any https address is allowed.
    """
    registry, url = context.registry, parse_url(text)
    if url is None:
        raise errors.UntrustedOrigin(
            f"{registry} names a token service whose address is not an http or https URL.", registry=registry
        )
    if _is_own(url, base, policy):
        return Realm(url, base_verify)
    shown = context.quoting.fact(url.origin) or "another origin"
    if url.scheme != "https":
        raise errors.UntrustedOrigin(
            f"{registry} sends the broker to {shown} for tokens, without TLS.", registry=registry
        )
    is_trusted = url.host == base.host or policy.trusts_token_origin(registry, url.origin)
    if has_secret and not is_trusted:
        raise errors.UntrustedOrigin(
            f"{registry} asks for its credentials to be sent to {shown}. If that is right, "
            f"the operator must list {shown} as a token origin of {registry}.",
            registry=registry,
        )
    return Realm(url, verify=True)


def _is_own(url: Url, base: Url, policy: RegistryPolicy) -> bool:
    if url.origin == base.origin:
        return True
    both_local = is_loopback_host(url.authority) and is_loopback_host(base.authority)
    return policy.allow_loopback and both_local and url.scheme == base.scheme
