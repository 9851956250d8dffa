"""Which token services are trusted with a credential."""

from __future__ import annotations

import pytest

from app import errors
from app.outbound.failures import RequestContext
from app.outbound.url import Url, parse_url
from app.registry.auth.realm import Realm, plan_realm
from app.registry.policy import RegistryPolicy

REGISTRY = "reg.example.com"
BASE = Url("https", REGISTRY, 443)
STRICT = RegistryPolicy()
LOOPBACK = RegistryPolicy.parse(allow_loopback=True)


def plan(
    realm: str,
    *,
    base: Url = BASE,
    policy: RegistryPolicy = STRICT,
    has_secret: bool = True,
    verify: bool = True,
) -> Realm:
    return plan_realm(
        realm,
        context=RequestContext(base.authority),
        base=base,
        base_verify=verify,
        policy=policy,
        has_secret=has_secret,
    )


@pytest.mark.parametrize(
    "realm",
    [
        "https://reg.example.com/token",
        "https://REG.example.com:443/token?x=y",
        "https://reg.example.com:8443/jwt/auth",
    ],
)
def test_the_registrys_own_host_is_trusted(realm: str) -> None:
    assert plan(realm).verify


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.test/token",
        "https://reg.example.com.evil.test/token",
        "https://evil-reg.example.com/token",
        "https://auth.reg.example.com/token",
        "https://example.com/token",
        "https://reg.example.com@evil.test/",
        "https://evil.test\\@reg.example.com/",
        "https://evil.test#@reg.example.com/",
        "https://evil.test/?https://reg.example.com/",
        "http://reg.example.com/token",
        "http://reg.example.com:443/token",
        "http://reg.example.com:5000/token",
        "http://127.0.0.1/token",
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/token",
        "https://[::1]/token",
        "https://reg.example.com /token",
        "https://reg.example.com/token\r\nHost: evil",
        "https://rég.example.com/token",
        "https://xn--rg-bja.example.com/token",
        "//reg.example.com/token",
        "/token",
        "token",
        "",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ftp://reg.example.com/token",
        "gopher://reg.example.com/",
        "https://",
        "https:///token",
        "https://reg.example.com:0/",
        "https://reg.example.com:99999/",
        "https://reg.example.com:8443@evil.test/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://reg.example.com%2eevil.test/",
        "https://reg.example.com%00.evil.test/",
        "https://.reg.example.com/",
        "https://reg.example.com./token",
        "https://reg.example.com,evil.test/",
        "https://reg.example.com;evil.test/",
    ],
)
def test_no_other_place_is_given_a_credential(realm: str) -> None:
    with pytest.raises(errors.UntrustedOrigin):
        plan(realm)


def test_a_listed_token_origin_is_trusted_for_its_registry_only() -> None:
    policy = RegistryPolicy.parse(token_origins={REGISTRY: ["https://auth.example.com"]})
    assert plan("https://auth.example.com/token", policy=policy).verify
    with pytest.raises(errors.UntrustedOrigin, match="444 as a token origin"):
        plan("https://auth.example.com:444/token", policy=policy)
    with pytest.raises(errors.UntrustedOrigin):
        plan("https://auth.example.com/token", base=Url("https", "other.test", 443), policy=policy)


def test_an_anonymous_request_may_go_to_any_https_address() -> None:
    assert plan("https://auth.elsewhere.test/token", has_secret=False).verify
    with pytest.raises(errors.UntrustedOrigin, match="TLS"):
        plan("http://auth.elsewhere.test/token", has_secret=False)


def test_a_plain_registry_may_have_its_tokens_on_its_own_port() -> None:
    base = Url("http", "lab.test", 5000)
    assert not plan("http://lab.test:5000/token", base=base, verify=False).verify
    with pytest.raises(errors.UntrustedOrigin):
        plan("http://lab.test:5001/token", base=base, verify=False)


def test_services_on_this_machine_trust_each_other_only_in_the_embedded_mode() -> None:
    base = parse_url("http://127.0.0.1:5000")
    assert base is not None
    realm = "http://localhost:5001/token"
    assert not plan(realm, base=base, policy=LOOPBACK, verify=False).verify
    with pytest.raises(errors.UntrustedOrigin):
        plan(realm, base=base, policy=STRICT, verify=False)
    with pytest.raises(errors.UntrustedOrigin):
        plan("http://127.0.0.1:5001/token", policy=LOOPBACK)


def test_a_registry_of_this_machine_with_tls_has_its_tokens_behind_tls_too() -> None:
    base = Url("https", "127.0.0.1", 5000)
    assert plan("https://localhost:5001/token", base=base, policy=LOOPBACK).verify
    with pytest.raises(errors.UntrustedOrigin, match="without TLS"):
        plan("http://localhost:5001/token", base=base, policy=LOOPBACK)


def test_unverified_tls_is_not_carried_to_another_host() -> None:
    policy = RegistryPolicy.parse(token_origins={REGISTRY: ["https://auth.example.com"]})
    assert plan("https://auth.example.com/token", policy=policy, verify=False).verify
    assert not plan("https://reg.example.com/token", policy=policy, verify=False).verify
