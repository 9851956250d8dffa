"""Fails when the registry client or its transport names a setting of the broker; their callers know those."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

APP = Path(__file__).parents[2] / "app"
PACKAGES = ("registry", "outbound", "concurrency")
SETTING = re.compile(r"\b(?:BROKER_[A-Z_]+|DATABASE_URL)\b")


def named_settings(root: Path) -> Iterator[str]:
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if setting := SETTING.search(line):
                yield f"{root.name}/{name}:{number} names {setting.group()}."


def main() -> int:
    found = list(named_settings(APP))
    print(*found, sep="\n", file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
