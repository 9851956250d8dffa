"""The platforms of images, as callers write them and as registries store them."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass

from app.errors import InvalidPlatform
from app.oci.strict_json import Json
from app.oci.text import shown

# Go's ports, broken and retired ones included (golang/go src/internal/platform/zosarch.go), Docker's table
# (docker/cli manifest/util.go), and what images use beside: WASI, z/OS, unknown/unknown for attestations.
KNOWN = {
    "aix": "ppc64",
    "android": "386 amd64 arm arm64",
    "darwin": "386 amd64 arm arm64",
    "dragonfly": "amd64",
    "freebsd": "386 amd64 arm arm64 riscv64",
    "illumos": "amd64",
    "ios": "amd64 arm64",
    "js": "wasm",
    "linux": ("386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x sparc64"),
    "nacl": "386 amd64p32 arm",
    "netbsd": "386 amd64 arm arm64",
    "openbsd": "386 amd64 arm arm64 mips64 ppc64 riscv64",
    "plan9": "386 amd64 arm",
    "solaris": "amd64",
    "unknown": "unknown",
    "wasi": "wasm",
    "wasip1": "wasm",
    "wasip2": "wasm",
    "windows": "386 amd64 arm arm64",
    "zos": "s390x",
}
_PAIRS = frozenset((os, architecture) for os, row in KNOWN.items() for architecture in row.split())

# OCI image-spec image-index.md, "Platform Variants"; the levels of GOAMD64, GOARM64, GOPPC64 and GORISCV64.
_VARIANTS = {
    "amd64": frozenset({"v1", "v2", "v3", "v4"}),
    "arm": frozenset({"v5", "v6", "v7", "v8"}),
    "arm64": frozenset(
        {"v8", "v9", *(f"v8.{minor}" for minor in range(10)), *(f"v9.{minor}" for minor in range(8))}
    ),
    "ppc64": frozenset({"power8", "power9", "power10", "power11"}),
    "ppc64le": frozenset({"power8", "power9", "power10", "power11"}),
    "riscv64": frozenset({"rva20u64", "rva22u64", "rva23u64"}),
}

_OS_ALIASES = {
    "macos": "darwin",
    "macosx": "darwin",
    "osx": "darwin",
    "sunos": "solaris",
    "windows_nt": "windows",
}
_ARCHITECTURE_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "x64": ("amd64", ""),
    "x86": ("386", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "arm64v8": ("arm64", "v8"),
    "armel": ("arm", "v6"),
    "armhf": ("arm", "v7"),
    "armv5": ("arm", "v5"),
    "armv5l": ("arm", "v5"),
    "armv5te": ("arm", "v5"),
    "armv5tel": ("arm", "v5"),
    "arm32v5": ("arm", "v5"),
    "armv6": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "armv6hf": ("arm", "v6"),
    "arm32v6": ("arm", "v6"),
    "armv7": ("arm", "v7"),
    "armv7a": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv7hf": ("arm", "v7"),
    "arm32v7": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "arm32v8": ("arm", "v8"),
    "loongarch64": ("loong64", ""),
    "mipsel": ("mipsle", ""),
    "mips64el": ("mips64le", ""),
    "powerpc64": ("ppc64", ""),
    "powerpc64le": ("ppc64le", ""),
    "ppc64el": ("ppc64le", ""),
    "wasm32": ("wasm", ""),
}

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
# containerd's form: the version of the system, and features after a plus, behind its name.
_SYSTEM = re.compile(
    rf"(?P<os>{_PART.pattern})"
    rf"(?:\((?P<version>{_PART.pattern})?(?P<features>(?:\+{_PART.pattern}){{0,16}})(?<!\()\))?"
)
_FORMS = (2, 3)


@dataclass(frozen=True, slots=True)
class Platform:
    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")

    @property
    def full_name(self) -> str:
        """With the version and the features of the system, if it has any: windows(10.0.20348)/amd64."""
        details = "+".join((self.os_version, *dict.fromkeys(self.os_features)))
        _, separator, rest = str(self).partition("/")
        return f"{self.os}({details}){separator}{rest}" if details else str(self)

    @property
    def key(self) -> Hashable:
        """The identity of the platform for clients that pull; they can't choose between equal keys."""
        features = tuple(sorted(set(self.os_features)))
        return (self.os, self.architecture, self.variant, self.os_version, features)

    @property
    def is_unknown(self) -> bool:
        """Whether this is unknown/unknown, which attestations have instead of a platform."""
        return self.os == "unknown" and self.architecture == "unknown"

    def document(self) -> dict[str, Json]:
        """The platform in OCI's names and Docker's order; os and architecture are included even if empty."""
        document: dict[str, Json] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            document["os.version"] = self.os_version
        if self.os_features:
            document["os.features"] = list(self.os_features)
        if self.variant:
            document["variant"] = self.variant
        return document


def parse_platform(text: str) -> Platform:
    """`os/arch` or `os/arch/variant`, aliases welcome, or the full name of a platform."""
    parts = text.split("/")
    system = _SYSTEM.fullmatch(parts[0])
    if system is None or len(parts) not in _FORMS or not all(map(_PART.fullmatch, parts[1:])):
        detail = f'"{shown(text)}" is not a platform. Use os/arch or os/arch/variant, such as linux/arm64/v8.'
        raise InvalidPlatform(detail, platform=shown(text))
    os, architecture, variant = normalize(system["os"], parts[1], parts[2] if parts[2:] else "")
    features = tuple(filter(None, (system["features"] or "").split("+")))
    return Platform(os, architecture, variant, system["version"] or "", tuple(dict.fromkeys(features)))


def normalize(os: str, architecture: str, variant: str) -> tuple[str, str, str]:
    """Replace a caller's aliases with the names that registries use; a variant of the caller stays unchanged.

    Not for the config of an image: Docker copies its platform unchanged, and so does the broker.
    """
    os, architecture = os.lower(), architecture.lower()
    architecture, implied = _ARCHITECTURE_ALIASES.get(architecture, (architecture, ""))
    return _OS_ALIASES.get(os, os), architecture, variant or implied


def is_known(os: str, architecture: str) -> bool:
    return (os, architecture) in _PAIRS


def known_variants(os: str, architecture: str) -> frozenset[str]:
    return _VARIANTS.get(architecture, frozenset()) if is_known(os, architecture) else frozenset()


def check_variant(platform: Platform) -> str | None:
    """A warning if the variant is not a known one of the platform."""
    known = known_variants(platform.os, platform.architecture)
    if not platform.variant or platform.variant in known:
        return None
    where = f"{platform.os}/{platform.architecture}"
    variant = shown(platform.variant, 64)
    if not known:
        return f'{where} has no known variants, so "{variant}" may never be selected.'
    return f'"{variant}" is not a known variant of {where}; known are {", ".join(sorted(known))}.'
