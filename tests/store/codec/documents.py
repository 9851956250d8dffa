"""Documents that the version before typed results has stored; later versions read and write the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_STORED = json.loads((Path(__file__).parent / "stored_documents.json").read_text())


def stored(column: str, *kinds: str) -> list[Any]:
    """The texts of a column, those of some kinds or states only if any are named."""
    return [text for kind, text in _STORED[column] if not kinds or kind in kinds]
