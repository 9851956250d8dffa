"""Entries as rows: what an index says of them is kept, and older rows say nothing of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from app.lists.draft import Entry
from app.lists.origins.listing import IndexFacts, Kept
from app.oci.digest import digest_of
from app.oci.manifest import Manifest
from app.oci.media_types import OCI_INDEX
from app.oci.platform import Platform
from app.store.codec.list_rows import encode_entry, read_entry
from tests.lists.builders import entry, from_index

WINDOWS = Platform("windows", "amd64", "", "10.0.1", ("win32k",))


def stored(written: Entry, **changes: Any) -> Entry:
    row = {**encode_entry(uuid4(), uuid4(), written), **changes}
    return read_entry(cast("Any", SimpleNamespace(**row)))


def test_an_entry_is_read_as_it_was_written() -> None:
    nested = Manifest.of(OCI_INDEX, b"nested").descriptor
    (listed,) = from_index(
        entry("r.test/a:1", WINDOWS, annotations={"k": "v"}),
        selected=[WINDOWS],
        config=Platform(),
        nested=(nested,),
        kept=Kept(("https://x.example",), "e30=", ("sse4",)),
        facts=IndexFacts({"a": "1"}, "application/x"),
        lost=("x-listed",),
        index_lost=("x-own",),
    )
    for each in (listed, entry("r.test/a:1", WINDOWS)):
        assert stored(each) == each


def test_a_platform_that_nobody_names_is_kept_apart_from_an_empty_one() -> None:
    (listed,) = from_index(entry("r.test/a:1"), config=Platform())
    assert listed.listing is not None
    assert stored(listed).config_platform == Platform()
    assert listed.listing.index == digest_of(b"index")


def test_a_row_of_an_earlier_version_keeps_nothing_of_its_index() -> None:
    (listed,) = from_index(entry("r.test/a:1"), facts=IndexFacts({"a": "1"}), lost=("urls",))
    document = encode_entry(uuid4(), uuid4(), listed)["origin"]
    earlier = {key: value for key, value in document["listing"].items() if key not in {"kept", "facts"}}
    read = stored(listed, origin={**document, "listing": earlier}).listing
    assert read is not None
    assert (read.kept, read.facts, read.lost) == (Kept(), IndexFacts(), ("urls",))


def test_an_older_row_says_nothing_of_its_index() -> None:
    (listed,) = from_index(entry("r.test/a:1"))
    origin = {"reference": "registry.test/source:1", "platforms": [], "narrowed": True}
    read = stored(listed, origin=origin)
    assert read.listing is None
    assert read.config_platform == read.resolved_platform
    assert read.origin is not None
    assert read.origin.narrowed
