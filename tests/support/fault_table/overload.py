"""Cases: registries that limit, fail, lose replies, refuse to move tags and know things late."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

from app import errors
from tests.support.fault_table.case import (
    CHILD,
    IMAGES,
    OTHER,
    TAG,
    Act,
    Arrange,
    Case,
    Scene,
    always,
    both,
    nothing,
    plant_other,
    says,
    sent,
    strikes,
)
from tests.support.fault_table.faults import Meanwhile
from tests.support.images import plant
from tests.support.registry import ExpiredToken, LostReply, Redirect, Reset, Rules, Silence, Status
from tests.support.registry_clients import QUICK

__all__ = ["CASES"]


def limited(**headers: str) -> Status:
    return Status(429, headers={name.replace("_", "-"): value for name, value in headers.items()})


def limits_in_words(status: int, words: str) -> Arrange:
    return strikes(Status.oci(status, "TOOMANYREQUESTS", words), "PUT", TAG)


def asked_once_for_two_minutes(scene: Scene) -> bool:
    return scene.error.retry_after == 120 and len(scene.sent("PUT", "/manifests/1")) == 1


RATE_LIMITS = [
    Case("rate-limit", "429 without a word", Act.PUSH, strikes(Status(429), "PUT", TAG)),
    Case("rate-limit", "Retry-After: 0", Act.PUSH, strikes(limited(Retry_After="0"), "PUT", TAG)),
    Case("rate-limit", "Retry-After: 0.02", Act.PUSH, strikes(limited(Retry_After="0.02"), "PUT", TAG)),
    Case("rate-limit", "Retry-After: 12.5ms", Act.PUSH, strikes(limited(Retry_After="12.5ms"), "PUT", TAG)),
    Case(
        "rate-limit",
        "Retry-After as a date",
        Act.PUSH,
        lambda scene: scene.registry.misbehave(
            limited(Retry_After=format_datetime(datetime.now(UTC), usegmt=True)), method="PUT", path=TAG
        ),
    ),
    Case(
        "rate-limit",
        "retry-after: 12.5ms in the message",
        Act.PUSH,
        limits_in_words(429, "retry-after: 12.5ms, allowed: 2000/minute"),
    ),
    Case(
        "rate-limit",
        "retry-after: 985.86\u00b5s in the message",
        Act.PUSH,
        limits_in_words(429, "retry-after: 985.86\u00b5s, allowed: 44000/minute"),
    ),
    Case(
        "rate-limit",
        "403 with a secondary rate limit",
        Act.PUSH,
        limits_in_words(403, "You have exceeded a secondary rate limit"),
    ),
    Case(
        "rate-limit",
        "Retry-After: 120",
        Act.PUSH,
        always(limited(Retry_After="120"), "PUT", TAG),
        errors.RateLimited,
        asked_once_for_two_minutes,
    ),
    Case(
        "rate-limit",
        "429 for ever",
        Act.PUSH,
        always(Status(429), "PUT", TAG),
        errors.RateLimited,
        sent(QUICK.attempts, "PUT", "/manifests/1"),
    ),
    Case(
        "pull-limit",
        "counts each GET of a push",
        Act.PUSH,
        nothing,
        None,
        sent(1, "GET", "/manifests/"),
    ),
    Case("pull-limit", "counts each GET of a fetch", Act.FETCH, nothing, None, sent(1, "GET", "/manifests/")),
    Case("pull-limit", "counts, and is only asked", Act.HEAD, nothing, None, sent(0, "GET", "/manifests/")),
    Case(
        "pull-limit",
        "429 of an abuse limit, in plain text",
        Act.FETCH,
        always(
            Status(429, b"Too Many Requests (HAP429).\n", {"Content-Type": "text/plain"}), "GET", "/src0/"
        ),
        errors.RateLimited,
        says("HAP429"),
    ),
]


FAILURES = [
    *(
        Case("5xx", f"{code} for a while", Act.PUSH, strikes(Status(code), "PUT", TAG))
        for code in (500, 502, 503, 504, 499, 507, 520, 522, 524, 529)
    ),
    *(
        Case("5xx", f"{code} for a while to a look", Act.HEAD, strikes(Status(code), "HEAD", TAG))
        for code in (500, 502)
    ),
    Case(
        "5xx",
        "500 for ever, with a reason",
        Act.PUSH,
        always(Status.oci(500, "UNKNOWN", "a retention policy is in place"), "PUT", TAG),
        errors.RegistryUnavailable,
        lambda scene: says("retention policy")(scene) and sent(QUICK.attempts, "PUT", "/manifests/1")(scene),
    ),
    Case("408", "408 for a while", Act.PUSH, strikes(Status(408), "PUT", TAG)),
    Case(
        "408",
        "408 for ever",
        Act.PUSH,
        always(Status(408), "PUT", TAG),
        errors.RegistryUnavailable,
        sent(QUICK.attempts, "PUT", "/manifests/1"),
    ),
]


def only_the_index_was_put(scene: Scene) -> bool:
    return {put.digest for put in scene.registry.tag_puts} == {str(scene.index.digest)}


def plant_index(scene: Scene) -> None:
    """An earlier run has put the very same list."""
    for image in IMAGES:
        plant(scene.registry, "app", None, image)
    scene.registry.add_manifest("app", "1", scene.index.raw, scene.index.media_type)


def immutable(status: int, words: str) -> Arrange:
    refused = Status.oci(status, "DENIED", words)
    return both(plant_other, always(refused, "PUT", TAG))


TAGS = [
    Case("lost-reply", "loses the reply to the tag", Act.PUSH, strikes(LostReply(), "PUT", TAG)),
    Case("lost-reply", "loses each reply to the tag", Act.PUSH, always(LostReply(), "PUT", TAG)),
    Case("lost-reply", "loses the reply to a child", Act.PUSH, strikes(LostReply(), "PUT", CHILD)),
    Case(
        "lost-reply",
        "201 without keeping the tag",
        Act.PUSH,
        both(plant_other, always(Status(201), "PUT", TAG)),
        errors.PushNotVerified,
        says(OTHER.digest),
    ),
    Case(
        "lost-reply",
        "HEAD of the tag from an old cache",
        Act.PUSH,
        both(
            plant_other,
            always(
                Status(
                    200,
                    headers={
                        "Docker-Content-Digest": OTHER.digest,
                        "Content-Type": OTHER.media_type,
                        "Content-Length": str(len(OTHER.raw)),
                    },
                ),
                "HEAD",
                TAG,
            ),
        ),
    ),
    Case(
        "immutable-tag",
        "refuses the same digest",
        Act.PUSH,
        plant_index,
        double={"rules": Rules(immutable_tags=True)},
    ),
    *(
        Case(
            "immutable-tag",
            f"{status}: {words}",
            Act.PUSH,
            immutable(status, words),
            errors.TagImmutable,
            sent(1, "PUT", "/manifests/1"),
        )
        for status, words in (
            (400, "tag invalid: The image tag '1' already exists in the repository and is immutable"),
            (403, "blocked: pushing existing tags is not allowed"),
            (409, "the tag cannot be overwritten"),
            (412, "configured as such"),
        )
    ),
    Case("immutable-tag", "moves tags", Act.PUSH, nothing, None, only_the_index_was_put),
]


def uploads_are_fresh(scene: Scene) -> bool:
    addresses = [put.target for put in scene.sent("PUT", "/blobs/uploads/")]
    paths = [put.path for put in scene.sent("PUT", "/blobs/uploads/")]
    return len(addresses) == len(set(addresses)) and len(set(paths)) == len(paths)


UPLOAD = "/blobs/uploads/."
UPLOADS = [
    *(
        Case("upload-url", does, Act.COPY, strikes(fault, "PUT", UPLOAD), None, uploads_are_fresh)
        for does, fault in (
            ("404 to the upload", Status(404)),
            ("BLOB_UPLOAD_UNKNOWN at random", Status.oci(404, "BLOB_UPLOAD_UNKNOWN")),
            ("416: resumed at wrong offset", Status.oci(416, "RANGE_INVALID", "resumed at wrong offset")),
            ("503 to the upload", Status(503)),
        )
    ),
    Case("body-once", "resets after the body", Act.COPY, strikes(LostReply(), "PUT", UPLOAD)),
    Case("body-once", "resets before the body", Act.COPY, strikes(Reset(), "PUT", UPLOAD)),
    Case(
        "body-once",
        "401 to a streamed body",
        Act.COPY,
        both(Scene.sign_in, strikes(ExpiredToken(), "PUT", UPLOAD)),
        double={"auth": "bearer"},
    ),
    Case(
        "body-once",
        "redirects a streamed body",
        Act.COPY,
        always(Redirect("http://127.0.0.1:9{target}"), "PUT", UPLOAD),
        errors.NotARegistry,
    ),
]


def collect_a_child(scene: Scene) -> None:
    def collect() -> None:
        scene.registry.content.at("app").delete_manifest(IMAGES[0].digest)

    scene.registry.misbehave(Meanwhile(collect), method="PUT", path=TAG)


def lose_the_image(scene: Scene) -> None:
    held = scene.registry.content.at("app")
    held.delete_manifest(IMAGES[0].digest)
    held.blobs.clear()


def head_says_yes(scene: Scene) -> None:
    seen = Status(200, headers={"Docker-Content-Digest": IMAGES[0].digest})
    scene.registry.misbehave(seen, method="HEAD", path=CHILD, times=None)


UNKNOWN = Status.oci(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
CONSISTENCY = [
    Case("not-yet-known", "knows a child's blobs late", Act.PUSH, strikes(UNKNOWN, "PUT", CHILD, 4)),
    Case("not-yet-known", "knows the children late", Act.PUSH, strikes(UNKNOWN, "PUT", TAG, 4)),
    Case(
        "not-yet-known",
        "404: unknown blob",
        Act.COPY,
        strikes(Status.oci(404, "BLOB_UNKNOWN", "unknown blob"), "PUT", CHILD),
    ),
    Case(
        "not-yet-known",
        "never knows the children",
        Act.PUSH,
        always(UNKNOWN, "PUT", TAG),
        errors.RegistryRejected,
        sent(QUICK.settle_attempts, "PUT", "/manifests/1"),
    ),
    Case("head-and-get", "HEAD 200 of a child that is not there", Act.PUSH, head_says_yes),
    Case(
        "head-and-get",
        "HEAD 200 of a blob that is not there",
        Act.COPY,
        strikes(Status(200), "HEAD", "/blobs/", 1),
    ),
    Case(
        "head-and-get",
        "a mount that is said to be done and is not",
        Act.PUSH,
        strikes(Status(201), "POST", "/uploads/", 1),
    ),
    Case(
        "head-and-get",
        "HEAD 200, GET 404",
        Act.FETCH,
        always(Status.oci(404, "MANIFEST_UNKNOWN"), "GET", "/manifests/"),
        errors.SourceNotFound,
    ),
    Case("head-and-get", "403 for what is missing", Act.PUSH, always(Status(403), "HEAD", "/manifests/")),
    Case(
        "head-and-get",
        "403 for a missing tag, to GET as well",
        Act.PUSH,
        both(always(Status(403), "HEAD", TAG), strikes(Status(403), "GET", TAG, 1)),
    ),
    Case("collected", "collects a child before the tag", Act.PUSH, collect_a_child),
    Case(
        "collected",
        "has lost an image of its own and takes any index",
        Act.OWN,
        lose_the_image,
        errors.SourceNotFound,
        lambda scene: not scene.registry.tag_puts,
        {"rules": Rules(require_children=False)},
    ),
    Case(
        "lost-reply",
        "never answers, but moves the tag",
        Act.OWN,
        always(Silence(takes_effect=True), "PUT", TAG),
        call_seconds=2.0,
    ),
]

CASES = [*RATE_LIMITS, *FAILURES, *TAGS, *UPLOADS, *CONSISTENCY]
