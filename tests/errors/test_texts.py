"""The texts of errors are sentences: they begin with a capital letter and end with a full stop."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import BrokerError, error_classes
from app.store.embedded import EmbeddedPostgresError

APP = Path(__file__).parents[2] / "app"
# Where the text stands among the arguments of each constructor.
POSITION = {cls.__name__: 0 for cls in (*error_classes(), EmbeddedPostgresError)} | {
    "FieldError": 1,
    "Finding": 2,
}
# References and digests are rejected with Docker's own messages, so that people find them in a search.
DOCKER_MESSAGES = {"oci/digest.py", "oci/reference.py"}
MODULES = sorted(path.relative_to(APP).as_posix() for path in APP.rglob("*.py"))


@pytest.mark.parametrize("error", list(error_classes()), ids=lambda error: error.code)
def test_the_title_of_an_error_is_a_sentence(error: type[BrokerError]) -> None:
    assert is_sentence(ast.Constant(error.title))


@pytest.mark.parametrize(
    "module",
    [name for name in MODULES if name not in DOCKER_MESSAGES],
)
def test_the_details_of_errors_are_sentences(module: str) -> None:
    wrong = [
        f"line {text.lineno}: {ast.unparse(text)}"
        for text in texts_of_errors(ast.parse((APP / module).read_text(encoding="utf-8")))
        if not is_sentence(text)
    ]
    assert wrong == []


def test_a_lower_case_letter_at_the_beginning_is_found() -> None:
    assert [is_sentence(text) for text in texts_of_errors(ast.parse("NotFound('no such list.')"))] == [False]


def test_a_missing_full_stop_is_found_in_a_text_that_has_a_name() -> None:
    code = "def f(x):\n    detail = f'The list {x}'\n    raise NotFound(detail)"

    assert [is_sentence(text) for text in texts_of_errors(ast.parse(code))] == [False]


def texts_of_errors(module: ast.Module) -> Iterator[ast.expr]:
    """The string literals that errors are constructed with, as arguments or by a local name."""
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(module):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                named.setdefault(name, []).append(value)
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in POSITION:
                for argument in node.args[POSITION[name] : POSITION[name] + 1]:
                    found = named.get(argument.id, ()) if isinstance(argument, ast.Name) else (argument,)
                    for each in found:
                        yield from literals(each)


def literals(text: ast.expr) -> Iterator[ast.expr]:
    match text:
        case ast.Constant(value=str()) | ast.JoinedStr():
            yield text
        case ast.IfExp(body=first, orelse=second):
            yield from literals(first)
            yield from literals(second)


def is_sentence(text: ast.expr) -> bool:
    """Whether the text is like a sentence: a value may begin it, a quoted sentence may end it."""
    parts = [part.value if isinstance(part, ast.Constant) else None for part in parts_of(text)]
    *before, last = parts
    begins = parts[0] is None or not str(parts[0])[:1].islower()
    if last is None:
        return begins and (not before or str(before[-1]).endswith((". ", ": ", ":\n")))
    return begins and str(last).endswith(".")


def parts_of(text: ast.expr) -> list[ast.expr]:
    return text.values if isinstance(text, ast.JoinedStr) else [text]
