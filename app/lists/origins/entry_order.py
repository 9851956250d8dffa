"""The order of a list's entries in its index: Docker's, or the order in which callers gave them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import assert_never

from app.lists.draft import Draft, Entry
from app.lists.options import Order
from app.lists.origins.copying import find_copied
from app.lists.variants import choice, satisfies
from app.oci.index import sort_key
from app.oci.platform import Platform

# Docker's order; for one image that stands for several platforms, the order of their names.
Key = tuple[tuple[bytes, bytes], str, str, tuple[str, ...]]


def in_order(draft: Draft) -> tuple[Entry, ...]:
    """The entries in the order of the index, which does not depend on the order of their arrival."""
    if find_copied(draft) is not None:
        return tuple(sorted(draft.entries, key=_member))
    match draft.options.order:
        case Order.DOCKER:
            return _in_docker_order(draft.entries)
        case Order.AS_GIVEN:
            return _as_given(draft)
        case _:
            assert_never(draft.options.order)


def _key(entry: Entry) -> Key:
    platform = entry.platform
    return sort_key(str(entry.reference)), str(platform), platform.os_version, platform.os_features


def _in_docker_order(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Docker's order. Images of one index for one platform keep the order of that index.

    Builds of one Windows platform keep that order too, since not every client compares versions. Docker
    accepts no index as a source, so this changes no list that Docker could create.
    """
    ordered = sorted(entries, key=_key)
    shared: dict[Hashable, list[int]] = {}
    for slot, entry in enumerate(ordered):
        if entry.origin is not None and not entry.platform.is_unknown:
            plain = replace(entry.platform, os_version="", os_features=())
            shared.setdefault((entry.origin.whole, choice(plain), entry.kind), []).append(slot)
    for slots in shared.values():
        rivals = [ordered[slot] for slot in slots]
        for slot, entry in zip(slots, sorted(rivals, key=_member), strict=True):
            ordered[slot] = entry
    return tuple(ordered)


def _member(entry: Entry) -> int:
    return entry.given.member if entry.given is not None else 0


def _as_given(draft: Draft) -> tuple[Entry, ...]:
    """Calls one after the other, and in each the order of its sources, and of their indexes.

    The legs of a build arrive in any order. In a list with a session or with expected platforms, calls
    have the order of the expected platforms that they bring first, and then Docker's.
    """
    calls: dict[Hashable, list[Entry]] = {}
    for entry in draft.entries:
        calls.setdefault(_call(entry), []).append(entry)
    expected = draft.options.expected_platforms
    by_rank = bool(draft.session or expected)

    def position(call: list[Entry]) -> tuple[int, Key]:
        rank = min(_rank(entry.platform, expected) for entry in call) if by_rank else _number(call[0])
        return rank, min(map(_key, call))

    ordered = sorted(calls.values(), key=position)
    return tuple(entry for call in ordered for entry in sorted(call, key=_place))


def _call(entry: Entry) -> Hashable:
    """The call that gave an entry; one of an earlier version stands for itself."""
    return entry.given.call if entry.given is not None else entry.id


def _number(entry: Entry) -> int:
    return entry.given.call if entry.given is not None and entry.given.call is not None else -1


def _place(entry: Entry) -> tuple[int, int, Key]:
    given = entry.given
    return (given.source, given.member, _key(entry)) if given is not None else (0, 0, _key(entry))


def _rank(platform: Platform, expected: Sequence[Platform]) -> int:
    """The position of the expected platform that an image meets, preferably of the one that names it."""
    met = [place for place, each in enumerate(expected) if satisfies(platform, each)]
    exact = [place for place in met if choice(expected[place]) == choice(platform)]
    return next(iter([*exact, *met]), len(expected))
