"""The table of faults: rows of the reference, and the cases that show each."""

from __future__ import annotations

from tests.support.fault_table import access, overload, wording
from tests.support.fault_table.case import Case
from tests.support.fault_table.rows import ROWS

__all__ = ["CASES", "ROWS"]

CASES: list[Case] = [*overload.CASES, *wording.CASES, *access.CASES]
