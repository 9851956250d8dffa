"""Several mistakes become one error, and a single one stays as it is."""

from __future__ import annotations

import pytest

from app.errors import (
    BrokerError,
    FieldError,
    InvalidInput,
    InvalidPlatform,
    InvalidReference,
    RegistryForbidden,
    revive,
)
from app.errors.collecting import Mistakes, combined, parse_each, pointer_to


def test_a_single_mistake_stays_as_it_is() -> None:
    error = InvalidReference("No.", errors=[FieldError("/a", "No.")], reference="A")
    assert combined([error]) is error
    bare = InvalidReference("No.")
    assert combined([bare]) is bare


def test_mistakes_of_one_kind_keep_their_kind_and_the_facts_of_the_first() -> None:
    first = InvalidReference("No", errors=[FieldError("/a", "No")], reference="A")
    second = InvalidReference("Not.", errors=[FieldError("/b", "Not.")], reference="B")
    both = combined([first, second])
    assert type(both) is InvalidReference
    assert both.detail == "/a: No. The member errors has 1 more."
    assert both.members == {"reference": "A"}
    assert [each.document() for each in both.errors] == [
        {"pointer": "/a", "detail": "No", "code": "invalid-reference", "reference": "A"},
        {"pointer": "/b", "detail": "Not.", "code": "invalid-reference", "reference": "B"},
    ]


@pytest.mark.parametrize(
    "kinds",
    [
        (InvalidReference, InvalidPlatform),
        (InvalidInput, InvalidReference),
        (InvalidPlatform, InvalidInput, InvalidPlatform),
    ],
)
def test_mistakes_of_several_kinds_are_invalid_input_and_each_has_its_code(
    kinds: tuple[type[BrokerError], ...],
) -> None:
    found = [
        kind("No.", errors=[FieldError(f"/{at}", "No.")], reference="A") for at, kind in enumerate(kinds)
    ]
    error = combined(found)
    assert type(error) is InvalidInput
    assert error.members == {}
    assert [each.members["code"] for each in error.errors] == [kind.code for kind in kinds]


def test_nested_mistakes_have_joined_pointers_and_a_detail_that_fits_them() -> None:
    def parse(text: str) -> int:
        if not text.isdecimal():
            raise InvalidPlatform(f"{text} is no number.")
        return int(text)

    assert parse_each(["1", "2"], parse) == [1, 2]
    mistakes = Mistakes()
    with mistakes.at("/numbers"):
        parse_each(["x", "2", "y"], parse)
    with pytest.raises(InvalidPlatform) as caught:
        mistakes.raise_all()
    assert caught.value.detail == "/numbers/0: x is no number. The member errors has 1 more."
    assert [each.pointer for each in caught.value.errors] == ["/numbers/0", "/numbers/2"]


def test_the_same_mistake_found_twice_is_one() -> None:
    error = InvalidReference("No.", errors=[FieldError("/a", "No.")])
    assert combined([error, error]).detail == "/a: No."


def test_without_a_mistake_nothing_is_raised() -> None:
    mistakes = Mistakes()
    with mistakes.at("/a"):
        pass
    mistakes.raise_all()
    assert pointer_to("a~/b") == "/a~0~1b"


def test_what_is_no_mistake_of_the_caller_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError), Mistakes().at("/a"):
        _ = 1 // 0


def test_the_error_is_stored_and_read_again() -> None:
    kinds = (RegistryForbidden, RegistryForbidden)
    error = combined([kind("No.", errors=[FieldError(f"/{at}", "No.")]) for at, kind in enumerate(kinds)])
    assert revive(error.document()).document() == error.document()
