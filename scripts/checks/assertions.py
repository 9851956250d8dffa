"""Fails when a test neither asserts anything nor says that it passes if nothing raises."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[2] / "tests"
RAISING = frozenset({"raises", "warns", "fail"})
# Helpers that assert have such names.
ASSERTING = ("assert_", "check", "expect_", "validate_response")
# What a test says whose only point is that nothing raises.
REMARK = "# Passes if nothing raises."

Test = ast.FunctionDef | ast.AsyncFunctionDef


def asserts(test: Test) -> bool:
    return any(isinstance(node, ast.Assert) or _names_assertion(node) for node in ast.walk(test))


def _names_assertion(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr=name):
            return name in RAISING or name.startswith(ASSERTING)
        case ast.Name(id=name):
            return name.startswith(ASSERTING)
    return False


def tests_without_assertion(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not (isinstance(node, Test) and node.name.startswith("test_")):
                continue
            body = lines[node.lineno - 1 : node.end_lineno]
            if not asserts(node) and not any(REMARK in line for line in body):
                yield f"{path.relative_to(root.parent)}:{node.lineno} {node.name} asserts nothing."


def main() -> int:
    found = list(tests_without_assertion(TESTS))
    if found:
        print(*found, f'Assert the outcome, or write "{REMARK}".', sep="\n", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
