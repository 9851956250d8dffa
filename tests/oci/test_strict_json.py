from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import SourceInvalid
from app.oci.strict_json import MAX_DEPTH, MAX_STRUCTURE, Json, loads

strings = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=20,
)


@given(documents, st.booleans())
def test_valid_documents_are_parsed(document: Json, ascii_only: bool) -> None:
    assert loads(json.dumps(document, ensure_ascii=ascii_only).encode(), what="it") == document


json_like = st.lists(
    st.sampled_from(
        [b"[", b"]", b"{", b"}", b'"', b"\\", b":", b",", b"1", b"-", b"e", b"null", b"NaN", b" ", b"\xff"]
    )
    | st.binary(max_size=3),
    max_size=60,
).map(b"".join)


@given(st.binary(max_size=200) | json_like)
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"\xff\xfe[\x00]\x00")
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    refusal = _refusal(raw)
    assert refusal is None or (refusal.detail.startswith("It ") and refusal.detail.isprintable())


def _refusal(raw: bytes) -> SourceInvalid | None:
    try:
        loads(raw, what="it")
    except SourceInvalid as refusal:
        return refusal
    return None


REFUSED = {
    "nothing": b"",
    "white space": b" \n",
    "not JSON": b"<html>",
    "data after the end": b"{} {}",
    "a comma too many": b"[1,]",
    "single quotes": b"{'a':1}",
    "a comment": b"{} // x",
    "a control character in a string": b'"\x01"',
    "a line end in a string": b'"\n"',
    "an open string": b'{"a":"b',
    "an open array": b"[1",
    "a leading zero": b"01",
    "a plus sign": b"+1",
    "hexadecimal": b"0x10",
    "NaN": b'{"a":NaN}',
    "Infinity": b"[Infinity]",
    "-Infinity": b"[-Infinity]",
    "a float beyond all": b"1e400",
    "an integer of 310 digits": b"1" + b"0" * 309,
    "an integer of 5000 digits": b'{"size":' + b"9" * 5000 + b"}",
    "a key twice": b'{"a":1,"a":1}',
    "a key twice, once escaped": b'{"a":1,"\\u0061":1}',
    "a key twice inside": b'{"x":[{"a":1,"b":2,"a":3}]}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-32": '{"a":1}'.encode("utf-32-le"),
    "Latin-1": '"é"'.encode("latin-1"),
    "overlong UTF-8": b'"\xc0\xaf"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "half a surrogate pair": b'{"a":"\\ud83d"}',
    "the other half": b'["\\uDE00"]',
    "halves the wrong way round": b'"\\ude00\\ud83d"',
    "half a pair in a key": b'{"\\ud83d":1}',
    "NUL escaped": b'"\\u0000"',
    "NUL escaped after a backslash": b'"\\\\\\u0000"',
    "NUL in a key": b'{"\\u0000":1}',
    "33 levels": b"[" * 33 + b"]" * 33,
    "33 levels of objects": b'{"a":' * 33 + b"1" + b"}" * 33,
    "33 levels at the end": b"[" + b"[]," * 1000 + b"[" * 32 + b"]" * 32 + b"]",
    "33 levels after a string with brackets": b'["]]]]\\"]]]]",' + b"[" * 32 + b"]" * 32 + b"]",
    "a million levels": b"[" * 1_000_000 + b"]" * 1_000_000,
    "too many members": b"[" + b"1," * (MAX_STRUCTURE + 1) + b"1]",
}


@pytest.mark.parametrize("name", REFUSED)
def test_ambiguous_documents_are_refused(name: str) -> None:
    with pytest.raises(SourceInvalid) as refusal:
        loads(REFUSED[name], what="the config")
    assert refusal.value.detail.startswith("The config ")
    assert refusal.value.detail.isprintable()


@pytest.mark.parametrize("depth", [1, 10, MAX_DEPTH])
def test_documents_of_allowed_depth_are_read(depth: int) -> None:
    assert loads(b"[" * depth + b"]" * depth, what="it") is not None


def test_breadth_does_not_count_as_depth() -> None:
    """Each closing bracket ends one level, so siblings do not add up."""
    above, siblings = MAX_DEPTH - 1, [b"[]", b"{}"] * MAX_DEPTH
    assert loads(b"[" * above + b",".join(siblings) + b"]" * above, what="it") is not None


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100, 999, 1000, 1001, 5000, 100_000])
def test_documents_beyond_the_allowed_depth_are_refused(depth: int) -> None:
    for raw in (b"[" * depth, b"[" * depth + b"]" * depth, b'{"a":' * depth + b"0" + b"}" * depth):
        with pytest.raises(SourceInvalid):
            loads(raw, what="it")


def test_brackets_commas_and_escapes_inside_strings_do_not_count() -> None:
    label = json.dumps([[[["\\"]]]] * 200_000)[: 2**20]
    document = {
        "labels": {"io.build": label, "quote": '"[' * 100, "nul": "\\u0000", "face": "😀"},
        "l": [[]] * 40,
    }
    assert loads(json.dumps(document).encode(), what="it") == document


@pytest.mark.parametrize(
    "raw",
    [b"[" * 40 + b'"' * (1 << 20), b"[" * 40 + b'"' + b'\\"' * (1 << 19), b"[[" * 20 + b"\\" * (1 << 20)],
)
def test_unclosed_strings_are_refused_quickly(raw: bytes) -> None:
    """An expression that backtracks at every quote would take hours."""
    with pytest.raises(SourceInvalid):
        loads(b"[]," * 20 + raw[40:], what="it")
