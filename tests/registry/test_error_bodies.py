"""How the bodies of refusals are read."""

from __future__ import annotations

import json

import pytest

from app import errors
from app.outbound.failures import RequestContext
from app.registry.client import RegistryClient
from app.registry.error_bodies import is_rate_limit, may_pass, means_full, means_immutable, means_rate_limit
from app.registry.errors import refusal, tag_refusal
from tests.support.registry import RegistryDouble, Status
from tests.support.registry_clients import INSECURE, LOOPBACK, QUICK, reference_at


@pytest.mark.parametrize(
    "said",
    [
        "Rate exceeded",
        "You have exceeded a secondary rate limit. Please wait a few minutes",
        "TOOMANYREQUESTS: slow down",
        "Too Many Requests (HAP429)",
        "Quota exceeded for quota metric 'Requests per project per minute'",
        "the request was throttled",
        "You have triggered an abuse detection mechanism",
    ],
)
def test_texts_about_too_many_requests_mean_a_rate_limit(said: str) -> None:
    assert means_rate_limit(said, "reg.test/app:1")


@pytest.mark.parametrize(
    ("said", "reference"),
    [
        ("DENIED: pull access denied for ratelimit", "reg.test/ratelimit:1"),
        ("requested access to envoyproxy/ratelimit is denied", "reg.test/envoyproxy/ratelimit:1"),
        ("no rights for repository:other/rate-limit:pull", "reg.test/app:1"),
        ("denied for throttle.", "reg.test/throttle:1"),
        ("Quota has been exceeded on namespace", "reg.test/app:1"),
        ("requested access to the resource is denied", None),
    ],
)
def test_neither_a_name_nor_a_storage_quota_means_a_rate_limit(said: str, reference: str | None) -> None:
    assert not means_rate_limit(said, reference)


@pytest.mark.parametrize(
    "said",
    [
        "The image tag '1' already exists in the 'app' repository and cannot be overwritten",
        "tag is immutable",
        "Repository does not allow updating assets: docker",
        "The operation is disallowed on this registry, repository or image",
    ],
)
def test_texts_about_rules_against_moving_a_tag_mean_an_immutable_tag(said: str) -> None:
    assert means_immutable(said, "reg.test/app:1")


def test_a_name_does_not_mean_an_immutable_tag() -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "denied: immutable-infra, team/immutable"}]})
    context = RequestContext("reg.test", "reg.test/team/immutable-infra:1")
    refused = tag_refusal(403, {}, body.encode(), context, doing="the PUT")
    assert type(refused) is errors.RegistryDenied


def test_only_the_first_error_of_a_body_counts() -> None:
    listed = [{"code": "DENIED"}, {"code": "TOOMANYREQUESTS", "message": "of someone else"}]
    body = json.dumps({"errors": listed}).encode()
    assert type(refusal(403, {}, body, RequestContext("reg.test"), doing="the GET")) is errors.RegistryDenied


async def test_a_denied_repository_named_like_a_rate_limit_changes_no_budget(
    registry: RegistryDouble,
) -> None:
    denied = Status.oci(403, "DENIED", "requested access to team/ratelimit is denied")
    registry.misbehave(denied, path="/team/ratelimit/", times=None)
    async with RegistryClient(LOOPBACK, limits=QUICK) as client:
        with pytest.raises(errors.RegistryDenied):
            await client.fetch_manifest(reference_at(registry, "team/ratelimit:1"), INSECURE)
        assert len(registry.received("GET", "/manifests/")) == 1
        assert client.budgets.of(registry.host).is_default


FULL = [
    "Storage quota exceeded",
    "adding 1.0 MiB of storage resource, which when updated to current usage of 9.9 MiB will exceed the "
    "configured upper limit of 10.0 MiB.",
    "write /var/lib/registry/docker: no space left on device",
    "The repository has exceeded its storage limit",
    "LimitExceededException: the limit of images per repository has been reached",
    "insufficient storage",
    "storage quota exceeded",
    "the quota of 10 GB has been reached",
]


@pytest.mark.parametrize("text", FULL)
@pytest.mark.parametrize("status", [403, 412, 413, 429, 500, 503, 507])
@pytest.mark.parametrize("code", ["UNKNOWN", "DENIED", "TOOMANYREQUESTS", "TOO_MANY_REQUESTS"])
def test_used_up_storage_is_final_whatever_the_status_and_the_code(text: str, status: int, code: str) -> None:
    body = json.dumps({"errors": [{"code": code, "message": text}]}).encode()
    context = RequestContext("reg.test", "reg.test/app:1")
    assert not may_pass(status, body, context)
    assert not is_rate_limit(status, body, context)
    for read in (refusal, tag_refusal):
        error = read(status, {}, body, context, doing="the PUT")
        assert type(error) is errors.RegistryRejected
        assert text in error.detail


@pytest.mark.parametrize(
    "text",
    [
        "Quota exceeded for quota metric 'Requests per project' and limit 'per minute'",
        "toomanyrequests: You have reached your pull rate limit",
        "TOOMANYREQUESTS: quota exceeded",
        "TOOMANYREQUESTS",
        "s3aws: storage driver: context deadline exceeded",
        "requested access to team/quota-exceeded is denied",
        "team/storage-full is not available",
    ],
)
def test_other_texts_do_not_speak_of_used_up_storage(text: str) -> None:
    assert not means_full(text, "reg.test/team/quota-exceeded:1")


@pytest.mark.parametrize("code", ["DENIED", "UNSUPPORTED", "MANIFEST_INVALID", "TAG_INVALID"])
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_refusal_of_the_request_itself_is_final_in_a_server_error(code: str, status: int) -> None:
    body = json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()
    context = RequestContext("reg.test", "reg.test/app:1")
    assert not may_pass(status, body, context)
    assert not refusal(status, {}, body, context, doing="the PUT").retryable


@pytest.mark.parametrize("status", [400, 409, 412, 423])
@pytest.mark.parametrize(
    "text",
    [
        "another push is in progress",
        "please try again later",
        "The manifest is being processed",
        "a concurrent update was detected",
        "temporarily locked",
    ],
)
def test_a_refusal_that_asks_for_another_attempt_may_pass(status: int, text: str) -> None:
    body = json.dumps({"errors": [{"code": "CONFLICT", "message": text}]}).encode()
    context = RequestContext("reg.test", "reg.test/app:1")
    assert may_pass(status, body, context)
    assert tag_refusal(status, {}, body, context, doing="the PUT").retryable


@pytest.mark.parametrize("status", [400, 409, 412])
@pytest.mark.parametrize("text", ["tag 1 already exists", "the tag is immutable", "no", ""])
def test_other_refusals_with_the_same_statuses_are_final(status: int, text: str) -> None:
    body = json.dumps({"errors": [{"code": "CONFLICT", "message": text}]}).encode()
    assert not may_pass(status, body, RequestContext("reg.test", "reg.test/app:1"))
