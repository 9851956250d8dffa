"""Digests: names of content that are computed from its bytes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from app.errors import InvalidDigest
from app.oci.text import shown

# The lengths of the hex part, for the algorithms that docker/cli supports (go-digest algorithm.go).
HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}

INVALID_FORMAT = "invalid checksum digest format"
INVALID_LENGTH = "invalid checksum digest length"
UNSUPPORTED = "unsupported digest algorithm"

_LOWER_HEX = re.compile(r"[a-f0-9]*")
# go-digest's DigestRegexp: distinguishes a digest of an unknown algorithm from any other text.
_ANY_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    def matches(self, data: bytes) -> bool:
        """Whether the bytes have this digest."""
        return hashlib.new(self.algorithm, data).hexdigest() == self.hex


def digest_of(data: bytes) -> Digest:
    """The sha256 digest, which names all content that the broker creates."""
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def parse_digest(text: str) -> Digest:
    """Raises InvalidDigest with the text that Docker would print."""
    problem = find_problem(text)
    if problem is not None:
        raise InvalidDigest(problem, digest=shown(text))
    algorithm, _, encoded = text.partition(":")
    return Digest(algorithm, encoded)


def find_problem(text: str) -> str | None:
    """The error of go-digest's Validate for this text; the checks have the same order."""
    algorithm, _, encoded = text.partition(":")
    if not algorithm or not encoded:
        return INVALID_FORMAT
    length = HEX_LENGTH.get(algorithm)
    if length is None:
        return UNSUPPORTED if _ANY_DIGEST.fullmatch(text) else INVALID_FORMAT
    if len(encoded) != length:
        return INVALID_LENGTH
    return None if _LOWER_HEX.fullmatch(encoded) else INVALID_FORMAT
