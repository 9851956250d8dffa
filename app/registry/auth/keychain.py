"""Finds the credential for a repository: the caller's own, the operator's, or that of a helper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app import errors
from app.oci.reference import canonical_registry
from app.registry.auth.credentials import ANONYMOUS, TOKEN_USER, Credential
from app.registry.auth.docker_config import parse_docker_config
from app.registry.auth.helpers import HelperCache
from app.registry.auth.places import places_of
from app.registry.limits import Limits

__all__ = ["Keychain"]

Json = Any


class Keychain:
    """Credentials by place (`host` or `host/path`); the longest place that covers a repository wins.

    The caller's `own` come before the operator's, however long their places are. `unusable` says why an
    entry of the operator can't be used: requests there are refused instead of made under another account.
    """

    def __init__(
        self,
        credentials: Mapping[str, Credential] | None = None,
        *,
        own: Mapping[str, Credential] | None = None,
        unusable: Mapping[str, str] | None = None,
        helpers: Mapping[str, str] | None = None,
        default_helper: str | None = None,
        cache: HelperCache | None = None,
    ) -> None:
        self._credentials = _by_place(credentials or {})
        self._own = _by_place(own or {})
        self._unusable = dict(unusable or {})
        self._helpers = {canonical_registry(host): name for host, name in (helpers or {}).items()}
        self._default_helper = default_helper
        self._cache = cache or HelperCache(Limits())

    def __repr__(self) -> str:
        return f"Keychain({', '.join(sorted({*self._credentials, *self._own}))})"

    @classmethod
    def from_docker_config(
        cls, document: Mapping[str, Json], *, cache: HelperCache | None = None
    ) -> Keychain:
        """Read a Docker `config.json`; raise InvalidInput if it can't be read as a whole."""
        config = parse_docker_config(document)
        return cls(
            config.credentials,
            unusable=config.unusable,
            helpers=config.helpers,
            default_helper=config.default_helper,
            cache=cache,
        )

    def with_credential(self, place: str, credential: Credential) -> Keychain:
        """A copy with one more credential, which replaces any other for its place."""
        name = _canonical(place)
        return Keychain(
            {**self._credentials, name: credential},
            own=self._own,
            unusable={each: why for each, why in self._unusable.items() if each != name},
            helpers={host: helper for host, helper in self._helpers.items() if host != name},
            default_helper=self._default_helper,
            cache=self._cache,
        )

    def with_unusable(self, place: str, reason: str) -> Keychain:
        """A copy that refuses requests to a place whose credential can't be used."""
        name = _canonical(place)
        return Keychain(
            self._credentials,
            own=self._own,
            unusable={**self._unusable, name: reason},
            helpers=self._helpers,
            default_helper=self._default_helper,
            cache=self._cache,
        )

    def with_own(self, own: Mapping[str, Credential]) -> Keychain:
        """A copy with the credentials of a caller, which come before all others."""
        return Keychain(
            self._credentials,
            own=own,
            unusable=self._unusable,
            helpers=self._helpers,
            default_helper=self._default_helper,
            cache=self._cache,
        )

    def has_own(self, registry: str, path: str = "") -> bool:
        """Whether the credential for a repository is the caller's own."""
        return any(place in self._own for place in places_of(registry, path))

    async def find(self, registry: str, path: str = "", *, refused: Credential | None = None) -> Credential:
        """The credential for a repository, ANONYMOUS if none is known.

        `refused` is a credential that the registry no longer accepts: a helper may have a new one.
        """
        places = tuple(places_of(registry, path))
        own = next((self._own[place] for place in places if place in self._own), None)
        known = own or self._find_stored(places)
        if known is not None:
            return known
        host = places[-1]
        helper = self._helpers.get(host) or self._default_helper
        if helper is None:
            return ANONYMOUS
        pair = None if refused is None else _pair_of(refused)
        answer = await self._cache.ask(helper, _helper_key(host), refused=pair)
        return ANONYMOUS if answer is None else _of_pair(*answer, registry)

    def _find_stored(self, places: tuple[str, ...]) -> Credential | None:
        for place in places:
            if place in self._unusable:
                raise errors.RegistryDenied(
                    f"The operator's credential for {place} can't be used. {self._unusable[place]}",
                    registry=places[-1],
                )
            if place in self._helpers:
                return None
            if place in self._credentials:
                return self._credentials[place]
        return None


def _by_place(credentials: Mapping[str, Credential]) -> dict[str, Credential]:
    return {_canonical(place): credential for place, credential in credentials.items()}


def _canonical(place: str) -> str:
    host, slash, path = place.partition("/")
    return canonical_registry(host) + slash + path


def _of_pair(username: str, secret: str, registry: str) -> Credential:
    try:
        if username == TOKEN_USER:
            return Credential(identity_token=secret)
        return Credential(username, secret)
    except ValueError as error:
        raise errors.RegistryDenied(
            f"The credential helper for {registry} gave a credential that is not valid: {error}.",
            registry=registry,
        ) from None


def _pair_of(credential: Credential) -> tuple[str, str]:
    if credential.identity_token:
        return TOKEN_USER, credential.identity_token
    return credential.username, credential.password


def _helper_key(host: str) -> str:
    return "https://index.docker.io/v1/" if host == "docker.io" else host
