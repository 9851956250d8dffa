"""How the bodies of refusals are read."""

from __future__ import annotations

import json

import pytest

from app import errors
from app.outbound.failures import RequestContext
from app.registry.client import RegistryClient
from app.registry.error_bodies import means_immutable, means_rate_limit
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
