"""What the operator may set, by environment variables with the prefix BROKER_ and by DATABASE_URL."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["RegistryCredential", "RegistryTls", "Settings", "secret_key_of"]

SECRET_KEY_BYTES = 32
IDEMPOTENCY_DAYS = 7
# 256 random bits in hexadecimal have 64 characters; what people think up is shorter, and guessed.
SHORTEST_ADMIN_TOKEN = 16
DRIVER = "postgresql+asyncpg"
HIGHEST_PORT = 65_535
PORT_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
SCHEMES = re.compile(r"(?:postgres|postgresql|postgresql\+asyncpg)://", re.ASCII)


def _split(value: object) -> object:
    """A list as people write it into a variable: a,b c."""
    return tuple(part for part in re.split(r"[,\s]+", value) if part) if isinstance(value, str) else value


def _decode(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except ValueError:
        raise ValueError("must be a JSON object") from None


def _parse_ports(value: object) -> object:
    """First and last of each range, one port being a range of its own."""
    if not isinstance(value, str):
        return value
    ranges = tuple(map(_parse_port_range, re.findall(r"[^,\s]+", value)))
    if not ranges:
        raise ValueError("names no port")
    return ranges


def _parse_port_range(text: str) -> tuple[int, int]:
    found = PORT_RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= HIGHEST_PORT:
        raise ValueError(f"{text!r} is neither a port from 1 to {HIGHEST_PORT} nor a range such as 8000-8999")
    return first, last


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
PortRanges = Annotated[tuple[tuple[int, int], ...], NoDecode, BeforeValidator(_parse_ports)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=1_000)]


class RegistryCredential(BaseModel):
    """A name and a password, or an identity token, or a registry token."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    username: str = ""
    password: SecretStr = SecretStr("")
    identity_token: SecretStr = SecretStr("")
    registry_token: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        tokens = [self.identity_token.get_secret_value(), self.registry_token.get_secret_value()]
        ways = [bool(self.username), *map(bool, tokens)]
        if sum(ways) != 1 or (bool(self.password.get_secret_value()) and not self.username):
            raise ValueError(
                "needs username and password, or identity_token, or registry_token: one of the three"
            )
        return self


