"""Findings about sources: members that a new list loses, and indexes that contradict their images."""

from __future__ import annotations

from dataclasses import replace

from app.lists.draft import Draft, Entry
from app.lists.findings.finding import Finding, Severity
from app.lists.origins.carrying import carried_facts, lost_of_entry, lost_of_index
from app.lists.origins.copying import find_copied, find_obstacle, only_index
from app.lists.variants import system_version, usual_variant
from app.oci.digest import Digest
from app.oci.platform import Platform
from app.oci.reference import Reference


def find_losses(draft: Draft) -> list[Finding]:
    """The reasons why the list is not an exact copy, and the members of its sources that it lacks."""
    if find_copied(draft) is not None:
        return []
    return [*_not_exact(draft), *_lost(draft)]


def find_contradiction(entry: Entry) -> list[Finding]:
    """A warning if the image's config and its index, or its caller, name different platforms."""
    listed = entry.listing.platform if entry.listing is not None else None
    own = entry.config_platform
    if own is None:
        return []
    if listed is None or entry.platform != listed:
        # An override of the caller takes precedence.
        return _find_overridden(entry, own)
    if entry.kind and own == Platform():
        return []
    if _agree(listed, own):
        return []
    detail = (
        f"The index lists {entry.reference} for {_named(listed)}, but the config of the image names "
        f"{_named(own)}."
    )
    return [Finding("platform-mismatch", Severity.WARNING, detail, entry.id)]


def _find_overridden(entry: Entry, own: Platform) -> list[Finding]:
    """Warn about an override: the caller may know better than the config, or may have confused two images."""
    if not own.os or not own.architecture or _agree(entry.platform, own):
        return []
    detail = (
        f"{entry.reference} is listed for {_named(entry.platform)}, as a caller has said, but the config of "
        f"the image names {_named(own)}."
    )
    return [Finding("platform-overridden", Severity.WARNING, detail, entry.id)]


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
    carried = carried_facts(draft)
    indexes: dict[tuple[Digest, Reference], dict[str, None]] = {}
    for entry in draft.entries:
        if entry.listing is None or entry.origin is None:
            continue
        if lost := lost_of_entry(draft, entry):
            detail = f"The list leaves out what the index says of {entry.reference}: {', '.join(lost)}."
            found.append(Finding("metadata-lost", Severity.WARNING, detail, entry.id))
        # The entries of one index may come from different nested indexes.
        names = indexes.setdefault((entry.listing.index, entry.origin.reference), {})
        names |= dict.fromkeys(lost_of_index(draft, entry.listing, carried))
    for (_, reference), names in indexes.items():
        if names:
            detail = f"The list leaves out what the index {reference} has: {', '.join(names)}."
            found.append(Finding("metadata-lost", Severity.WARNING, detail))
    return found


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
