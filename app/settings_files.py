"""Reads secret settings from files: BROKER_SECRET_KEY_FILE names the file that has BROKER_SECRET_KEY."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

__all__ = ["FILE", "SECRETS", "SettingsWithFiles"]

FILE = "_FILE"
# The fields that files may provide. Each is a secret, and many parties can see the environment.
SECRETS = {
    "database_url": "DATABASE_URL",
    "migration_database_url": "BROKER_MIGRATION_DATABASE_URL",
    "admin_token": "BROKER_ADMIN_TOKEN",
    "secret_key": "BROKER_SECRET_KEY",
    "secret_keys": "BROKER_SECRET_KEYS",
    "registry_credentials": "BROKER_REGISTRY_CREDENTIALS",
}


class _Files(PydanticBaseSettingsSource):
    """The values of the files that the environment names. A file and a value together are refused."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        super().__init__(settings)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        del field
        return _read(SECRETS[field_name]), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {field: _read(name) for field, name in SECRETS.items()}
        return {field: text for field, text in found.items() if text is not None}


def _read(name: str) -> str | None:
    path = os.environ.get(name + FILE)
    if not path:
        return None
    if os.environ.get(name):
        raise ValueError(f"Both {name} and {name}{FILE} are set. Set one of them.")
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ValueError(f"The file of {name}{FILE} can't be read: {reason}.") from None
    return text or None


class SettingsWithFiles(BaseSettings):
    """Settings whose secrets may also be in files."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _Files(settings_cls), dotenv_settings, file_secret_settings
