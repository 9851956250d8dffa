"""Cases: registries with other headers and bodies than they should have."""

from __future__ import annotations

from app import errors
from app.oci import media_types
from tests.support.fault_table.case import (
    CHILD,
    IMAGES,
    OTHER,
    TAG,
    TWICE,
    Act,
    Arrange,
    Case,
    Prove,
    Scene,
    always,
    both,
    nothing,
    says,
    sent,
    strikes,
    trap,
)
from tests.support.fault_table.faults import NotAcceptable, TwiceTyped
from tests.support.images import plant
from tests.support.registry import (
    ContentType,
    FlippedByte,
    Gzipped,
    Html,
    MountDeclined,
    OtherBody,
    Redirect,
    Status,
    Truncated,
    WithoutHeader,
    WrongDigestHeader,
)

__all__ = ["CASES"]

OCTETS = "application/octet-stream"


def heads_at_most(count: int) -> Prove:
    return lambda scene: len(scene.sent("HEAD", "/manifests/")) <= count


def hold_blobs_already(scene: Scene) -> None:
    for image in IMAGES:
        for data in image.blobs.values():
            scene.registry.add_blob("app", data)


HEADS = [
    *(Case("no-digest", f"no digest to a {act}", act, always(WithoutHeader())) for act in Act),
    Case(
        "no-digest",
        "no digest, and octets for a type",
        Act.FETCH,
        always(ContentType(OCTETS), None, "/manifests/"),
    ),
    Case("no-head", "405 to HEAD", Act.HEAD, always(Status(405), "HEAD"), None, heads_at_most(1)),
    Case(
        "no-head", "405 to each HEAD of a push", Act.OWN, always(Status(405), "HEAD"), None, heads_at_most(3)
    ),
    Case("no-head", "501 to HEAD", Act.HEAD, always(Status(501), "HEAD"), None, heads_at_most(1)),
    Case(
        "no-head",
        "403 without a reason to HEAD, with one to GET",
        Act.HEAD,
        both(
            always(Status(403), "HEAD"),
            always(Status.oci(403, "DENIED", "the plan has ended"), "GET", "/manifests/"),
        ),
        errors.RegistryDenied,
        says("the plan has ended"),
    ),
    Case(
        "head-redirect",
        "redirects HEAD of a blob",
        Act.PUSH,
        both(
            hold_blobs_already,
            always(MountDeclined(405)),
            always(Redirect("http://127.0.0.1:9{target}"), "HEAD", "/blobs/"),
        ),
        None,
        lambda scene: scene.result.blobs.skipped == len(IMAGES[0].blobs) + len(IMAGES[1].blobs),
    ),
    Case(
        "head-redirect",
        "redirects HEAD of a manifest",
        Act.HEAD,
        always(Redirect("http://127.0.0.1:9{target}"), "HEAD", "/manifests/"),
        None,
        sent(1, "GET", "/manifests/"),
    ),
]


def typed(media_type: str | None) -> Arrange:
    return always(ContentType(media_type), "GET", "/manifests/")


TYPES = [
    Case("content-type", "none", Act.FETCH, typed(None)),
    Case("content-type", "with a charset", Act.FETCH, typed(f"{IMAGES[0].media_type}; charset=utf-8")),
    Case("content-type", "twice", Act.FETCH, always(TwiceTyped(), "GET", "/manifests/")),
    Case("content-type", "of a page", Act.FETCH, typed("text/html; charset=utf-8"), errors.NotARegistry),
    Case("content-type", "a page for everything", Act.PUSH, always(Html()), errors.NotARegistry),
    Case(
        "content-type",
        "200 to everything",
        Act.PUSH,
        always(Status(200, b"{}", {"Content-Type": "application/json"})),
        errors.PushNotVerified,
    ),
]


def accepts_all_types(scene: Scene) -> bool:
    asked = scene.sent("GET", "/manifests/")[0].headers["Accept"].split(", ")
    return set(asked) == set(media_types.MANIFEST_TYPES)


def asks_for_no_coding(scene: Scene) -> bool:
    return {each.headers["Accept-Encoding"] for each in scene.registry.journal} == {"identity"}


