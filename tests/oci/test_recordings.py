"""Recordings of the real docker command: its output and its pushes, rebuilt byte for byte."""

from __future__ import annotations

import json

import pytest

from app.oci import inspect
from app.oci.digest import parse_digest
from app.oci.index import build_index, sort_key
from app.oci.manifest import Manifest
from app.oci.reference import parse_reference
from tests.support.recordings import KEPT, Entry, Recording, golden_file, read

_GOLDEN = golden_file()
_ALL = {f"kept-{name}": recording for name, recording in read(KEPT).items()}
if _GOLDEN is not None:
    _ALL |= read(_GOLDEN)

every_recording = pytest.mark.parametrize("recording", _ALL.values(), ids=_ALL.keys())


def _in_docker_order(entries: dict[str, Entry]) -> list[Entry]:
    return [entries[reference] for reference in sorted(entries, key=sort_key)]


def _build(recording: Recording) -> Manifest:
    return build_index([entry.descriptor for entry in _in_docker_order(recording.entries())])


@pytest.mark.skipif(_GOLDEN is None, reason="the recordings are not on this machine (BROKER_GOLDEN)")
def test_all_sixteen_recordings_are_checked() -> None:
    assert len(_ALL) == 16 + len(read(KEPT))


@every_recording
def test_the_pushed_body_is_rebuilt_to_the_byte(recording: Recording) -> None:
    index = _build(recording)
    assert index.raw == recording.pushed
    assert (str(index.digest), index.media_type) == (recording.digest, recording.content_type)


@every_recording
def test_plain_inspect_of_a_list_prints_the_pushed_body(recording: Recording) -> None:
    printed = list(recording.outputs(verbose=False, arguments=1))
    assert printed
    assert {text for _words, text in printed} == {_build(recording).raw + b"\n"}


@every_recording
def test_plain_inspect_of_an_entry_is_rebuilt_to_the_byte(recording: Recording) -> None:
    entries = recording.entries()
    printed = list(recording.outputs(verbose=False, arguments=2))
    assert printed
    for (_list, source), text in printed:
        entry = entries[str(parse_reference(source))]
        assert inspect.plain_entry(entry.image.manifest.raw) == text


@every_recording
def test_verbose_inspect_of_a_list_is_rebuilt_to_the_byte(recording: Recording) -> None:
    ordered = _in_docker_order(recording.entries())
    images = [(entry.reference, entry.descriptor, entry.image.manifest) for entry in ordered]
    printed = list(recording.outputs(verbose=True, arguments=1))
    assert printed
    for _words, text in printed:
        assert inspect.verbose_list(images) == text
        assert [inspect.verbose_document(*image) for image in images] == json.loads(text)


@every_recording
def test_verbose_inspect_of_an_entry_is_rebuilt_to_the_byte(recording: Recording) -> None:
    entries = recording.entries()
    printed = list(recording.outputs(verbose=True, arguments=2))
    assert printed
    for (_list, source), text in printed:
        entry = entries[str(parse_reference(source))]
        assert inspect.verbose_image(entry.reference, entry.descriptor, entry.image.manifest) == text


@every_recording
def test_the_recorded_digests_match_the_recorded_bytes(recording: Recording) -> None:
    assert parse_digest(recording.digest).matches(recording.pushed)
    for entry in recording.entries().values():
        assert entry.image.manifest.digest.matches(entry.image.manifest.raw)
