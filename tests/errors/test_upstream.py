"""Typed facts of what registries and receivers answered."""

from __future__ import annotations

from app import errors


def test_an_answer_gives_its_status_and_code() -> None:
    error = errors.RegistryDenied("No.", upstream_status=403, upstream_code="DENIED")

    assert (error.upstream_status, error.upstream_code) == (403, "DENIED")


def test_a_failure_without_an_answer_has_neither() -> None:
    error = errors.RegistryTimeout("No answer.")

    assert (error.upstream_status, error.upstream_code) == (None, None)


def test_facts_of_the_wrong_type_count_as_absent() -> None:
    error = errors.RegistryDenied("No.", upstream_status="403", upstream_code=7)

    assert (error.upstream_status, error.upstream_code) == (None, None)


def test_a_rejected_manifest_names_the_missing_digests() -> None:
    assert errors.RegistryRejected("No.", missing=["sha256:0"]).missing_digests == ("sha256:0",)
    assert errors.RegistryRejected("No.").missing_digests == ()


def test_a_failed_delivery_gives_the_receivers_status() -> None:
    assert errors.DeliveryFailed("No.", upstream_status=500).upstream_status == 500
