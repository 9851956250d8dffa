"""What follows a 401: other tokens, the scope that the challenge names, and one request without a token."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app import errors
from app.oci.manifest import ImageManifest
from app.registry.client import ANONYMOUS, Access, Credential, Keychain, RegistryClient
from tests.support.images import make_image, plant
from tests.support.registry import RegistryDouble, Status
from tests.support.registry_clients import (
    LOOPBACK,
    QUICK,
    Clock,
    child_at,
    connect,
    push_one,
    reference_at,
    repository_at,
    signed_in,
    target_at,
)

USERS = {"user": "canary-5ecret"}
IMAGE = make_image()
PASSWORD = Credential("user", "canary-5ecret")
IDENTITY = Credential(identity_token="identity")
GIVEN = Credential(registry_token="given")
CREDENTIALS = pytest.mark.parametrize(
    "credential", [ANONYMOUS, PASSWORD, IDENTITY, GIVEN], ids=["anonymous", "password", "identity", "given"]
)
REALMS = {
    "answers 404": "{base}/nothing",
    "is not trusted": "https://evil.test/token",
    "does not answer": "http://127.0.0.1:1/token",
    "is no address": "nowhere",
}


def double_for(credential: Credential) -> RegistryDouble:
    is_public = credential in (ANONYMOUS, GIVEN)
    double = RegistryDouble(auth="bearer", users=USERS, anonymous_pull=is_public)
    assert double.authority is not None
    double.authority.identity_tokens["identity"] = "user"
    double.authority.tokens["given"] = frozenset({("app", "pull")})
    plant(double, "app", "1", IMAGE)
    return double


def dead_end(double: RegistryDouble, realm: str) -> Status:
    address = realm.format(base=double.base_url)
    return Status(401, headers={"WWW-Authenticate": f'Bearer realm="{address}",service="double"'})


def asked(double: RegistryDouble) -> list[tuple[bool, int | None]]:
    """Of each request for a manifest, whether it had a token, and its status."""
    return [("Authorization" in r.headers, r.status) for r in double.received(path="/manifests/")]


@CREDENTIALS
@pytest.mark.parametrize("realm", REALMS.values(), ids=REALMS)
async def test_a_request_without_a_token_finds_the_right_realm(credential: Credential, realm: str) -> None:
    async with double_for(credential) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        access, reference = signed_in(double.host, credential), reference_at(double, "app:1")
        await client.fetch_manifest(reference, access)
        assert double.authority is not None
        double.authority.expire_tokens()
        double.misbehave(dead_end(double, realm), path="/manifests/")
        await client.fetch_manifest(reference, access)
        assert asked(double)[1:] == [(True, 401), (False, 401), (True, 200)]
        refused = double.received(path="/manifests/")[1].headers["Authorization"]
        double.forget()
        await client.fetch_manifest(reference, access)
        if credential != GIVEN:
            assert asked(double) == [(True, 200)]
            assert double.received(path="/manifests/")[0].headers["Authorization"] != refused


@CREDENTIALS
async def test_a_public_repository_needs_no_token(credential: Credential) -> None:
    """Its registry refuses the token, and no realm issues another."""
    async with double_for(credential) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        access, reference = signed_in(double.host, credential), reference_at(double, "app:1")
        await client.fetch_manifest(reference, access)
        double.misbehave(dead_end(double, "{base}/nothing"), path="/manifests/")
        double.misbehave(Status(200, IMAGE.raw, {"Content-Type": IMAGE.media_type}), path="/manifests/")
        fetched = await client.fetch_manifest(reference, access)
        assert str(fetched.digest) == IMAGE.digest
        assert asked(double)[1:] == [(True, 401), (False, 200)]


async def test_a_refused_password_of_basic_is_followed_by_a_request_without() -> None:
    async with (
        RegistryDouble(auth="basic", users=USERS) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        plant(double, "app", "1", IMAGE)
        with pytest.raises(errors.RegistryDenied):
            await client.fetch_manifest(
                reference_at(double, "app:1"), signed_in(double.host, Credential("user", "wrong"))
            )
        assert asked(double) == [(True, 401), (False, 401)]


async def test_a_registry_that_changes_from_basic_to_tokens_is_learnt_again() -> None:
    async with (
        RegistryDouble(auth="bearer", users=USERS) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        plant(double, "app", "1", IMAGE)
        double.misbehave(Status(401, headers={"WWW-Authenticate": 'Basic realm="x"'}), path="^/v2/$")
        access, reference = signed_in(double.host, PASSWORD), reference_at(double, "app:1")
        await client.fetch_manifest(reference, access)
        await client.fetch_manifest(reference, access)
        assert asked(double) == [(True, 401), (True, 200), (True, 200)]


async def test_a_registry_that_changes_from_tokens_to_basic_is_learnt_again() -> None:
    clock = Clock()
    async with (
        RegistryDouble(auth="basic", users=USERS) as double,
        RegistryClient(LOOPBACK, limits=QUICK, now=clock) as client,
    ):
        plant(double, "app", "1", IMAGE)
        double.misbehave(dead_end(double, REALMS["answers 404"]), path="^/v2/$", times=1)
        access, reference = signed_in(double.host, PASSWORD), reference_at(double, "app:1")
        with pytest.raises(errors.BrokerError):
            await client.fetch_manifest(reference, access)
        clock.pass_by(11)
        await client.fetch_manifest(reference, access)
        assert asked(double)[-1] == (True, 200)


BASIC = {"WWW-Authenticate": 'Basic realm="x"'}


@pytest.mark.parametrize("seconds", [0, 11, 601])
@pytest.mark.parametrize("path", ["/manifests/", "/app/"])
async def test_a_path_gets_no_password_where_the_registry_gives_tokens_out(path: str, seconds: float) -> None:
    """What answers for one path may be somebody else's."""
    clock = Clock()
    async with (
        RegistryDouble(auth="bearer", users=USERS) as double,
        RegistryClient(LOOPBACK, limits=QUICK, now=clock) as client,
    ):
        plant(double, "other", "1", IMAGE)
        access = signed_in(double.host, PASSWORD)
        await client.fetch_manifest(reference_at(double, "other:1"), access)
        clock.pass_by(seconds)
        double.misbehave(Status(401, headers=BASIC), path=path, times=None)
        with pytest.raises(errors.UntrustedOrigin, match="The password was not sent"):
            await client.fetch_manifest(reference_at(double, "app:1"), access)
    sent = [each for each in double.received() if each.path != "/token"]
    assert not [each for each in sent if each.headers.get("Authorization", "").startswith("Basic")]
    assert len([each for each in sent if each.path == "/v2/"]) == (2 if seconds else 1)


