"""Prints the table of faults at the end of a run that went through it, whichever process did."""

from __future__ import annotations

import pytest

from tests.support.fault_table.rows import ROWS

__all__ = ["FAULT"]

FAULT = "fault"

Line = tuple[str, str, str]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(report, "user_properties", ()):
                if name == FAULT and report.when == "call":
                    row, does, ends = value
                    found.setdefault(row, []).append((does, ends, outcome == "passed"))
    if found:
        _write(terminalreporter, found)


def _write(out: pytest.TerminalReporter, found: dict[str, list[tuple[str, str, bool]]]) -> None:
    out.section("faults of real registries")
    for row, words in ROWS.items():
        endings = ["succeeds" if ends == "succeeds" else "fails" for _, ends, _ in found.get(row, [])]
        count = {ending: endings.count(ending) for ending in ("succeeds", "fails")}
        out.line(f"{row}: {words} (succeeds: {count['succeeds']}, fails: {count['fails']})")
        for does, ends, is_kept in sorted(found.get(row, [])):
            out.line(f"    {'ok  ' if is_kept else 'FAIL'} {does} -> {ends}")
        if row not in found:
            out.line("    not run")
