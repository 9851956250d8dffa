from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.oci.gojson import marshal
from app.oci.strict_json import Json

strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=20,
)


@given(documents, st.sampled_from(["", "\t", "   "]))
def test_a_parser_reads_back_the_encoded_value(document: Json, indent: str) -> None:
    text = marshal(document, indent)
    assert json.loads(text) == document
    assert marshal(json.loads(text), indent) == text


@given(st.dictionaries(strings, st.integers(), max_size=6))
def test_members_keep_their_order(document: dict[str, Json]) -> None:
    assert list(json.loads(marshal(document))) == list(document)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('"', r"\""),
        ("\\", r"\\"),
        ("\b\f\n\r\t", r"\b\f\n\r\t"),
        ("\x00\x01\x0b\x1f", r"\u0000\u0001\u000b\u001f"),
        ("<a&b>", r"\u003ca\u0026b\u003e"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\x7fé😀/'\u2027\ufeff", "\x7fé😀/'\u2027\ufeff"),
        ("\ud800", r"\ufffd"),
    ],
)
def test_strings_are_escaped_as_go_escapes_them(text: str, written: str) -> None:
    assert marshal(text) == f'"{written}"'.encode()
    assert marshal({text: 1}) == f'{{"{written}":1}}'.encode()


def test_the_layout_is_gos() -> None:
    document: Json = {"a": [], "b": {}, "c": [1, {"d": None}], "e": True, "f": False}
    assert marshal(document) == b'{"a":[],"b":{},"c":[1,{"d":null}],"e":true,"f":false}'
    expected = """{
 "a": [],
 "b": {},
 "c": [
  1,
  {
   "d": null
  }
 ],
 "e": true,
 "f": false
}"""
    assert marshal(document, " ") == expected.encode()


@pytest.mark.parametrize("value", [1.5, float("nan"), {"a": 1.0}])
def test_floats_are_refused(value: Json) -> None:
    with pytest.raises(TypeError, match="float"):
        marshal(value)
