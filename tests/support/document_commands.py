"""The commands in the documents that readers run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"<!-- test: ([a-z-]+) -->\n```(?:sh|yaml|python)\n(.*?)```", re.DOTALL)


def marked_commands(document: str) -> dict[str, str]:
    """Blocks of shell, YAML or Python of a document, by the name in the comment before each."""
    return dict(_BLOCK.findall((ROOT / document).read_text()))
