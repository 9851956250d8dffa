"""Image references, normalised and validated exactly as in Docker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, total_ordering
from ipaddress import IPv6Address

from app.errors import InvalidReference
from app.oci.digest import Digest, find_problem, parse_digest
from app.oci.text import shown

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
# Longer references can't be valid: a tag has at most 128 characters, and a digest at most 135.
MAX_LENGTH = 4096
MAX_PATH = 255

INVALID_FORMAT = "invalid reference format"
INVALID_TAG = "invalid tag format"
MUST_BE_LOWER = "repository name must be lowercase"
TOO_LONG = f"repository name must not be more than {MAX_PATH} characters"

_LEGACY_REGISTRY = "index.docker.io"
_API_OF_DEFAULT = "registry-1.docker.io"
_NAMES_OF_DEFAULT = frozenset({DEFAULT_REGISTRY, _LEGACY_REGISTRY, _API_OF_DEFAULT})
_OFFICIAL = "library/"
_LOCALHOST, _LOOPBACK = "localhost", "127.0.0.1"
_DEFAULT_PORT = "443"
# Names of hosts whose canonical form is kept: every request to a registry compares some.
_KEPT_HOSTS = 4096
_HOST_AND_PORT = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\[\]:/*]+)(?::(?P<port>[0-9]+))?", re.ASCII)

# The grammar of distribution/reference (regexp.go). All classes are ASCII; `fullmatch` anchors both ends.
_DOMAIN_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN_NAME = rf"{_DOMAIN_COMPONENT}(?:\.{_DOMAIN_COMPONENT})*"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_NAME}|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PATH_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REMAINDER = re.compile(rf"(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_PATH_ONLY = re.compile(_PATH)
_TAG_ONLY = re.compile(_TAG)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    registry: str
    path: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"

    def tagged(self, tag: str) -> Reference:
        return Reference(self, parse_tag(tag), None)

    def at(self, digest: Digest) -> Reference:
        return Reference(self, None, digest)


@total_ordering
@dataclass(frozen=True, slots=True)
class Reference:
    """A repository with a tag, a digest or both; references order as their canonical text does."""

    repository: Repository
    tag: str | None
    digest: Digest | None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{self.repository}{tag}{digest}"

    def __lt__(self, other: Reference) -> bool:
        return str(self) < str(other)

    @property
    def registry(self) -> str:
        return self.repository.registry

    @property
    def target(self) -> str:
        """The digest or tag to request from a registry; the digest takes precedence, as tags may move."""
        return str(self.digest) if self.digest is not None else self.tag or DEFAULT_TAG

    def at(self, digest: Digest) -> Reference:
        return replace(self, digest=digest)

    def tagged(self, tag: str) -> Reference:
        return self.repository.tagged(tag)


def parse_reference(text: str) -> Reference:
    """Raises InvalidReference; its detail is Docker's own text."""
    problem = _find_problem_of_text(text)
    registry, remainder = _split(text)
    match = _REMAINDER.fullmatch(remainder) if problem is None else None
    problem = problem or _find_problem(registry, remainder, match)
    if problem is not None or match is None:
        raise InvalidReference(problem or INVALID_FORMAT, reference=shown(text))
    digest = parse_digest(match["digest"]) if match["digest"] else None
    tag = match["tag"] or (None if digest is not None else DEFAULT_TAG)
    return Reference(Repository(registry, match["path"]), tag, digest)


def canonical_registry(host: str) -> str:
    """The canonical name of a registry. All its names share locks, heads, budgets and credentials.

    Besides the rules of `canonical_host`, it replaces `localhost` by `127.0.0.1` and applies the operator's
    aliases.
    """
    named = canonical_host(host)
    if named.partition(":")[0] == _LOCALHOST:
        named = _LOOPBACK + named.removeprefix(_LOCALHOST)
    return _aliases.get(named, named)


