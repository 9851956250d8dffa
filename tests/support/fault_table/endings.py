"""Cases: how the rows end that mostly end the other way."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from app import errors
from tests.support.fault_table.access import BEARER, authority, challenged, signed_in
from tests.support.fault_table.case import CHILD, TAG, Act, Case, Scene, always, both, says, trap
from tests.support.fault_table.faults import NotAcceptable, TooLarge
from tests.support.fault_table.overload import UPLOAD
from tests.support.fault_table.wording import asks_for_no_coding
from tests.support.registry import ExpiredToken, Gzipped, OtherBody, Redirect, Status, WithoutHeader

__all__ = ["CASES", "ONE_WAY"]

# What can't end so, and why.
ONE_WAY: dict[tuple[str, bool], str] = {
    ("tag-lists", False): "nothing depends on a list of tags: none is asked for",
}


@dataclass(frozen=True, slots=True)
class GzippedIfAccepted(Gzipped):
    def concerns(self, request: web.BaseRequest) -> bool:
        return "gzip" in request.headers.get("Accept-Encoding", "gzip")


@dataclass(frozen=True, slots=True)
class NeverAcceptable(NotAcceptable):
    """406 to all that asks for manifests, too."""

    def concerns(self, request: web.BaseRequest) -> bool:
        return request.headers.get("Accept", "*/*") != "*/*"


def grants_nothing(scene: Scene) -> None:
    scene.sign_in()
    authority(scene).grants["user"] = {}


def asks_no_list_of_tags(scene: Scene) -> bool:
    return not scene.sent("GET", "/tags/list")


CASES: list[Case] = [
    Case(
        "upload-url",
        "each upload is lost",
        Act.COPY,
        always(Status.oci(404, "BLOB_UPLOAD_UNKNOWN"), "PUT", UPLOAD),
        errors.RegistryRejected,
        says("BLOB_UPLOAD_UNKNOWN"),
    ),
    Case(
        "no-digest",
        "and other bytes than were asked for",
        Act.PUSH,
        both(always(OtherBody(b"{}"), "GET", TAG), always(WithoutHeader("Docker-Content-Digest"))),
        errors.PushNotVerified,
    ),
    Case(
        "head-redirect",
        "and GET is refused",
        Act.HEAD,
        both(
            always(Redirect("https://elsewhere.test/signed"), "HEAD", "/manifests/"),
            always(Status.oci(403, "DENIED"), "GET", "/manifests/"),
        ),
        errors.RegistryDenied,
    ),
    Case("406", "to every manifest", Act.FETCH, always(NeverAcceptable()), errors.RegistryRejected),
    Case(
        "token-expiry",
        "at once, each time",
        Act.PUSH,
        signed_in(always(ExpiredToken(), "PUT", CHILD)),
        errors.RegistryDenied,
        double=BEARER,
    ),
    Case("two-scopes", "none counts", Act.COPY, grants_nothing, errors.RegistryDenied, double=BEARER),
    Case(
        "challenges",
        "none that is known",
        Act.FETCH,
        challenged('Negotiate, NTLM realm="{realm}"', ".*"),
        errors.RegistryDenied,
        double=BEARER,
    ),
    Case(
        "mount",
        "has trouble, for ever",
        Act.PUSH,
        always(Status(500), "POST", "/blobs/uploads/"),
        errors.RegistryUnavailable,
    ),
    Case(
        "chunks",
        "no size is small enough",
        Act.COPY,
        always(TooLarge(0, 413)),
        errors.RegistryRejected,
        says("413"),
    ),
    Case(
        "compressed",
        "where that is accepted",
        Act.FETCH,
        trap(GzippedIfAccepted(), "GET"),
        None,
        asks_for_no_coding,
    ),
    Case(
        "tag-lists",
        "has trouble with them",
        Act.PUSH,
        trap(Status(500), "GET", "/tags/list"),
        None,
        asks_no_list_of_tags,
    ),
]
