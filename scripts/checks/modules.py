"""Fails when a directory of app/ holds too many modules, or two public classes of app/ share a name."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

APP = Path(__file__).parents[2] / "app"
# More modules than this in one directory and a newcomer no longer finds the right one by its name.
MOST_MODULES = 20
# Wire schemas are named for what clients read, so they share names with domain types on purpose.
WIRE_SCHEMAS = "api/schemas"

# Class names that may be defined twice, each with the reason.
SHARED_NAMES: Mapping[str, str] = {}


def modules(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts)


def crowded_directories(root: Path) -> Iterator[str]:
    count: dict[Path, int] = defaultdict(int)
    for path in modules(root):
        if path.name != "__init__.py":
            count[path.parent] += 1
    for directory, number in count.items():
        if number > MOST_MODULES:
            yield f"{directory.relative_to(root.parent)} holds {number} modules; {MOST_MODULES} are allowed."


def public_classes(root: Path) -> dict[str, list[str]]:
    """The modules that define each public class."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in modules(root):
        name = path.relative_to(root).as_posix()
        if name.startswith(f"{WIRE_SCHEMAS}/"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(f"{root.name}/{name}")
    return found


def shared_names(root: Path, exceptions: Mapping[str, str]) -> Iterator[str]:
    shared = {name: where for name, where in public_classes(root).items() if len(where) > 1}
    for name, where in sorted(shared.items()):
        if name not in exceptions:
            yield f"{name} is defined in {', '.join(where)}; rename all but one."
    for name in sorted(exceptions.keys() - shared.keys()):
        yield f"{name} is no longer defined twice; remove the exception from {Path(__file__).name}."


def findings(root: Path = APP, exceptions: Mapping[str, str] = SHARED_NAMES) -> list[str]:
    return [*crowded_directories(root), *shared_names(root, exceptions)]


def main() -> int:
    found = findings()
    print(*found, sep="\n", file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
