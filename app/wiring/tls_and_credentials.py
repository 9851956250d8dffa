"""Reads the TLS trust and the credentials of registries that the operator configures."""

from __future__ import annotations

import json
import logging

from app.errors import InvalidInput
from app.oci.reference import canonical_host
from app.outbound.tls import read_certs_dir
from app.registry.auth.places import parse_place
from app.registry.client import Credential, Keychain, TlsTrust
from app.settings import RegistryCredential, Settings

logger = logging.getLogger(__name__)


def read_trusts(settings: Settings) -> dict[str, TlsTrust]:
    """The TLS trust by registry. BROKER_REGISTRY_TLS takes precedence over BROKER_CERTS_DIR."""
    trusts = read_certs_dir(settings.certs_dir) if settings.certs_dir is not None else {}
    for host, given in settings.registry_tls.items():
        authorities = (given.ca,) if given.ca is not None else ()
        trusts[canonical_host(host)] = TlsTrust(authorities, given.cert, given.key)
    for trust in trusts.values():
        trust.check()
    return trusts


def read_keychain(settings: Settings) -> Keychain:
    """The credentials. BROKER_REGISTRY_CREDENTIALS takes precedence over BROKER_DOCKER_CONFIG."""
    document: object = {}
    if settings.docker_config is not None:
        try:
            document = json.loads(settings.docker_config.read_text())
        except (OSError, ValueError) as error:
            raise InvalidInput(f"BROKER_DOCKER_CONFIG can't be read: {error}.") from None
    keychain = Keychain.from_docker_config(document if isinstance(document, dict) else {})
    for name, given in settings.registry_credentials.items():
        place = parse_place(name)
        if place is None:
            raise InvalidInput(
                f"BROKER_REGISTRY_CREDENTIALS has the key {name}, which is neither a registry's host nor a "
                "host with a path of repositories."
            )
        try:
            keychain = keychain.with_credential(place, _credential(given))
        except ValueError as error:
            reason = f"BROKER_REGISTRY_CREDENTIALS is not valid for {place}: {error}."
            logger.warning("%s can't be used, and requests there are refused: %s", place, reason)
            keychain = keychain.with_unusable(place, reason)
    return keychain


def _credential(given: RegistryCredential) -> Credential:
    """Raise ValueError for a credential that no request can carry."""
    return Credential(
        username=given.username,
        password=given.password.get_secret_value(),
        identity_token=given.identity_token.get_secret_value(),
        registry_token=given.registry_token.get_secret_value(),
    )
