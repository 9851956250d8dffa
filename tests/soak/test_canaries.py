"""Registries fail and repeat credentials: no secret is in an answer, a log, the database or a file.

CANARY_OPERATIONS makes it longer.
"""

from __future__ import annotations

import base64
import os

import pytest

from scripts.canaries_lib.__main__ import run
from scripts.canaries_lib.search import Search
from scripts.canaries_lib.secrets import MARK
from tests.support.secret_forms import FORMS

OPERATIONS = int(os.environ.get("CANARY_OPERATIONS", "150"))
SECRET = f"{MARK}-00-AbCdEfGhIjKlMnOp"
# Forms of the bar; the others are for the broker to hide as well.
WANTED = [
    name
    for name in FORMS
    if name.startswith(("raw", "base64", "URL-encoded", "hexadecimal", "JSON", "escapes", "joined", "in an"))
    and name not in {"URL-encoded twice", "hexadecimal with colons"}
]


@pytest.mark.slow
async def test_no_secret_is_left_anywhere(seed: int) -> None:
    search = await run(OPERATIONS, seed)
    assert search.searched > 2**20
    assert not search.hits, search.examples


@pytest.mark.parametrize("form", WANTED)
def test_the_search_finds_each_form(form: str) -> None:
    search = Search({"password": SECRET}, MARK)
    search.look("place", f"before {FORMS[form](SECRET)} after".encode())
    assert search.hits


def test_the_search_finds_the_end_of_a_secret_without_its_beginning() -> None:
    search = Search({"password": SECRET}, MARK)
    search.look("place", SECRET[-10:].encode())
    search.look("place", base64.b64encode(SECRET[-10:].encode()))
    search.look("place", b"nothing of the kind")
    assert sum(search.hits.values()) == 2
