"""A running digest that goes back: what it says is always of the bytes that follow from where it went."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.registry.content.download import RunningDigest
from tests.support.images import digest_of

MIB = 1024 * 1024


def feed(digest: RunningDigest, data: bytes, block: int) -> None:
    for start in range(0, len(data), block):
        digest.update(data[start : start + block])


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 9 * MIB), min_size=1, max_size=4), back=st.integers(0, 36 * MIB))
def test_it_ends_the_same_after_going_back(sizes: list[int], back: int) -> None:
    data = b"\x5a" * sum(sizes)
    digest = RunningDigest("sha256")
    feed(digest, data, 3 * MIB)
    at = digest.go_back(min(back, len(data)))
    assert at == digest.position <= min(back, len(data))
    feed(digest, data[at:], 1 * MIB)
    assert str(digest.digest) == digest_of(data)


def test_it_goes_back_no_further_than_it_has_to() -> None:
    """What is read again was paid for once already."""
    digest = RunningDigest("sha256")
    feed(digest, b"a" * 10 * MIB, MIB)
    assert [digest.go_back(at * MIB) // MIB for at in (10, 8, 7, 4, 3)] == [8, 8, 4, 4, 0]


def test_what_follows_may_be_other_bytes_and_is_told_from_them() -> None:
    digest = RunningDigest("sha256")
    digest.update(b"a" * 10 * MIB)
    at = digest.go_back(9 * MIB)
    digest.update(b"b" * MIB)
    assert str(digest.digest) == digest_of(b"a" * at + b"b" * MIB)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_it_knows_the_algorithms_of_digests(algorithm: str) -> None:
    digest = RunningDigest(algorithm)
    digest.update(b"data")
    assert str(digest.digest) == f"{algorithm}:{hashlib.new(algorithm, b'data').hexdigest()}"


def test_it_does_not_go_back_far() -> None:
    """What is received again is at most what lies between two of the states that are kept."""
    digest = RunningDigest("sha256")
    block = b"\0" * (4 * MIB)
    for _ in range(64):
        digest.update(block)
    assert digest.go_back(201 * MIB) == 200 * MIB
