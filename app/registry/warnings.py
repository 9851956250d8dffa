"""Reads what registries warn of in the header `Warning` (distribution spec, "Warnings")."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from app.outbound.failures import RequestContext
from app.outbound.quoting import PLAIN, Quoting

__all__ = ["WarningLog", "parse_warnings"]

_log = logging.getLogger(__name__)

_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_MOST = 16
_LONGEST = 4096


def parse_warnings(values: Iterable[str], quoting: Quoting = PLAIN) -> tuple[str, ...]:
    """The texts of the warnings; a value in any other form is none."""
    found = (_WARNING.fullmatch(value.strip()) for value in values if len(value) <= _LONGEST)
    return tuple(
        text for match in found if match and (text := quoting.for_log(_ESCAPED.sub(r"\1", match[1])))
    )


class WarningLog:
    """The warnings that come with the answers to one push, each once."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._texts)

    def record(self, values: Iterable[str], context: RequestContext) -> None:
        """Record the warnings of a response, or only their presence (see `Quoting`)."""
        for text in parse_warnings(values, context.quoting):
            if context.quoting.suppresses_quotation:
                _log.info("%s warns: %s", context.registry, text)
                text = f"{context.registry} sent a warning. The broker's operator finds it in the log."  # noqa: PLW2901
            if len(self._texts) < _MOST:
                self._texts.setdefault(text)
