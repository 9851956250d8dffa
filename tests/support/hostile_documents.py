"""Documents that readers interpret differently, or that contradict themselves (threats T12 and T13)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.oci import media_types as mt

EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
OTHER = "sha256:" + "0123456789abcdef" * 4

Document = dict[str, Any]


def image(media_type: str = mt.OCI_MANIFEST, **changes: Any) -> Document:
    """An honest image manifest with some members changed."""
    config_type = mt.DOCKER_CONFIG if media_type == mt.DOCKER_MANIFEST else mt.OCI_CONFIG
    layer_type = "application/vnd.oci.image.layer.v1.tar+gzip"
    return {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "digest": EMPTY, "size": 2},
        "layers": [{"mediaType": layer_type, "digest": OTHER, "size": 5}],
        **changes,
    }


def index(media_type: str = mt.OCI_INDEX, **changes: Any) -> Document:
    """An honest index with some members changed."""
    platform = {"architecture": "amd64", "os": "linux"}
    child = {"mediaType": mt.OCI_MANIFEST, "digest": OTHER, "size": 5, "platform": platform}
    return {"schemaVersion": 2, "mediaType": media_type, "manifests": [child], **changes}


def without(document: Document, *keys: str) -> Document:
    return {key: value for key, value in document.items() if key not in keys}


def raw(document: object) -> bytes:
    return json.dumps(document).encode()


def corpus() -> Mapping[str, tuple[str | None, bytes]]:
    """Name, Content-Type and body of each; a careful reader refuses them all."""
    return (
        dict(_hybrids())
        | dict(_contradictions())
        | dict(_folded())
        | dict(_doubled())
        | dict(_malformed())
        | dict(_misshapen())
    )


def _hybrids() -> Iterator[tuple[str, tuple[str | None, bytes]]]:
    children, layers, config = index()["manifests"], image()["layers"], image()["config"]
    for media_type in (mt.DOCKER_MANIFEST, mt.OCI_MANIFEST):
        values: list[Any] = [children, [], None]
        for value in values:
            document = image(media_type, manifests=value)
            yield (
                f"image {media_type} with manifests {value is None or len(value)}",
                (media_type, raw(document)),
            )
        yield f"image {media_type} with fsLayers", (media_type, raw(image(media_type, fsLayers=[])))
    for media_type in (mt.DOCKER_LIST, mt.OCI_INDEX):
        for key, value in {"layers": layers, "config": config, "fsLayers": []}.items():
            yield f"index {media_type} with {key}", (media_type, raw(index(media_type, **{key: value})))
        yield f"index {media_type} with empty layers", (media_type, raw(index(media_type, layers=[])))
        yield f"index {media_type} with null config", (media_type, raw(index(media_type, config=None)))
    both = image() | index()
    for content_type in (*mt.MANIFEST_TYPES, None, mt.OCTET_STREAM):
        yield (
            f"both kinds without a mediaType as {content_type}",
            (content_type, raw(without(both, "mediaType"))),
        )


def _contradictions() -> Iterator[tuple[str, tuple[str | None, bytes]]]:
    for served in mt.MANIFEST_TYPES:
        for stated in mt.MANIFEST_TYPES:
            document = index(stated) if stated in mt.INDEX_TYPES else image(stated)
            if served != stated:
                yield f"{stated} served as {served}", (served, raw(document))
    yield "Docker image without a mediaType", (mt.DOCKER_MANIFEST, raw(without(image(), "mediaType")))
    yield "Docker list without a mediaType", (mt.DOCKER_LIST, raw(without(index(), "mediaType")))
    yield "image whose mediaType has other letters", (mt.OCI_MANIFEST, raw(image(mt.OCI_MANIFEST.upper())))
    yield "image whose mediaType has a parameter", (mt.OCI_MANIFEST, raw(image(f"{mt.OCI_MANIFEST}; a=b")))
    yield "image whose mediaType has a space", (mt.OCI_MANIFEST, raw(image(f"{mt.OCI_MANIFEST} ")))


def _folded() -> Iterator[tuple[str, tuple[str | None, bytes]]]:
    kinds = {mt.OCI_MANIFEST: image(), mt.OCI_INDEX: index()}
    for media_type, document in kinds.items():
        for key in (
            "Manifests",
            "LAYERS",
            "Config",
            "mediatype",
            "SchemaVersion",
            "manife\u017ft\u017f",
            "fslayers",
        ):
            yield f"{media_type} with {key!a}", (media_type, raw({**document, key: None}))
    child, layer = index()["manifests"][0], image()["layers"][0]
    for key in (
        "Digest",
        "dige\u017ft",
        "SIZE",
        "\u017fize",
        "MediaType",
        "Platform",
        "URLs",
        "artifacttype",
    ):
        yield f"child with {key!a}", (mt.OCI_INDEX, raw(index(manifests=[{**child, key: None}])))
        yield f"layer with {key!a}", (mt.OCI_MANIFEST, raw(image(layers=[{**layer, key: None}])))
    platform = {"os": "linux", "architecture": "amd64"}
    for key in ("OS", "Architecture", "o\u017f", "os.Version", "VARIANT"):
        child = {**child, "platform": {**platform, key: "x"}}
        yield f"platform with {key!a}", (mt.OCI_INDEX, raw(index(manifests=[child])))


def _doubled() -> Iterator[tuple[str, tuple[str | None, bytes]]]:
    for media_type, document in {mt.OCI_MANIFEST: image(), mt.OCI_INDEX: index()}.items():
        body = raw(document)
        for key, value in document.items():
            again = json.dumps({key: value}).encode()[1:-1]
            yield f"{media_type} with {key} twice", (media_type, body[:-1] + b"," + again + b"}")
        yield (
            f"{media_type} with a digest twice",
            (media_type, body.replace(b'"digest"', b'"digest":"","digest"')),
        )
        hidden = b'"\\u0073ize":1,"size"'
        yield f"{media_type} with a size twice, once escaped", (media_type, body.replace(b'"size"', hidden))
        yield f"{media_type} with unknown keys twice", (media_type, body[:-1] + b',"x":1,"x":1}')


def _malformed() -> Iterator[tuple[str, tuple[str | None, bytes]]]:
    layer = image()["layers"][0]
    wrong: dict[str, list[Any]] = {
        "size": [-1, 1.0, 1.5, True, "5", None, 2**53, 10**300, [], {}],
        "digest": ["", "sha256:", OTHER.upper(), f"{OTHER}\n", "md5:abc", "sha256:../../x", None, 5, [OTHER]],
        "mediaType": ["", None, 5, "a b", "x" * 256, "text/html\n", "é/x"],
        "annotations": [[], "x", {"a": 1}],
        "urls": ["x", {}, [5]],
        "platform": [[], "linux/amd64", {"os": 5}],
    }
    for key, values in wrong.items():
        for value in values:
            yield (
                f"layer with {key} {value!r}"[:60],
                (mt.OCI_MANIFEST, raw(image(layers=[{**layer, key: value}]))),
            )


def _misshapen() -> Iterator[tuple[str, tuple[str | None, bytes]]]:
    lists: list[Any] = [{}, "x", 5, [None], [[]], ["x"], [5], True]
    wrong: dict[str, list[Any]] = {
        "config": [None, [], "", 5, {}],
        "layers": lists,
        "schemaVersion": [1, 3, "2", 2.0, None, True, [2], 10**30],
        "annotations": [[], "x", {"a": 1}, {"a": None}, {"a": {}}],
        "subject": [{}, [], "x", {"digest": OTHER}],
        "artifactType": [5, []],
    }
    for key, values in wrong.items():
        for value in values:
            yield f"{key} {value!r}"[:60], (mt.OCI_MANIFEST, raw(image(**{key: value})))
    for value in lists:
        yield f"manifests {value!r}", (mt.OCI_INDEX, raw(index(manifests=value)))
    for body in (b"", b"null", b"[]", b'"x"', b"5", b"{}", b"<html></html>", b"\xef\xbb\xbf" + raw(image())):
        yield f"body {body[:10]!r}", (mt.OCI_MANIFEST, body)
    yield "data after the end", (mt.OCI_MANIFEST, raw(image()) + b"{}")
    yield "config missing", (mt.OCI_MANIFEST, raw(without(image(), "config")))
    yield "manifests missing", (mt.OCI_INDEX, raw(without(index(), "manifests")))
    yield "513 layers", (mt.OCI_MANIFEST, raw(image(layers=image()["layers"] * 513)))
    yield "1025 manifests", (mt.OCI_INDEX, raw(index(manifests=index()["manifests"] * 1025)))
