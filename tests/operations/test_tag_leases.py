"""Who may move a tag next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.operations.tag_leases import LEASE, WAIT, Grant, LastMove, LeaseRequest, TagState, ask

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FREE = TagState()
OURS, THEIRS = uuid4(), uuid4()


def request(order: int = 1, project_id: UUID = OURS, *, has_written: bool = True) -> LeaseRequest:
    return LeaseRequest(uuid4(), 1, project_id, order, f"digest {order}", NOW - SECOND, has_written)


def moved(order: int, *, project_id: UUID = THEIRS, at: datetime = NOW - 2 * SECOND) -> TagState:
    return TagState(last=LastMove(project_id, order, f"digest {order}", at))


def test_a_free_tag_is_taken_at_once() -> None:
    push = request()
    grant, state = ask(FREE, push, NOW)
    assert grant is Grant.TAKEN
    assert (state.holder, state.held_until) == ((push.operation_id, 1), NOW + LEASE)


def test_a_push_that_asks_again_after_a_lost_answer_keeps_its_lease() -> None:
    push = request()
    _, state = ask(FREE, push, NOW)
    assert ask(state, push, NOW + SECOND)[0] is Grant.TAKEN


def test_another_attempt_at_the_same_push_waits_for_the_lease_of_the_one_before() -> None:
    push = request()
    _, state = ask(FREE, push, NOW)
    again = replace(push, attempt=2)
    assert ask(state, again, NOW + SECOND)[0] is Grant.WAIT
    assert ask(state, again, NOW + LEASE)[0] is Grant.TAKEN


def test_those_who_wait_have_their_leases_in_the_order_of_asking() -> None:
    holder, *waiting = (request(number, uuid4()) for number in range(1, 5))
    _, state = ask(FREE, holder, NOW)
    for each in waiting:
        grant, state = ask(state, each, NOW)
        assert grant is Grant.WAIT
    # Nobody keeps a place by asking more often, and the holder comes last when it asks again.
    state = replace(state, holder=None, held_until=None)
    for each in (*reversed(waiting[1:]), replace(holder, operation_id=uuid4())):
        grant, state = ask(state, each, NOW + SECOND)
        assert grant is Grant.WAIT
    for each in waiting:
        grant, state = ask(state, each, NOW + SECOND)
        assert grant is Grant.TAKEN
        state = replace(state, holder=None, held_until=None)


def test_a_push_that_no_longer_says_that_it_waits_holds_nobody() -> None:
    holder, gone, other = request(1), request(2, THEIRS), request(3, uuid4())
    _, state = ask(FREE, holder, NOW)
    _, state = ask(state, gone, NOW)
    _, state = ask(state, other, NOW + SECOND)
    assert ask(state, other, NOW + LEASE)[0] is Grant.TAKEN
    assert LEASE > WAIT


def test_a_busy_tag_makes_everybody_wait() -> None:
    assert ask(FREE, request(), NOW, is_busy=True)[0] is Grant.WAIT


def test_a_push_after_a_newer_one_of_another_project_does_not_move_the_tag() -> None:
    assert ask(moved(8), request(7), NOW)[0] is Grant.NEWER
    assert ask(moved(8), request(7, has_written=False), NOW)[0] is Grant.NEWER


def test_a_push_after_a_newer_one_that_waits_no_longer_waits() -> None:
    push = request(7)
    state = replace(ask(TagState(), request(8), NOW)[1], last=None)
    _, state = ask(state, push, NOW)
    grant, state = ask(replace(state, last=moved(8).last), push, NOW)
    assert (grant, state.waiting) == (Grant.NEWER, ())


@pytest.mark.parametrize(
    "state",
    [moved(6), moved(8, project_id=OURS), replace(moved(8), last=LastMove(THEIRS, 8, "digest 7", NOW))],
    ids=["older", "own", "same content"],
)
def test_any_other_push_may_move_the_tag(state: TagState) -> None:
    assert ask(state, request(7), NOW)[0] in {Grant.TAKEN, Grant.TAKEN_STALE}


@pytest.mark.parametrize(
    ("state", "grant"),
    [
        (moved(6, at=NOW - 2 * SECOND), Grant.TAKEN),
        (moved(6, at=NOW), Grant.TAKEN_STALE),
        (moved(6, at=NOW, project_id=OURS), Grant.TAKEN),
    ],
)
def test_a_move_of_another_project_since_the_attempt_began_makes_the_tag_stale(
    state: TagState, grant: Grant
) -> None:
    assert ask(state, request(7), NOW)[0] is grant


def test_a_push_shows_that_it_may_write_before_it_holds_another_project() -> None:
    unproven = request(7, has_written=False)
    assert ask(FREE, unproven, NOW)[0] is Grant.TAKEN
    assert ask(moved(6, project_id=OURS), unproven, NOW)[0] is Grant.TAKEN
    held = ask(FREE, request(1, THEIRS), NOW)[1]
    for state in (held, moved(6)):
        grant, after = ask(state, unproven, NOW)
        assert (grant, after) == (Grant.PROVE, state)
