"""Recognises admin tokens that are easy to guess."""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["SHORTEST_ADMIN_TOKEN", "is_guessable"]

# 256 random bits have 64 hexadecimal digits. Tokens that people invent are shorter and guessable.
SHORTEST_ADMIN_TOKEN = 16
# Sixteen random hexadecimal digits have fewer than 7 distinct ones about once in a thousand times.
FEWEST_CHARACTERS = 7
# Placeholders in examples that people forget to change.
WORDS = re.compile(r"passw(?:or[dt])?|secret|changeme|letmein|qwerty|admin|default|example|token")


def is_guessable(text: str) -> bool:
    """Whether a long text has few distinct characters, repeats itself, counts up, or is only words."""
    if len(text) < SHORTEST_ADMIN_TOKEN:
        return False
    is_periodic = text in (text + text)[1:-1]
    steps = sum(abs(ord(one) - ord(other)) <= 1 for one, other in pairwise(text))
    rest = WORDS.sub("", text.lower())
    if len(rest) < len(text):
        rest = rest.strip("-_.0123456789")
    is_varied = len(set(text)) >= FEWEST_CHARACTERS and len(rest) >= FEWEST_CHARACTERS
    return is_periodic or not is_varied or steps >= len(text) // 2
