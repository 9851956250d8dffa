"""The memory of what registries support."""

from __future__ import annotations

from app.oci.reference import Repository
from app.registry.capabilities import Capabilities, MountSupport
from tests.support.registry_clients import Clock


def test_a_registry_supports_everything_until_it_shows_otherwise() -> None:
    capabilities = Capabilities(600, Clock())

    assert capabilities.supports_head("r.example")
    assert capabilities.supports_referrers(Repository("r.example", "app"))
    assert capabilities.largest_body("r.example", "PUT") is None
    assert capabilities.mount_support("r.example", "src", "dst") is MountSupport.GRANTED


def test_the_smallest_body_limit_counts() -> None:
    """Blobs that are copied at the same time learn limits in any order."""
    capabilities = Capabilities(600, Clock())
    for size in (4096, 1024, 2048):
        capabilities.record_largest_body("r.example", "PUT", size)

    assert capabilities.largest_body("r.example", "PUT") == 1024


def test_a_body_limit_is_of_one_registry_and_one_method() -> None:
    capabilities = Capabilities(600, Clock())
    capabilities.record_largest_body("r.example", "PATCH", 1024)

    assert capabilities.largest_body("r.example", "PUT") is None
    assert capabilities.largest_body("other.example", "PATCH") is None


def test_a_body_limit_expires() -> None:
    clock = Clock()
    capabilities = Capabilities(600, clock)
    capabilities.record_largest_body("r.example", "PUT", 1024)
    clock.pass_by(599)
    assert capabilities.largest_body("r.example", "PUT") == 1024

    clock.pass_by(1)
    assert capabilities.largest_body("r.example", "PUT") is None

    capabilities.record_largest_body("r.example", "PUT", 4096)
    assert capabilities.largest_body("r.example", "PUT") == 4096


def test_a_registry_without_head_is_asked_again_after_a_while() -> None:
    clock = Clock()
    capabilities = Capabilities(600, clock)
    capabilities.record_no_head("r.example")

    assert not capabilities.supports_head("r.example")
    assert capabilities.supports_head("other.example")
    clock.pass_by(600)
    assert capabilities.supports_head("r.example")


def test_the_referrers_api_may_be_missing_in_one_repository_or_in_the_whole_registry() -> None:
    app, other = Repository("r.example", "app"), Repository("r.example", "other")
    capabilities = Capabilities(600, Clock())

    capabilities.record_no_referrers(str(app))
    assert not capabilities.supports_referrers(app)
    assert capabilities.supports_referrers(other)

    capabilities.record_no_referrers("r.example")
    assert not capabilities.supports_referrers(other)


def test_a_refused_mount_counts_for_one_pair_alone() -> None:
    capabilities = Capabilities(60, Clock())
    capabilities.record_mount(MountSupport.REFUSED, "reg", "src", "dst", only_this_pair=True)

    assert capabilities.mount_support("reg", "src", "dst") is MountSupport.REFUSED
    assert capabilities.mount_support("reg", "other", "dst") is MountSupport.GRANTED


def test_a_declined_mount_counts_for_the_registry_but_not_over_the_refusal_of_a_pair() -> None:
    clock = Clock()
    capabilities = Capabilities(60, clock)
    capabilities.record_mount(MountSupport.REFUSED, "reg", "src", "dst", only_this_pair=True)
    capabilities.record_mount(MountSupport.DECLINED, "reg", "a", "b")

    assert capabilities.mount_support("reg", "other", "dst") is MountSupport.DECLINED
    assert capabilities.mount_support("reg", "src", "dst") is MountSupport.REFUSED
    assert capabilities.mount_support("elsewhere", "a", "b") is MountSupport.GRANTED
    clock.pass_by(61)
    assert capabilities.mount_support("reg", "src", "dst") is MountSupport.GRANTED


def test_a_granted_mount_ends_the_registrys_refusal() -> None:
    capabilities = Capabilities(60, Clock())
    capabilities.record_mount(MountSupport.DECLINED, "reg", "a", "b")
    capabilities.record_mount(MountSupport.GRANTED, "reg", "c", "d")

    assert capabilities.mount_support("reg", "a", "b") is MountSupport.GRANTED
