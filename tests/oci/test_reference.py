from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidReference
from app.oci.digest import digest_of
from app.oci.reference import Reference, Repository, parse_reference, parse_tag

HEX = "a" * 64
LOWER = "invalid reference format: repository name ({}) must be lowercase"
FORMAT = "invalid reference format"
TOO_LONG = "repository name must not be more than 255 characters"

# The whole table of docker-manifest.md §1.1.
CANONICAL = {
    "ubuntu": "docker.io/library/ubuntu:latest",
    "docker.io/ubuntu": "docker.io/library/ubuntu:latest",
    "index.docker.io/ubuntu": "docker.io/library/ubuntu:latest",
    "library/ubuntu": "docker.io/library/ubuntu:latest",
    "foo/bar": "docker.io/foo/bar:latest",
    "foo/bar/baz": "docker.io/foo/bar/baz:latest",
    "foo.bar": "docker.io/library/foo.bar:latest",
    "docker.io": "docker.io/library/docker.io:latest",
    "localhost": "docker.io/library/localhost:latest",
    "localhost/foo": "localhost/foo:latest",
    "Localhost/foo": "Localhost/foo:latest",
    "FOO/bar": "FOO/bar:latest",
    "[::1]:5000/foo": "[::1]:5000/foo:latest",
    "registry-1.docker.io/x/y": "registry-1.docker.io/x/y:latest",
    f"foo:t@sha256:{HEX}": f"docker.io/library/foo:t@sha256:{HEX}",
    f"foo@sha256:{HEX}": f"docker.io/library/foo@sha256:{HEX}",
    # Beyond the table.
    "localhost:5000/a:b": "localhost:5000/a:b",
    "127.0.0.1:5000/a": "127.0.0.1:5000/a:latest",
    "foo:5000": "docker.io/library/foo:5000",
    "foo:5000/bar": "foo:5000/bar:latest",
    "h.example/a__b/c---d/e.f_g": "h.example/a__b/c---d/e.f_g:latest",
    "foo:_": "docker.io/library/foo:_",
    f"foo:{'t' * 128}": f"docker.io/library/foo:{'t' * 128}",
    f"foo@sha512:{'b' * 128}": f"docker.io/library/foo@sha512:{'b' * 128}",
    f"foo@sha384:{'b' * 96}": f"docker.io/library/foo@sha384:{'b' * 96}",
    f"h.example/{'a' * 255}": f"h.example/{'a' * 255}:latest",
    f"{'a' * 63}": f"docker.io/library/{'a' * 63}:latest",
}
REFUSED = {
    "Foo": LOWER.format("library/Foo"),
    "foo/Bar": LOWER.format("foo/Bar"),
    "reg.example.com/Foo": LOWER.format("Foo"),
    "Foo/Bar": LOWER.format("Bar"),
    "foo:": FORMAT,
    "foo:-x": FORMAT,
    "foo___bar": FORMAT,
    "foo..bar": FORMAT,
    "-foo": FORMAT,
    "foo-": FORMAT,
    "_foo": FORMAT,
    "/foo": FORMAT,
    "foo/": FORMAT,
    "foo//bar": FORMAT,
    "a b": FORMAT,
    "": FORMAT,
    "::1/foo": FORMAT,
    "http://h/x": FORMAT,
    "a.b/c:d:e": FORMAT,
    "foo@": FORMAT,
    HEX: f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings",
    f"h.example/{'a' * 256}": TOO_LONG,
    "a" * 256: TOO_LONG,
    f"foo@md5:{'a' * 32}": "unsupported digest algorithm",
    f"foo@sha256:{'a' * 63}": "invalid checksum digest length",
    f"foo@sha256:{HEX.upper()}": "invalid checksum digest format",
    f"foo@sha256:{'a' * 31}": FORMAT,
    f"foo@SHA256:{HEX}": LOWER.format("library/foo@SHA256"),
    # Beyond the table.
    f"foo:t@SHA256:{HEX}": "invalid checksum digest format",
    "My_host/foo": "repository name must be lowercase",
    f"foo:{'t' * 129}": FORMAT,
    "foo:ü": FORMAT,
    "É": LOWER.format("library/É"),
    "foo\n": FORMAT,
    "Foo\n": FORMAT,
    "foo:latest\n": FORMAT,
    f"foo@sha256:{HEX}\n": FORMAT,
    "foo\x00": FORMAT,
    "foo\ud800": FORMAT,
    "h.example/../../v2/other": FORMAT,
    "h.example/a/%2e%2e/b": FORMAT,
    "user:password@h.example/foo": FORMAT,
    "h.example:port/foo": FORMAT,
    "h.example:\u0665\u0660\u0660\u0660/foo": FORMAT,
    "h.example./foo": FORMAT,
    "-h.example/foo": FORMAT,
    "[::1/foo": FORMAT,
    "[fe80::1%eth0]/foo": FORMAT,
    "fullwidth。example/foo": FORMAT,
    "h.example\\foo/bar": FORMAT,
    "h.example/foo?tag": FORMAT,
    "h.example/foo#tag": FORMAT,
    "a" * 100_000: TOO_LONG,
}