BODIES = [
    Case("wrong-digest", "nothing", Act.FETCH, nothing, None, accepts_all_types),
    Case(
        "wrong-digest",
        "the digest of another representation",
        Act.FETCH,
        always(WrongDigestHeader(OTHER.digest), "GET", "/manifests/"),
        errors.DigestMismatch,
    ),
    Case(
        "wrong-digest",
        "another manifest than the header says",
        Act.FETCH,
        always(OtherBody(OTHER.raw), "GET", "/manifests/"),
        errors.DigestMismatch,
    ),
    Case(
        "wrong-digest",
        "a blob with a wrong bit",
        Act.COPY,
        lambda scene: scene.source.misbehave(FlippedByte(), method="GET", path="/blobs/", times=None),
        errors.DigestMismatch,
    ),
    Case(
        "wrong-digest",
        "another digest for what was put",
        Act.PUSH,
        always(WrongDigestHeader(), "PUT", CHILD),
        errors.PushNotVerified,
    ),
    Case("wrong-digest", "another digest for a child", Act.PUSH, always(WrongDigestHeader(), "HEAD", CHILD)),
    *(
        Case(
            "compressed",
            coding,
            Act.FETCH,
            always(Gzipped(coding), "GET", "/manifests/"),
            errors.SourceInvalid,
            asks_for_no_coding,
        )
        for coding in ("gzip", "x-gzip")
    ),
    *(Case("406", f"to a {act}", act, trap(NotAcceptable())) for act in (Act.FETCH, Act.PUSH, Act.COPY)),
]


def from_the_source(fault: Truncated, times: int | None) -> Arrange:
    return lambda scene: scene.source.misbehave(fault, method="GET", path="/blobs/", times=times)


CUT_OFF = (
    ("a manifest", Act.FETCH, "/manifests/"),
    ("a config", Act.FETCH, "/blobs/"),
    ("the tag read back", Act.PUSH, TAG),
)
FRAMES = (("with a length", True), ("without a length", False))
ENDS = [
    *(
        Case("truncated", f"{what} {how}", act, strikes(Truncated(with_length=with_length), "GET", path))
        for what, act, path in CUT_OFF
        for how, with_length in FRAMES
    ),
    *(
        Case("truncated", f"a blob {how}", Act.COPY, from_the_source(Truncated(with_length=framed), TWICE))
        for how, framed in FRAMES
    ),
    Case(
        "truncated",
        "a manifest with a length, for ever",
        Act.FETCH,
        always(Truncated(), "GET", "/manifests/"),
        errors.RegistryUnreachable,
    ),
    Case(
        "truncated",
        "a manifest without a length, for ever",
        Act.FETCH,
        always(Truncated(with_length=False), "GET", "/manifests/"),
        errors.DigestMismatch,
    ),
    Case(
        "truncated",
        "blobs without a length, for ever",
        Act.COPY,
        from_the_source(Truncated(with_length=False), None),
        errors.RegistryUnreachable,
        lambda scene: not scene.registry.tag_puts,
    ),
]


def held_before(scene: Scene) -> bool:
    return str(scene.result.previous["1"]) == OTHER.digest


def moves_meanwhile(scene: Scene) -> None:
    """Another job's image is under the tag before ours is."""
    plant(scene.registry, "app", "1", OTHER)


def refused_as_present(scene: Scene) -> None:
    """The same list is there from a push before, and the registry can't take it again."""
    for image in IMAGES:
        plant(scene.registry, "app", None, image)
    scene.registry.add_manifest("app", "1", scene.index.raw, scene.index.media_type)
    refused = Status.oci(400, "MANIFEST_INVALID", "manifest list has been pushed before")
    scene.registry.misbehave(refused, method="PUT", path=TAG, times=None)


VALIDATION = [
    Case("list-types", "refuses the second push of a list", Act.PUSH, refused_as_present),
    Case(
        "list-types",
        "409 as the same list is being pushed",
        Act.PUSH,
        always(Status(409, takes_effect=True), "PUT", TAG),
    ),
    Case(
        "list-types",
        "refuses the types of a list",
        Act.PUSH,
        always(Status.oci(400, "MANIFEST_INVALID", "an index of mixed types"), "PUT", TAG),
        errors.RegistryRejected,
        says("an index of mixed types"),
    ),
    Case(
        "tag-lists",
        "has none",
        Act.PUSH,
        trap(Status(404), None, "/tags/list"),
        None,
        sent(0, "GET", "/tags/"),
    ),
    Case("last-wins", "the tag held another image", Act.PUSH, moves_meanwhile, None, held_before),
    Case(
        "last-wins",
        "another job keeps the tag",
        Act.PUSH,
        both(moves_meanwhile, always(OtherBody(OTHER.raw), "GET", TAG)),
        errors.PushNotVerified,
        says(OTHER.digest),
    ),
]

CASES = [*HEADS, *TYPES, *BODIES, *ENDS, *VALIDATION]
