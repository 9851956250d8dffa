"""Constructs the clients for registries and for the receivers of webhooks from the settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.outbound.client import OutboundClient
from app.registry.client import Limits, RegistryClient, RegistryPolicy
from app.registry.error_bodies import is_rate_limit, may_pass
from app.services.webhooks.sender import WebhookSender
from app.settings import Settings
from app.wiring.tls_and_credentials import read_trusts

# The longest pause of a registry that a request waits for; for a longer one, the operation is parked.
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Clients:
    """One outbound client, and its two users."""

    outbound: OutboundClient
    registries: RegistryClient
    webhooks: WebhookSender


def build_clients(settings: Settings, limits: Limits) -> Clients:
    policy = RegistryPolicy.parse(
        allowed_networks=settings.allowed_networks,
        insecure_hosts=settings.insecure_registries,
        registries=settings.registries,
        ports=settings.registry_ports,
        allow_loopback=settings.loopback_allowed,
        shows_failures=settings.failure_details,
        token_origins=settings.token_origins,
        redirect_hosts=settings.redirect_hosts,
        upload_hosts=settings.upload_hosts,
        setting_names={
            "allowed_networks": "BROKER_ALLOWED_NETWORKS",
            "insecure_hosts": "BROKER_INSECURE_REGISTRIES",
            "ports": "BROKER_REGISTRY_PORTS",
            "registries": "BROKER_REGISTRIES",
            "upload_hosts": "BROKER_UPLOAD_HOSTS",
        },
    )
    limits = replace(
        limits,
        concurrency=settings.registry_concurrency,
        connect_seconds=settings.registry_connect_seconds,
        call_seconds=settings.registry_call_seconds,
        patience_seconds=PATIENCE_SECONDS,
    )
    outbound = OutboundClient(
        policy, limits, trusts=read_trusts(settings), is_rate_limit=is_rate_limit, may_pass=may_pass
    )
    return Clients(
        outbound,
        RegistryClient(policy, limits=limits, outbound=outbound),
        WebhookSender(outbound, receivers=settings.receivers, seconds=settings.webhook_seconds),
    )
