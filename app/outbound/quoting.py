"""Decides which text of a server's response may be quoted, and sanitises it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.outbound.redaction import SHORTEST, redact

__all__ = ["PLAIN", "Quoting", "UsedSecrets", "scrub"]

_LONGEST_MESSAGE = 300
_LONGEST_READ = 4 * _LONGEST_MESSAGE
# Patterns of secrets, including secrets that no request has carried.
_LIKELY_SECRETS = (
    re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(
        r"(?i)[\"']?\b(authorization|access_?token|refresh_?token|token|password|secret|sig|signature|x-amz-[a-z-]+)"
        r"[\"']?\s*[=:]\s*[\"']?[^\s\"',&]+"
    ),
    re.compile(r"(?<=://)[^/\s@]+@"),
    re.compile(r"(?<=[A-Za-z0-9/])\?[^\s\"']+"),
    re.compile(r"\beyJ[A-Za-z0-9._-]{10,}"),
)
# C0, C1 and DEL, line separators, zero-width and bidirectional controls can forge log lines. Lone surrogates
# can't be encoded at all.
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)
# The number of tokens to keep for each place. Older ones have expired.
_KEPT_TOKENS = 8


def scrub(text: str) -> str:
    """Sanitise text from a server: short, on one line, and without patterns of secrets."""
    shown = _CONTROLS.sub(" ", text[:_LONGEST_READ])
    for pattern in _LIKELY_SECRETS:
        shown = pattern.sub("…", shown)
    return shown.strip() if len(shown) <= _LONGEST_MESSAGE else shown[:_LONGEST_MESSAGE].strip() + "…"


class UsedSecrets:
    """The secrets that one caller's requests have carried, with the places that received them."""

    def __init__(self) -> None:
        self._credentials: dict[str, None] = {}
        self._tokens: dict[str, dict[str, None]] = {}
        self._of_others: set[str] = set()
        self._last: dict[str, object] = {}

    def knows(self, place: str, credential: object) -> bool:
        """Whether this credential object was the last one added for the place."""
        return self._last.get(place) is credential

    def add_credential(self, place: str, credential: object, secrets: Iterable[str], *, is_own: bool) -> None:
        """Add the secrets of a credential. One that is not the caller's own suppresses all quotation."""
        self._last[place] = credential
        given = [secret for secret in secrets if secret]
        self._credentials.update(dict.fromkeys(given))
        if any(len(secret) < SHORTEST for secret in given) or (given and not is_own):
            self._of_others.add(place)

    def add_token(self, place: str, token: str) -> None:
        tokens = self._tokens.setdefault(place, {})
        tokens[token] = None
        if len(tokens) > _KEPT_TOKENS:
            del tokens[next(iter(tokens))]

    def at(self, place: str) -> Quoting:
        """The quoting rules for a place. They include secrets that are added later."""
        return Quoting(self, place)

    def are_of_others(self, place: str) -> bool:
        return place in self._of_others

    def redact(self, text: str) -> str:
        """Redact all secrets from a text for the log."""
        return redact(
            text, [*self._credentials, *(token for each in self._tokens.values() for token in each)]
        )

    def redact_at(self, place: str, text: str) -> str:
        return redact(text, [*self._credentials, *self._tokens.get(place, ())])


@dataclass(frozen=True, slots=True)
class Quoting:
    """Quotes the responses from one place.

    A server may repeat the operator's credentials in any form, and the caller must not see them. So where one
    was used, only the log quotes the server, and the caller gets the broker's own text.
    """

    used: UsedSecrets | None = None
    place: str = ""

    @property
    def suppresses_quotation(self) -> bool:
        return self.used is not None and self.used.are_of_others(self.place)

    def words(self, text: str) -> str:
        """Free text from a server, sanitised; empty if quotation is suppressed."""
        return "" if self.suppresses_quotation else self.for_log(text)

    def fact(self, text: str) -> str:
        """A name or an address from a server; empty if it contains a secret."""
        return scrub(text) if self.holds_no_secret(text) else ""

    def holds_no_secret(self, text: str) -> bool:
        return len(text) <= _LONGEST_READ and self._redacted(text) == text

    def for_log(self, text: str) -> str:
        return scrub(self._redacted(text[:_LONGEST_READ]))

    def _redacted(self, text: str) -> str:
        return text if self.used is None else self.used.redact_at(self.place, text)


# The quoting rules for responses to requests without a credential.
PLAIN = Quoting()
