"""The assessment of a list as it stands: its index, its findings, and the platforms that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import FieldError, InvalidInput, ListNotPushable
from app.lists.draft import Draft, find_counting
from app.lists.findings.finding import Finding, Severity
from app.lists.findings.list_findings import find_findings
from app.lists.origins.carrying import carried_facts, describe_member
from app.lists.origins.copying import find_copied
from app.lists.origins.entry_order import in_order
from app.lists.targets import group_by_repository, own_references
from app.lists.variants import unmet
from app.oci.index import build_index
from app.oci.manifest import Manifest
from app.oci.platform import Platform
from app.oci.reference import Reference

BuildIndex = Callable[[Draft], Manifest]


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything that can be computed from the list.

    `outcome` is the index that a push would put, or the error that refuses the push before its first request.
    `references` are the references that would lead to the index after a push.
    """

    outcome: Manifest | ListNotPushable
    findings: tuple[Finding, ...]
    missing_platforms: tuple[Platform, ...]
    is_complete: bool
    references: frozenset[Reference]

    @property
    def index(self) -> Manifest | None:
        return self.outcome if isinstance(self.outcome, Manifest) else None

    @property
    def refusal(self) -> ListNotPushable | None:
        return self.outcome if isinstance(self.outcome, ListNotPushable) else None

    @property
    def plan_findings(self) -> tuple[Finding, ...]:
        """The findings, and those that matter only when the list is pushed as it stands."""
        missing = ", ".join(platform.full_name for platform in self.missing_platforms)
        if not missing:
            return self.findings
        detail = f"The list lacks {missing} and would be pushed without them."
        return (*self.findings, Finding("missing-platforms", Severity.WARNING, detail))


def build_draft_index(draft: Draft) -> Manifest:
    """The index that the list stands for: its bytes depend on the entries, never on their order of arrival.

    A list that copies its source stands for the very bytes of it, which may be those of an image.
    A list that lacks a platform has an index too, for `inspect`. Raises ListNotPushable if the entries
    contradict the format of the list.
    """
    options = draft.options
    copied = find_copied(draft)
    if draft.copied is not None and copied is not None and draft.copied.digest == copied.digest:
        return draft.copied
    facts = carried_facts(draft)
    try:
        return build_index(
            [describe_member(draft, entry) for entry in in_order(draft)],
            format=options.format,
            annotations=facts.annotations,
            artifact_type=facts.artifact_type,
            subject=options.subject,
        )
    except InvalidInput as error:
        raise ListNotPushable(error.detail, list_id=str(draft.id)) from None


def assess(draft: Draft, *, build: BuildIndex = build_draft_index) -> Assessment:
    """Assess a list; the index is built once, and only if the list can be pushed."""
    findings = find_findings(draft)
    outcome = _find_refusal(draft, findings) or build(draft)
    missing = missing_platforms(draft)
    return Assessment(
        outcome=outcome,
        findings=findings,
        missing_platforms=missing,
        is_complete=bool(draft.entries) and not missing,
        references=_references(draft, outcome) if isinstance(outcome, Manifest) else frozenset(),
    )


def missing_platforms(draft: Draft) -> tuple[Platform, ...]:
    """The expected platforms that no entry meets yet, in the order they were given."""
    return unmet(draft.options.expected_platforms, [entry.platform for entry in find_counting(draft.entries)])


def is_complete(draft: Draft) -> bool:
    """Whether the list has at least one entry and every expected platform."""
    return bool(draft.entries) and not missing_platforms(draft)


def _references(draft: Draft, index: Manifest) -> frozenset[Reference]:
    targets = group_by_repository(own_references(draft))
    return frozenset(reference for target in targets for reference in target.references(index.digest))


def _find_refusal(draft: Draft, findings: Sequence[Finding]) -> ListNotPushable | None:
    """The error that would refuse a push of the list before its first request."""
    lacking = [finding for finding in findings if finding.severity is Severity.ERROR]
    if not lacking:
        return None
    positions = {entry.id: position for position, entry in enumerate(in_order(draft))}
    return ListNotPushable(
        lacking[0].detail,
        list_id=str(draft.id),
        errors=[
            FieldError(
                f"/entries/{positions[finding.entry_id]}",
                finding.detail,
                {"entry_id": str(finding.entry_id)},
            )
            for finding in lacking
            if finding.entry_id is not None
        ],
    )
