"""Usage errors print a message and set the exit status, without a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def manifest_broker(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    inherited.pop("DATABASE_URL", None)
    return subprocess.run(
        [sys.executable, "-c", "from app.cli import main; main()", *arguments],
        cwd=PROJECT,
        env={**inherited, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "token", "keys", "openapi"])
def test_every_command_has_help(command: str) -> None:
    answer = manifest_broker(command, "--help")
    assert answer.returncode == 0
    assert "Usage:" in answer.stdout


@pytest.mark.parametrize("command", [["worker"], ["serve", "--no-worker"]])
def test_a_process_that_needs_an_external_database_reports_it(command: list[str]) -> None:
    answer = manifest_broker(*command)
    assert answer.returncode == 1
    assert "needs DATABASE_URL" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_each_invalid_setting_is_named_and_no_secret_is_printed() -> None:
    answer = manifest_broker(
        "worker",
        DATABASE_URL="mysql://canary@db/broker",
        BROKER_PORT="many",
        BROKER_SECRET_KEY="canary",
        BROKER_REGISTRY_CREDENTIALS='{"a.example": {"password": "canary", "registry_token": "canary"}}',
    )
    assert answer.returncode == 2
    for name in ("DATABASE_URL", "BROKER_PORT", "BROKER_SECRET_KEY", "BROKER_REGISTRY_CREDENTIALS.a.example"):
        assert f"\n  {name}: " in answer.stderr
    assert "canary" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_option_takes_precedence_over_its_variable_and_errors_name_the_variable() -> None:
    answer = manifest_broker("serve", "--port", "70000", BROKER_PORT="8080")
    assert answer.returncode == 2
    assert "BROKER_PORT: " in answer.stderr


def test_the_openapi_document_is_printed_written_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    printed = manifest_broker("openapi")
    assert json.loads(printed.stdout)["openapi"].startswith("3.1")
    assert manifest_broker("openapi", "--output", str(path)).returncode == 0
    assert path.read_text(encoding="utf-8") == printed.stdout
    assert manifest_broker("openapi", "--check", str(path)).returncode == 0
    path.write_text("{}")
    stale = manifest_broker("openapi", "--check", str(path))
    assert stale.returncode == 1
    assert "scripts/openapi" in stale.stderr
