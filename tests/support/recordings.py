"""The recordings of the real `docker manifest`: where they lie, and what their commands meant."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.oci.config import parse_config
from app.oci.descriptor import Descriptor
from app.oci.manifest import ImageManifest, parse_manifest
from app.oci.platform import Platform
from app.oci.reference import parse_reference

ROOT = Path(__file__).parents[2]
FILE_NAME = "docker-manifest-recordings.json"
# A few recordings are kept with the tests, so that every machine proves the rules.
KEPT = ROOT / "tests" / "oci" / "data" / FILE_NAME


def golden_file() -> Path | None:
    """The whole set, if this machine has it: `BROKER_GOLDEN` names its folder, else ../shared/golden."""
    folder = Path(os.environ.get("BROKER_GOLDEN", ROOT.parent / "shared" / "golden"))
    path = folder / FILE_NAME
    return path if path.is_file() else None


@dataclass(frozen=True, slots=True)
class Entry:
    """An image as Docker kept it for the list, after `create` and each `annotate` that succeeded."""

    reference: str
    image: ImageManifest
    platform: Platform

    @property
    def descriptor(self) -> Descriptor:
        return replace(self.image.manifest.descriptor, platform=self.platform)


@dataclass(frozen=True, slots=True)
class Recording:
    case: Mapping[str, Any]

    @property
    def pushed(self) -> bytes:
        return base64.b64decode(self.case["pushed"]["body"])

    @property
    def content_type(self) -> str:
        return str(self.case["pushed"]["contentType"])

    @property
    def digest(self) -> str:
        return str(self.case["pushed"]["digest"])

    def entries(self) -> dict[str, Entry]:
        entries = dict(map(_create, self.case["args"], map(self.case["sources"].get, self.case["args"])))
        for step in self.case["steps"]:
            if step["cmd"][0] == "annotate" and step["rc"] == 0:
                *flags, _list, source = step["cmd"][1:]
                reference = str(parse_reference(source))
                entries[reference] = _annotate(entries[reference], flags)
        return entries

    def outputs(self, *, verbose: bool, arguments: int) -> Iterator[tuple[Sequence[str], bytes]]:
        """The arguments and the standard output of each `inspect` of this shape that succeeded."""
        for step in self.case["steps"]:
            command, *rest = step["cmd"]
            words = [word for word in rest if not word.startswith("-")]
            shape = (command, "-v" in rest, len(words), step["rc"])
            if shape == ("inspect", verbose, arguments, 0):
                yield words, base64.b64decode(step["stdout"])


def read(path: Path) -> dict[str, Recording]:
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return {case["list"].rpartition("/")[2]: Recording(case) for case in cases}


def _create(argument: str, source: Mapping[str, Any]) -> tuple[str, Entry]:
    image = parse_manifest(base64.b64decode(source["manifest"]), source["contentType"])
    assert isinstance(image, ImageManifest)
    config = base64.b64decode(source["config"])
    assert image.config.digest.matches(config)
    reference = str(parse_reference(argument))
    return reference, Entry(reference, image, parse_config(config).platform)


def _annotate(entry: Entry, flags: Sequence[str]) -> Entry:
    """Docker's rule: what is given overwrites, but os features are added to what is there, each once."""
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    was = entry.platform
    features = given["--os-features"].split(",") if "--os-features" in given else []
    platform = Platform(
        os=given.get("--os") or was.os,
        architecture=given.get("--arch") or was.architecture,
        variant=given.get("--variant") or was.variant,
        os_version=given.get("--os-version") or was.os_version,
        os_features=(*was.os_features, *_added(was.os_features, features)),
    )
    return replace(entry, platform=platform)


def _added(present: Sequence[str], features: Sequence[str]) -> Iterator[str]:
    seen = set(present)
    for feature in features:
        if feature not in seen:
            seen.add(feature)
            yield feature
