"""Parsing WWW-Authenticate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.registry.auth.challenge import Challenge, choose_challenge, parse_challenges

BEARER = Challenge("bearer", {"realm": "https://auth.test/token", "service": "reg", "scope": "a:b:c,d"})


@pytest.mark.parametrize(
    "text",
    [
        'Bearer realm="https://auth.test/token",service="reg",scope="a:b:c,d"',
        'bearer realm="https://auth.test/token", service=reg, scope="a:b:c,d"',
        'BEARER REALM = "https://auth.test/token" , Service="reg" ,, SCOPE="a:b:c,d" ,',
        'Bearer\trealm="https:\\/\\/auth.test/token",service="re\\g",scope="a:b:c,d"',
    ],
)
def test_spelling_does_not_matter(text: str) -> None:
    assert parse_challenges([text]) == (BEARER,)


def test_several_challenges_are_read_from_one_header_and_from_several() -> None:
    basic = 'Basic realm="a, b=c"'
    bearer = 'Bearer realm="https://auth.test/token",service="reg",scope="a:b:c,d"'
    both = (Challenge("basic", {"realm": "a, b=c"}), BEARER)
    assert parse_challenges([f"{basic}, {bearer}"]) == both
    assert parse_challenges([basic, bearer]) == both
    assert parse_challenges([f"Negotiate, {basic}, NTLM YWJj=, {bearer}"])[1::2] == (both[0], both[1])


def test_bearer_is_chosen_before_basic() -> None:
    basic = Challenge("basic", {"realm": "x"})
    assert choose_challenge([basic, BEARER]) == BEARER
    for nowhere in ({}, {"realm": ""}):
        assert choose_challenge([Challenge("bearer", nowhere), basic]) == basic
        assert choose_challenge([Challenge("bearer", nowhere)]) is None
    assert choose_challenge([Challenge("negotiate")]) is None


@pytest.mark.parametrize(
    "text",
    [
        'Bearer realm="https://auth.test/",realm="https://evil.test/"',
        'Bearer realm="https://auth.test/",REALM="https://evil.test/"',
    ],
)
def test_a_challenge_that_repeats_a_parameter_is_dropped(text: str) -> None:
    assert parse_challenges([text]) == ()


@pytest.mark.parametrize(
    "text", ["", "   ", ",,,", '="x"', '"', 'Bearer realm="unclosed', "Bearer realm=", "\x00"]
)
def test_an_invalid_header_gives_no_realm(text: str) -> None:
    assert all("realm" not in challenge.parameters for challenge in parse_challenges([text]))


@given(st.text(alphabet=' \t,="\\ABearsicBlm:/.%\x00ü', max_size=80) | st.text(max_size=200))
def test_any_text_is_read_without_failing(text: str) -> None:
    for challenge in parse_challenges([text]):
        assert challenge.scheme == challenge.scheme.lower()


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(max_size=30), min_size=1, max_size=5
    )
)
def test_quoted_values_come_back_as_they_were(parameters: dict[str, str]) -> None:
    clean = {name: value.replace("\n", "").replace("\r", "") for name, value in parameters.items()}
    quoted = ", ".join(
        f'{name}="{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in clean.items()
    )
    assert parse_challenges([f"Bearer {quoted}"]) == (Challenge("bearer", clean),)
