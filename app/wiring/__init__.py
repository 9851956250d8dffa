"""Where everything is constructed: settings in, running processes out."""

from __future__ import annotations

from app.wiring.commands import (
    create_token,
    list_tokens,
    revoke_token,
    run_api,
    run_api_and_worker,
    run_migrations,
    run_worker,
)
from app.wiring.parts import PROMPT, Wired, broker_version, wire
from app.wiring.running import listening, running
from app.wiring.serving import server_config

__all__ = [
    "PROMPT",
    "Wired",
    "broker_version",
    "create_token",
    "list_tokens",
    "listening",
    "revoke_token",
    "run_api",
    "run_api_and_worker",
    "run_migrations",
    "run_worker",
    "running",
    "server_config",
    "wire",
]
