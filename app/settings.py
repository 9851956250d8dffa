"""The settings of the operator: environment variables with the prefix BROKER_, and DATABASE_URL."""

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

from app.settings_files import SettingsWithFiles
from app.weak_tokens import SHORTEST_ADMIN_TOKEN, is_guessable

__all__ = ["RegistryCredential", "RegistryTls", "Settings", "secret_key_of", "secret_keys_of"]

SECRET_KEY_BYTES = 32
# Where the embedded mode keeps its key, below its data directory.
KEY_FILE = "secret.key"
IDEMPOTENCY_DAYS = 7
DRIVER = "postgresql+asyncpg"
HIGHEST_PORT = 65_535
PORT_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
# A scheme and an authority without a user, then the path of a prefix.
PUBLIC_URL = re.compile(
    r"https?://(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
    r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*",
    re.ASCII,
)
SCHEMES = re.compile(r"(?:postgres|postgresql|postgresql\+asyncpg)://", re.ASCII)


def _split(value: object) -> object:
    """Split a list at commas and white space: a,b c."""
    return tuple(part for part in re.split(r"[,\s]+", value) if part) if isinstance(value, str) else value


def _decode(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except ValueError:
        raise ValueError("The value must be a JSON object.") from None


def _parse_ports(value: object) -> object:
    """The first and last port of each range; a single port is a range of one."""
    if not isinstance(value, str):
        return value
    ranges = tuple(map(_parse_port_range, re.findall(r"[^,\s]+", value)))
    if not ranges:
        raise ValueError("The value must name at least one port.")
    return ranges


def _parse_port_range(text: str) -> tuple[int, int]:
    found = PORT_RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= HIGHEST_PORT:
        raise ValueError(f"{text!r} must be a port from 1 to {HIGHEST_PORT} or a range such as 8000-8999.")
    return first, last


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
PortRanges = Annotated[tuple[tuple[int, int], ...], NoDecode, BeforeValidator(_parse_ports)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=1_000)]
Quantity = Annotated[int, Field(ge=1, le=2**53)]


