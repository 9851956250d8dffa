from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from app.oci import media_types as mt
from app.oci.descriptor import Descriptor
from app.oci.inspect import plain_entry, plain_image, verbose_document, verbose_image, verbose_list
from app.oci.manifest import Manifest
from app.oci.platform import Platform

RAW = b' {"a" : 1.50e+2,\n"b":[ ],"c":{ },"d":["\\u00e9<\xc3\xa9>",{"e":"[,:]{\\"}"}], "f":null}\r\n\n'


def test_a_remote_manifest_is_indented_and_otherwise_unchanged() -> None:
    assert plain_image(RAW) == (
        b'{\n\t"a": 1.50e+2,\n\t"b": [],\n\t"c": {},\n\t"d": [\n\t\t"\\u00e9<\xc3\xa9>",'
        b'\n\t\t{\n\t\t\t"e": "[,:]{\\"}"\n\t\t}\n\t],\n\t"f": null\n}\r\n\n\n'
    )


def test_an_entry_is_printed_from_its_compact_copy() -> None:
    printed = plain_entry('{"a" : "<b>&\u2028\u2029\u2027é" } \n'.encode())
    assert printed == '{\n\t"a": "\\u003cb\\u003e\\u0026\\u2028\\u2029\u2027é"\n}\n'.encode()


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('aé<\\"{}[],: ', max_size=4), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(
    st.dictionaries(st.text("ab<\u2028", max_size=3), documents, max_size=4),
    st.booleans(),
    st.sampled_from([None, 1, 3]),
)
def test_printing_changes_white_space_only(document: object, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    expected = json.dumps(document, ensure_ascii=ascii_only, indent="\t").encode() + b"\n"
    assert plain_image(raw) == expected
    assert plain_image(expected.rstrip()) == expected
    assert json.loads(plain_entry(raw)) == document
    assert not any(character in plain_entry(raw) for character in (b"<", b">", b"&", "\u2028".encode()))


def _manifest(media_type: str) -> Manifest:
    return Manifest.of(media_type, b'{"schemaVersion": 2, "x": 1.0, "y": "\\ud83d\\ude00<"}\n')


def test_verbose_output_has_the_reference_the_descriptor_the_bytes_and_the_manifest() -> None:
    manifest = _manifest(mt.DOCKER_MANIFEST)
    descriptor = Descriptor(
        manifest.media_type, manifest.digest, manifest.size, Platform("linux", "arm", "v7")
    )
    document = verbose_document("h.example/a:1", descriptor, manifest)
    assert list(document) == ["Ref", "Descriptor", "Raw", "SchemaV2Manifest"]
    assert document["Descriptor"] == {
        "mediaType": mt.DOCKER_MANIFEST,
        "digest": str(manifest.digest),
        "size": manifest.size,
        "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
    }
    assert base64.b64decode(str(document["Raw"])) == manifest.raw
    assert document["SchemaV2Manifest"] == json.loads(manifest.raw)


def test_verbose_output_names_an_oci_manifest_as_such_and_keeps_its_spelling() -> None:
    manifest = _manifest(mt.OCI_MANIFEST)
    image = ("h.example/a:1", manifest.descriptor, manifest)
    assert list(verbose_document(*image))[-1] == "OCIManifest"
    assert b'\n\t\t"x": 1.0,\n\t\t"y": "\\ud83d\\ude00\\u003c"\n\t}\n}\n' in verbose_image(*image)


def test_the_verbose_output_of_no_images_is_an_empty_array() -> None:
    assert verbose_list([]) == b"[]\n"
