"""What is remembered of registries, for a while."""

from __future__ import annotations

from app.registry.habits import Habits
from tests.support.registry_clients import Clock


def test_the_least_that_was_learnt_of_a_bodys_size_counts() -> None:
    """Blobs side by side learn the same, and not in order."""
    habits = Habits(600, Clock())
    for size in (4096, 1024, 2048):
        habits.note_largest_body("r.example", "PUT", size)
    assert habits.largest_body("r.example", "PUT") == 1024


def test_sizes_are_those_of_one_registry_and_one_method() -> None:
    habits = Habits(600, Clock())
    habits.note_largest_body("r.example", "PATCH", 1024)
    assert habits.largest_body("r.example", "PUT") is None
    assert habits.largest_body("other.example", "PATCH") is None


def test_sizes_are_forgotten_after_a_while() -> None:
    clock = Clock()
    habits = Habits(600, clock)
    habits.note_largest_body("r.example", "PUT", 1024)
    clock.pass_by(599)
    assert habits.largest_body("r.example", "PUT") == 1024
    clock.pass_by(1)
    assert habits.largest_body("r.example", "PUT") is None
    habits.note_largest_body("r.example", "PUT", 4096)
    assert habits.largest_body("r.example", "PUT") == 4096
