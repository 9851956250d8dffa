"""Errors: what is added to them, how they are located in a document, and the way through the store."""

from __future__ import annotations

from app import errors
from app.errors import FieldError

REJECTED = errors.RegistryRejected("The registry refused it.", registry="reg.test", upstream_status=400)


def test_members_are_added_after_those_that_the_error_has() -> None:
    error = REJECTED.with_members(targets=[1], upstream_status=422, reference=None)

    assert list(error.members.items()) == [
        ("registry", "reg.test"),
        ("upstream_status", 422),
        ("targets", [1]),
    ]
    assert type(error) is errors.RegistryRejected
    assert error.detail == REJECTED.detail


def test_context_comes_first_and_replaces_no_member_of_the_error() -> None:
    error = REJECTED.with_context(reference="reg.test/app:1", registry="other.test")

    assert list(error.members.items()) == [
        ("reference", "reg.test/app:1"),
        ("registry", "reg.test"),
        ("upstream_status", 400),
    ]


def test_additions_leave_the_original_as_it_was() -> None:
    before = REJECTED.document()

    REJECTED.with_members(targets=[]).members["more"] = 1
    REJECTED.located_at("/url").members["more"] = 1

    assert REJECTED.document() == before


def test_an_error_without_fields_is_located_with_its_own_detail() -> None:
    error = REJECTED.located_at("/url")

    assert error.errors == (FieldError("/url", REJECTED.detail),)
    assert error.members == REJECTED.members


def test_pointers_join_and_fields_keep_their_members() -> None:
    inner = errors.InvalidInput(
        "No.", errors=[FieldError("/os", "No.", {"code": "x"}), FieldError("", "No.")]
    )

    error = inner.located_at("/platform").located_at("/sources/0")

    assert error.errors == (
        FieldError("/sources/0/platform/os", "No.", {"code": "x"}),
        FieldError("/sources/0/platform", "No."),
    )


def test_a_recast_error_keeps_its_facts_and_may_change_its_detail() -> None:
    error = REJECTED.recast(errors.TagImmutable, "The tag may not be moved.")

    assert type(error) is errors.TagImmutable
    assert error.detail == "The tag may not be moved."
    assert error.members == REJECTED.members
    assert REJECTED.recast(errors.TagImmutable).detail == REJECTED.detail


def test_an_error_survives_the_store() -> None:
    error = REJECTED.located_at("/url").with_members(missing=["sha256:0"])

    revived = errors.revive(error.document())

    assert type(revived) is errors.RegistryRejected
    assert revived.document() == error.document()
