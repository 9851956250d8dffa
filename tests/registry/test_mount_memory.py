"""What is remembered of mounts that a registry granted or refused."""

from __future__ import annotations

from app.registry.mounts import MountMemory, Standing
from tests.support.registry_clients import Clock


def test_what_is_known_of_mounts_fades_and_is_only_as_wide_as_what_was_said() -> None:
    clock = Clock()
    memory = MountMemory(60, clock)
    memory.note(Standing.REFUSES, "reg", "src", "dst", only_these=True)
    assert memory.of("reg", "src", "dst") is Standing.REFUSES
    assert memory.of("reg", "other", "dst") is Standing.MOUNTS
    memory.note(Standing.DECLINES, "reg", "a", "b")
    assert memory.of("reg", "other", "dst") is Standing.DECLINES
    assert memory.of("elsewhere", "a", "b") is Standing.MOUNTS
    clock.pass_by(61)
    assert memory.of("reg", "src", "dst") is Standing.MOUNTS
    memory.note(Standing.DECLINES, "reg", "a", "b")
    memory.note(Standing.MOUNTS, "reg", "c", "d")
    assert memory.of("reg", "a", "b") is Standing.MOUNTS
