"""Constructs the registry client from the settings."""

from __future__ import annotations

from dataclasses import replace

from app.registry.client import AccessPolicy, Limits, RegistryClient
from app.settings import Settings
from app.wiring.tls_and_credentials import read_trusts

# A request waits this long for a registry that asked for a pause; for longer pauses the operation is parked.
PATIENCE_SECONDS = 5.0


def build_registry_client(settings: Settings, limits: Limits) -> RegistryClient:
    return RegistryClient(
        AccessPolicy.parse(
            allowed_networks=settings.allowed_networks,
            insecure_registries=settings.insecure_registries,
            registries=settings.registries,
            receivers=settings.receivers,
            ports=settings.registry_ports,
            allow_loopback=settings.loopback_allowed,
            token_origins=settings.token_origins,
            redirect_hosts=settings.redirect_hosts,
        ),
        limits=replace(
            limits,
            concurrency=settings.registry_concurrency,
            connect_seconds=settings.registry_connect_seconds,
            call_seconds=settings.registry_call_seconds,
            patience_seconds=PATIENCE_SECONDS,
            hook_seconds=settings.webhook_seconds,
        ),
        trusts=read_trusts(settings),
    )
