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
from app.oci.reference import (
    Reference,
    Repository,
    canonical_host,
    canonical_name,
    canonical_registry,
    parse_reference,
    parse_tag,
    use_aliases,
)

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


# --- names of one registry ---

SAME = [
    (
        "reg.example",
        "reg.example:443",
        "reg.example:0443",
        "REG.example",
        "reg.example.",
        "Reg.Example.:00443",
    ),
    ("reg.example:5000", "reg.example:05000", "REG.EXAMPLE:5000", "reg.example.:5000"),
    ("127.0.0.1:5000", "localhost:5000", "LOCALHOST:05000", "[::ffff:127.0.0.1]:5000"),
    ("127.0.0.1", "localhost", "localhost:443", "localhost."),
    ("[::1]:5000", "[0:0:0:0:0:0:0:1]:5000", "[0000::0001]:5000"),
    ("[2001:db8::1]", "[2001:DB8:0:0::1]:443", "[2001:0db8::0001]:0443"),
    ("docker.io", "index.docker.io", "registry-1.docker.io", "DOCKER.IO:443", "index.docker.io.:0443"),
]


@pytest.mark.parametrize("names", SAME, ids=lambda names: names[0])
def test_all_names_of_a_registry_have_one_canonical_name(names: tuple[str, ...]) -> None:
    assert {canonical_registry(name) for name in names} == {names[0]}
    assert {canonical_name(f"{name}/team/app:1") for name in names} == {f"{names[0]}/team/app:1"}


def test_tls_keeps_the_names_of_this_machine_apart() -> None:
    names = ("localhost:5000", "127.0.0.1:5000")
    assert [canonical_host(name.replace("5000", "05000").upper()) for name in names] == list(names)
    assert {canonical_host(name) for name in SAME[0]} == {SAME[0][0]}


def test_names_of_different_registries_stay_different() -> None:
    names = [
        *(names[0] for names in SAME),
        "reg.example:4430",
        "reg.example:80",
        "127.0.0.2",
        "sub.localhost",
        "[::2]:5000",
    ]
    assert len({canonical_registry(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "pattern", ["*.example", "*.example:5000", "10.0.0.0/8", "2001:db8::/32", "2001:db8::1"]
)
def test_patterns_and_networks_stay_as_they_are(pattern: str) -> None:
    assert canonical_registry(pattern) == pattern


def test_the_operator_can_list_further_names() -> None:
    use_aliases(
        {
            "Mirror.example:0443": "registry.example",
            "old.example": "mirror.example",
            "hub.example": "docker.io",
        }
    )
    try:
        assert {
            canonical_registry(name) for name in ("mirror.example", "old.example:443", "registry.example")
        } == {"registry.example"}
        assert canonical_name("hub.example/library/app:1") == "docker.io/library/app:1"
        assert str(parse_reference("mirror.example/app:1")) == "mirror.example/app:1"
    finally:
        use_aliases({})
    assert canonical_registry("mirror.example") == "mirror.example"
