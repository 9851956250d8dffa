from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidDigest
from app.oci.digest import Digest, digest_of, parse_digest

HEX = "0123456789abcdef" * 4


@given(st.binary(max_size=200))
def test_content_matches_its_own_digest_and_no_other(data: bytes) -> None:
    digest = digest_of(data)
    assert digest.matches(data)
    assert not digest.matches(data + b"\n")
    assert parse_digest(str(digest)) == digest


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_every_algorithm_that_docker_knows_can_be_verified(algorithm: str) -> None:
    digest = parse_digest(f"{algorithm}:{hashlib.new(algorithm, b'layer').hexdigest()}")
    assert digest.matches(b"layer")
    assert not digest.matches(b"other")


@pytest.mark.parametrize("place", [0, 31, 32, 63])
def test_a_changed_digit_of_a_digest_does_not_match(place: int) -> None:
    right = digest_of(b"layer").hex
    wrong = right[:place] + ("0" if right[place] != "0" else "1") + right[place + 1 :]
    assert not Digest("sha256", wrong).matches(b"layer")


REFUSED = {
    "": "invalid checksum digest format",
    ":": "invalid checksum digest format",
    "sha256": "invalid checksum digest format",
    "sha256:": "invalid checksum digest format",
    f":{HEX}": "invalid checksum digest format",
    HEX: "invalid checksum digest format",
    f"sha256:{HEX.upper()}": "invalid checksum digest format",
    f"sha256:{HEX[:-1]}A": "invalid checksum digest format",
    f"sha256:{HEX[:-1]}g": "invalid checksum digest format",
    f"sha256:{HEX[:-1]}\n": "invalid checksum digest format",
    f"sha256:{HEX[:-1]}\u0660": "invalid checksum digest format",
    f"sha256:{HEX}\n": "invalid checksum digest length",
    f"sha256: {HEX}": "invalid checksum digest length",
    f"sha256:{HEX[:-1]}": "invalid checksum digest length",
    f"sha256:{HEX}0": "invalid checksum digest length",
    f"sha256:{HEX}:{HEX}": "invalid checksum digest length",
    f"sha256:{HEX},sha256:{HEX}": "invalid checksum digest length",
    "sha256:../../../etc": "invalid checksum digest length",
    "sha256:abc": "invalid checksum digest length",
    f"sha512:{HEX}": "invalid checksum digest length",
    f"sha384:{HEX}": "invalid checksum digest length",
    f"SHA256:{HEX}": "invalid checksum digest format",
    f"Sha256:{HEX}": "invalid checksum digest format",
    f" sha256:{HEX}": "invalid checksum digest format",
    f"sha256 :{HEX}": "invalid checksum digest format",
    f"sha256\x00:{HEX}": "invalid checksum digest format",
    f"../sha256:{HEX}": "invalid checksum digest format",
    f"sha-256:{HEX}": "unsupported digest algorithm",
    f"sha224:{HEX[:56]}": "unsupported digest algorithm",
    f"sha1:{HEX[:40]}": "unsupported digest algorithm",
    f"md5:{HEX[:32]}": "unsupported digest algorithm",
    f"blake3:{HEX}": "unsupported digest algorithm",
    f"tarsum.v1+sha256:{HEX}": "unsupported digest algorithm",
    "sha256+b64:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564": "unsupported digest algorithm",
    "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8": "unsupported digest algorithm",
    "a:b": "unsupported digest algorithm",
    "a++b:c": "invalid checksum digest format",
    "a+b+:c": "invalid checksum digest format",
    "sha256:" + "\u0660" * 64: "invalid checksum digest format",
    "\u017fha256:" + HEX: "invalid checksum digest format",
}


@pytest.mark.parametrize("text", REFUSED)
def test_an_invalid_digest_is_refused_with_dockers_text(text: str) -> None:
    with pytest.raises(InvalidDigest) as refusal:
        parse_digest(text)
    assert refusal.value.detail == REFUSED[text]
    assert refusal.value.members["digest"].isprintable()


def test_at_least_forty_invalid_digests_are_tested() -> None:
    assert len(REFUSED) >= 40


@given(st.text(max_size=200))
def test_any_text_is_a_digest_or_is_refused(text: str) -> None:
    try:
        digest = parse_digest(text)
    except InvalidDigest:
        return
    assert str(digest) == text


def test_digests_are_ordered_by_their_text() -> None:
    digests = [digest_of(bytes([number])) for number in range(20)]
    assert sorted(digests) == sorted(digests, key=str)
    assert Digest("sha256", HEX) == parse_digest(f"sha256:{HEX}")
