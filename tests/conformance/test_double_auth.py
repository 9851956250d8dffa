"""The authentication of the registry double behaves like that of real registries."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.conformance.peer import Peer, codes
from tests.support.images import digest_of, make_image, plant
from tests.support.plain_http import plain_client
from tests.support.registry import ANONYMOUS, RegistryDouble
from tests.support.registry_double.auth import Authority, Spelling

USERS = {"alice": "wonder", "bob": "builder"}
IMAGE = make_image(media="oci")


def authority(double: RegistryDouble) -> Authority:
    assert double.authority is not None
    return double.authority


@pytest.fixture
async def guarded() -> AsyncIterator[RegistryDouble]:
    async with RegistryDouble(auth="bearer", users=USERS) as double:
        plant(double, "app", "v1", IMAGE)
        yield double


@pytest.fixture
async def client(guarded: RegistryDouble) -> AsyncIterator[httpx2.AsyncClient]:
    async with plain_client(base_url=guarded.base_url, timeout=60) as made:
        yield made


async def token(
    client: httpx2.AsyncClient, *scopes: str, user: str | None = "alice", where: str = "/token"
) -> httpx2.Response:
    auth = (user, USERS.get(user, "wrong")) if user else None
    return await client.get(where, params=[("scope", scope) for scope in scopes], auth=auth)


async def bearer(client: httpx2.AsyncClient, *scopes: str, user: str | None = "alice") -> dict[str, str]:
    reply = await token(client, *scopes, user=user)
    return {"Authorization": f"Bearer {reply.json()['token']}"}


# --- basic ---


async def test_basic_auth_requires_the_right_password() -> None:
    async with (
        RegistryDouble(auth="basic", users=USERS) as double,
        plain_client(base_url=double.base_url) as client,
    ):
        plant(double, "app", "v1", IMAGE)
        nobody = await client.get("/v2/")
        assert (nobody.status_code, nobody.headers["WWW-Authenticate"]) == (401, 'Basic realm="double"')
        assert (await client.get("/v2/", auth=("alice", "wrong"))).status_code == 401
        assert (await client.get("/v2/", auth=("alice", "wonder"))).status_code == 200
        assert (await client.get("/v2/app/manifests/v1", auth=("alice", "wonder"))).content == IMAGE.raw


async def test_basic_auth_denies_actions_without_permission() -> None:
    async with (
        RegistryDouble(auth="basic", users=USERS, anonymous_pull=True) as double,
        plain_client(base_url=double.base_url) as client,
    ):
        plant(double, "app", "v1", IMAGE)
        authority(double).grants["bob"] = {"bob/.*": {"pull", "push"}}
        assert (await client.get("/v2/app/manifests/v1")).status_code == 200
        assert (await client.post("/v2/app/blobs/uploads/")).status_code == 401
        denied = await client.post("/v2/app/blobs/uploads/", auth=("bob", "builder"))
        assert (denied.status_code, codes(denied)) == (403, ["DENIED"])
        assert (await client.post("/v2/bob/x/blobs/uploads/", auth=("bob", "builder"))).status_code == 202


# --- bearer ---


async def test_the_challenge_names_realm_service_and_scope(
    guarded: RegistryDouble, client: httpx2.AsyncClient
) -> None:
    ping = await client.get("/v2/")
    realm = f'Bearer realm="{guarded.base_url}/token",service="double"'
    assert (ping.status_code, ping.headers["WWW-Authenticate"]) == (401, realm)
    pull = await client.get("/v2/app/manifests/v1")
    assert pull.headers["WWW-Authenticate"] == f'{realm},scope="repository:app:pull"'
    push = await client.post("/v2/app/blobs/uploads/", params={"mount": IMAGE.digest, "from": "base"})
    expected = f'{realm},scope="repository:app:pull,push repository:base:pull"'
    assert push.headers["WWW-Authenticate"] == expected


async def test_a_token_permits_its_own_scope(client: httpx2.AsyncClient) -> None:
    headers = await bearer(client, "repository:app:pull")
    assert (await client.get("/v2/app/manifests/v1", headers=headers)).status_code == 200
    push = await client.post("/v2/app/blobs/uploads/", headers=headers)
    assert push.status_code == 401
    assert 'error="insufficient_scope"' in push.headers["WWW-Authenticate"]
    assert (await client.get("/v2/other/manifests/v1", headers=headers)).status_code == 401
    assert (await client.get("/v2/", headers=headers)).status_code == 200


async def test_a_mount_needs_to_pull_from_its_source(client: httpx2.AsyncClient) -> None:
    params = {"mount": IMAGE.config_digest, "from": "app"}
    without = await bearer(client, "repository:copy:pull,push")
    assert (await client.post("/v2/copy/blobs/uploads/", params=params, headers=without)).status_code == 401
    both = await bearer(client, "repository:copy:pull,push", "repository:app:pull")
    assert (await client.post("/v2/copy/blobs/uploads/", params=params, headers=both)).status_code == 201
    joined = await bearer(client, "repository:copy2:pull,push repository:app:pull")
    assert (await client.post("/v2/copy2/blobs/uploads/", params=params, headers=joined)).status_code == 201


@pytest.mark.parametrize("reading", ["first", "last"])
async def test_some_token_services_grant_only_one_scope(
    guarded: RegistryDouble, client: httpx2.AsyncClient, reading: str
) -> None:
    authority(guarded).scope_reading = "first" if reading == "first" else "last"
    headers = await bearer(client, "repository:app:pull", "repository:other:pull")
    opened = (await client.get("/v2/app/manifests/v1", headers=headers)).status_code == 200
    assert opened is (reading == "first")


async def test_a_token_grants_no_more_than_its_users_permissions(
    guarded: RegistryDouble, client: httpx2.AsyncClient
) -> None:
    authority(guarded).grants["bob"] = {"app": {"pull"}}
    headers = await bearer(client, "repository:app:pull,push", user="bob")
    assert (await client.get("/v2/app/manifests/v1", headers=headers)).status_code == 200
    assert (await client.post("/v2/app/blobs/uploads/", headers=headers)).status_code == 401


async def test_an_anonymous_token_grants_nothing_or_pulls(
    guarded: RegistryDouble, client: httpx2.AsyncClient
) -> None:
    headers = await bearer(client, "repository:app:pull", user=None)
    assert (await client.get("/v2/app/manifests/v1", headers=headers)).status_code == 401
    authority(guarded).grants[ANONYMOUS] = {"app": {"pull"}}
    headers = await bearer(client, "repository:app:pull", user=None)
    assert (await client.get("/v2/app/manifests/v1", headers=headers)).status_code == 200


async def test_wrong_credentials_get_no_token(client: httpx2.AsyncClient) -> None:
    reply = await token(client, "repository:app:pull", user="mallory")
    assert (reply.status_code, reply.json()) == (401, {"details": "incorrect username or password"})


@pytest.mark.parametrize(
    ("spelling", "names"),
    [("token", {"token"}), ("access_token", {"access_token"}), ("both", {"token", "access_token"})],
)
async def test_the_token_document_uses_the_requested_member(
    guarded: RegistryDouble, client: httpx2.AsyncClient, spelling: Spelling, names: set[str]
) -> None:
    authority(guarded).spelling = spelling
    assert set((await token(client)).json()) == names
    authority(guarded).expires_in = 300
    assert (await token(client)).json()["expires_in"] == 300


async def test_tokens_expire_on_command(guarded: RegistryDouble, client: httpx2.AsyncClient) -> None:
    headers = await bearer(client, "repository:app:pull")
    authority(guarded).expire_tokens()
    reply = await client.get("/v2/app/manifests/v1", headers=headers)
    assert reply.status_code == 401
    assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]


async def test_an_identity_token_is_exchanged_by_post(
    guarded: RegistryDouble, client: httpx2.AsyncClient
) -> None:
    authority(guarded).identity_tokens["long-lived"] = "alice"
    form = {"grant_type": "refresh_token", "refresh_token": "long-lived", "scope": "repository:app:pull"}
    reply = await client.post("/token", data=form)
    headers = {"Authorization": f"Bearer {reply.json()['token']}"}
    assert (await client.get("/v2/app/manifests/v1", headers=headers)).status_code == 200
    assert reply.json()["refresh_token"] == "long-lived"
    wrong = await client.post("/token", data={**form, "refresh_token": "made up"})
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_grant")


async def test_a_password_is_exchanged_by_post_unless_the_service_has_no_post(
    guarded: RegistryDouble, client: httpx2.AsyncClient
) -> None:
    form = {"grant_type": "password", "username": "alice", "password": "wonder", "access_type": "offline"}
    reply = await client.post("/token", data=form)
    assert (reply.status_code, set(reply.json())) == (200, {"token", "refresh_token"})
    assert (await client.post("/token", data={**form, "password": "x"})).status_code == 401
    authority(guarded).oauth_post = False
    assert (await client.post("/token", data=form)).status_code == 404


async def test_an_identity_token_is_handed_out_when_asked_for(client: httpx2.AsyncClient) -> None:
    reply = await client.get("/token", params={"offline_token": "true"}, auth=("alice", "wonder"))
    form = {"grant_type": "refresh_token", "refresh_token": reply.json()["refresh_token"]}
    assert (await client.post("/token", data=form)).status_code == 200


async def test_the_token_service_may_live_at_another_port() -> None:
    async with (
        RegistryDouble(auth="bearer", users=USERS, token_service="other port") as double,
        plain_client(base_url=double.base_url) as client,
    ):
        plant(double, "app", "v1", IMAGE)
        realm = authority(double).realm
        assert httpx2.URL(realm).port != double.port
        assert (await token(client)).status_code == 401
        reply = await token(client, "repository:app:pull", where=realm)
        headers = {"Authorization": f"Bearer {reply.json()['token']}"}
        assert (await client.get("/v2/app/manifests/v1", headers=headers)).status_code == 200
        elsewhere = httpx2.URL(realm).copy_with(path="/v2/app/manifests/v1")
        assert (await client.get(elsewhere, headers=headers)).status_code == 404


async def test_a_refused_upload_is_answered_before_its_body_is_read(
    guarded: RegistryDouble, client: httpx2.AsyncClient
) -> None:
    peer = Peer(client, "app", is_double=True)
    reply = await peer.post(b"x" * 1000, digest=digest_of(b"x" * 1000))
    assert reply.status_code == 401
    assert guarded.journal[-1].body_size == 0


async def test_with_tls_the_certificate_is_the_double_s_own() -> None:
    async with RegistryDouble(tls=True) as double:
        assert double.certificate is not None
        assert double.base_url.startswith("https://127.0.0.1:")
        async with httpx2.AsyncClient(verify=double.certificate.client_context()) as trusting:
            assert (await trusting.get(f"{double.base_url}/v2/")).status_code == 200
            assert (await trusting.get(f"https://localhost:{double.port}/v2/")).status_code == 200
        async with httpx2.AsyncClient() as wary:
            with pytest.raises(httpx2.ConnectError, match="certificate"):
                await wary.get(f"{double.base_url}/v2/")
