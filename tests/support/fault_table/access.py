"""Cases: the ways in: tokens, challenges, mounts and uploads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from app import errors
from app.registry.client import Credential
from tests.support.fault_table.case import (
    CHILD,
    IMAGES,
    TAG,
    USERS,
    Act,
    Arrange,
    Case,
    Prove,
    Scene,
    always,
    both,
    says,
    strikes,
)
from tests.support.fault_table.faults import OtherStatus, TooLarge
from tests.support.fault_table.overload import UPLOAD
from tests.support.registry import (
    Authority,
    ExpiredToken,
    LostReply,
    MountDeclined,
    OfMounts,
    Reset,
    Rules,
    Silence,
    Status,
    TokenDocument,
    Truncated,
    UploadLocation,
    WithHeaders,
    WithoutHeader,
)

__all__ = ["CASES"]

BEARER = {"auth": "bearer"}
BASIC = {"auth": "basic"}
BLOBS = sum(len(image.blobs) for image in IMAGES)


def authority(scene: Scene) -> Authority:
    assert scene.registry.authority is not None
    return scene.registry.authority


def signed_in(*arrangements: Arrange) -> Arrange:
    return both(Scene.sign_in, *arrangements)


def spelled(spelling: Literal["token", "access_token", "both"]) -> Arrange:
    def arrange(scene: Scene) -> None:
        authority(scene).spelling = spelling

    return signed_in(arrange)


def by_identity_token(status: int) -> Arrange:
    def arrange(scene: Scene) -> None:
        authority(scene).users = {**USERS, "<token>": "identity"}
        scene.sign_in(Credential(identity_token="identity"))
        scene.registry.misbehave(Status(status), method="POST", path="^/token$", times=None)

    return arrange


def token_says(**fields: object) -> Arrange:
    return signed_in(always(TokenDocument(fields), "GET", "^/token$"))


TOKENS = [
    Case("token-shape", "token only", Act.FETCH, spelled("token"), double=BEARER),
    Case("token-shape", "access_token only", Act.FETCH, spelled("access_token"), double=BEARER),
    Case("token-shape", "both", Act.FETCH, spelled("both"), double=BEARER),
    *(
        Case("token-shape", f"{status} to POST", Act.FETCH, by_identity_token(status), double=BEARER)
        for status in (400, 401, 404, 405)
    ),
    Case("token-shape", "no expires_in", Act.PUSH, token_says(expires_in=None), double=BEARER),
    Case("token-shape", "expires_in of nothing", Act.PUSH, token_says(expires_in=0), double=BEARER),
    Case(
        "token-shape",
        "no token at all",
        Act.FETCH,
        token_says(token=None),
        errors.NotARegistry,
        double=BEARER,
    ),
    Case(
        "token-shape",
        "half of the answer",
        Act.FETCH,
        signed_in(strikes(Truncated(with_length=False), "GET", "^/token$")),
        double=BEARER,
    ),
    *(
        Case(
            "token-expiry", f"at {what}", act, signed_in(strikes(ExpiredToken(), method, path)), double=BEARER
        )
        for what, act, method, path in (
            ("the look at a child", Act.PUSH, "HEAD", CHILD),
            ("a mount", Act.PUSH, "POST", "/blobs/uploads/$"),
            ("the opening of an upload", Act.COPY, "POST", "/blobs/uploads/$"),
            ("an upload", Act.COPY, "PUT", UPLOAD),
            ("a child", Act.PUSH, "PUT", CHILD),
            ("the tag", Act.PUSH, "PUT", TAG),
            ("the tag read back", Act.PUSH, "GET", TAG),
            ("a config", Act.FETCH, "GET", "/blobs/"),
        )
    ),
]


def reads(scopes: Literal["all", "first", "last"]) -> Arrange:
    def arrange(scene: Scene) -> None:
        authority(scene).scope_reading = scopes

    return signed_in(arrange)


def may_only_pull(scene: Scene) -> None:
    scene.sign_in()
    authority(scene).grants["user"] = {".*": {"pull"}}


def asked_only_to_pull(scene: Scene) -> bool:
    asked = [scope for token in scene.sent("GET", "/token") for scope in token.query.getall("scope")]
    return asked == ["repository:src0:pull"]


def challenged(text: str, path: str = "") -> Arrange:
    """The challenge in these words, in which `{realm}` stands for the real one."""

    def arrange(scene: Scene) -> None:
        words = text.replace("{realm}", authority(scene).realm)
        challenge = Status(401, headers={"WWW-Authenticate": words})
        scene.registry.misbehave(challenge, path=f"^/v2/{path}$", times=None)

    return signed_in(arrange)


PLACEHOLDER = 'Bearer realm="{realm}",service="ghcr.io",scope="repository:user/image:pull"'
CHALLENGES = [
    *(
        Case("two-scopes", f"the {which} counts", Act.PUSH, reads(which), double=BEARER)
        for which in ("first", "last")
    ),
    Case(
        "least-scope", "a placeholder", Act.FETCH, challenged(PLACEHOLDER), None, asked_only_to_pull, BEARER
    ),
    Case("least-scope", "pull only, to a fetch", Act.FETCH, may_only_pull, None, asked_only_to_pull, BEARER),
    Case(
        "least-scope", "pull only, to a push", Act.PUSH, may_only_pull, errors.RegistryDenied, double=BEARER
    ),
    Case(
        "least-scope",
        "403 for a token to push with",
        Act.PUSH,
        signed_in(always(Status.oci(403, "DENIED", "no access to push"), "GET", "^/token$")),
        errors.RegistryDenied,
        says("no access to push"),
        BEARER,
    ),
    Case(
        "bare-401",
        "challenges at /v2/ only",
        Act.PUSH,
        signed_in(always(WithoutHeader("WWW-Authenticate"), None, "^/v2/.+")),
        double=BEARER,
    ),
    Case(
        "bare-401",
        "403 without a challenge, to nobody",
        Act.FETCH,
        always(Status(403), "GET", "/manifests/"),
        errors.RegistryDenied,
        double={**BEARER, "anonymous_pull": True},
    ),
    Case("challenges", "Basic only", Act.PUSH, signed_in(), double=BASIC),
    *(
        Case("challenges", does, Act.FETCH, challenged(text), double=BEARER)
        for does, text in (
            ("a scheme in lower case", 'bearer realm="{realm}",service="double"'),
            ("several challenges", 'Negotiate, Basic realm="x", Bearer realm="{realm}",service="double"'),
            ("quotes in parameters", r'Bearer service="a \"b\", c",realm="{realm}"'),
            ("spaces and capitals", 'BEARER  Realm = "{realm}" , Service = double'),
        )
    ),
]


def copies(scene: Scene) -> bool:
    return scene.result.blobs.mounted == 0 and scene.result.blobs.copied == BLOBS


def mounts_were(most: int) -> Prove:
    return lambda scene: len([r for r in scene.sent("POST") if "mount" in r.query]) <= most


def all_of(*proofs: Prove) -> Prove:
    return lambda scene: all(prove(scene) for prove in proofs)


MOUNTS = [
    *(
        Case("mount", f"{status} to a mount", Act.PUSH, always(MountDeclined(status)), None, copies)
        for status in (202, 400, 401, 403, 404, 405, 501)
    ),
    Case(
        "mount",
        "a mount that fails once",
        Act.PUSH,
        strikes(Status(500), "POST", "/uploads/$", 1),
        None,
        lambda scene: scene.result.blobs.mounted == BLOBS,
    ),
    *(
        Case("mount", does, Act.PUSH, always(OfMounts(fault)), None, copies, call_seconds=2.0)
        for does, fault in (
            ("mounts alone have trouble, for ever", Status(500)),
            ("mounts alone are never answered", Silence()),
            ("mounts alone break the connection", Reset()),
            ("202 to a mount, and not where to", Status(202)),
        )
    ),
    Case(
        "mount",
        "the reply to each mount is lost",
        Act.PUSH,
        always(OfMounts(LostReply())),
        None,
        lambda scene: scene.result.blobs.copied == 0,
    ),
    Case("mount", "another registry's path", Act.COPY, both(), None, mounts_were(0)),
]


def elsewhere(base: Callable[[Scene], str], query: str = "") -> Arrange:
    return lambda scene: scene.registry.misbehave(UploadLocation(base(scene), query=query), times=None)


def query_was_kept(scene: Scene) -> bool:
    return all("&_extra=a%2Fb%3D&digest=" in put.target for put in scene.sent("PUT", "/uploads/"))


UPLOADS = [
    Case("location", "relative", Act.COPY, elsewhere(lambda scene: "")),
    Case("location", "absolute", Act.COPY, elsewhere(lambda scene: scene.registry.base_url)),
    Case("location", "without a scheme", Act.COPY, elsewhere(lambda scene: f"//{scene.registry.host}")),
    Case("location", "host and path", Act.COPY, elsewhere(lambda scene: scene.registry.host)),
    Case(
        "location",
        "with a query",
        Act.COPY,
        elsewhere(lambda scene: "", "_extra=a%2Fb%3D"),
        None,
        query_was_kept,
    ),
    Case(
        "location",
        "on another host",
        Act.COPY,
        elsewhere(lambda scene: scene.source.base_url),
        errors.UntrustedOrigin,
        lambda scene: not scene.source.received("PUT"),
    ),
    Case(
        "location",
        "nowhere",
        Act.COPY,
        always(WithoutHeader("Location"), "POST", "/uploads/$"),
        errors.NotARegistry,
    ),
    *(
        Case(
            "upload-status",
            f"{status} to an upload",
            Act.COPY,
            always(Status(status, takes_effect=True), "PUT", UPLOAD),
        )
        for status in (200, 201, 202, 204)
    ),
    Case(
        "upload-status",
        "200 to an upload, keeping nothing",
        Act.COPY,
        always(Status(200), "PUT", UPLOAD),
        errors.RegistryRejected,
        lambda scene: not scene.registry.tags("app"),
    ),
    Case(
        "chunks",
        "413 to large bodies",
        Act.COPY,
        both(),
        double={"rules": Rules(max_chunk=512)},
    ),
    Case(
        "chunks",
        "416 to large bodies",
        Act.COPY,
        always(TooLarge(512, 416)),
        None,
        lambda scene: {r.status for r in scene.sent("PATCH")} == {202},
        chunk_bytes=512,
    ),
    Case(
        "chunks",
        "416 that is not for the body's size",
        Act.COPY,
        strikes(Status(416), "PUT", UPLOAD),
        None,
        lambda scene: not scene.sent("PATCH"),
        chunk_bytes=512,
    ),
    Case(
        "chunks",
        "a least size of chunks",
        Act.COPY,
        both(
            always(TooLarge(1000, 413)),
            always(WithHeaders({"OCI-Chunk-Min-Length": "700"}), "POST", "/uploads/$"),
        ),
        None,
        lambda scene: {r.body_size for r in scene.sent("PATCH")} == {700, 324},
    ),
    *(
        Case(
            "chunks",
            f"a least size beyond reason, of {digits} digits",
            Act.COPY,
            always(WithHeaders({"OCI-Chunk-Min-Length": "9" * digits}), "POST"),
        )
        for digits in (19, 30, 5000)
    ),
    *(
        Case(
            "upload-status",
            f"{status} to a chunk",
            Act.COPY,
            both(always(TooLarge(512, 413)), always(OtherStatus(status), "PATCH")),
        )
        for status in (201, 204)
    ),
    Case(
        "no-upload",
        "404 to POST",
        Act.COPY,
        always(Status(404, b"404 page not found\n", {"Content-Type": "text/plain"}), "POST"),
        errors.RegistryRejected,
    ),
    Case("no-upload", "405 to POST", Act.COPY, always(Status(405), "POST"), errors.RegistryRejected),
    Case(
        "no-upload",
        "400: blob upload invalid, for a while",
        Act.COPY,
        strikes(Status.oci(400, "BLOB_UPLOAD_INVALID", "blob upload invalid"), "PUT", UPLOAD),
    ),
    Case(
        "no-upload",
        "400: blob upload invalid, for ever",
        Act.COPY,
        always(Status.oci(400, "BLOB_UPLOAD_INVALID", "blob upload invalid"), "PUT", UPLOAD),
        errors.RegistryRejected,
        says("blob upload invalid"),
    ),
]

CASES = [*TOKENS, *CHALLENGES, *MOUNTS, *UPLOADS]
