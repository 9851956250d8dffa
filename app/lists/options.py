"""The options of a list, each declared once, and changes to them (JSON Merge Patch, RFC 7396)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from app.errors import FieldError, InvalidInput, SourceInvalid, UnsupportedPlatform
from app.errors.collecting import Mistakes, parse_each, pointer_to
from app.lists.source import parse_any_platform
from app.lists.variants import find_failed, satisfies, unmet
from app.oci.annotations import parse_annotations
from app.oci.descriptor import Descriptor, parse_descriptor
from app.oci.index import Format
from app.oci.platform import Platform, is_known, parse_platform
from app.oci.reference import Reference, parse_reference, parse_tag

T = TypeVar("T")
R = TypeVar("R")

# RFC 6838 §4.2.
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


class Order(StrEnum):
    """The order of the entries in the index: Docker's, or that of the sources and of their indexes."""

    DOCKER = "docker"
    AS_GIVEN = "as-given"


def merged(present: Mapping[str, str], patch: Mapping[str, str | None]) -> dict[str, str]:
    """JSON Merge Patch (RFC 7396) of one flat object."""
    result = {**present, **patch}
    return {name: value for name, value in result.items() if value is not None}


def _each_once(values: Sequence[T], parse: Callable[[T], R]) -> tuple[R, ...]:
    return tuple(dict.fromkeys(parse_each(values, parse)))


def _parse_tags(values: Sequence[str]) -> tuple[str, ...]:
    return _each_once(values, parse_tag)


def _parse_targets(values: Sequence[str]) -> tuple[Reference, ...]:
    return _each_once(values, parse_reference)


def _parse_platforms(values: Sequence[str | Mapping[str, Any]]) -> tuple[Platform, ...]:
    return _each_once(values, parse_expected_platform)


def parse_expected_platform(value: str | Mapping[str, Any]) -> Platform:
    """A platform that an image could have."""
    platform = parse_any_platform(value)
    if not is_known(platform.os, platform.architecture):
        raise UnsupportedPlatform(f"{platform} is not a known operating system and architecture.")
    return platform


def parse_subject(value: Any) -> Descriptor:
    try:
        return parse_descriptor(value, what="the subject")
    except SourceInvalid as error:
        raise InvalidInput(error.detail) from None


def parse_artifact_type(value: str) -> str:
    if not _MEDIA_TYPE.fullmatch(value):
        raise InvalidInput("An artifact_type must be a media type such as application/vnd.example.v1+json.")
    return value


def parse_annotation_changes(value: Mapping[str, str | None]) -> Mapping[str, str | None]:
    # Null entries clear, so only the rest is checked.
    parse_annotations({key: text for key, text in value.items() if text is not None})
    return value


def _parse_failures(value: Mapping[str, str | None]) -> Mapping[str, str | None]:
    mistakes = Mistakes()
    parsed = {}
    for key, reason in value.items():
        with mistakes.at(pointer_to(key)):
            parsed[parse_platform(key).full_name] = reason
    mistakes.raise_all()
    return parsed


def _unchanged(value: Any) -> Any:
    return value


