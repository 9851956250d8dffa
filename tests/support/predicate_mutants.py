"""The store without one of its conditions on the project, one condition after the other.

A mutant is compiled from the syntax tree of a function, in which one condition is `true`. It takes the place
of the function's code, so that every module that has imported the function runs the mutant.
"""

from __future__ import annotations

import ast
import copy
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from sqlalchemy import TextClause, true

import app.store

STORE = Path(app.store.__file__).parent
TEXT_PREDICATE = re.compile(r"(?:\w+\.)?project_id\s*(?:=|IN)\s*(?::\w+|ANY\(:\w+\))", re.IGNORECASE)
# A name of the mutants alone.
TRUE = "_condition_of_a_mutant"


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition on the project: the function that has it, and its number within the module."""

    module: str
    function: str
    number: int
    source: str

    def __str__(self) -> str:
        return f"{self.module}.{self.function}-{self.number}"

    @contextmanager
    def removed(self) -> Iterator[None]:
        """Run the store without this condition."""
        module = importlib.import_module(self.module)
        function: FunctionType = getattr(module, self.function)
        original, mutant = function.__code__, self._compile(module)
        setattr(module, TRUE, true())
        function.__code__ = mutant
        try:
            yield
        finally:
            function.__code__ = original
            delattr(module, TRUE)

    def _compile(self, module: Any) -> CodeType:
        path = Path(module.__file__)
        tree = ast.parse(path.read_text())
        _Remover(self.number).visit(tree)
        (definition,) = (
            each for each in tree.body if isinstance(each, _FUNCTIONS) and each.name == self.function
        )
        alone = ast.Module([_future(tree), copy.deepcopy(definition)], [])
        namespace: dict[str, Any] = {**vars(module), TRUE: true()}
        exec(compile(ast.fix_missing_locations(alone), str(path), "exec"), namespace)
        code: CodeType = namespace[self.function].__code__
        return code


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _future(tree: ast.Module) -> ast.stmt:
    return next(
        each for each in tree.body if isinstance(each, ast.ImportFrom) and each.module == "__future__"
    )


class _Remover(ast.NodeTransformer):
    def __init__(self, number: int) -> None:
        self._number = number
        self._seen = 0

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if not _is_predicate(node):
            return node
        self._seen += 1
        return ast.copy_location(ast.Name(TRUE, ast.Load()), node) if self._seen == self._number else node


def _is_predicate(node: ast.AST) -> bool:
    """Whether it compares the project of a row with a given one; joins compare two columns."""
    if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq):
        return False
    sides = [_is_project(each) for each in (node.left, *node.comparators)]
    return sum(sides) == 1 and not any(
        isinstance(each, ast.Attribute) and _is_column(each) and not _is_project(each)
        for each in (node.left, *node.comparators)
    )


def _is_column(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "c"
    )


def _is_project(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and _is_column(node)
        and (node.attr == "project_id" or ast.unparse(node) == "projects.c.id")
    )


@dataclass(frozen=True, slots=True)
class TextPredicate:
    """A condition on the project in a statement that is a text."""

    module: str
    function: str
    number: int

    def __str__(self) -> str:
        return f"{self.module}.{self.function}-{self.number}"

    @contextmanager
    def removed(self) -> Iterator[None]:
        """Run the store without this condition."""
        module = importlib.import_module(self.module)
        original: TextClause = getattr(module, self.function)
        place = list(TEXT_PREDICATE.finditer(original.text))[self.number - 1]
        without = f"{original.text[: place.start()]}({place[0]} OR true){original.text[place.end() :]}"
        mutant = copy.copy(original)
        mutant.text = without
        setattr(module, self.function, mutant)
        try:
            yield
        finally:
            setattr(module, self.function, original)


def predicates() -> list[Predicate | TextPredicate]:
    """All conditions on a project in the store."""
    found: list[Predicate | TextPredicate] = []
    for path in sorted(STORE.rglob("*.py")):
        found += _predicates_of(path)
        found += _text_predicates_of(_name_of(path))
    return found


def _text_predicates_of(name: str) -> Iterator[TextPredicate]:
    for attribute, value in vars(importlib.import_module(name)).items():
        # A statement that another module has imported is counted where it belongs.
        if isinstance(value, TextClause) and attribute.startswith("_"):
            for number, _ in enumerate(TEXT_PREDICATE.finditer(value.text), 1):
                yield TextPredicate(name, attribute, number)


def _name_of(path: Path) -> str:
    parts = path.relative_to(STORE).with_suffix("").parts
    return ".".join(("app", "store", *(part for part in parts if part != "__init__")))


def _predicates_of(path: Path) -> Iterator[Predicate]:
    name = _name_of(path)
    number = 0
    for definition in ast.parse(path.read_text()).body:
        for node in _walk(definition):
            if _is_predicate(node):
                assert isinstance(definition, _FUNCTIONS), f"A condition of {name} is outside any function."
                number += 1
                yield Predicate(name, definition.name, number, ast.unparse(node))


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """In the order in which a transformer visits them."""
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)
