"""Settings are validated strictly, and their secrets are never printed."""

from __future__ import annotations

import base64
import json
import stat
from datetime import timedelta
from pathlib import Path
from secrets import token_hex, token_urlsafe
from uuid import uuid4

import pytest
from pydantic import ValidationError

from app.runner.housekeeper import IDEMPOTENCY_KEYS_FOR
from app.settings import IDEMPOTENCY_DAYS, Settings, secret_key_of, secret_keys_of

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"BROKER_{name.upper()}", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def database_address(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


def test_the_default_is_the_embedded_database_and_loopback() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.data) == ("127.0.0.1", 8080, Path(".broker"))
    assert settings.embedded
    assert settings.loopback_allowed


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_scheme_of_a_postgres_url_becomes_asyncpg(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://me:postgres://@db:5432/broker?sslmode=require")
    assert (
        database_address(Settings()) == "postgresql+asyncpg://me:postgres://@db:5432/broker?sslmode=require"
    )


@pytest.mark.parametrize(
    "address", ["mysql://db/broker", "sqlite:///broker.db", "db:5432", "postgresql:db", "http://"]
)
def test_a_url_of_another_database_is_rejected(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", address)
    with pytest.raises(ValidationError, match="must be a Postgres URL"):
        Settings()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("BROKER_PORT", "")
    assert Settings().embedded
    assert Settings().port == 8080


def test_an_external_database_forbids_loopback_unless_it_is_permitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/broker")
    assert not Settings().loopback_allowed
    monkeypatch.setenv("BROKER_ALLOW_LOOPBACK", "true")
    assert Settings().loopback_allowed


def test_explicit_values_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PORT", "1")
    assert Settings(port=2).port == 2


@pytest.mark.parametrize(
    "text", ["a.example:5000,*.b.example,10.0.0.0/8", " a.example:5000 *.b.example\n10.0.0.0/8, "]
)
def test_lists_are_separated_by_commas_or_white_space(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_INSECURE_REGISTRIES", text)
    assert Settings().insecure_registries == ("a.example:5000", "*.b.example", "10.0.0.0/8")


def test_an_invalid_network_is_rejected_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_ALLOWED_NETWORKS", "10.0.0.0/8,10.0.0.0/99")
    with pytest.raises(ValidationError, match=r"allowed_networks(.|\n)*10\.0\.0\.0/99"):
        Settings()


def test_registry_credentials_are_a_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "BROKER_REGISTRY_CREDENTIALS",
        '{"a.example": {"username": "me", "password": "canary"}, "b.example": {"identity_token": "canary"}}',
    )
    settings = Settings()
    assert settings.registry_credentials["a.example"].password.get_secret_value() == "canary"
    assert settings.registry_credentials["b.example"].identity_token.get_secret_value() == "canary"
    assert "canary" not in repr(settings)


@pytest.mark.parametrize("member", ["username", "password"])
def test_a_registry_credential_may_lack_a_user_name_or_a_password(
    member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_REGISTRY_CREDENTIALS", json.dumps({"a.example": {member: "x"}}))
    assert "a.example" in Settings().registry_credentials


@pytest.mark.parametrize(
    "text",
    [
        "canary",
        '["canary"]',
        '{"a.example": {"username": "me", "password": "canary", "identity_token": "canary"}}',
        '{"a.example": {"password": "canary", "registry_token": "canary"}}',
        '{"a.example": {}}',
        '{"a.example": {"user": "canary"}}',
    ],
)
def test_invalid_credentials_are_rejected_without_printing_them(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_REGISTRY_CREDENTIALS", text)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "canary" not in str(refused.value)


def test_redirect_hosts_are_a_json_object_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_REDIRECT_HOSTS", '{"front.example": ["*.behind.example"]}')
    assert Settings().redirect_hosts == {"front.example": ("*.behind.example",)}


def test_upload_hosts_are_a_json_object_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_UPLOAD_HOSTS", '{"a.example": ["up.example"]}')
    assert Settings().upload_hosts == {"a.example": ("up.example",)}


def test_token_origins_are_a_json_object_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TOKEN_ORIGINS", '{"a.example": ["https://auth.example"]}')
    assert Settings().token_origins == {"a.example": ("https://auth.example",)}


@pytest.mark.parametrize("token", ["short", "with a space in the middle", "with-ümlaut-in-it-somewhere"])
def test_a_weak_or_unsendable_admin_token_is_rejected(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_ADMIN_TOKEN", token)
    with pytest.raises(ValidationError, match="visible ASCII") as refused:
        Settings()
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    "token",
    [
        "a" * 16,
        "ab" * 20,
        "password" * 2,
        "0123456789abcdefghij",
        "zyxwvutsrqponmlkjihg",
        "aaaabbbbccccdddd",
        "0" * 64,
        "password12345678",
        "my-secret-password",
        "changeme-changeme2",
        "admin-token-123456",
    ],
)
def test_an_admin_token_that_is_easy_to_guess_is_rejected(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_ADMIN_TOKEN", token)
    with pytest.raises(ValidationError, match="openssl rand -hex 32") as refused:
        Settings()
    assert token not in str(refused.value)


def test_a_random_admin_token_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in (token_hex(32), token_urlsafe(16), str(uuid4()), "a-token-for-the-builds"):
        monkeypatch.setenv("BROKER_ADMIN_TOKEN", token)
        assert Settings().admin_token is not None


def test_secrets_may_be_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "DATABASE_URL": "postgresql://broker:canary@db.test/broker",
        "BROKER_ADMIN_TOKEN": "a-token-for-the-builds",
        "BROKER_SECRET_KEY": KEY,
        "BROKER_REGISTRY_CREDENTIALS": '{"reg.test": {"username": "user", "password": "canary"}}',
    }
    for name, text in texts.items():
        monkeypatch.delenv(name, raising=False)
        (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    settings = Settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value().endswith("canary@db.test/broker")
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == "a-token-for-the-builds"
    assert settings.registry_credentials["reg.test"].password.get_secret_value() == "canary"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_secret_file_that_cannot_be_read_is_named(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("BROKER_ADMIN_TOKEN_FILE", str(path))
    with pytest.raises(ValueError, match="BROKER_ADMIN_TOKEN_FILE can't be read"):
        Settings()


def test_a_secret_is_either_in_a_file_or_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("a-token-for-the-builds")
    monkeypatch.setenv("BROKER_ADMIN_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("BROKER_ADMIN_TOKEN", "a-token-for-the-pages")
    with pytest.raises(ValueError, match="Both BROKER_ADMIN_TOKEN and BROKER_ADMIN_TOKEN_FILE are set"):
        Settings()


@pytest.mark.parametrize("text", [KEY, KEY.rstrip("="), KEY.replace("+", "-").replace("/", "_"), f" {KEY}\n"])
def test_a_secret_key_may_use_either_base64_alphabet(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_SECRET_KEY", text)
    assert secret_key_of(Settings()) == bytes(range(32))


@pytest.mark.parametrize("text", ["AAAA", "nonsense!", KEY[:-4], KEY + "AAAA"])
def test_a_secret_key_of_another_length_is_rejected(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_SECRET_KEY", text)
    with pytest.raises(ValidationError, match="32 random bytes") as refused:
        Settings()
    assert text not in str(refused.value)


def test_the_embedded_mode_creates_one_private_secret_key(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    key = secret_key_of(settings)
    assert key is not None
    assert len(key) == 32
    assert secret_key_of(settings) == key
    assert stat.S_IMODE((tmp_path / "data" / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]


def test_with_an_external_database_no_key_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/broker")
    assert secret_key_of(Settings(data=tmp_path)) is None
    assert not list(tmp_path.iterdir())


def test_settings_are_immutable() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, "port", 1)  # noqa: B010 - written out, mypy would already refuse it


def test_registry_tls_is_a_json_object_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "BROKER_REGISTRY_TLS",
        '{"a.example:5000": {"ca": "/ca.pem"}, "b.example": {"cert": "/c.pem", "key": "/k.pem"}}',
    )
    found = Settings().registry_tls
    assert found["a.example:5000"].ca == Path("/ca.pem")
    assert (found["b.example"].cert, found["b.example"].key) == (Path("/c.pem"), Path("/k.pem"))


@pytest.mark.parametrize("given", ["{}", '{"cert": "/c.pem"}', '{"key": "/k.pem"}', '{"verify": false}'])
def test_invalid_registry_tls_is_rejected(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_REGISTRY_TLS", f'{{"a.example": {given}}}')
    with pytest.raises(ValidationError):
        Settings()


def test_receivers_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().receivers == ()
    monkeypatch.setenv("BROKER_RECEIVERS", "hooks.example.com, *.inside.example.com")
    assert Settings().receivers == ("hooks.example.com", "*.inside.example.com")


def test_registries_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().registries == ()
    monkeypatch.setenv("BROKER_REGISTRIES", "docker.io, *.example.com")
    assert Settings().registries == ("docker.io", "*.example.com")


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("443", ((443, 443),)),
        ("443,5000,8000-8999", ((443, 443), (5000, 5000), (8000, 8999))),
        (" 1-65535\n22, ", ((1, 65535), (22, 22))),
        ("5000-5000", ((5000, 5000),)),
    ],
)
def test_ports_are_single_ports_or_ranges(
    text: str, ranges: tuple[tuple[int, int], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings().registry_ports == ()
    monkeypatch.setenv("BROKER_REGISTRY_PORTS", text)
    assert Settings().registry_ports == ranges


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("443,https", "https"),
        ("0", "0"),
        ("443,65536", "65536"),
        ("8999-8000", "8999-8000"),
        ("8000-", "8000-"),
        ("-443", "-443"),
        ("8000 - 8999", "-"),
        ("443;5000", "443;5000"),
        ("4\u0664\u0663", "4\u0664\u0663"),
        ("1-2-3", "1-2-3"),
        ("000443", "000443"),
    ],
)
def test_an_invalid_port_is_rejected_with_its_value(
    text: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_REGISTRY_PORTS", text)
    with pytest.raises(ValidationError, match="registry_ports") as refused:
        Settings()
    assert f"{wrong!r} must be a port from 1 to 65535 or a range" in str(refused.value)


def test_an_empty_list_of_ports_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_REGISTRY_PORTS", " , ")
    with pytest.raises(ValidationError, match="at least one port"):
        Settings()


def test_operations_are_kept_at_least_as_long_as_idempotency_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert timedelta(days=IDEMPOTENCY_DAYS) == IDEMPOTENCY_KEYS_FOR
    monkeypatch.setenv("BROKER_KEEP_OPERATIONS_DAYS", "6")
    with pytest.raises(ValidationError, match="keep_operations_days"):
        Settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://portal.example", "https://portal.example"),
        ("https://portal.example/", "https://portal.example"),
        ("http://localhost:8080/tools/broker/", "http://localhost:8080/tools/broker"),
        ("https://[2001:db8::1]:8443/b", "https://[2001:db8::1]:8443/b"),
        ("", None),
    ],
)
def test_the_public_url_has_no_slash_at_its_end(
    text: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_PUBLIC_URL", text)
    assert Settings().public_url == expected


@pytest.mark.parametrize(
    "text",
    [
        "portal.example",
        "/broker",
        "ftp://portal.example",
        "https://",
        "https://me:secret@portal.example",
        "https://portal.example/a?b",
        "https://portal.example/#a",
        "https://portal.example/a/../b",
        "https://portal.example//a",
        "https://portal.example/a b",
    ],
)
def test_an_invalid_public_url_is_rejected(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PUBLIC_URL", text)
    with pytest.raises(ValidationError, match="must be an http or https URL"):
        Settings()


def test_trusted_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1 ::1")
    assert Settings().trusted_proxies == ("10.0.0.0/8", "192.0.2.1", "::1")
    monkeypatch.setenv("BROKER_TRUSTED_PROXIES", "proxy.example")
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings()


def key_of(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


def test_the_ring_comes_before_the_single_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/broker")
    assert secret_keys_of(Settings()) == ()
    monkeypatch.setenv("BROKER_SECRET_KEYS", f"{key_of(1)}, {key_of(2)}")
    assert secret_keys_of(Settings()) == (bytes([1]) * 32, bytes([2]) * 32)
    monkeypatch.setenv("BROKER_SECRET_KEY", key_of(3))
    assert secret_keys_of(Settings()) == tuple(bytes([each]) * 32 for each in (1, 2, 3))


def test_a_ring_of_the_embedded_mode_still_has_the_key_that_was_generated(tmp_path: Path) -> None:
    ring = {"data": tmp_path, "secret_keys": key_of(1)}
    assert secret_keys_of(Settings.model_validate(ring)) == (bytes([1]) * 32,)
    assert not list(tmp_path.iterdir())
    made = secret_key_of(Settings(data=tmp_path))
    assert secret_keys_of(Settings.model_validate(ring)) == (bytes([1]) * 32, made)


def test_a_short_key_of_a_ring_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_SECRET_KEYS", f"{key_of(1)},c2hvcnQ=")
    with pytest.raises(ValidationError, match="must be base64 of 32 random bytes"):
        Settings()
