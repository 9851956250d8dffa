"""Constructs everything from the settings and runs it; the only package that reads settings."""

from __future__ import annotations

from app.store.embedded import EmbeddedPostgresError
from app.wiring.commands import (
    create_token,
    list_tokens,
    revoke_token,
    rotate_keys,
    run_api,
    run_api_and_worker,
    run_migrations,
    run_worker,
)
from app.wiring.lifecycle import running_with_worker, running_without_worker
from app.wiring.parts import BrokerParts, broker_version, build_parts
from app.wiring.retry_policies import PROMPT, PUSH
from app.wiring.server import app_options, server_config

__all__ = [
    "PROMPT",
    "PUSH",
    "BrokerParts",
    "EmbeddedPostgresError",
    "app_options",
    "broker_version",
    "build_parts",
    "create_token",
    "list_tokens",
    "revoke_token",
    "rotate_keys",
    "run_api",
    "run_api_and_worker",
    "run_migrations",
    "run_worker",
    "running_with_worker",
    "running_without_worker",
    "server_config",
]
