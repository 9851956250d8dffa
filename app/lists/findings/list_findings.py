"""Findings about a list: errors, which keep it from being pushed, and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.errors import MixedRevisions
from app.lists.draft import Draft, Entry
from app.lists.findings.finding import Finding, Severity
from app.lists.findings.losses import find_contradiction, find_losses
from app.lists.origins.copying import find_copied
from app.lists.origins.entry_order import in_order
from app.lists.variants import choice, describe_shared, satisfies
from app.oci import platform as platforms
from app.oci.index import Format


def find_findings(draft: Draft) -> tuple[Finding, ...]:
    """All findings about a list, errors first."""
    found = [finding for entry in draft.entries for finding in _of_entry(entry)]
    if find_copied(draft) is not None:
        # An exact copy keeps the bytes of its source, so errors about its images don't apply.
        found = [each for each in found if each.severity is not Severity.ERROR]
    if not draft.entries:
        found.append(Finding("no-entries", Severity.ERROR, "The list has no entries. Add one."))
    found += find_losses(draft)
    found += _contradictions(draft)
    found += _shared_platforms(in_order(draft))
    found += _unexpected(draft)
    found += _replaced(draft)
    found += _mixed_types(draft.entries)
    found += _mixed_revisions(draft)
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.ERROR))


def _contradictions(draft: Draft) -> list[Finding]:
    """Entries with annotations or an artifact type in a Docker list, which can't have them."""
    if draft.options.format is not Format.DOCKER:
        return []
    return [
        Finding(
            "format-conflict",
            Severity.ERROR,
            f"{entry.reference} has annotations or an artifact type, which a Docker list can't have. "
            "Choose the format oci or auto.",
            entry.id,
        )
        for entry in draft.entries
        if entry.annotations or entry.artifact_type
    ]


def _of_entry(entry: Entry) -> list[Finding]:
    platform = entry.platform
    if entry.descriptor.platform is None:
        # An artifact needs no platform.
        return []
    if not platform.os or not platform.architecture:
        missing = Finding(
            "platform-missing",
            Severity.ERROR,
            f"Manifest {entry.reference} must have an OS and Architecture to be pushed to a registry. "
            "Annotate it.",
            entry.id,
        )
        return [missing, *find_contradiction(entry)]
    found = find_contradiction(entry)
    if not platforms.is_known(platform.os, platform.architecture):
        detail = f"{entry.reference} is for {platform.full_name}, which is not a known platform."
        found.append(Finding("unknown-platform", Severity.WARNING, detail, entry.id))
    elif concern := platforms.check_variant(platform):
        found.append(Finding("unknown-variant", Severity.WARNING, f"{entry.reference}: {concern}", entry.id))
    return found


def _shared_platforms(entries: Sequence[Entry]) -> list[Finding]:
    """Entries whose platform an earlier entry already has, in the order of the index.

    Only images compete for a platform, because clients select artifacts by type.
    """
    first: dict[object, Entry] = {}
    found = []
    for entry in entries:
        if not entry.platform.os or entry.platform.os == "unknown":
            continue
        alike = first.setdefault(entry.choice, entry)
        any_kind = first.setdefault(choice(entry.platform), entry)
        earlier = any_kind if alike is entry and entry.is_image else alike
        if earlier is not entry:
            detail = (
                f"{earlier.reference} and {entry.reference} are "
                f"{describe_shared(earlier.platform, entry.platform)}. "
                "A runtime uses the first that it finds."
            )
            found.append(Finding("shared-platform", Severity.WARNING, detail, entry.id))
    return found


def _unexpected(draft: Draft) -> list[Finding]:
    expected = draft.options.expected_platforms
    return [
        Finding(
            "unexpected-platform",
            Severity.WARNING,
            f"{entry.reference} is for {entry.platform.full_name}, which is not an expected platform.",
            entry.id,
        )
        for entry in draft.entries
        if expected
        and entry.attests is None
        and entry.descriptor.platform is not None
        and not any(satisfies(entry.platform, each) for each in expected)
    ]


def _replaced(draft: Draft) -> list[Finding]:
    """Images that took the place of another leg's image: perhaps a leg handed in the wrong one."""
    if not draft.session:
        return []
    return [
        Finding(
            "image-replaced",
            Severity.WARNING,
            f"{entry.reference} replaced {entry.given.replaced}, which the session had for "
            f"{entry.platform.full_name}.",
            entry.id,
        )
        for entry in draft.entries
        if entry.given is not None and entry.given.replaced is not None
    ]


def _mixed_revisions(draft: Draft) -> list[Finding]:
    revisions = find_revisions(draft.entries)
    if len(set(revisions.values())) <= 1:
        return []
    severity = Severity.ERROR if draft.options.same_revision else Severity.WARNING
    return [Finding("mixed-revisions", severity, describe_revisions(revisions))]


def find_revisions(entries: Sequence[Entry]) -> dict[str, str | None]:
    """The source revision of each image, from its label. Attestations and artifacts have none.

    A tag that has moved may name several images; the further ones are named with their platforms.
    """
    found: dict[str, str | None] = {}
    for entry in entries:
        if entry.platform.is_unknown or (entry.kind and entry.image.revision is None):
            continue
        if found.setdefault(str(entry.reference), entry.image.revision) != entry.image.revision:
            found[f"{entry.reference} ({entry.platform.full_name})"] = entry.image.revision
    return found


def describe_revisions(revisions: Mapping[str, str | None]) -> str:
    first: dict[str | None, str] = {}
    for reference, revision in revisions.items():
        first.setdefault(revision, reference)
    built = [f"{reference} from {revision or 'an unknown one'}" for revision, reference in first.items()]
    return f"The images were built from different revisions: {', '.join(built)}."


def refuse_mixed_revisions(draft: Draft) -> None:
    """Raises MixedRevisions if the list has `same_revision` and the labels of its images differ."""
    revisions = find_revisions(draft.entries)
    if draft.options.same_revision and len(set(revisions.values())) > 1:
        raise MixedRevisions(
            describe_revisions(revisions),
            list_id=str(draft.id),
            reference=str(draft.reference),
            revisions=revisions,
        )


def _mixed_types(entries: Sequence[Entry]) -> list[Finding]:
    if len({entry.media_type for entry in entries}) <= 1:
        return []
    detail = "The list has both Docker and OCI manifests. Some registries reject this."
    return [Finding("mixed-media-types", Severity.WARNING, detail)]
