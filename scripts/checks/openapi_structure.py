"""Fails when the OpenAPI document changes in more than its texts; --accept records the new structure.

`openapi/structure.txt` holds one line for each part of the document: a hash of the part without descriptions,
summaries, titles and examples, and the part's name. A change of texts leaves the file alone. The diff of any
other change shows which operations and schemas it touches.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OPENAPI = Path(__file__).parents[2] / "openapi"
DOCUMENT = OPENAPI / "openapi.json"
STRUCTURE = OPENAPI / "structure.txt"

TEXTS = frozenset({"description", "summary", "title", "example", "examples"})
# Under these, keys are names and not keywords of OpenAPI: a property may be called "title".
NAMED = frozenset(
    {
        "$defs",
        "callbacks",
        "content",
        "dependentSchemas",
        "encoding",
        "headers",
        "links",
        "patternProperties",
        "properties",
        "responses",
        "variables",
    }
)
# These hold values of the API, in which nothing is a text.
VALUES = frozenset({"const", "default", "enum", "mapping", "scopes"})


def without_texts(node: Any) -> Any:
    if isinstance(node, list):
        return [without_texts(item) for item in node]
    if not isinstance(node, dict):
        return node
    stripped = {}
    for key, value in node.items():
        if key in TEXTS:
            continue
        if key in VALUES:
            stripped[key] = value
        elif key in NAMED and isinstance(value, dict):
            stripped[key] = {name: without_texts(item) for name, item in value.items()}
        elif key == "required" and isinstance(value, list):
            # Its order follows the order of the properties, which means nothing.
            stripped[key] = sorted(value)
        else:
            stripped[key] = without_texts(value)
    return stripped


def parts(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The document in pieces that a person knows by name: operations, schemas, and the rest."""
    rest = dict(document)
    for section in ("paths", "webhooks"):
        for path, item in rest.pop(section, {}).items():
            for method, operation in item.items():
                yield f"{section} {path} {method}", operation
    for kind, components in rest.pop("components", {}).items():
        for name, component in components.items():
            yield f"components {kind} {name}", component
    yield from rest.items()


def structure(document: dict[str, Any]) -> dict[str, str]:
    return {name: _hash(without_texts(part)) for name, part in parts(document)}


def _hash(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def differences(accepted: dict[str, str], actual: dict[str, str]) -> Iterator[str]:
    for name in sorted(accepted.keys() | actual.keys()):
        if name not in actual:
            yield f"removed: {name}"
        elif name not in accepted:
            yield f"added: {name}"
        elif accepted[name] != actual[name]:
            yield f"changed: {name}"


def read(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: value for value, name in (line.split(" ", 1) for line in lines)}


def write(path: Path, parts: dict[str, str]) -> None:
    path.write_text("".join(f"{value} {name}\n" for name, value in sorted(parts.items())), encoding="utf-8")


def main(arguments: list[str], document: Path = DOCUMENT, recorded: Path = STRUCTURE) -> int:
    actual = structure(json.loads(document.read_text(encoding="utf-8")))
    if arguments == ["--accept"]:
        write(recorded, actual)
        return 0
    found = list(differences(read(recorded), actual))
    if not found:
        return 0
    print("The structure of the API changes, not only its texts:", *found, sep="\n  ", file=sys.stderr)
    print("If that is intended, run scripts/openapi --accept-structure.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
