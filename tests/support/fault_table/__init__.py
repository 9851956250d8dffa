"""The table of faults: rows of the reference, and the cases that show each."""

from __future__ import annotations

from tests.support.fault_table import access, endings, overload, wording
from tests.support.fault_table.case import Case
from tests.support.fault_table.endings import ONE_WAY
from tests.support.fault_table.rows import ROWS

__all__ = ["CASES", "ONE_WAY", "ROWS"]

CASES: list[Case] = [*overload.CASES, *wording.CASES, *access.CASES, *endings.CASES]