class RegistryCredential(BaseModel):
    """A username and a password, of which one may be empty, or an identity token, or a registry token."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    username: str = ""
    password: SecretStr = SecretStr("")
    identity_token: SecretStr = SecretStr("")
    registry_token: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        tokens = [self.identity_token.get_secret_value(), self.registry_token.get_secret_value()]
        ways = [bool(self.username or self.password.get_secret_value()), *map(bool, tokens)]
        if sum(ways) != 1:
            raise ValueError(
                "A credential must have username and password, or identity_token, or registry_token."
            )
        return self


class RegistryTls(BaseModel):
    """PEM files: `ca` is trusted in addition to the system CAs; `cert` and `key` authenticate the client."""

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
            raise ValueError("The value must have ca, or cert and key, or all three.")
        return self


class Settings(SettingsWithFiles, BaseSettings):
    """All settings. They are read once at the start, and only `wiring` uses them."""

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
    """The address that the API listens on."""
    port: Annotated[int, Field(ge=0, le=HIGHEST_PORT)] = 8080
    public_url: str | None = None
    """The URL at which callers reach the API through a proxy, with the path of its prefix if it has one."""
    trusted_proxies: Names = ()
    """The proxies (address or CIDR) whose `Forwarded` and `X-Forwarded-*` headers name the public URL."""
    data: Path = Path(".broker")
    """The directory of the embedded Postgres and of the generated secret key."""
    database_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL"))
    """The URL of an external Postgres. By default the broker starts an embedded Postgres in `data`."""
    migration_database_url: SecretStr | None = None
    """The URL of the role that migrates the database. By default it is DATABASE_URL."""
    service_role: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_$]{0,55}$")] = "broker_service"
    """The role that the service acts as in the database: that of DATABASE_URL, or one that it takes."""
    pg_bin: Path | None = None
    """The bin directory of the Postgres that runs embedded."""
    pool_size: Count = 10
    """The maximum number of database connections per process."""

    admin_token: SecretStr | None = None
    """The first admin token. By default the broker generates one at the first start and prints it."""
    secret_key: SecretStr | None = None
    """Base64 of 32 random bytes. This key encrypts the stored credentials of callers and webhook secrets."""
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)] = ()
    """A ring of such keys: the first one encrypts, and all of them and `secret_key` decrypt."""

    docker_config: Path | None = None
    """A Docker config.json with credentials for registries."""
    registry_credentials: Annotated[dict[str, RegistryCredential], NoDecode, BeforeValidator(_decode)] = {}
    registry_tls: Annotated[dict[str, RegistryTls], NoDecode, BeforeValidator(_decode)] = {}
    """By host and port: a CA to trust in addition to the system CAs, and a client certificate."""
    certs_dir: Path | None = None
    """A directory in the layout of /etc/docker/certs.d, with the same purpose as `registry_tls`."""
    registries: Names = ()
    """The permitted registries: host, host:port, *.suffix or CIDR. An empty list permits all."""
    registry_ports: PortRanges = ()
    """The permitted ports, such as 443,5000,8000-8999.

    An empty list permits all ports except those that web clients block, such as 22 and 25.
    """
    registry_aliases: Annotated[dict[str, str], NoDecode, BeforeValidator(_decode)] = {}
    """Further names of registries, each with the name of the registry that it leads to."""
    insecure_registries: Names = ()
    """Registries where callers may use plain HTTP or unverified TLS: host, host:port, *.suffix or CIDR."""
    allowed_networks: Names = ()
    """Private networks (CIDR) whose registries the broker may reach."""
    allow_loopback: bool | None = None
    """Whether the broker may reach registries on loopback. By default only with the embedded Postgres."""
    failure_details: bool = False
    """Whether callers learn why a registry can't be reached: its name, its address, or its silence.

    The reasons tell what the network of the broker looks like; by default they are in the log only.
    """
    receivers: Names = ()
    """The permitted webhook receivers: host, host:port, *.suffix or CIDR. An empty list permits all."""
    token_origins: Annotated[dict[str, tuple[str, ...]], NoDecode, BeforeValidator(_decode)] = {}
    """By registry: further origins that may receive its credentials in exchange for a token."""
    redirect_hosts: Annotated[dict[str, tuple[str, ...]], NoDecode, BeforeValidator(_decode)] = {}
    """By registry: hosts that it may redirect manifest requests to: host, host:port or *.suffix."""
    upload_hosts: Annotated[dict[str, tuple[str, ...]], NoDecode, BeforeValidator(_decode)] = {}
    """By registry: further hosts that take its uploads, and its credentials: host, host:port or *.suffix."""

    worker_concurrency: Count = 96
    """The maximum number of operations that one process runs concurrently."""
    registry_operations: Count = 24
    """The maximum number of these that use the same registries, so that a slow registry can't take all slots.

    The default leaves room for a matrix build whose twenty legs arrive at once.
    """
    project_share: Annotated[float, Field(gt=0, le=1)] = 0.85
    """The largest share of these slots that one project may have; the rest is left to other projects."""
    project_operations: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    """The maximum number of unfinished operations of one project; further requests are refused."""
    tag_operations: Count = 100
    """The maximum number of unfinished pushes of one project to one tag."""
    registry_concurrency: Count = 32
    """The maximum number of concurrent requests from one process to one registry host."""
    registry_connect_seconds: Seconds = 10.0
    registry_call_seconds: Seconds = 60.0
    """The time limit of one call to a registry, including its retries."""
    webhook_seconds: Seconds = 20.0
    """The time limit for a webhook receiver to answer."""
    keep_operations_days: Annotated[int, Field(ge=IDEMPOTENCY_DAYS, le=3_650)] = 30
    """How long ended operations are kept. Idempotency keys refer to them for seven days."""
    stop_seconds: Seconds = 25.0
    """How long a stopping process waits for its requests and operations to finish."""

    connections: Annotated[int, Field(ge=1, le=100_000)] = 4_096
    """The maximum number of client connections of one process."""
    peer_connections: Annotated[int, Field(ge=1, le=100_000)] = 2_048
    """The maximum number of these from one address, or of requests that trusted proxies forward for one."""
    body_seconds: Seconds = 15.0
    """How long the body of a request may take. It has a second more for each 4 KiB, up to four times this."""
    write_seconds: Seconds = 15.0
    """How long a caller may read less than 4 KiB per second of an answer before its connection is closed."""
    quota_lists: Quantity = 100_000
    """How many lists a project may have."""
    quota_metadata_bytes: Quantity = 128 * 1_048_576
    """How many bytes the labels and annotations of a project's lists and of their entries may have."""
    quota_manifest_bytes: Quantity = 2_048 * 1_048_576
    """How many bytes of manifests are kept for a project."""
    quota_webhooks: Count = 32
    """How many webhooks a project may have. Each event becomes one delivery for each of them."""
    quota_tokens: Quantity = 1_000
    """How many live tokens a project may have."""
    quota_events: Quantity = 200_000
    """How many events are kept for a project; the oldest ones go first."""
    project_streams: Count = 256
    """The maximum number of event streams, and of operation streams, of one project in one process."""
    max_body_bytes: Annotated[int, Field(ge=1_024, le=64 * 1_048_576)] = 1_048_576

    wrong_tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """The number of wrong tokens per minute from one address that are answered with 401, and not with 429."""
    operator_pages: Literal["public", "admin", "off"] = "public"
    """Who may see /docs, /openapi.json and /metrics: everybody, the holders of admin tokens, or nobody."""
    hsts_seconds: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] = 0
    """How long browsers may use the API through TLS only (Strict-Transport-Security); 0 is not sent."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @property
    def embedded(self) -> bool:
        """Whether the broker starts an embedded Postgres."""
        return self.database_url is None

    @property
    def loopback_allowed(self) -> bool:
        return self.embedded if self.allow_loopback is None else self.allow_loopback

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        address = value.strip().rstrip("/") if value is not None else None
        if address is not None and not PUBLIC_URL.fullmatch(address):
            raise ValueError(
                "The value must be an http or https URL such as https://portal.example.com/broker, without a "
                "user, a query or a fragment."
            )
        return address

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _normalise_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        address, found = SCHEMES.subn(f"{DRIVER}://", value.get_secret_value().strip(), count=1)
        if not found or not address.startswith(f"{DRIVER}://"):
            raise ValueError(
                "The value must be a Postgres URL such as postgresql://user:password@host:5432/database."
            )
        return SecretStr(address)

    @field_validator("admin_token")
    @classmethod
    def _check_admin_token(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value is not None else None
        if text is not None and is_guessable(text):
            raise ValueError(
                "The token is easy to guess, because its characters repeat or follow each other. "
                "Generate one with: openssl rand -hex 32."
            )
        if text is not None and (len(text) < SHORTEST_ADMIN_TOKEN or not re.fullmatch(r"[!-~]+", text)):
            raise ValueError(
                f"The token must have at least {SHORTEST_ADMIN_TOKEN} visible ASCII characters. "
                "Generate one with: openssl rand -hex 32."
            )
        return value

    @field_validator("secret_key")
    @classmethod
    def _check_secret_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _decode_key(value.get_secret_value())
        return value

    @field_validator("secret_keys")
    @classmethod
    def _check_secret_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in value:
            _decode_key(key.get_secret_value())
        return value

    @field_validator("allowed_networks", "trusted_proxies")
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


def secret_keys_of(settings: Settings) -> tuple[bytes, ...]:
    """The ring of keys, the encrypting key first; without a ring, the single key if there is one."""
    ring = [_decode_key(key.get_secret_value()) for key in settings.secret_keys]
    # The embedded mode generates a key only if the operator gives none.
    has_kept = settings.embedded and (settings.data / KEY_FILE).exists()
    single = None if ring and settings.secret_key is None and not has_kept else secret_key_of(settings)
    return tuple(dict.fromkeys([*ring, *([] if single is None else [single])]))


def secret_key_of(settings: Settings) -> bytes | None:
    """The configured key, or with the embedded Postgres a key that is generated once and kept in `data`.

    None with an external database and no key: its processes could not decrypt each other's secrets.
    """
    if settings.secret_key is not None:
        return _decode_key(settings.secret_key.get_secret_value())
    if not settings.embedded:
        return None
    path = settings.data / KEY_FILE
    if not path.exists():
        _make_key(path)
    return _decode_key(path.read_text())


def _make_key(path: Path) -> None:
    """Write the key atomically; of two processes that start together, the first one wins."""
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
    """Decode both base64 alphabets, with or without padding."""
    standard = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        key = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != SECRET_KEY_BYTES:
        raise ValueError(
            f"The key must be base64 of {SECRET_KEY_BYTES} random bytes. "
            f"Generate one with: openssl rand -base64 {SECRET_KEY_BYTES}."
        )
    return key