async def test_a_registry_that_offers_both_gets_a_password_where_it_wants_one() -> None:
    async with RegistryDouble(auth="bearer", users=USERS) as double, connect() as client:
        plant(double, "app", "1", IMAGE)
        both = {"WWW-Authenticate": f'Bearer realm="{double.base_url}/token", Basic realm="x"'}
        double.misbehave(Status(401, headers=both), path="^/v2/$", times=None)
        double.misbehave(Status(401, headers=BASIC), path="/manifests/", times=None)
        with pytest.raises(errors.RegistryDenied):
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, PASSWORD))
        given = [each.headers.get("Authorization", "") for each in double.received(path="/manifests/")]
    assert PASSWORD.basic in given


@pytest.mark.parametrize("credential", [ANONYMOUS, PASSWORD], ids=["anonymous", "password"])
async def test_a_realm_that_has_moved_is_learnt_once_for_a_repository(credential: Credential) -> None:
    """The old one is gone before a request reaches the registry."""
    async with double_for(credential) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        double.misbehave(dead_end(double, "{base}/gone"), path="^/v2/$")
        access, reference = signed_in(double.host, credential), reference_at(double, "app:1")
        for _ in range(3):
            await client.fetch_manifest(reference, access)
        assert asked(double) == [(False, 401), (True, 200), (True, 200), (True, 200)]
        assert len(double.received(path="/gone")) == 1


async def test_a_wrong_password_is_sent_to_the_token_service_once() -> None:
    async with double_for(PASSWORD) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        with pytest.raises(errors.RegistryDenied) as caught:
            await client.fetch_manifest(
                reference_at(double, "app:1"), signed_in(double.host, Credential("user", "wrong"))
            )
        assert len(double.received(path="/token")) == 1
        assert asked(double) == [(False, 401)]
        assert "token" in caught.value.detail


@pytest.mark.parametrize("status", [404, 403, 400])
async def test_what_a_registry_tells_strangers_is_no_answer_to_a_caller_with_a_credential(
    status: int,
) -> None:
    """A private tag that does not exist for strangers may exist: "can't tell" is never "absent"."""
    async with double_for(PASSWORD) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        access, reference = signed_in(double.host, PASSWORD), reference_at(double, "app:1")
        for find in (client.fetch_manifest, client.head_manifest):
            double.misbehave(dead_end(double, "{base}/nothing"), path="/manifests/")
            double.misbehave(Status(status), path="/manifests/")
            with pytest.raises(errors.RegistryDenied):
                await find(reference, access)


async def test_a_tag_that_does_not_exist_is_not_found_without_any_credential() -> None:
    async with double_for(ANONYMOUS) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        double.misbehave(dead_end(double, "{base}/nothing"), path="/manifests/")
        double.misbehave(Status(404), path="/manifests/")
        reference = reference_at(double, "app:no")
        assert await client.head_manifest(reference, signed_in(double.host, ANONYMOUS)) is None


