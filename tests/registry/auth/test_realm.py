"""Which token services are trusted with a credential."""

from __future__ import annotations

import pytest

from app import errors
from app.outbound.failures import RequestContext
from app.outbound.url import Url
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
    pinned: str = "",
) -> Realm:
    return plan_realm(
        realm,
        context=RequestContext(base.authority),
        base=base,
        base_verify=verify,
        policy=policy,
        has_secret=has_secret,
        pinned=pinned,
    )


@pytest.mark.parametrize(
    "realm",
    [
        "https://reg.example.com/token",
        "https://REG.example.com:443/token?x=y",
    ],
)
def test_the_registrys_own_origin_is_trusted(realm: str) -> None:
    assert plan(realm).verify


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.test/token",
        "https://reg.example.com:8443/jwt/auth",
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


@pytest.mark.parametrize(
    ("pinned", "realm", "is_trusted"),
    [
        ("https://reg.example.com:8443/jwt/auth", "https://reg.example.com:8443/jwt/auth", True),
        ("https://reg.example.com:8443/jwt/auth", "https://REG.example.com:8443/other?service=x", True),
        ("https://reg.example.com:8443/jwt/auth", "https://reg.example.com:8444/jwt/auth", False),
        ("https://reg.example.com:8443/jwt/auth", "http://reg.example.com:8443/jwt/auth", False),
        ("https://auth.evil.test/token", "https://auth.evil.test/token", False),
        ("nowhere", "https://reg.example.com:8443/jwt/auth", False),
        ("", "https://reg.example.com:8443/jwt/auth", False),
    ],
)
def test_another_port_of_the_registrys_host_is_trusted_if_its_ping_names_it(
    pinned: str, realm: str, is_trusted: bool
) -> None:
    if is_trusted:
        assert plan(realm, pinned=pinned).verify
    else:
        with pytest.raises(errors.UntrustedOrigin):
            plan(realm, pinned=pinned)


@pytest.mark.parametrize("has_secret", [True, False])
@pytest.mark.parametrize(
    "realm",
    [
        "http://127.0.0.1:5001/token",
        "http://localhost:5000/token",
        "https://127.0.0.1:5000/token",
        "https://127.0.0.1:5001/token",
        "http://[::1]:5000/token",
    ],
)
def test_a_registry_of_this_machine_has_its_tokens_on_its_own_port_unless_the_operator_lists_another(
    realm: str, has_secret: bool
) -> None:
    base = Url("http", "127.0.0.1", 5000)
    own = "http://127.0.0.1:5000/token"
    assert not plan(own, base=base, policy=LOOPBACK, verify=False, has_secret=has_secret).verify
    with pytest.raises(errors.UntrustedOrigin):
        plan(realm, base=base, policy=LOOPBACK, verify=False, has_secret=has_secret, pinned=realm)
    listing = RegistryPolicy.parse(allow_loopback=True, token_origins={"127.0.0.1:5000": [realm]})
    assert not plan(realm, base=base, policy=listing, verify=False, has_secret=has_secret).verify


def test_a_registry_elsewhere_has_no_tokens_on_this_machine() -> None:
    for has_secret in (True, False):
        with pytest.raises(errors.UntrustedOrigin):
            plan("https://127.0.0.1/token", policy=LOOPBACK, has_secret=has_secret)
    listing = RegistryPolicy.parse(allow_loopback=True, token_origins={REGISTRY: ["http://127.0.0.1:5001"]})
    with pytest.raises(errors.UntrustedOrigin, match="without TLS"):
        plan("http://127.0.0.1:5001/token", policy=listing)


def test_unverified_tls_is_not_carried_to_another_host() -> None:
    policy = RegistryPolicy.parse(token_origins={REGISTRY: ["https://auth.example.com"]})
    assert plan("https://auth.example.com/token", policy=policy, verify=False).verify
    assert not plan("https://reg.example.com/token", policy=policy, verify=False).verify
