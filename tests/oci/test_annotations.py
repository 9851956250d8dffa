from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidAnnotation
from app.oci.annotations import MAX_COUNT, MAX_KEY, MAX_VALUE, parse_annotations

storable = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])


@given(
    st.dictionaries(st.text(storable, min_size=1, max_size=20), st.text(storable, max_size=20), max_size=5)
)
def test_valid_annotations_are_returned_sorted(mapping: dict[str, object]) -> None:
    parsed = parse_annotations(mapping)
    assert parsed == mapping
    assert list(parsed) == sorted(mapping)


def test_values_may_be_empty_or_have_several_lines() -> None:
    assert parse_annotations({"a": "", "b": "one\ntwo\t"}) == {"a": "", "b": "one\ntwo\t"}


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"": "x"}, "empty key"),
        ({"a\x00": "x"}, "control characters"),
        ({"a\nb": "x"}, "control characters"),
        ({"a\x85": "x"}, "control characters"),
        ({"a\u2028": "x"}, "control characters"),
        ({"a\ud800": "x"}, "control characters"),
        ({"k" * (MAX_KEY + 1): "x"}, "key longer"),
        ({"a": 5}, "not a string"),
        ({"a": None}, "not a string"),
        ({"a": ["x"]}, "not a string"),
        ({"a": "x\x00"}, r"U\+0000"),
        ({"a": "x\udfff"}, "surrogate"),
        ({"a": "x" * (MAX_VALUE + 1)}, "value longer"),
        ({f"k{number}": "x" for number in range(MAX_COUNT + 1)}, "exceed the limit"),
        ({f"k{number}": "x" * MAX_VALUE for number in range(9)}, "together"),
    ],
)
def test_the_refusal_of_an_invalid_annotation_names_it(mapping: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidAnnotation, match=words) as refusal:
        parse_annotations(mapping)
    assert refusal.value.detail.isprintable()
