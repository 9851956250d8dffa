"""What is listed for one registry holds for that one, however it is spelled."""

from __future__ import annotations

import pytest

from app import errors
from app.outbound.policy import AccessPolicy


@pytest.mark.parametrize("name", ["ghcr.io", "GHCR.io", "ghcr.io:443"])
def test_a_registry_that_is_listed_may_be_spelled_in_any_way(name: str) -> None:
    policy = AccessPolicy.parse(registries=["ghcr.io"])
    policy.check_registry(name)
    with pytest.raises(errors.RegistryForbidden):
        policy.check_registry(f"other.{name}")


def test_a_known_front_redirects_for_itself_alone() -> None:
    policy = AccessPolicy()
    assert policy.may_redirect("registry.k8s.io", "europe-docker.pkg.dev")
    assert not policy.may_redirect("registry.test", "europe-docker.pkg.dev")
