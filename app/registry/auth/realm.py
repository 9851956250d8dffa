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
    pinned: str = "",
) -> Realm:
    """The token service to use; raise UntrustedOrigin if a request would leak a credential.

    A credential may go to the registry's own origin, to the origins that the operator lists for the registry,
    and to those of the built-in table. On the registry's own host, it may also go to the origin of `pinned`,
    the realm that the registry's `/v2/` names. Other ports of that host are not trusted, because another user
    may own them, as is common on localhost. An anonymous request leaks nothing, so it may go to any https
    address except other ports of localhost.
    """
    registry, url = context.registry, parse_url(text)
    if url is None:
        raise errors.UntrustedOrigin(
            f"{registry} names a token service whose address is not an http or https URL.", registry=registry
        )
    if url.origin == base.origin:
        return Realm(url, base_verify)
    is_local = is_loopback_host(url.authority)
    is_listed = policy.trusts_token_origin(registry, url.origin)
    shown = context.quoting.fact(url.origin) or "another origin"
    if url.scheme != "https" and not (is_listed and is_loopback_host(base.authority)):
        raise errors.UntrustedOrigin(
            f"{registry} sends the broker to {shown} for tokens, without TLS.", registry=registry
        )
    is_pinned = url.host == base.host and not is_local and url.origin == _origin(pinned)
    if (has_secret or is_local) and not (is_listed or is_pinned):
        raise errors.UntrustedOrigin(
            f"{registry} asks for its credentials to be sent to {shown}. If that is right, "
            f"the operator must list {shown} as a token origin of {registry}.",
            registry=registry,
        )
    return Realm(url, verify=base_verify or not is_local)


def _origin(text: str) -> str | None:
    url = parse_url(text)
    return None if url is None else url.origin
