"""Tokens and passwords on the wire: the challenges of registries, and the answers of the client."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from multidict import CIMultiDict

from app import errors
from app.registry.auth.helpers import HelperCache
from app.registry.client import Access, Credential, Keychain, RegistryClient, RegistryPolicy
from tests.support.images import make_image, plant
from tests.support.registry import (
    ExpiredToken,
    Hold,
    Html,
    Oversize,
    Redirect,
    RegistryDouble,
    Status,
    TokenDocument,
    Truncated,
    digest_text,
)
from tests.support.registry_clients import (
    INSECURE,
    LOOPBACK,
    QUICK,
    Clock,
    child_at,
    push_one,
    reference_at,
    signed_in,
    target_at,
)

USERS = {"user": "canary-5ecret"}
USER = Credential("user", "canary-5ecret")
IMAGE = make_image()


def bearer(
    *, anonymous_pull: bool = False, token_service: Literal["same", "other port"] = "same"
) -> RegistryDouble:
    return RegistryDouble(
        auth="bearer", users=USERS, anonymous_pull=anonymous_pull, token_service=token_service
    )


async def test_a_public_image_is_fetched_with_an_anonymous_token() -> None:
    async with bearer(anonymous_pull=True) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        fetched = await client.fetch_manifest(reference_at(double, "app:1"), INSECURE)
        assert str(fetched.digest) == IMAGE.digest
        token = double.received("GET", "/token")[0]
        assert "Authorization" not in token.headers
        assert token.query.getall("scope") == ["repository:app:pull"]


async def test_a_password_is_sent_to_the_token_service_and_nowhere_else() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        basic = [r.path for r in double.journal if r.headers.get("Authorization", "").startswith("Basic")]
        assert basic == ["/token"]
        assert double.received("GET", "/token")[0].query["account"] == "user"


async def test_the_first_request_for_a_manifest_has_its_token_already() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        assert [(r.path, r.status) for r in double.journal] == [
            ("/v2/", 401),
            ("/token", 200),
            ("/v2/app/manifests/1", 200),
        ]


async def test_one_ping_and_one_token_serve_many_requests_at_once() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        access = signed_in(double.host, USER)
        reference = reference_at(double, "app:1")
        await asyncio.gather(*(client.fetch_manifest(reference, access) for _ in range(40)))
        assert len(double.received("GET", "/token")) == 1
        assert len([r for r in double.journal if r.path == "/v2/"]) == 1
        assert all(r.status == 200 for r in double.received(path="/manifests/"))


async def test_an_identity_token_is_exchanged_by_post() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        double.authority.identity_tokens["identity"] = "user"
        access = signed_in(double.host, Credential(identity_token="identity"))
        await client.fetch_manifest(reference_at(double, "app:1"), access)
        asked = double.received("POST", "/token")[0]
        assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert "identity" not in asked.target


async def test_a_registry_token_is_sent_as_it_is() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        double.authority.tokens["given"] = frozenset({("app", "pull")})
        access = signed_in(double.host, Credential(registry_token="given"))
        await client.fetch_manifest(reference_at(double, "app:1"), access)
        assert not double.received(path="/token")


@pytest.mark.parametrize("fields", [{"token": None, "access_token": "renamed"}, {"access_token": "other"}])
async def test_both_names_of_a_token_are_read(fields: dict[str, object]) -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        double.authority.tokens["renamed"] = frozenset({("app", "pull")})
        double.misbehave(TokenDocument(fields), path="/token")
        await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [(None, 60), (300, 300), (0, 60), (-5, 60), ("soon", 60), (True, 60), (10.5, 10.5)],
)
async def test_a_token_is_used_for_most_of_its_life_and_not_longer(expires_in: object, life: float) -> None:
    clock = Clock()
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK, now=clock) as client:
        plant(double, "app", "1", IMAGE)
        double.misbehave(TokenDocument({"expires_in": expires_in}), path="/token", times=None)
        access, reference = signed_in(double.host, USER), reference_at(double, "app:1")
        await client.fetch_manifest(reference, access)
        clock.pass_by(life * 0.79)
        await client.fetch_manifest(reference, access)
        assert len(double.received(path="/token")) == 1
        clock.pass_by(life * 0.02)
        await client.fetch_manifest(reference, access)
        assert len(double.received(path="/token")) == 2


async def test_a_tokens_life_is_counted_from_when_it_was_asked_for() -> None:
    """A token service that takes half a minute returns a token that is half a minute old."""
    clock, hold = Clock(), Hold()
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK, now=clock) as client:
        plant(double, "app", "1", IMAGE)
        double.misbehave(hold, path="^/token$")
        access, reference = signed_in(double.host, USER), reference_at(double, "app:1")
        async with asyncio.TaskGroup() as group:
            group.create_task(client.fetch_manifest(reference, access))
            await hold.reached.wait()
            clock.pass_by(30)
            hold.gate.set()
        clock.pass_by(20)
        await client.fetch_manifest(reference, access)
        assert len(double.received(path="/token")) == 2


async def test_a_token_that_expires_on_the_way_is_replaced_once() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        access, reference = signed_in(double.host, USER), reference_at(double, "app:1")
        await client.fetch_manifest(reference, access)
        assert double.authority is not None
        double.authority.expire_tokens()
        await client.fetch_manifest(reference, access)
        assert len(double.received(path="/token")) == 2


async def test_a_crowd_with_an_expired_token_fetches_one_new_token() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        access, reference = signed_in(double.host, USER), reference_at(double, "app:1")
        await client.fetch_manifest(reference, access)
        assert double.authority is not None
        double.authority.expire_tokens()
        await asyncio.gather(*(client.fetch_manifest(reference, access) for _ in range(20)))
        assert len(double.received(path="/token")) == 2


@pytest.mark.parametrize(("reason", "requests"), [("insufficient_scope", 2), ("", 3), ("invalid_token", 7)])
async def test_refusals_of_fresh_tokens_are_final_in_the_end(reason: str, requests: int) -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        challenge = double.authority.challenge([("app", "pull")], reason)
        refused = Status(401, headers={"WWW-Authenticate": challenge})
        double.misbehave(refused, path="/manifests/", times=None)
        with pytest.raises(errors.RegistryDenied) as caught:
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        assert len(double.received(path="/manifests/")) == requests
        assert caught.value.members["upstream_status"] == 401


async def test_a_token_that_is_withdrawn_on_its_way_is_replaced_again() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        double.misbehave(ExpiredToken(), path="/manifests/", times=5)
        await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        assert len(double.received(path="/token")) == 6


@pytest.mark.parametrize("status", [400, 401, 404, 405])
async def test_a_token_service_without_oauth_is_asked_by_get(status: int) -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        double.authority.users = {"<token>": "identity"}
        double.misbehave(Status(status), method="POST", path="^/token$", times=None)
        access = signed_in(double.host, Credential(identity_token="identity"))
        await client.fetch_manifest(reference_at(double, "app:1"), access)
        assert [r.method for r in double.received(path="/token")] == ["POST", "GET"]


async def test_a_token_answer_that_broke_off_is_asked_for_again() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        double.misbehave(Truncated(with_length=False), path="^/token$", times=QUICK.attempts - 1)
        fetched = await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
    assert fetched.raw.raw == IMAGE.raw


@pytest.mark.parametrize("mode", ["bearer", "basic"])
async def test_wrong_credentials_are_named_in_the_error(mode: str) -> None:
    double = bearer() if mode == "bearer" else RegistryDouble(auth="basic", users=USERS)
    async with double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        access = signed_in(double.host, Credential("user", "canary-wr0ng"))
        with pytest.raises(errors.RegistryDenied) as caught:
            await client.fetch_manifest(reference_at(double, "app:1"), access)
        assert caught.value.members["registry"] == double.host
        assert "canary" not in str(caught.value.document())


@pytest.mark.parametrize("access", [INSECURE, Access(Keychain({"other.test": USER}), insecure=True)])
async def test_without_a_credential_a_private_image_is_denied(access: Access) -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        with pytest.raises(errors.RegistryDenied, match="credentials"):
            await client.fetch_manifest(reference_at(double, "app:1"), access)


async def test_basic_is_answered_with_the_password() -> None:
    async with (
        RegistryDouble(auth="basic", users=USERS) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        plant(double, "app", "1", IMAGE)
        await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        sent = double.received(path="/manifests/")[0].headers["Authorization"]
        assert base64.b64decode(sent.removeprefix("Basic ")).decode() == "user:canary-5ecret"


async def test_a_challenge_may_stand_in_any_of_several_headers() -> None:
    """Servers that offer several schemes send each in a header of its own."""
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        ways = ["Negotiate", double.authority.challenge([]), 'Basic realm="x"']
        several = CIMultiDict(("WWW-Authenticate", way) for way in ways)
        double.misbehave(Status(401, headers=several), path="^/v2/$")
        await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        assert [r.path for r in double.journal] == ["/v2/", "/token", "/v2/app/manifests/1"]


@pytest.mark.parametrize(
    "credential", [USER, Credential(identity_token="canary-1dentity")], ids=["password", "identity"]
)
async def test_a_realm_elsewhere_is_not_given_a_credential(credential: Credential) -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        assert double.authority is not None
        double.authority.realm = "https://evil.test/token"
        with pytest.raises(errors.UntrustedOrigin, match="token origin"):
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, credential))
        assert [r.path for r in double.journal] == ["/v2/"]


async def test_a_realm_at_an_address_that_is_not_public_is_not_asked_at_all() -> None:
    policy = RegistryPolicy.parse(allow_loopback=True)
    async with bearer() as double, RegistryClient(policy, limits=QUICK) as client:
        assert double.authority is not None
        double.authority.realm = "https://169.254.169.254/latest/meta-data"
        with pytest.raises(errors.RegistryForbidden):
            await client.fetch_manifest(reference_at(double, "app:1"), INSECURE)


@pytest.mark.parametrize("is_listed", [True, False])
async def test_a_token_service_on_another_port_of_this_machine_is_trusted_if_the_operator_lists_it(
    *, is_listed: bool
) -> None:
    async with bearer(token_service="other port") as double:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        listed = {double.host: [double.authority.realm]} if is_listed else {}
        policy = RegistryPolicy.parse(allow_loopback=True, token_origins=listed)
        async with RegistryClient(policy, limits=QUICK) as client:
            asking = client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
            if is_listed:
                await asking
            else:
                with pytest.raises(errors.UntrustedOrigin):
                    await asking
        ports = {each.port for each in double.received(path="/token")}
        assert bool(ports) is is_listed
        assert double.port not in ports


@pytest.mark.parametrize("service", ["another", ""])
async def test_a_repository_gets_no_token_of_another_service_than_its_registry(service: str) -> None:
    """The token service is one of several registries."""
    async with bearer(token_service="other port") as double:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        realm = double.authority.realm
        policy = RegistryPolicy.parse(allow_loopback=True, token_origins={double.host: [realm]})
        named = {"WWW-Authenticate": f'Bearer realm="{realm}",service="{service}"'}
        double.misbehave(Status(401, headers=named), path="/manifests/", times=None)
        async with RegistryClient(policy, limits=QUICK) as client:
            with pytest.raises(errors.UntrustedOrigin, match="another service"):
                await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        services = {each.query.get("service") for each in double.received(path="/token")}
        assert len(services) == 1
        assert service not in services


async def test_a_token_service_that_redirects_is_not_followed() -> None:
    async with (
        RegistryDouble() as elsewhere,
        bearer() as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        double.misbehave(Redirect(f"{elsewhere.base_url}{{target}}", status=302), path="/token")
        with pytest.raises(errors.NotARegistry):
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        assert not elsewhere.journal


@pytest.mark.parametrize(
    "fault",
    [
        Html(),
        Status(200, b"{}"),
        Status(200, b'{"token": ""}'),
        Status(200, b'{"token": 5}'),
        Status(200, b'{"token": "a b"}'),
        Status(200, b'{"token": "a\\r\\nHost: evil"}'),
        Status(200, b'["token"]'),
        Status(200, b'{"token": "a", "token": "b"}'),
        Status(200, b"[" * 60000),
    ],
)
async def test_an_answer_without_a_token_is_not_used(fault: Status | Html) -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        double.misbehave(fault, path="/token", times=None)
        with pytest.raises(errors.NotARegistry):
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        assert not any("Authorization" in r.headers for r in double.received(path="/manifests/"))


async def test_a_token_answer_has_a_size() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        double.misbehave(Oversize(QUICK.token_bytes + 1), path="/token", times=None)
        with pytest.raises(errors.NotARegistry):
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405])
async def test_a_token_service_that_refuses_denies(code: int) -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        double.misbehave(Status(code, b"no"), path="/token", times=None)
        with pytest.raises(errors.RegistryDenied) as caught:
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        assert caught.value.members["upstream_status"] == code


async def test_a_passing_failure_of_the_token_service_is_retried() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        double.misbehave(Status(503), path="/token", times=2)
        fetched = await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
    assert fetched.raw.raw == IMAGE.raw


async def test_the_challenges_scope_is_never_echoed() -> None:
    challenge = 'Bearer realm="{}",service="a&account=root#",scope="registry:catalog:*"'
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        header = {"WWW-Authenticate": challenge.format(double.authority.realm)}
        double.misbehave(Status(401, headers=header), path="^/v2/$")
        await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
        token = double.received(path="/token")[0]
        asked = token.query
        assert asked.getall("scope") == ["repository:app:pull"]
        assert "&scope=repository:app:pull&" in token.target
        assert asked.getall("service") == ["a&account=root#"]
        assert asked.getall("account") == ["user"]


async def test_tokens_of_two_tenants_are_never_mixed() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        reference = reference_at(double, "app:1")
        for tenant in ("one", "two", "one"):
            await client.fetch_manifest(reference, signed_in(double.host, USER, tenant=tenant))
        assert len(double.received(path="/token")) == 2


async def test_the_number_of_cached_tokens_is_limited() -> None:
    """Expired tokens are dropped first; if all are valid, all of them are dropped."""
    clock, limits = Clock(), replace(QUICK, kept_tokens=2)
    asked = []
    async with bearer() as double, RegistryClient(LOOPBACK, limits=limits, now=clock) as client:
        plant(double, "app", "1", IMAGE)
        for tenant, seconds in (("old", 0), ("one", 40), ("two", 15), ("one", 0), ("three", 0), ("two", 0)):
            clock.pass_by(seconds)
            await client.fetch_manifest(
                reference_at(double, "app:1"), signed_in(double.host, USER, tenant=tenant)
            )
            asked.append(len(double.received(path="/token")))
    assert asked == [1, 2, 3, 3, 4, 5]


async def test_one_callers_token_does_not_help_another_without_rights() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "app", "1", IMAGE)
        reference = reference_at(double, "app:1")
        await client.fetch_manifest(reference, signed_in(double.host, USER))
        with pytest.raises(errors.RegistryDenied):
            await client.fetch_manifest(reference, INSECURE)
        with pytest.raises(errors.RegistryDenied):
            await client.fetch_manifest(reference, signed_in(double.host, Credential("user", "guess")))


async def test_a_mount_asks_for_both_rights_in_one_token() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "src", "1", IMAGE)
        access = signed_in(double.host, USER)
        await push_one(client, target_at(double, "dst", [IMAGE]), [child_at(double, "src", IMAGE)], access)
        scopes = {tuple(r.query.getall("scope")) for r in double.received(path="/token")}
        assert ("repository:dst:pull,push", "repository:src:pull") in scopes
        assert double.blobs("dst") == set(IMAGE.blobs)
        assert not [r for r in double.journal if r.status == 401 and r.path != "/v2/"]


async def test_a_denied_source_is_not_mounted_from() -> None:
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "src", "1", IMAGE)
        assert double.authority is not None
        double.authority.grants["user"] = {"dst": {"pull", "push"}}
        access = signed_in(double.host, USER)
        with pytest.raises(errors.RegistryDenied):
            await push_one(
                client, target_at(double, "dst", [IMAGE]), [child_at(double, "src", IMAGE)], access
            )
        assert not double.blobs("dst")
        assert not double.tags("dst")


async def test_an_upload_whose_token_expires_is_sent_again() -> None:
    async with (
        RegistryDouble() as source,
        bearer() as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        plant(source, "src", "1", IMAGE)
        double.misbehave(ExpiredToken(), method="PUT", path="/blobs/uploads/", times=1)
        access = signed_in(double.host, USER)
        await push_one(client, target_at(double, "dst", [IMAGE]), [child_at(source, "src", IMAGE)], access)
        assert double.blobs("dst") == set(IMAGE.blobs)
        assert double.tags("dst")["1"] == digest_text(target_at(double, "dst", [IMAGE]).index.raw)


async def test_no_secret_is_logged_or_raised(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="app")
    leak = Status.oci(403, "DENIED", "bad Authorization: Basic dXNlcjpjYW5hcnktNWVjcmV0 for canary")
    async with bearer() as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        double.misbehave(leak, path="/manifests/", times=None)
        with pytest.raises(errors.RegistryDenied) as caught:
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, USER))
    said = caplog.text + str(caught.value.document()) + repr(caught.value)
    assert "GET http" in caplog.text
    for secret in ("canary-5ecret", "dXNlcjpjYW5hcnktNWVjcmV0", "token-1"):
        assert secret not in said


@pytest.mark.parametrize("mode", ["basic", "bearer"])
async def test_a_refused_password_of_a_helper_is_fetched_again(
    mode: Literal["basic", "bearer"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of some registries expire after twelve hours while the broker runs on."""
    secret, clock = tmp_path / "secret", Clock()
    secret.write_text("first")
    helper = tmp_path / "docker-credential-test"
    helper.write_text(f"""#!/bin/sh\necho '{{"Username":"user","Secret":"'$(cat {secret})'"}}'\n""")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    async with (
        RegistryDouble(auth=mode, users={"user": "first"}) as double,
        RegistryClient(LOOPBACK, limits=QUICK, now=clock) as client,
    ):
        plant(double, "app", "1", IMAGE)
        keychain = Keychain.from_docker_config({"credsStore": "test"}, cache=HelperCache(QUICK, clock))
        access = Access(keychain, insecure=True)
        await client.fetch_manifest(reference_at(double, "app:1"), access)
        assert double.authority is not None
        double.authority.users = {"user": "second"}
        secret.write_text("second")
        clock.pass_by(1800)
        await client.fetch_manifest(reference_at(double, "app:1"), access)