class RegistryTls(BaseModel):
    """Files in PEM: authorities to believe beside the machine's, and a certificate with its key to show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @field_validator("ca", "cert", "key")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None) or not (self.ca or self.cert):
            raise ValueError("needs ca, or cert with key, or all three")
        return self


class Settings(BaseSettings):
    """Read once, at the start; nothing below `wiring` sees it."""

    model_config = SettingsConfigDict(
        env_prefix="BROKER_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        validate_by_name=True,
        validate_by_alias=True,
    )

    host: str = "127.0.0.1"
    """Where the API listens."""
    port: Annotated[int, Field(ge=0, le=HIGHEST_PORT)] = 8080
    data: Path = Path(".broker")
    """Where the embedded Postgres and the generated secret key live."""
    database_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL"))
    """A Postgres of the operator's; without one the broker starts its own below `data`."""
    pg_bin: Path | None = None
    """The bin directory of the Postgres to start."""
    pool_size: Count = 10
    """Connections to the database, per process."""

    admin_token: SecretStr | None = None
    """The first admin token; without one it is made at the first start and printed."""
    secret_key: SecretStr | None = None
    """Base64 of 32 bytes: seals the credentials that callers send until their operation has run."""

    docker_config: Path | None = None
    """A Docker config.json whose credentials the broker may use."""
    registry_credentials: Annotated[dict[str, RegistryCredential], NoDecode, BeforeValidator(_decode)] = {}
    registry_tls: Annotated[dict[str, RegistryTls], NoDecode, BeforeValidator(_decode)] = {}
    """By host and port: which authorities its certificate may have, and which certificate it is shown."""
    certs_dir: Path | None = None
    """The same in the layout of Docker's /etc/docker/certs.d."""
    registries: Names = ()
    """The only registries that may be named, if there are any here: host, host:port, *.suffix, CIDR."""
    registry_ports: PortRanges = ()
    """The only ports that may be connected to, if there are any here: 443,5000,8000-8999.

    Without any they are all but those that no web client may speak to, such as 22 and 25.
    """
    insecure_registries: Names = ()
    """Where plain HTTP or unverified TLS may be used if the caller asks: host, host:port, *.suffix, CIDR."""
    allowed_networks: Names = ()
    """Networks, as CIDR, whose registries may be reached although they are not public."""
    allow_loopback: bool | None = None
    """Whether registries on this machine may be reached; by default only with the embedded Postgres."""
    receivers: Names = ()
    """The only hosts that webhooks may be sent to, if there are any here: host, host:port, *.suffix, CIDR."""
    token_origins: Annotated[dict[str, tuple[str, ...]], NoDecode, BeforeValidator(_decode)] = {}
    """For each registry, further origins that may be sent its credentials in exchange for a token."""
    redirect_hosts: Annotated[dict[str, tuple[str, ...]], NoDecode, BeforeValidator(_decode)] = {}
    """By registry: hosts where its manifests may lie, if it redirects there: host, host:port, *.suffix."""

    worker_concurrency: Count = 96
    """Operations that one process runs at the same time."""
    registry_operations: Count = 24
    """How many of them may be for the same registries: one that is slow takes no more of the room.

    A build of twenty legs comes all at once.
    """
    registry_concurrency: Count = 32
    """Requests that one process makes to one registry host at the same time."""
    registry_connect_seconds: Seconds = 10.0
    registry_call_seconds: Seconds = 60.0
    """One call to a registry with its retries, from the first byte to the last."""
    webhook_seconds: Seconds = 20.0
    """How long a receiver of webhooks may take to answer."""
    keep_operations_days: Annotated[int, Field(ge=IDEMPOTENCY_DAYS, le=3_650)] = 30
    """How long an operation can be asked for after its end; idempotency keys stand for it for seven days."""
    stop_seconds: Seconds = 25.0
    """How long a stopping process lets its requests and operations finish."""

    max_body_bytes: Annotated[int, Field(ge=1_024, le=64 * 1_048_576)] = 1_048_576

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @property
    def embedded(self) -> bool:
        """Whether the broker starts a Postgres of its own."""
        return self.database_url is None

    @property
    def loopback_allowed(self) -> bool:
        return self.embedded if self.allow_loopback is None else self.allow_loopback

    @field_validator("database_url")
    @classmethod
    def _normalise_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        address, found = SCHEMES.subn(f"{DRIVER}://", value.get_secret_value().strip(), count=1)
        if not found or not address.startswith(f"{DRIVER}://"):
            raise ValueError(
                "must be the address of a Postgres: postgresql://user:password@host:5432/database"
            )
        return SecretStr(address)

    @field_validator("admin_token")
    @classmethod
    def _check_admin_token(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value is not None else None
        if text is not None and (len(text) < SHORTEST_ADMIN_TOKEN or not re.fullmatch(r"[!-~]+", text)):
            raise ValueError(
                f"must have at least {SHORTEST_ADMIN_TOKEN} visible ASCII characters, "
                "as from: openssl rand -hex 32"
            )
        return value

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _decode_key(value.get_secret_value())
        return value

    @field_validator("allowed_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network, strict=False)
        return value

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("data", "docker_config", "certs_dir", "pg_bin")
    @classmethod
    def _expand_home(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None


def secret_key_of(settings: Settings) -> bytes | None:
    """The operator's key; with the embedded Postgres one that is made once and kept beside the data.

    None with a database of the operator's and no key: its processes could not open each other's seals.
    """
    if settings.secret_key is not None:
        return _decode_key(settings.secret_key.get_secret_value())
    if not settings.embedded:
        return None
    path = settings.data / "secret.key"
    if not path.exists():
        _make_key(path)
    return _decode_key(path.read_text())


def _make_key(path: Path) -> None:
    """Whole or not at all, and the first of two that start together wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(SECRET_KEY_BYTES)))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(partial)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def _decode_key(text: str) -> bytes:
    """Either alphabet of base64, padded or not."""
    standard = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        key = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != SECRET_KEY_BYTES:
        raise ValueError(
            f"must be base64 of {SECRET_KEY_BYTES} random bytes, "
            f"as from: openssl rand -base64 {SECRET_KEY_BYTES}"
        )
    return key