# The parsers of the options whose value differs from that in a patch.
_PARSE = "parse"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a list.

    The member of a patch, the column and the member of the list's document have the name of the field here,
    and documents have them in this order. `failures` has by platform the reasons of failed builds,
    `complete_by` is the deadline of all others. `run_number` tells the newer of two sessions for one tag.
    """

    expected_platforms: tuple[Platform, ...] = field(default=(), metadata={_PARSE: _parse_platforms})
    push_when_complete: bool = False
    allow_duplicate_platforms: bool = False
    insecure: bool = False
    format: Format = field(default=Format.AUTO, metadata={_PARSE: Format})
    order: Order = field(default=Order.DOCKER, metadata={_PARSE: Order})
    annotations: Mapping[str, str] = field(default_factory=dict, metadata={_PARSE: parse_annotation_changes})
    artifact_type: str | None = field(default=None, metadata={_PARSE: parse_artifact_type})
    subject: Descriptor | None = field(default=None, metadata={_PARSE: parse_subject})
    tags: tuple[str, ...] = field(default=(), metadata={_PARSE: _parse_tags})
    targets: tuple[Reference, ...] = field(default=(), metadata={_PARSE: _parse_targets})
    labels: Mapping[str, str] = field(default_factory=dict)
    complete_by: datetime | None = field(default=None, metadata={_PARSE: datetime.fromisoformat})
    failures: Mapping[str, str] = field(default_factory=dict, metadata={_PARSE: _parse_failures})
    run_number: int | None = None
    same_revision: bool = False
    allow_partial: bool = False
    allow_shrink: bool = False
    allow_older: bool = False
    allow_unverified: bool = False
    referrers: bool = False
    expires_at: datetime | None = field(default=None, metadata={_PARSE: datetime.fromisoformat})
    # None copies an index that is the only source and unchanged.
    exact: bool | None = None


OPTION_NAMES = tuple(option.name for option in fields(Options))
FLAG_NAMES = tuple(option.name for option in fields(Options) if option.default is False)
_DEFAULTS = Options()
_FOR_OCI = frozenset({"annotations", "artifact_type", "subject"})
_OPTIONS = {option.name: option for option in fields(Options)}


def apply_changes(options: Options, changes: Mapping[str, Any], *, unread: Collection[str] = ()) -> Options:
    """The options with `changes` made: null puts a member back to its default, objects are merged by key.

    Raises one error for all members that can't be read and for all contradictions, each with its pointer.
    `unread` names members that were sent but are left out of `changes`, because they are known to be wrong.
    """
    mistakes = Mistakes()
    values: dict[str, Any] = {}
    for name, value in changes.items():
        with mistakes.at(f"/{name}"):
            values[name] = _changed(_OPTIONS[name], getattr(options, name), value)
    unread = {*unread, *changes} - values.keys()
    changed = replace(options, **values)
    for contradiction in _find_contradictions(changed, unread):
        mistakes.add(contradiction)
    sent = () if "failures" in unread else tuple(changes.get("failures") or ())
    if "expected_platforms" not in unread:
        expected = _without_unexpected(changed)
        for failed in _find_unexpected(changed, expected, sent):
            mistakes.add(failed)
        changed = expected
    mistakes.raise_all()
    return changed


def amend_options(options: Options, changes: Mapping[str, Any], now: datetime) -> Options:
    """The options after one more leg of a build.

    Each leg sends a deadline relative to its own call; the first leg's deadline applies until it has passed.
    """
    # A worker of a newer version may have accepted an option that this one does not know.
    known = {name: value for name, value in changes.items() if name in _OPTIONS}
    if options.complete_by is not None and options.complete_by > now:
        known.pop("complete_by", None)
    return apply_changes(options, known)


def forget_failures(options: Options, built: Sequence[Platform], present: Sequence[Platform]) -> Options:
    """The options without the failures of builds whose images have been added since.

    `built` are the platforms of the added images, `present` those of all images of the list.
    """
    if not options.failures:
        return options
    expected = options.expected_platforms
    met = set(expected).difference(unmet(expected, present))

    def has_come(failed: Platform) -> bool:
        meant = find_failed(expected, failed)
        return any(satisfies(platform, failed) for platform in built) and (not meant or bool(meant & met))

    kept = {text: reason for text, reason in options.failures.items() if not has_come(parse_platform(text))}
    return replace(options, failures=kept)


def _changed(option: Field[Any], present: Any, value: Any) -> Any:
    """The value of an option after a merge patch: null resets it, and objects are merged by key."""
    parse: Callable[[Any], Any] = option.metadata.get(_PARSE, _unchanged)
    if isinstance(present, Mapping):
        return merged(present, parse(value)) if value is not None else {}
    return getattr(_DEFAULTS, option.name) if value is None else parse(value)


def _find_contradictions(options: Options, unread: Collection[str]) -> Iterator[InvalidInput]:
    """The contradictions between options; `unread` ones count as sent, although their values are unknown."""
    if options.push_when_complete and not options.expected_platforms and "expected_platforms" not in unread:
        yield _invalid("/push_when_complete", "push_when_complete requires expected_platforms.")
    for_oci = (
        options.annotations or options.artifact_type or options.subject or not _FOR_OCI.isdisjoint(unread)
    )
    if options.format is Format.DOCKER and for_oci and "format" not in unread:
        yield _invalid(
            "/format",
            "A Docker list can't have annotations, an artifact_type or a subject. Omit them, or choose oci.",
        )
    if options.exact and for_oci:
        yield _invalid(
            "/exact",
            "An exact copy can't have annotations, an artifact_type or a subject of its own. Omit them, or "
            "omit exact.",
        )


def _without_unexpected(options: Options) -> Options:
    """Drop failures of builds that the list does not expect."""
    expected = options.expected_platforms
    awaited = {
        text: reason
        for text, reason in options.failures.items()
        if not expected or find_failed(expected, parse_platform(text))
    }
    return replace(options, failures=awaited)


def _find_unexpected(options: Options, kept: Options, sent: Iterable[str]) -> Iterator[InvalidInput]:
    """The failures that a caller has just `sent` of builds that the list does not expect."""
    names = ", ".join(platform.full_name for platform in options.expected_platforms)
    for key in sent:
        text = parse_platform(key).full_name
        if text in options.failures and text not in kept.failures:
            yield _invalid(
                f"/failures{pointer_to(text)}", f"The list does not expect {text}. It expects {names}."
            )


def _invalid(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, errors=[FieldError(pointer, detail)])