@lru_cache(maxsize=_KEPT_HOSTS)
def canonical_host(host: str) -> str:
    """The canonical spelling of a host. TLS uses it too, because a certificate is for one name alone.

    It has lower case, no default port, no leading zeros in the port, no trailing dot, one form for an IPv6
    address, and one name for Docker Hub.
    """
    found = _HOST_AND_PORT.fullmatch(host.strip().lower())
    if found is None:
        # A pattern or a network from the operator's settings.
        return host.strip().lower()
    port = found["port"].lstrip("0") if found["port"] else ""
    name = _canonical_address(found["name"]) if found["name"][0] == "[" else found["name"].removesuffix(".")
    named = name if port in {"", _DEFAULT_PORT} else f"{name}:{port}"
    return DEFAULT_REGISTRY if named in _NAMES_OF_DEFAULT else named


def _canonical_address(name: str) -> str:
    try:
        address = IPv6Address(name[1:-1])
    except ValueError:
        return name
    return str(address.ipv4_mapped) if address.ipv4_mapped is not None else f"[{address}]"


# Set once at startup. Names are compared in too many places to pass the aliases to each of them.
_aliases: dict[str, str] = {}


def use_aliases(aliases: Mapping[str, str]) -> None:
    """Replace each alias by the registry that it stands for, in this process, from now on."""
    _aliases.clear()
    plain = {canonical_registry(alias): canonical_registry(name) for alias, name in aliases.items()}
    # Resolve chains of aliases to the last name.
    _aliases.update({alias: plain.get(name, name) for alias, name in plain.items()})


def api_host(registry: str) -> str:
    """The host that speaks the API for a registry's name."""
    return _API_OF_DEFAULT if registry.lower() in {DEFAULT_REGISTRY, _LEGACY_REGISTRY} else registry


def canonical_name(reference: str) -> str:
    """A full reference under its registry's canonical name, so that each tag has one name."""
    registry, slash, rest = reference.partition("/")
    return canonical_registry(registry) + slash + rest


def parse_tag(text: str) -> str:
    if not _TAG_ONLY.fullmatch(text):
        raise InvalidReference(INVALID_TAG, tag=shown(text))
    return text


def _find_problem_of_text(text: str) -> str | None:
    if len(text) > MAX_LENGTH:
        return TOO_LONG
    if not text.isprintable():  # the detail repeats the name, and must be safe to log and to store
        return INVALID_FORMAT
    if _IDENTIFIER.fullmatch(text):
        return f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
    return None


def _find_problem(registry: str, remainder: str, match: re.Match[str] | None) -> str | None:
    """The checks of ParseNormalizedNamed and Parse (normalize.go, reference.go), in their order."""
    name = remainder.partition(":")[0]
    if name != name.lower():
        return f"invalid reference format: repository name ({name}) must be lowercase"
    if match is None:
        return INVALID_FORMAT
    if not _DOMAIN.fullmatch(registry):
        return _find_problem_of_domain(registry)
    if len(match["path"]) > MAX_PATH:
        return TOO_LONG
    return find_problem(match["digest"]) if match["digest"] else None


def _find_problem_of_domain(registry: str) -> str:
    """Go's Parse lower-cases a name that does not match and tries again; `_` occurs in paths, never in hosts.

    Docker takes `my_host.example/app` for a name without a registry and can't fetch it, so it is refused.
    """
    lowered = registry.lower()
    return MUST_BE_LOWER if lowered != registry and _PATH_ONLY.fullmatch(lowered) else INVALID_FORMAT


def _split(text: str) -> tuple[str, str]:
    """splitDockerDomain of normalize.go."""
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_REGISTRY, _OFFICIAL + text
    registry, remainder = (first, rest) if _names_registry(first) else (DEFAULT_REGISTRY, text)
    if registry == _LEGACY_REGISTRY:
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return registry, remainder


def _names_registry(first: str) -> bool:
    return first == "localhost" or "." in first or ":" in first or first != first.lower()
