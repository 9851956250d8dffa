"""The quotas of a project, and its usage of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.errors import QuotaExceeded


class Quota(StrEnum):
    """The kinds of data that a project stores in the database."""

    LISTS = "lists"
    # The bytes of the labels and annotations of lists, and of the annotations of their entries.
    METADATA = "metadata_bytes"
    MANIFESTS = "manifest_bytes"
    WEBHOOKS = "webhooks"
    TOKENS = "tokens"
    EVENTS = "events"


_UNITS: Mapping[Quota, str] = {
    Quota.LISTS: "lists",
    Quota.METADATA: "bytes of labels and annotations",
    Quota.MANIFESTS: "bytes of manifests",
    Quota.WEBHOOKS: "webhooks",
    Quota.TOKENS: "tokens",
    Quota.EVENTS: "events",
}
_REMEDIES: Mapping[Quota, str] = {
    Quota.LISTS: "Delete lists that are no longer needed, or let them expire with expires_in.",
    Quota.METADATA: "Shorten labels and annotations, or delete lists that are no longer needed.",
    Quota.MANIFESTS: "Ask the operator for more.",
    Quota.WEBHOOKS: "Delete a webhook.",
    Quota.TOKENS: "Revoke tokens that are no longer needed.",
    Quota.EVENTS: "The oldest events are removed.",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """A project's usage of a quota."""

    used: int
    limit: int


# Every read of a list returns all of its metadata at once.
MOST_IN_LIST = 8 * 1_048_576


def refuse_large_list(size: int) -> None:
    """Raise QuotaExceeded if the labels and annotations of one list are too large."""
    if size > MOST_IN_LIST:
        raise QuotaExceeded(
            f"The labels and annotations of one list may have {MOST_IN_LIST} bytes, and these have {size}. "
            "Shorten them.",
            quota="list_metadata_bytes",
            used=size,
            limit=MOST_IN_LIST,
            remedy="Shorten them.",
        )


def refuse_excess(quota: Quota, used: int, limit: int) -> None:
    """Raise QuotaExceeded if a change exceeds the limit; `used` includes the change."""
    if used <= limit:
        return
    unit = _UNITS[quota]
    raise QuotaExceeded(
        f"With this request the project would use {used} of {limit} {unit}. {_REMEDIES[quota]}",
        quota=quota.value,
        used=used,
        limit=limit,
        remedy=_REMEDIES[quota],
    )
