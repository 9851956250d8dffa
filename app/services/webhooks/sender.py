"""Posts to the receivers of webhooks: exact bytes out, and only the status of the response back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from app import errors
from app.outbound.client import OutboundClient, Request
from app.outbound.failures import RequestContext
from app.outbound.policy import matches_host
from app.outbound.retry import parse_retry_after
from app.outbound.url import Url, parse_url

__all__ = ["Post", "Receipt", "WebhookSender", "budget_name", "parse_address", "shown_address"]

_UNREACHED = "could not be reached, or ended the connection"
# The labels of a host name (RFC 1123, section 2.1), with the underscore that container networks have.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The response of a receiver; its body is neither read nor kept."""

    status: int
    retry_after: float | None = None

    @property
    def is_success(self) -> bool:
        return self.status in range(200, 300)


@dataclass(frozen=True, slots=True)
class Post:
    """A body for a receiver, and the budget that it counts for; `sign` gives its headers when it is sent."""

    url: Url
    budget: str
    body: bytes
    sign: Callable[[], Mapping[str, str]]


def parse_address(text: str) -> Url:
    """Parse the address of a receiver; the operator may still forbid it."""
    url = parse_url(text)
    if url is None or not _is_host(url.host):
        raise errors.InvalidReceiver(
            "An address must be https://host[:port]/path?query, without a user, a password or a fragment."
        )
    return url


def shown_address(text: str) -> str:
    """The masked form of a stored address: the values of its query may be secrets of the receiver."""
    url = parse_url(text)
    return url.masked if url is not None else text


def budget_name(origin: str, tenant: str) -> str:
    """The budget of a receiver for one tenant: it may refuse one tenant and accept another.

    No registry has such a name, so a receiver on the host of a registry has a budget of its own.
    """
    return f"{origin}#{tenant}"


class WebhookSender:
    """Sends to the receivers that the operator allows.

    `receivers` are host patterns: if the operator lists any, no other host may receive. `seconds` bounds one
    post, from the look-up of the name to the head of the response.
    """

    def __init__(
        self, outbound: OutboundClient, *, receivers: Iterable[str] = (), seconds: float = 20.0
    ) -> None:
        self._outbound = outbound
        self._receivers = tuple(pattern.strip().lower() for pattern in receivers)
        self._seconds = seconds

    def parse_receiver(self, text: str) -> Url:
        """Parse the address of a receiver; each connection checks the addresses that its name resolves to."""
        policy = self._outbound.policy
        url = parse_address(text)
        try:
            policy.check_host(url.authority)
            policy.check_port(url.port, peer=url.origin)
        except errors.RegistryForbidden as error:
            raise _forbidden(url) from error
        # With its port, which the operator may have named although it is the default.
        host = f"{url.host}:{url.port}"
        if self._receivers and not any(matches_host(pattern, host) for pattern in self._receivers):
            raise _forbidden(url)
        if url.scheme != "https" and not policy.may_be_insecure(url.authority):
            raise errors.ReceiverForbidden(
                f"{url.origin} is not https, and the operator does not allow plain HTTP for that host."
            )
        return url

    async def post(self, post: Post) -> Receipt:
        """Make one request, without a retry: the queue remembers retries.

        Raises DeliveryFailed for a failure that may pass, and RateLimited, without a request, while the
        receiver's budget is paused.
        """
        url = post.url
        request = Request(method="POST", url=url, context=RequestContext(post.budget), content=post.body)
        try:
            answer = await self._outbound.post(request, post.sign, self._seconds)
        except errors.RateLimited as error:
            raise errors.RateLimited(
                f"{url.origin} accepts no more requests for now. The request was not sent.",
                retry_after=error.retry_after,
            ) from error
        except errors.RegistryForbidden as error:
            # The name resolves to a forbidden address now; at the next attempt it may resolve to another.
            raise errors.DeliveryFailed(_forbidden(url).detail) from error
        except errors.RegistryError as error:
            raise errors.DeliveryFailed(f"{url.origin} {_reason(error)}.") from error
        return Receipt(answer.status, parse_retry_after(answer.headers.get("Retry-After")))


def _is_host(text: str) -> bool:
    """Whether a text is a name, or an address; IPv6 addresses have brackets (RFC 3986, section 3.2.2)."""
    if not text.startswith("["):
        return _NAME.fullmatch(text) is not None
    try:
        IPv6Address(text[1:-1])
    except ValueError:
        return False
    return True


def _forbidden(url: Url) -> errors.ReceiverForbidden:
    # One text for every reason, so that it does not reveal which internal hosts exist.
    return errors.ReceiverForbidden(f"The operator's settings do not allow webhooks to {url.origin}.")


def _reason(error: errors.RegistryError) -> str:
    match error:
        case _ if error.shown_kind is not type(error):
            return _UNREACHED
        case errors.RegistryTimeout():
            return "did not answer in time"
        case errors.RegistryTlsFailed():
            return "could not be trusted, because TLS failed"
        case errors.RegistryUnreachable():
            return _UNREACHED
        case _:
            return "did not answer in valid HTTP"
