from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidPlatform
from app.oci.platform import (
    Platform,
    check_variant,
    is_known,
    known_variants,
    normalize,
    parse_platform,
)

# `go tool dist list -broken`, and the ports that Go had before.
GO = {
    "aix": ["ppc64"],
    "android": ["386", "amd64", "arm", "arm64"],
    "darwin": ["386", "amd64", "arm", "arm64"],
    "dragonfly": ["amd64"],
    "freebsd": ["386", "amd64", "arm", "arm64", "riscv64"],
    "illumos": ["amd64"],
    "ios": ["amd64", "arm64"],
    "js": ["wasm"],
    "linux": [
        *("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle"),
        *("ppc64", "ppc64le", "riscv64", "s390x", "sparc64"),
    ],
    "nacl": ["386", "amd64p32", "arm"],
    "netbsd": ["386", "amd64", "arm", "arm64"],
    "openbsd": ["386", "amd64", "arm", "arm64", "mips64", "ppc64", "riscv64"],
    "plan9": ["386", "amd64", "arm"],
    "solaris": ["amd64"],
    "wasip1": ["wasm"],
    "windows": ["386", "amd64", "arm", "arm64"],
}
# docker-manifest.md §1.4.
DOCKER = {
    "darwin": ["386", "amd64", "arm", "arm64"],
    "dragonfly": ["amd64"],
    "freebsd": ["386", "amd64", "arm"],
    "linux": ["386", "amd64", "arm", "arm64", "ppc64le", "mips64", "mips64le", "riscv64", "s390x"],
    "netbsd": ["386", "amd64", "arm"],
    "openbsd": ["386", "amd64", "arm"],
    "plan9": ["386", "amd64"],
    "solaris": ["amd64"],
    "windows": ["386", "amd64"],
}
BESIDE = {"unknown": ["unknown"], "wasi": ["wasm"], "wasip2": ["wasm"], "zos": ["s390x"]}


def _pairs(table: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{os}/{architecture}" for os, row in table.items() for architecture in row]


UNKNOWN = [
    "/",
    "linux/",
    "/amd64",
    "linux/bogus",
    "windows/s390x",
    "Linux/amd64",
    "linux/unknown",
    "linux/x86_64",
]


@pytest.mark.parametrize("text", [*_pairs(GO), *_pairs(DOCKER), *_pairs(BESIDE)])
def test_every_platform_of_go_and_of_docker_is_known(text: str) -> None:
    platform = parse_platform(text)
    assert str(platform) == text
    assert is_known(platform.os, platform.architecture)


def test_dockers_own_table_has_28_pairs() -> None:
    assert len(_pairs(DOCKER)) == 28


@pytest.mark.parametrize("text", UNKNOWN)
def test_pairs_that_do_not_exist_are_unknown(text: str) -> None:
    os, architecture = text.split("/")
    assert not is_known(os, architecture)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/x86_64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64v8", "linux/arm64/v8"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/armhf/v6", "linux/arm/v6"),
        ("linux/armv7", "linux/arm/v7"),
        ("linux/armv7l", "linux/arm/v7"),
        ("linux/arm32v7", "linux/arm/v7"),
        ("linux/armv6l", "linux/arm/v6"),
        ("linux/arm32v5", "linux/arm/v5"),
        ("linux/i386", "linux/386"),
        ("linux/i686", "linux/386"),
        ("linux/x86", "linux/386"),
        ("linux/loongarch64", "linux/loong64"),
        ("linux/ppc64el", "linux/ppc64le"),
        ("linux/mipsel", "linux/mipsle"),
        ("macos/aarch64", "darwin/arm64"),
        ("wasi/wasm32", "wasi/wasm"),
        # Proper names stay unchanged: Docker's `arm` has no variant unless the caller gives one.
        ("linux/arm", "linux/arm"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm64", "linux/arm64"),
        ("linux/amd64/nonsense", "linux/amd64/nonsense"),
    ],
)
def test_aliases_of_platforms_become_the_names_that_registries_use(written: str, meant: str) -> None:
    platform = parse_platform(written)
    assert str(platform) == meant
    assert is_known(platform.os, platform.architecture)
    assert parse_platform(meant) == platform


@pytest.mark.parametrize(
    ("written", "platform"),
    [
        ("windows(10.0.20348)/amd64", Platform("windows", "amd64", os_version="10.0.20348")),
        ("windows(10.0.20348.1)/arm64/v8", Platform("windows", "arm64", "v8", "10.0.20348.1")),
        ("windows(10.0.1+win32k+b)/amd64", Platform("windows", "amd64", "", "10.0.1", ("win32k", "b"))),
        ("windows(+win32k)/amd64", Platform("windows", "amd64", os_features=("win32k",))),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
    ],
)
def test_the_full_name_has_the_version_and_the_features_of_the_system(
    written: str, platform: Platform
) -> None:
    assert parse_platform(written) == platform
    assert platform.full_name == written
    assert "(" not in str(platform)