async def test_a_repository_teaches_nothing_about_another_and_nothing_to_another_tenant() -> None:
    async with double_for(PASSWORD) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        plant(double, "other", "1", IMAGE)
        accesses = [signed_in(double.host, PASSWORD, tenant=name) for name in ("one", "two")]
        await client.fetch_manifest(reference_at(double, "app:1"), accesses[0])
        assert double.authority is not None
        right, double.authority.realm = double.authority.realm, f"{double.base_url}/token?elsewhere=1"
        double.authority.expire_tokens()
        await client.fetch_manifest(reference_at(double, "app:1"), accesses[0])
        double.authority.realm = right
        double.forget()
        await client.fetch_manifest(reference_at(double, "other:1"), accesses[0])
        await client.fetch_manifest(reference_at(double, "app:1"), accesses[1])
        assert not [r for r in double.received(path="/token") if "elsewhere" in r.query]


@pytest.mark.parametrize("realm", REALMS.values(), ids=REALMS)
async def test_an_upload_that_is_sent_to_a_realm_of_no_use_is_sent_again(realm: str) -> None:
    async with (
        RegistryDouble() as source,
        double_for(PASSWORD) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        plant(source, "src", "1", IMAGE)
        double.misbehave(dead_end(double, realm), method="PUT", path="/blobs/uploads/")
        access = signed_in(double.host, PASSWORD)
        await push_one(client, target_at(double, "dst", [IMAGE]), [child_at(source, "src", IMAGE)], access)
        assert double.blobs("dst") == set(IMAGE.blobs)
        assert double.tags("dst").keys() == {"1"}


# --- a front that rewrites paths ---

Rename = Callable[[str], str]
RENAMES: dict[str, Rename] = {
    "the front hides a prefix": lambda path: f"team/{path}",
    "the front adds a prefix": lambda path: path.removeprefix("docker/"),
    "the front uses other names": lambda path: path.replace("app", "inner-app"),
}


@pytest.mark.parametrize(
    "credential", [ANONYMOUS, PASSWORD, IDENTITY], ids=["anonymous", "password", "identity"]
)
@pytest.mark.parametrize("rename", RENAMES.values(), ids=RENAMES)
async def test_the_scope_of_the_challenge_is_used_where_a_front_rewrites_paths(
    credential: Credential, rename: Rename
) -> None:
    async with double_for(credential) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        assert double.authority is not None
        double.authority.rename = rename
        plant(double, "docker/app", "1", IMAGE)
        access, reference = signed_in(double.host, credential), reference_at(double, "docker/app:1")
        for _ in range(2):
            await client.fetch_manifest(reference, access)
        # Our own scope is refused, asked for again, and refused again.
        assert asked(double) == [(True, 401), (True, 401), (True, 200), (True, 200)]
        tokens = [r.query.getall("scope") for r in double.received("GET", "/token")]
        if credential != IDENTITY:
            assert tokens[0] == ["repository:docker/app:pull"]
            assert tokens[-1] == [f"repository:{rename('docker/app')}:pull"]


@pytest.mark.parametrize("rename", RENAMES.values(), ids=RENAMES)
async def test_a_push_through_a_front_mounts_and_uploads(rename: Rename) -> None:
    async with (
        RegistryDouble() as source,
        double_for(PASSWORD) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        assert double.authority is not None
        double.authority.rename = rename
        plant(double, "docker/src-app", "1", IMAGE)
        other = make_image(seed="other")
        plant(source, "app", "1", other)
        children = [child_at(double, "docker/src-app", IMAGE), child_at(source, "app", other)]
        target = target_at(double, "docker/dst-app", [IMAGE, other])
        access = Access(signed_in(double.host, PASSWORD).keychain, insecure=True)
        await push_one(client, target, children, access)
        assert double.tags("docker/dst-app").keys() == {"1"}
        assert set(IMAGE.blobs) <= double.blobs("docker/dst-app")
        mounts = [r for r in double.received("POST") if "from" in r.query]
        assert {r.query["from"] for r in mounts} == {"docker/src-app"}
        assert 201 in {r.status for r in mounts}


@pytest.mark.parametrize(
    "scope",
    [
        "registry:catalog:*",
        "repository:victim:push",
        "repository:app:pull repository:victim:pull",
        "repository:one:pull repository:victim:pull",
        "repository:../victim:pull",
        "repository:victim:delete",
        "repository(plugin):victim:pull",
    ],
)
async def test_no_other_scope_of_a_challenge_is_asked_for(scope: str) -> None:
    async with double_for(PASSWORD) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        said = f'Bearer realm="{double.base_url}/token",service="double",scope="{scope}"'
        refused = Status(401, headers={"WWW-Authenticate": said})
        double.misbehave(refused, path="/manifests/", times=None)
        with pytest.raises(errors.RegistryDenied):
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, PASSWORD))
        asked_for = {tuple(r.query.getall("scope")) for r in double.received(path="/token")}
        assert asked_for == {("repository:app:pull",)}


