"""What the words of a refusal mean, where its status does not tell; knows no network."""

from __future__ import annotations

import re

__all__ = ["means_immutable", "means_rate_limit"]

_RATE_LIMIT = re.compile(
    r"(?i)\brate[ _-]?limit|\brate exceeded|\btoo[ _-]?many[ _-]?requests|\bthrottl|\babuse detection"
    # Storage has quotas, too.
    r"|\bquota\b.{0,80}(\bper (second|minute|hour|day)\b|\brequests?\b)|\brequests?\b.{0,40}\bquota\b"
)
_IMMUTABLE = re.compile(
    r"(?i)immutab|already exists|overwrit|existing tag"
    r"|does not allow updating|operation is disallowed"  # Nexus, and Azure of a locked tag
)
_WITH_SLASH = re.compile(r"\S*/\S*")
_OF_A_NAME = re.compile(r"[A-Za-z0-9._-]+")


def means_rate_limit(text: str, reference: str | None) -> bool:
    """Whether it speaks of too many requests; `reference` is what was asked for, and may be named in it."""
    return bool(_RATE_LIMIT.search(_without_names(text, reference)))


def means_immutable(text: str, reference: str | None) -> bool:
    """Whether it reads like a rule against moving a tag."""
    return bool(_IMMUTABLE.search(_without_names(text, reference)))


def _without_names(text: str, reference: str | None) -> str:
    """Anyone may call a repository `ratelimit`, and refusals repeat the name."""
    names = set(_OF_A_NAME.findall(reference or ""))
    spoken = _WITH_SLASH.sub(" ", text)
    return _OF_A_NAME.sub(lambda word: " " if word[0].strip(".") in names else word[0], spoken)
