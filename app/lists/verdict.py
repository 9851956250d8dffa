"""The verdict on a changed list: it stays open, fails, or is due to be pushed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from app.errors import BrokerError, BuildFailed, ListIncomplete
from app.lists.assessment import Assessment, assess, is_complete, missing_platforms
from app.lists.draft import Draft, ListState, find_counting
from app.lists.entry_changes import remove
from app.lists.variants import find_failed, find_retracted
from app.oci.platform import Platform, parse_platform


@dataclass(frozen=True, slots=True)
class Verdict:
    """The new state of a list, the reason if it is `failed`, and whether a push is due."""

    state: ListState
    failure: BrokerError | None = None
    is_push_due: bool = False


def judge(before: Draft, after: Draft, assessment: Assessment, now: datetime) -> Verdict:
    """Judge a change of a list, or a deadline that has passed; `before` has revision 0 if the list is new.

    `assessment` is that of `after`. A push is due once for each new index and for each new tag of it. Each
    change of a failed list is judged again, so that a repeated request is a new try.
    """
    failure = _find_failure(after, assessment, now)
    if failure is not None:
        return Verdict(ListState.FAILED, failure)
    if _is_pushed(before) and (before is after or _is_same(assess(before), assessment)):
        return Verdict(before.state)
    return Verdict(ListState.OPEN, is_push_due=after.options.push_when_complete and is_ready(after, now))


def _is_pushed(draft: Draft) -> bool:
    """Whether the list has been pushed, or its completion has started a push."""
    if not draft.revision or draft.state is ListState.FAILED:
        return False
    return draft.push_operation_id is not None or draft.state is ListState.PUSHED


def _is_same(before: Assessment, after: Assessment) -> bool:
    return before.index == after.index and before.references == after.references


def _find_failure(draft: Draft, assessment: Assessment, now: datetime) -> BrokerError | None:
    """The reason to stop waiting: a build failed, the list is late, or it can't be pushed.

    With `allow_partial`, the list may lack platforms, but it needs at least one entry.
    """
    options = draft.options
    makes_do = options.allow_partial and bool(draft.entries)
    if options.failures and not makes_do and not (options.allow_partial and awaited_platforms(draft, now)):
        return _build_failed(draft)
    if _is_late(draft, now) and not assessment.is_complete and not makes_do:
        return _incomplete(draft)
    if options.push_when_complete and is_ready(draft, now):
        return assessment.refusal
    return None


def awaited_platforms(draft: Draft, now: datetime) -> tuple[Platform, ...]:
    """The expected platforms whose images may still be added."""
    if _is_late(draft, now):
        return ()
    expected = draft.options.expected_platforms
    failed = {
        platform
        for text in draft.options.failures
        for platform in find_failed(expected, parse_platform(text))
    }
    return tuple(platform for platform in missing_platforms(draft) if platform not in failed)


def retract(draft: Draft, failures: Mapping[str, object] | None) -> Draft:
    """The list without the images of builds that `failures` reports as failed."""
    failed = [parse_platform(text) for text, reason in (failures or {}).items() if reason is not None]
    counting = find_counting(draft.entries)
    expected, present = draft.options.expected_platforms, [entry.platform for entry in counting]
    leaving = [
        entry
        for platform in failed
        for entry, leaves in zip(counting, find_retracted(expected, present, platform), strict=True)
        if leaves
    ]
    return replace(draft, entries=remove(draft.entries, *leaving)) if leaving else draft


def is_ready(draft: Draft, now: datetime) -> bool:
    """Whether the list has every expected platform; with `allow_partial`, whether it awaits none."""
    if not draft.options.allow_partial:
        return is_complete(draft) and not draft.options.failures
    return bool(draft.entries) and not awaited_platforms(draft, now)


def _is_late(draft: Draft, now: datetime) -> bool:
    return draft.options.complete_by is not None and draft.options.complete_by <= now


def _build_failed(draft: Draft) -> BuildFailed:
    failures = "; ".join(
        f"{platform}: {reason}" if reason else platform for platform, reason in draft.options.failures.items()
    )
    return BuildFailed(
        f"Not all builds for {draft.reference} succeeded: {failures}.",
        list_id=str(draft.id),
        reference=str(draft.reference),
        failures=dict(draft.options.failures),
        missing_platforms=_missing(draft),
    )


def _incomplete(draft: Draft) -> ListIncomplete:
    missing = _missing(draft)
    lacking = ", ".join(missing) if missing else "any image"
    return ListIncomplete(
        f"{draft.reference} was not complete by its deadline. It lacks {lacking}.",
        list_id=str(draft.id),
        reference=str(draft.reference),
        missing_platforms=missing,
    )


def _missing(draft: Draft) -> list[str]:
    return [platform.full_name for platform in missing_platforms(draft)]