def test_aliases_are_accepted_beside_a_version() -> None:
    assert parse_platform("Windows_NT(10.0.1)/x86_64").full_name == "windows(10.0.1)/amd64"


def test_an_explicit_variant_takes_precedence_over_that_of_an_alias() -> None:
    assert normalize("linux", "armhf", "") == ("linux", "arm", "v7")
    assert normalize("linux", "armhf", "v8") == ("linux", "arm", "v8")


@pytest.mark.parametrize(
    "text",
    [
        *("", "linux", "amd64", "/", "linux/", "/amd64", "linux/amd64/", "a/b/c/d", "linux /amd64", "-/-"),
        *("windows()/amd64", "windows(10.0/amd64", "windows10.0)/amd64", "windows(10.0)", "windows/amd64(1)"),
        *("windows(+)/amd64", "windows(1+)/amd64", "windows(1 0)/amd64", "(10.0)/amd64", "windows(1)x/amd64"),
        *("linux/amd64\n", "linux/\x00", "linux/ämd64", "linux/" + "a" * 65, "linux/amd64/v 1"),
    ],
)
def test_the_refusal_of_an_invalid_platform_shows_the_valid_form(text: str) -> None:
    with pytest.raises(InvalidPlatform, match="Use os/arch") as refusal:
        parse_platform(text)
    assert refusal.value.detail.isprintable()


@pytest.mark.parametrize(
    "text",
    [f"linux/arm/v{number}" for number in (5, 6, 7, 8)]
    + [f"linux/amd64/v{number}" for number in (1, 2, 3, 4)]
    + ["linux/arm64/v8", "linux/arm64/v8.1", "linux/arm64/v9", "linux/arm64/v9.2", "darwin/arm64/v8"]
    + ["linux/ppc64le/power8", "linux/ppc64le/power10", "linux/riscv64/rva20u64", "linux/riscv64/rva22u64"]
    + ["linux/386", "linux/s390x", "linux/arm", "unknown/unknown"],
)
def test_a_known_variant_has_no_finding(text: str) -> None:
    platform = parse_platform(text)
    assert check_variant(platform) is None
    assert not platform.variant or platform.variant in known_variants(platform.os, platform.architecture)


@pytest.mark.parametrize(
    "text", ["linux/arm/v9", "linux/arm/7", "linux/amd64/v8", "linux/s390x/z15", "x/y/z"]
)
def test_an_unknown_variant_has_a_finding(text: str) -> None:
    platform = parse_platform(text)
    finding = check_variant(platform)
    assert finding is not None
    assert platform.variant in finding


features = st.lists(st.sampled_from(["a", "b", "win32k"]), max_size=4)


@given(features, st.randoms())
def test_the_key_does_not_depend_on_the_order_of_features(written: list[str], chooser: object) -> None:
    platform = Platform("windows", "amd64", os_version="10.0", os_features=tuple(written))
    other = Platform("windows", "amd64", os_version="10.0", os_features=tuple(reversed(written)))
    assert platform.key == other.key
    assert hash(platform.key) == hash(other.key)


def test_every_member_of_a_platform_is_in_its_key() -> None:
    base = Platform("linux", "arm", "v7", "1", ("a",))
    others = [
        Platform("darwin", "arm", "v7", "1", ("a",)),
        Platform("linux", "arm64", "v7", "1", ("a",)),
        Platform("linux", "arm", "v6", "1", ("a",)),
        Platform("linux", "arm", "v7", "2", ("a",)),
        Platform("linux", "arm", "v7", "1", ("b",)),
        Platform("linux", "arm", "v7"),
    ]
    assert len({base.key, *(other.key for other in others)}) == 7


def test_the_document_has_os_and_architecture_even_if_empty() -> None:
    assert Platform().document() == {"architecture": "", "os": ""}
    full = Platform("windows", "amd64", "v1", "10.0", ("b", "a"))
    assert list(full.document().items()) == [
        ("architecture", "amd64"),
        ("os", "windows"),
        ("os.version", "10.0"),
        ("os.features", ["b", "a"]),
        ("variant", "v1"),
    ]


def test_the_platform_of_attestations_is_unknown() -> None:
    assert parse_platform("unknown/unknown").is_unknown
    assert not parse_platform("linux/amd64").is_unknown
    for half in (Platform("linux", "unknown"), Platform("unknown", "amd64"), Platform()):
        assert not half.is_unknown
