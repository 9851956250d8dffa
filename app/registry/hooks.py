"""Posts to receivers of webhooks: exact bytes out through the one door, and nothing but a status back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from app import errors
from app.outbound.client import OutboundClient, Request
from app.outbound.failures import RequestContext
from app.outbound.policy import AccessPolicy
from app.outbound.retry import parse_retry_after
from app.outbound.url import Url, parse_url

__all__ = ["Post", "Receipt", "lane_of", "parse_receiver", "post"]

# The labels of a host name (RFC 1123, section 2.1), with the underscore that container networks have.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receiver answered; its words are neither read nor kept."""

    status: int
    retry_after: float | None = None

    @property
    def is_success(self) -> bool:
        return self.status in range(200, 300)


def parse_receiver(text: str, policy: AccessPolicy) -> Url:
    """An address that may be posted to, as far as its text tells.

    Where its name leads is checked with each connection.
    """
    url = parse_url(text)
    if url is None or not _is_host(url.host):
        raise errors.InvalidReceiver(
            "An address is https://host[:port]/path?query, without a user, a password or a fragment"
        )
    try:
        policy.check_host(url.authority)
        policy.check_port(url.port, registry=url.origin)
    except errors.RegistryForbidden as error:
        raise _forbidden(url) from error
    # With its port, which the operator may have named although it is the usual one.
    if not policy.may_receive(f"{url.host}:{url.port}"):
        raise _forbidden(url)
    if url.scheme != "https" and not policy.may_be_insecure(url.authority):
        raise errors.ReceiverForbidden(
            f"{url.origin} is not https, and the operator does not allow plain HTTP for that host"
        )
    return url


@dataclass(frozen=True, slots=True)
class Post:
    """What is sent to a receiver, and in which lane; `sign` gives its headers at the moment when it goes."""

    url: Url
    lane: str
    body: bytes
    sign: Callable[[], Mapping[str, str]]


def lane_of(origin: str, tenant: str) -> str:
    """Where a receiver's budget is kept: it may refuse one tenant and welcome another.

    A receiver may have the host of a registry, too, whose name this can't be: what one bears must say nothing
    of the other.
    """
    return f"{origin}#{tenant}"


async def post(outbound: OutboundClient, post: Post, *, seconds: float) -> Receipt:
    """One request, made once; whether there is another is decided where it will be remembered.

    Raises DeliveryFailed for what may be different later, and RateLimited, without asking, while the receiver
    wants no requests.
    """
    url = post.url
    request = Request(method="POST", url=url, context=RequestContext(post.lane), content=post.body)
    try:
        answer = await outbound.post(request, post.sign, seconds)
    except errors.RateLimited as error:
        raise errors.RateLimited(
            f"{url.origin} wants no requests now, or no more at once; it was not asked",
            retry_after=error.retry_after,
        ) from error
    except errors.RegistryForbidden as error:
        # By what its name leads to at this moment, which may be different at the next.
        raise errors.DeliveryFailed(_forbidden(url).detail) from error
    except errors.RegistryError as error:
        raise errors.DeliveryFailed(f"{url.origin} {_reason(error)}") from error
    return Receipt(answer.status, parse_retry_after(answer.headers.get("Retry-After")))


def _is_host(text: str) -> bool:
    """A name, or an address; brackets are for those of IPv6 (RFC 3986, section 3.2.2)."""
    if not text.startswith("["):
        return _NAME.fullmatch(text) is not None
    try:
        IPv6Address(text[1:-1])
    except ValueError:
        return False
    return True


def _forbidden(url: Url) -> errors.ReceiverForbidden:
    # The same for every reason, so that nobody learns from it what there is inside.
    return errors.ReceiverForbidden(
        f"The operator's settings do not let the broker send anything to {url.origin}"
    )


def _reason(error: errors.RegistryError) -> str:
    match error:
        case errors.RegistryTimeout():
            return "did not answer in time"
        case errors.RegistryTlsFailed():
            return "could not be trusted: TLS failed"
        case errors.RegistryUnreachable():
            return "could not be reached, or hung up"
        case _:
            return "did not answer in valid HTTP"