@pytest.mark.parametrize("text", CANONICAL)
def test_references_are_normalised_as_in_docker(text: str) -> None:
    assert str(parse_reference(text)) == CANONICAL[text]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text)[:60])
def test_invalid_references_are_refused_with_dockers_text(text: str) -> None:
    with pytest.raises(InvalidReference) as refusal:
        parse_reference(text)
    assert refusal.value.detail == REFUSED[text]
    assert refusal.value.members["reference"].isprintable()
    assert len(refusal.value.members["reference"]) < 300


def test_a_name_without_a_registry_in_docker_is_refused() -> None:
    """Docker parses it as a path without a registry, and then can't fetch it."""
    with pytest.raises(InvalidReference, match=f"^{FORMAT}$"):
        parse_reference("my_host.example/foo")


FRAGMENTS = [
    *("a", "foo", "Foo", "FOO", "library", "docker.io", "index.docker.io", "localhost", "127.0.0.1", "[::1]"),
    *(
        "::1",
        "h.example",
        "h-",
        "a_b",
        "a__b",
        "a___b",
        "a--b",
        "a..b",
        "_",
        "-",
        ".",
        ":",
        "/",
        "//",
        "@",
        " ",
    ),
    *(
        ":5000",
        ":latest",
        ":-x",
        f":{'t' * 129}",
        f"@sha256:{HEX}",
        f"@sha256:{HEX.upper()}",
        f"@SHA256:{HEX}",
    ),
    *(
        f"@sha256:{'a' * 63}",
        f"@md5:{'a' * 32}",
        f"@sha512:{'b' * 128}",
        f"@sha256:{'a' * 31}",
        HEX,
        "É",
        "é",
    ),
    *("x" * 255, "x" * 256, "~", "%2e", "a.b:80", "A:80", "[fe80::1]:80", f"@a.b_c-d+e:{'f' * 32}"),
]
texts = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=4).map("/".join),
)


@given(texts)
def test_normalising_a_canonical_reference_changes_nothing(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReference:
        return
    assert parse_reference(str(reference)) == reference
    assert reference.tag or reference.digest


def test_the_parts_of_a_reference_can_be_read_and_replaced() -> None:
    reference = parse_reference("h.example:5000/team/app:1")
    assert reference == Reference(Repository("h.example:5000", "team/app"), "1", None)
    assert (reference.registry, reference.target) == ("h.example:5000", "1")
    digest = digest_of(b"")
    pinned = reference.at(digest)
    assert str(pinned) == f"h.example:5000/team/app:1@{digest}"
    assert pinned.target == str(digest)
    assert str(pinned.tagged("2")) == "h.example:5000/team/app:2"
    assert str(reference.repository.at(digest)) == f"h.example:5000/team/app@{digest}"


def test_references_are_ordered_by_their_text() -> None:
    references = [parse_reference(text) for text in CANONICAL]
    assert [str(reference) for reference in sorted(references)] == sorted(map(str, references))


@pytest.mark.parametrize("tag", ["", "-x", ".x", "a b", "a/b", "a:b", "x" * 129, "ü", "latest\n", "\u0663"])
def test_an_invalid_tag_is_refused(tag: str) -> None:
    with pytest.raises(InvalidReference, match=r"^invalid tag format$"):
        parse_tag(tag)


@pytest.mark.skipif(shutil.which("docker") is None, reason="this machine has no docker CLI")
def test_the_docker_command_agrees(tmp_path: Path) -> None:
    """`docker manifest rm` parses every argument, prints one line for each and asks no registry."""
    chooser = random.Random(20)
    made = {"".join(chooser.choices(FRAGMENTS, k=chooser.randint(1, 4))) for _ in range(150)}
    made |= {"/".join(chooser.choices(FRAGMENTS, k=chooser.randint(2, 3))) for _ in range(150)}
    asked = [text for text in sorted(made | CANONICAL.keys()) if not text.startswith("-")]
    answer = subprocess.run(
        ["docker", "manifest", "rm", *asked],
        env={**os.environ, "DOCKER_CONFIG": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert dict(zip(asked, answer.stderr.splitlines(), strict=True)) == {text: _line(text) for text in asked}


def _line(text: str) -> str:
    try:
        return f"No such manifest: {parse_reference(text)}"
    except InvalidReference as refusal:
        return refusal.detail
