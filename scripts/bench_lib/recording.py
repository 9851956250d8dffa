"""The requests of one of the broker's rounds, understood well enough to be made again in the right order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import parse_qs, urlsplit

from scripts.bench_lib.scenario import Failed, Scenario, TaggedManifest


class Stage(IntEnum):
    """What must have been answered before the next can be asked: two of create, then five of push."""

    MANIFEST = 0
    CONFIG = 1
    LOOK = 2
    BLOB = 3
    CHILD = 4
    TAG = 5
    VERIFY = 6


@dataclass(frozen=True, slots=True)
class Request:
    """One request to make: its place in the order, and the image that it is about, if it is about one."""

    stage: Stage
    image: str | None
    method: str
    path: str
    media_type: str | None = None
    body: bytes | None = None


class Recording:
    """What the broker asked for while it made `target` from the sources, and put there what is `held` now."""

    def __init__(
        self, scenario: Scenario, target: str, held: TaggedManifest, requests: Iterable[str]
    ) -> None:
        self._target = target
        self._held = held
        self._digests = {source.repository: source.image.digest for source in scenario.sources}
        self._images = {source.image.digest: source.image for source in scenario.sources}
        # The broker pings the registry now and then; the floor never does.
        self._requests = [self._read(text) for text in requests if text != "GET /v2/"]

    def aimed_at(self, target: str) -> list[Request]:
        """The same requests for another repository."""
        before, after = f"/v2/{self._target}/", f"/v2/{target}/"
        return [
            Request(
                each.stage,
                each.image,
                each.method,
                each.path.replace(before, after, 1),
                each.media_type,
                each.body,
            )
            for each in self._requests
        ]

    def _read(self, text: str) -> Request:
        method, _, path = text.partition(" ")
        named = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)/?", urlsplit(path).path)
        if named is None:
            raise _unknown(method, path)
        repository, kind, last = named.groups()
        if repository == self._target:
            return self._at_target(method, path, kind, last)
        if method != "GET":
            raise _unknown(method, path)
        stage = Stage.MANIFEST if kind == "manifests" else Stage.CONFIG
        return Request(stage, self._digests[repository], method, path)

    def _at_target(self, method: str, path: str, kind: str, last: str) -> Request:
        image, held = self._images.get(last), self._held
        match method, kind:
            case "HEAD", "manifests":
                return Request(Stage.LOOK, image.digest if image else None, method, path)
            case "POST", "blobs":
                (source,) = parse_qs(urlsplit(path).query)["from"]
                return Request(Stage.BLOB, self._digests[source], method, path)
            case "PUT", "manifests" if image is not None:
                return Request(Stage.CHILD, image.digest, method, path, image.media_type, image.raw)
            case "PUT", "manifests":
                return Request(Stage.TAG, None, method, path, held.media_type, held.raw)
            case "GET", "manifests":
                return Request(Stage.VERIFY, None, method, path)
            case _:
                raise _unknown(method, path)


def _unknown(method: str, path: str) -> Failed:
    return Failed(f"the broker made a request that the floor does not know how to make: {method} {path}")
