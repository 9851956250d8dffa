"""Each check of scripts/check that is our own fails on a bad example."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.checks import assertions, modules, openapi_structure, settings
from scripts.checks.openapi_structure import differences, structure


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root / "app"


def test_a_directory_with_twenty_modules_passes_and_one_with_twenty_one_fails(tmp_path: Path) -> None:
    app = write(tmp_path, {f"store/m{number}.py": "" for number in range(20)} | {"store/__init__.py": ""})
    assert modules.findings(app, {}) == []
    write(tmp_path, {"store/m20.py": ""})
    assert modules.findings(app, {}) == ["app/store holds 21 modules; 20 are allowed."]


def test_a_public_class_that_two_modules_define_fails(tmp_path: Path) -> None:
    files = {
        "lists/a.py": "class Room: ...\nclass _Own: ...\n",
        "store/b.py": "class Room: ...\nclass _Own: ...\n",
    }
    app = write(tmp_path, files)
    assert modules.findings(app, {}) == [
        "Room is defined in app/lists/a.py, app/store/b.py; rename all but one."
    ]
    assert modules.findings(app, {"Room": "for a reason"}) == []


def test_a_wire_schema_may_share_its_name_with_a_domain_type(tmp_path: Path) -> None:
    app = write(
        tmp_path, {"api/schemas/lists.py": "class Draft: ...\n", "lists/draft.py": "class Draft: ...\n"}
    )
    assert modules.findings(app, {}) == []


def test_an_exception_that_nothing_needs_fails(tmp_path: Path) -> None:
    app = write(tmp_path, {"lists/a.py": "class Room: ...\n"})
    assert len(modules.findings(app, {"Room": "for a reason"})) == 1


@pytest.mark.parametrize("package", ["registry/auth", "outbound"])
def test_a_setting_that_the_registry_client_or_its_transport_names_fails(
    tmp_path: Path, package: str
) -> None:
    app = write(
        tmp_path, {f"{package}/a.py": '\nREMEDY = "Set BROKER_REGISTRIES."\n', "api/b.py": '"BROKER_PORT"'}
    )
    assert list(settings.named_settings(app)) == [f"app/{package}/a.py:2 names BROKER_REGISTRIES."]


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(openapi_structure.DOCUMENT.read_text(encoding="utf-8"))
    return document


def found(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return list(differences(structure(before), structure(after)))


def test_a_change_of_texts_is_no_change_of_structure(openapi: dict[str, Any]) -> None:
    changed = copy.deepcopy(openapi)
    changed["info"]["description"] = "new"
    post = changed["paths"]["/v1/lists"]["post"]
    post |= {"summary": "new", "description": "new"}
    post["responses"]["422"]["content"]["application/problem+json"]["examples"] = {"new": {"value": 1}}
    changed["components"]["schemas"]["Problem"]["title"] = "new"
    changed["components"]["schemas"]["Problem"]["properties"]["title"]["description"] = "new"
    assert changed != openapi
    assert found(openapi, changed) == []


def test_a_change_of_an_operation_or_a_schema_is_found_by_its_name(openapi: dict[str, Any]) -> None:
    changed = copy.deepcopy(openapi)
    del changed["paths"]["/v1/lists"]["post"]["responses"]["422"]
    del changed["paths"]["/version"]["get"]
    changed["components"]["schemas"]["Problem"]["properties"]["title"]["maxLength"] = 1
    changed["components"]["schemas"]["Novelty"] = {"type": "object"}
    assert found(openapi, changed) == [
        "added: components schemas Novelty",
        "changed: components schemas Problem",
        "changed: paths /v1/lists post",
        "removed: paths /version get",
    ]


def test_a_property_that_is_called_like_a_text_belongs_to_the_structure(openapi: dict[str, Any]) -> None:
    changed = copy.deepcopy(openapi)
    for name in ("title", "description", "examples"):
        changed["components"]["schemas"]["Problem"]["properties"] |= {name: {"type": "integer"}}
        assert found(openapi, changed) == ["changed: components schemas Problem"]


def test_a_difference_of_structure_makes_the_check_fail_until_it_is_accepted(
    openapi: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = copy.deepcopy(openapi)
    del changed["paths"]["/version"]["get"]
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(changed), encoding="utf-8")
    recorded = tmp_path / "structure.txt"
    recorded.write_text(openapi_structure.STRUCTURE.read_text(encoding="utf-8"), encoding="utf-8")
    assert openapi_structure.main([], document, recorded) == 1
    assert "removed: paths /version get" in capsys.readouterr().err
    assert openapi_structure.main(["--accept"], document, recorded) == 0
    assert openapi_structure.main([], document, recorded) == 0


def test_a_test_without_assertion_fails_unless_it_says_why(tmp_path: Path) -> None:
    bad = "async def test_bad() -> None:\n    await work()\n"
    good = (
        "def test_direct() -> None:\n    assert work()\n"
        "def test_raising() -> None:\n    with pytest.raises(ValueError):\n        work()\n"
        "def test_helper() -> None:\n    check_problem(work())\n"
        "def test_remark() -> None:\n    # Passes if nothing raises.\n    work()\n"
        "def helper() -> None:\n    work()\n"
    )
    root = tmp_path / "tests"
    (root / "api").mkdir(parents=True)
    (root / "api" / "test_a.py").write_text(good + bad, encoding="utf-8")
    assert list(assertions.tests_without_assertion(root)) == [
        "tests/api/test_a.py:13 test_bad asserts nothing."
    ]
