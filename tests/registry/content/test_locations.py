"""Addresses in a registry's answers: of uploads, of next pages and of redirects."""

from __future__ import annotations

import pytest

from app import errors
from app.outbound.failures import RequestContext
from app.outbound.url import Url
from app.registry.content.locations import next_page, redirect_target, upload_location
from app.registry.policy import RegistryPolicy

REGISTRY = "registry.example.com"
CONTEXT = RequestContext(REGISTRY)
POLICY = RegistryPolicy.parse()
START = Url("https", REGISTRY, 443, "/v2/team/app/blobs/uploads/")
LISTING = Url("https", REGISTRY, 443, "/v2/team/app/referrers/sha256:0")
BELOW = "/v2/team/app/referrers/"


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("/v2/team/app/blobs/uploads/1?_state=a%2Bb", "/v2/team/app/blobs/uploads/1?_state=a%2Bb"),
        ("1?_state=x", "/v2/team/app/blobs/uploads/1?_state=x"),
        ("?_state=x", "/v2/team/app/blobs/uploads/?_state=x"),
        ("https://registry.example.com/up/1", "/up/1"),
        ("https://registry.example.com:443/up/1", "/up/1"),
        ("http://registry.example.com/up/1", "/up/1"),
        ("http://registry.example.com:80/up/1", "/up/1"),
        ("//registry.example.com/up/1", "/up/1"),
        ("https://REGISTRY.example.com/up/1", "/up/1"),
        ("evil.test/x", "/v2/team/app/blobs/uploads/evil.test/x"),
        (f"{REGISTRY}/up/1?a=b%2F", "/up/1?a=b%2F"),
        ("REGISTRY.example.com/up/1", "/up/1"),
        (f"{REGISTRY}.evil.test/up", f"/v2/team/app/blobs/uploads/{REGISTRY}.evil.test/up"),
        (REGISTRY, f"/v2/team/app/blobs/uploads/{REGISTRY}"),
    ],
)
def test_an_upload_stays_on_the_registry_and_on_tls(location: str, where: str) -> None:
    assert (
        str(upload_location(START, location, context=CONTEXT, policy=POLICY)) == f"https://{REGISTRY}{where}"
    )


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.test/up/1",
        "//evil.test/up/1",
        "https://registry.example.com@evil.test/up",
        "https://registry.example.com:8443/up/1",
        "https://registry.example.com.evil.test/",
        "https://127.0.0.1/up",
        "\\\\evil.test\\up",
        "/up\r\nHost: evil.test",
        "",
        " /up",
        "/ü",
        "ftp://registry.example.com/up",
    ],
)
def test_an_upload_elsewhere_is_refused(location: str) -> None:
    with pytest.raises(errors.UntrustedOrigin):
        upload_location(START, location, context=CONTEXT, policy=POLICY)


def test_an_upload_may_be_named_by_host_and_port_alone() -> None:
    start = Url("http", "registry.example.com", 5000, "/v2/app/blobs/uploads/")
    found = upload_location(
        start,
        "registry.example.com:5000/up/1",
        context=RequestContext("registry.example.com:5000"),
        policy=POLICY,
    )
    assert str(found) == "http://registry.example.com:5000/up/1"
    with pytest.raises(errors.UntrustedOrigin):
        upload_location(
            start,
            "registry.example.com:5001/up/1",
            context=RequestContext("registry.example.com:5000"),
            policy=POLICY,
        )


@pytest.mark.parametrize(
    "location",
    [
        "https://up.example.com/up/1?a=%2Fb",
        "https://eu.storage.test:8443/up/1",
        f"https://{REGISTRY}:8443/up/1",
    ],
)
def test_an_upload_may_be_on_a_host_that_the_operator_lists(location: str) -> None:
    listed = RegistryPolicy.parse(
        upload_hosts={REGISTRY: ["up.example.com", "*.storage.test:8443", f"{REGISTRY}:8443"]}
    )
    assert str(upload_location(START, location, context=CONTEXT, policy=listed)) == location
    plain = location.replace("https", "http")
    with pytest.raises(errors.UntrustedOrigin, match="without TLS"):
        upload_location(START, plain, context=CONTEXT, policy=listed)
    with pytest.raises(errors.UntrustedOrigin, match="as an upload host of"):
        upload_location(START, location, context=RequestContext("other.example.com"), policy=listed)


def test_an_upload_may_return_from_a_listed_host_to_the_registry() -> None:
    there = Url("https", "up.example.com", 443, "/up/1")
    found = upload_location(there, f"https://{REGISTRY}/up/2", context=CONTEXT, policy=POLICY)
    assert str(found) == f"https://{REGISTRY}/up/2"


def test_a_redirect_may_leave_the_registry_but_not_tls() -> None:
    signed = "https://cdn.example.net/blob?X-Amz-Signature=a%2Fb%3D"
    assert str(redirect_target(START, signed, context=CONTEXT)) == signed
    with pytest.raises(errors.UntrustedOrigin, match="TLS"):
        redirect_target(START, "http://cdn.example.net/blob", context=CONTEXT)


def following(*links: str) -> Url | None:
    return next_page(LISTING, list(links), below=BELOW, context=CONTEXT)


@pytest.mark.parametrize(
    "link",
    [
        "</v2/team/app/referrers/sha256:0?n=2>; rel=next",
        '<?n=2>; rel="next"',
        f'<https://{REGISTRY}/v2/team/app/referrers/sha256:0?n=2>; rel="next"',
        f"<http://{REGISTRY}/v2/team/app/referrers/sha256:0?n=2>;rel=next; title=x",
        '</first>; rel="first", <?n=2>; rel="next"',
    ],
)
def test_the_next_page_is_found_in_the_link_header(link: str) -> None:
    assert following(link) == LISTING.at(LISTING.path, "n=2")


@pytest.mark.parametrize("links", [(), ("<?n=2>; rel=prev",), ("?n=2; rel=next",), ("<?n=2>",)])
def test_a_list_without_a_next_link_ends(links: tuple[str, ...]) -> None:
    assert following(*links) is None


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.test/v2/team/app/referrers/sha256:0",
        "https://registry.example.com:8443/v2/team/app/referrers/sha256:0",
        "/v2/other/app/referrers/sha256:0",
        "/v2/team/app/referrers/../manifests/1",
        "/v2/team/app/referrers/%2e%2e",
        "/v2/team/app/referrers/",
        "/v2/",
        "",
    ],
)
def test_a_next_page_outside_the_list_is_refused(address: str) -> None:
    with pytest.raises(errors.UntrustedOrigin):
        following(f"<{address}>; rel=next")
