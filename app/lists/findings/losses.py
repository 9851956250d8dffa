"""Findings about sources: members that a new list loses, and indexes that contradict their images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from app.lists.draft import Draft, Entry
from app.lists.findings.finding import Finding, Severity
from app.lists.origins.copying import find_copied, find_obstacle, only_index
from app.lists.variants import system_version, usual_variant
from app.oci.platform import Platform


def find_losses(draft: Draft) -> list[Finding]:
    """The reasons why the list is not an exact copy, and the members of its sources that it lacks."""
    if find_copied(draft) is not None:
        return []
    return [*_not_exact(draft), *_lost(draft)]


def find_contradiction(entry: Entry) -> list[Finding]:
    """A warning if the index and the config of the image name different platforms."""
    listed = entry.listing.platform if entry.listing is not None else None
    own = entry.config_platform
    if listed is None or own is None or entry.platform != listed:
        # An override of the caller takes precedence.
        return []
    if entry.kind and own == Platform():
        return []
    if _agree(listed, own):
        return []
    detail = (
        f"The index lists {entry.reference} for {_named(listed)}, but the config of the image names "
        f"{_named(own)}."
    )
    return [Finding("platform-mismatch", Severity.WARNING, detail, entry.id)]


def _not_exact(draft: Draft) -> list[Finding]:
    obstacle = find_obstacle(draft)
    if draft.options.exact and draft.entries:
        detail = f"The list can't be an exact copy of its source: {obstacle}."
        return [Finding("not-exact", Severity.ERROR, detail)]
    is_selected = any(entry.origin is not None and entry.origin.platforms for entry in draft.entries)
    if draft.options.exact is False or is_selected or only_index(draft) is None:
        return []
    detail = f"The list differs from its source and gets a digest of its own: {obstacle}."
    return [Finding("not-exact", Severity.WARNING, detail)]


def _lost(draft: Draft) -> list[Finding]:
    found = []
    indexes = {}
    for entry in draft.entries:
        if entry.listing is None or entry.origin is None:
            continue
        if entry.listing.lost:
            lost = _joined(entry.listing.lost)
            detail = f"The list leaves out what the index says of {entry.reference}: {lost}."
            found.append(Finding("metadata-lost", Severity.WARNING, detail, entry.id))
        indexes[entry.listing.index] = entry.origin.reference, entry.listing.index_lost
    for reference, names in indexes.values():
        left_out = [name for name in names if not _is_replaced(draft, name)]
        if left_out:
            detail = f"The list leaves out what the index {reference} has: {_joined(left_out)}."
            found.append(Finding("metadata-lost", Severity.WARNING, detail))
    return found


def _is_replaced(draft: Draft, name: str) -> bool:
    options = draft.options
    own = {
        "annotations": options.annotations,
        "artifactType": options.artifact_type,
        "subject": options.subject,
    }
    return bool(own.get(name.partition(" ")[0]))


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names)


def _agree(listed: Platform, own: Platform) -> bool:
    """Whether both name the same platform; the config may omit the variant and the version."""
    if (listed.os, listed.architecture) != (own.os, own.architecture):
        return False
    if own.variant and usual_variant(own) != usual_variant(listed):
        return False
    if own.os_features and listed.os_features and set(own.os_features) != set(listed.os_features):
        return False
    has_versions = bool(own.os_version and listed.os_version)
    return not has_versions or system_version(own) == system_version(listed)


def _named(platform: Platform) -> str:
    """The platform with the version of its operating system; "no platform" for an empty one."""
    if not (platform.os or platform.architecture):
        return "no platform"
    whole = replace(platform, os=platform.os or "(none)", architecture=platform.architecture or "(none)")
    return whole.full_name