@pytest.mark.parametrize("place", ["victim", "victim/app"])
@pytest.mark.parametrize("other", [Credential("user2", "x"), Credential(identity_token="other")])
async def test_no_token_is_asked_for_where_the_caller_has_another_credential(
    place: str, other: Credential
) -> None:
    async with double_for(PASSWORD) as double, connect() as client:
        plant(double, "app", "1", IMAGE)
        assert double.authority is not None
        double.authority.rename = lambda _: "victim/app"
        own = {double.host: PASSWORD, f"{double.host}/{place}": other}
        access = Access(Keychain(own=own), insecure=True)
        with pytest.raises(errors.RegistryDenied):
            await client.fetch_manifest(reference_at(double, "app:1"), access)
        scopes = [each.query.get("scope") for each in double.received("GET", "/token")]
        assert set(scopes) == {"repository:app:pull"}


async def test_a_token_for_another_path_serves_only_its_own_repository() -> None:
    """A front names the same inner repository for two of ours: each asks for its own token."""
    async with double_for(PASSWORD) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        assert double.authority is not None
        double.authority.rename = lambda _: "inner"
        access = signed_in(double.host, PASSWORD)
        for path in ("one", "two"):
            plant(double, path, "1", IMAGE)
            await client.fetch_manifest(reference_at(double, f"{path}:1"), access)
        scopes = [r.query.getall("scope") for r in double.received(path="/token")]
        assert scopes.count(["repository:inner:pull"]) == 2


async def test_a_blob_is_read_through_a_front() -> None:
    async with double_for(PASSWORD) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        assert double.authority is not None
        double.authority.rename = RENAMES["the front hides a prefix"]
        (config, *_) = child_at(double, "app", IMAGE).blobs
        access = signed_in(double.host, PASSWORD)
        assert await client.fetch_config(repository_at(double, "app"), config, access) == IMAGE.config


EXPIRED = [
    Status.oci(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again."),
    Status(403, b"The session token has expired"),
    Status.oci(403, "UNAUTHORIZED", "expired token"),
]


@pytest.mark.parametrize("refusal", EXPIRED)
@pytest.mark.parametrize("path", ["/manifests/", "/blobs/sha256"])
async def test_a_token_that_has_expired_by_the_words_of_a_403_is_renewed(refusal: Status, path: str) -> None:
    async with double_for(PASSWORD) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        access = signed_in(double.host, PASSWORD)
        await client.fetch_manifest(reference_at(double, "app:1"), access)
        double.misbehave(refusal, method="GET", path=path)
        fetched = await client.fetch_manifest(reference_at(double, "app:1"), access)
        assert isinstance(fetched.manifest, ImageManifest)
        config = fetched.manifest.config
        assert await client.fetch_config(repository_at(double, "app"), config, access) == IMAGE.config
        assert double.authority is not None
        assert double.authority.issued == 2


@pytest.mark.parametrize(
    "refusal",
    [
        Status.oci(403, "DENIED", "access to team/expired-token is denied"),
        Status.oci(403, "DENIED"),
        Status(403),
    ],
)
async def test_any_other_403_is_about_the_request(refusal: Status) -> None:
    async with double_for(PASSWORD) as double, RegistryClient(LOOPBACK, limits=QUICK) as client:
        rule = double.misbehave(refusal, method="GET", path="/manifests/", times=None)
        with pytest.raises(errors.RegistryDenied):
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, PASSWORD))
        assert rule.hits == 1


async def test_a_password_that_has_expired_for_good_is_refused_in_the_words_of_the_registry() -> None:
    async with (
        RegistryDouble(auth="basic", users=USERS) as double,
        RegistryClient(LOOPBACK, limits=QUICK) as client,
    ):
        double.misbehave(EXPIRED[0], method="GET", path="/manifests/", times=1)
        with pytest.raises(errors.RegistryDenied, match=r"token has expired\. Reauthenticate"):
            await client.fetch_manifest(reference_at(double, "app:1"), signed_in(double.host, PASSWORD))


async def test_an_upload_goes_on_with_another_token_after_such_a_403() -> None:
    async with double_for(PASSWORD) as double, RegistryDouble() as source:
        plant(source, "src", "1", IMAGE)
        rule = double.misbehave(EXPIRED[0], method="PUT", path="/uploads/")
        async with RegistryClient(LOOPBACK, limits=QUICK) as client:
            target, children = target_at(double, "dst", [IMAGE]), [child_at(source, "src", IMAGE)]
            await push_one(client, target, children, signed_in(double.host, PASSWORD))
        assert rule.hits == 1
        assert double.blobs("dst") == set(IMAGE.blobs)
