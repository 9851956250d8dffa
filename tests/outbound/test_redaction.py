"""Exact secrets are redacted from text that a server sends, in every encoding that servers use."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.redaction import redact
from tests.support.secret_forms import FORMS

SECRETS = (
    "canary-7f3a-password",
    "p@ss/w0rd+with=signs&more",
    "zwölf Boxkämpfer jagen",
    'quote"back\\slash and more',
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl",
)


def pieces(secret: str) -> set[str]:
    return {secret[start : start + 8].casefold() for start in range(len(secret) - 7)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_hidden_in_each_form(secret: str, form: str) -> None:
    said = FORMS[form](secret)
    shown = redact(f"access of user denied: [{said}] in team/app", [secret])
    assert shown.startswith("access of user denied: [")
    assert shown.endswith("] in team/app")
    inside = shown.removeprefix("access of user denied: [").removesuffix("] in team/app")
    assert "…" in inside
    # What is around the secret may stay: the name of the user, a scheme.
    around = pieces(FORMS[form](secret[0] * len(secret)))
    assert not (pieces(said) - around) & pieces(inside.replace("…", "\0"))


@pytest.mark.parametrize("short", ["hunter2", "a.b.", "four"])
def test_a_short_secret_is_hidden_as_a_whole(short: str) -> None:
    shown = redact(f"{short}, {short.upper()} and {short.encode().hex()} are wrong", [short])
    assert short not in shown.lower()
    assert short.encode().hex() not in shown
    assert shown.endswith(" are wrong")


def test_a_text_without_a_secret_stays_as_it_is() -> None:
    text = "manifest unknown: team/app:1 has 100 % of a\\b, and sha256:" + "0f" * 32
    assert redact(text, SECRETS) == text
    assert redact(text, []) == text


def test_a_part_of_less_than_eight_characters_stays() -> None:
    assert redact("canary- is a bird", ["canary-7f3a-password"]) == "canary- is a bird"


@given(
    secret=st.text(string.ascii_letters + string.digits + "-_+/=.!$%& ", min_size=8, max_size=40),
    before=st.text(max_size=20),
    after=st.text(max_size=20),
    form=st.sampled_from(["raw", "base64", "hexadecimal", "URL-encoded", "URL-encoded throughout", "JSON"]),
)
def test_no_text_around_a_secret_shows_it(secret: str, before: str, after: str, form: str) -> None:
    said = FORMS[form](secret)
    assert said not in redact(f"{before} {said} {after}", [secret])


def test_a_large_text_and_many_long_secrets_are_read() -> None:
    tokens = [f"{number:04x}" * 500 for number in range(20)]
    text = "x" * 50_000 + tokens[7] + "y" * 50_000
    assert redact(text, tokens) == "x" * 50_000 + "…" + "y" * 50_000
