"""Discovers the scheme, TLS and challenge of a registry with `GET /v2/`, and remembers them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from app import errors
from app.concurrency.singleflight import SingleFlight
from app.oci.reference import api_host
from app.outbound.client import Answer, OutboundClient, Request
from app.outbound.failures import RequestContext, answered_in_plain_http, was_refused
from app.outbound.url import Url, parse_url
from app.registry.auth.challenge import Challenge, choose_challenge, parse_challenges
from app.registry.error_bodies import is_html
from app.registry.errors import refusal
from app.registry.limits import Limits
from app.registry.policy import RegistryPolicy

__all__ = ["Endpoint", "Endpoints", "challenge_of"]

_PLAIN_PORT = 80
_SERVER_ERROR = 500
_JUST_NOW = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a registry, whether its TLS is verified, and the challenge of its `/v2/`.

    `takes_passwords` says whether the registry itself may receive a password. A registry whose `/v2/` asks
    only for tokens may not, even if the response for one repository asks for a password.
    """

    registry: str
    base: Url
    verify: bool
    challenge: Challenge | None = None
    takes_passwords: bool = True


class Endpoints:
    """Endpoints by registry and requested security, each discovered once for all concurrent callers."""

    def __init__(
        self, outbound: OutboundClient, policy: RegistryPolicy, limits: Limits, now: Callable[[], float]
    ) -> None:
        self._outbound = outbound
        self._policy = policy
        self._limits = limits
        self._now = now
        self._known: dict[tuple[str, bool], tuple[float, Endpoint]] = {}
        self._flights: SingleFlight[tuple[str, bool], Endpoint] = SingleFlight()

    async def find(self, registry: str, *, insecure: bool) -> Endpoint:
        host = api_host(registry)
        if insecure and not self._policy.may_be_insecure(host):
            raise errors.InsecureForbidden(
                f"Insecure access to {registry} is not allowed. The operator must list {registry} "
                f"as an insecure registry{self._policy.setting('insecure_hosts')}.",
                registry=registry,
            )
        key = (registry, insecure)
        until, endpoint = self._known.get(key, (0.0, None))
        if endpoint is not None and self._now() < until:
            return endpoint
        return await self._flights.run(key, lambda: self._find(registry, insecure))

    async def renew(self, endpoint: Endpoint, *, insecure: bool) -> Endpoint:
        """Discover an endpoint again, unless that was done recently: its registry may have changed since."""
        key = (endpoint.registry, insecure)
        until, known = self._known.get(key, (0.0, endpoint))
        if known != endpoint or until - self._now() > self._limits.remembered_seconds - _JUST_NOW:
            return known
        return await self._flights.run(key, lambda: self._find(endpoint.registry, insecure))

    async def _find(self, registry: str, insecure: bool) -> Endpoint:
        endpoint = await (self._discover_insecure(registry) if insecure else self._discover(registry))
        self._forget_old()
        self._known[registry, insecure] = (self._now() + self._limits.remembered_seconds, endpoint)
        return endpoint

    async def _discover(self, registry: str) -> Endpoint:
        return await self._ping(Endpoint(registry, _base("https", registry), verify=True))

    async def _discover_insecure(self, registry: str) -> Endpoint:
        """Try unverified TLS, then plain HTTP: on the same port if it answers there, or on 80."""
        guarded = Endpoint(registry, _base("https", registry), verify=False)
        try:
            return await self._ping(guarded)
        except errors.RegistryTlsFailed as error:
            if not answered_in_plain_http(error):
                raise
            plain = replace(guarded.base, scheme="http")
        except errors.RegistryUnreachable as error:
            plain = _base("http", registry)
            if not was_refused(error) or plain.port != _PLAIN_PORT:
                raise
        return await self._ping(replace(guarded, base=plain))

    async def _ping(self, endpoint: Endpoint) -> Endpoint:
        context = RequestContext(endpoint.registry)
        answer = await self._outbound.call(
            Request(method="GET", url=endpoint.base.at("/v2/"), context=context, verify=endpoint.verify)
        )
        challenge = challenge_of(answer)
        if challenge is None and _is_no_registry(answer):
            raise refusal(
                answer.status,
                answer.headers,
                answer.body,
                context,
                doing="the question whether it is a registry",
            )
        offered = {each.scheme for each in _challenges_of(answer)}
        return replace(
            endpoint, challenge=challenge, takes_passwords="bearer" not in offered or "basic" in offered
        )

    def _forget_old(self) -> None:
        now = self._now()
        for key in [key for key, (until, _) in self._known.items() if until <= now]:
            del self._known[key]


def challenge_of(answer: Answer) -> Challenge | None:
    """The challenge of a 401, if it has one."""
    if answer.status != 401:  # noqa: PLR2004
        return None
    return choose_challenge(_challenges_of(answer))


def _challenges_of(answer: Answer) -> tuple[Challenge, ...]:
    return parse_challenges(answer.headers.getall("WWW-Authenticate", []))


def _is_no_registry(answer: Answer) -> bool:
    """Whether the answer is a page, a redirect or a failure; the next request explains any other refusal."""
    if is_html(answer.headers.get("Content-Type"), answer.body):
        return True
    return answer.status >= _SERVER_ERROR or answer.status == 429 or 300 <= answer.status < 400  # noqa: PLR2004


def _base(scheme: str, registry: str) -> Url:
    base = parse_url(f"{scheme}://{api_host(registry)}")
    if base is None:
        raise errors.RegistryForbidden(f"{registry} is not a valid host.", registry=registry)
    return base
