"""Reads what registries warn of in the header `Warning` (distribution spec, "Warnings")."""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.outbound.failures import scrub

__all__ = ["WarningLog", "parse_warnings"]

_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_MOST = 16
_LONGEST = 4096


def parse_warnings(values: Iterable[str]) -> tuple[str, ...]:
    """The texts of the warnings; a value in any other form is none."""
    found = (_WARNING.fullmatch(value.strip()) for value in values if len(value) <= _LONGEST)
    return tuple(text for match in found if match and (text := scrub(_ESCAPED.sub(r"\1", match[1]))))


class WarningLog:
    """The warnings that come with the answers to one push, each once."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._texts)

    def record(self, values: Iterable[str]) -> None:
        for text in parse_warnings(values):
            if len(self._texts) < _MOST:
                self._texts.setdefault(text)
