"""Generated data sets of the distribution-spec's conformance suite, and Docker's own types."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.images import (
    OCI_FOREIGN_LAYER,
    OCI_MANIFEST,
    Content,
    Image,
    ImageIndex,
    assemble,
    digest_of,
    layer_descriptor,
    make_buildx_index,
    make_image,
    make_image_for,
    make_index,
)

ARTIFACT_TYPE = "application/vnd.example.oci.conformance.v1"
OTHER_ARTIFACT_TYPE = "application/vnd.example.oci.conformance.v2"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
ANNOTATIONS = {"org.opencontainers.conformance": "hello conformance test"}
PLATFORMS = ("linux/amd64", "linux/arm64")


@dataclass(frozen=True, slots=True)
class DataSet:
    """What is pushed, in order, each under its tag or by digest alone."""

    name: str
    contents: tuple[tuple[str | None, Content], ...]

    @property
    def main(self) -> tuple[str | None, Content]:
        """The last of them, which is what the set is about."""
        return self.contents[-1]


def artifact(
    seed: str,
    *,
    artifact_type: str = ARTIFACT_TYPE,
    layer: bytes | None = None,
    layer_type: str = ARTIFACT_TYPE,
    subject: Content | Mapping[str, Any] | None = None,
) -> Image:
    """An OCI manifest that is no image: the config is the empty one, the type says what it is."""
    data = seed.encode() * 64 if layer is None else layer
    about = {"subject": subject_of(subject), "annotations": {**ANNOTATIONS, "org.example": seed}}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": {"mediaType": OCI_EMPTY, "digest": digest_of(b"{}"), "size": 2},
        "layers": [{"mediaType": layer_type, "digest": digest_of(data), "size": len(data)}],
        **(about if subject is not None else {}),
    }
    return Image(OCI_MANIFEST, json.dumps(document).encode(), b"{}", (data,))


def subject_of(subject: Content | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(subject, Image | ImageIndex):
        return {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.raw)}
    return subject or {}


def one(name: str, content: Content) -> DataSet:
    return DataSet(name, ((name, content),))


def image() -> DataSet:
    return one("image", make_image(media="oci", seed="image"))


def image_uncompressed() -> DataSet:
    plain = make_image(media="oci", seed="plain", layers=0)
    layers = [b"uncompressed one" * 64, b"uncompressed two" * 64]
    tar = "application/vnd.oci.image.layer.v1.tar"
    listed = [{**layer_descriptor(each, "oci"), "mediaType": tar} for each in layers]
    made = assemble("oci", config=plain.config, layers=layers, listed=listed, platform={})
    return one("image-uncompressed", made)


def large_manifest() -> DataSet:
    """Just below the 4 MB that a registry has to take."""
    annotations = {f"large-annotation-{i}": "A" * 10_000 for i in range(390)}
    return one("large-manifest", make_image(media="oci", seed="large", extra={"annotations": annotations}))


def index() -> DataSet:
    return one("index", make_index([make_image_for(each, seed="index") for each in PLATFORMS]))


def nested_index() -> DataSet:
    inner = [make_index([make_image_for(each, seed=seed) for each in PLATFORMS]) for seed in ("n1", "n2")]
    return one("nested-index", make_index(inner))


def empty_index() -> DataSet:
    return one("empty-index", make_index([]))


def artifact_manifest() -> DataSet:
    return one("artifact", artifact("artifact"))


def artifact_index() -> DataSet:
    children = [artifact("artifact one"), artifact("artifact two")]
    return one("artifact-index", make_index(children, extra={"artifactType": ARTIFACT_TYPE}))


def artifact_without_layers() -> DataSet:
    return one("artifact-without-layers", artifact("", layer=b"{}", layer_type=OCI_EMPTY))


def artifacts_with_subject() -> DataSet:
    subject = make_image(media="oci", seed="subject")
    plain = make_image(media="oci", seed="about", extra={"subject": subject_of(subject)})
    first = artifact("first", subject=subject)
    second = artifact("second", artifact_type=OTHER_ARTIFACT_TYPE, subject=subject)
    contents = (("subject", subject), (None, plain), ("artifact-1", first), ("artifact-2", second))
    return DataSet("artifacts-with-subject", contents)


def index_with_subject() -> DataSet:
    subject = make_index([make_image_for(each, seed="index subject") for each in PLATFORMS])
    extra = {"artifactType": ARTIFACT_TYPE, "subject": subject_of(subject), "annotations": ANNOTATIONS}
    about = make_index([artifact("about index")], extra=extra)
    return DataSet("index-with-subject", (("index", subject), ("tagged-artifact", about)))


def missing_subject() -> DataSet:
    gone = {"mediaType": OCI_MANIFEST, "size": 123, "digest": digest_of(b"missing content")}
    return one("missing-subject", artifact("orphan", subject=gone))


def data_field() -> DataSet:
    """Descriptors may carry what they describe."""
    plain = make_image(media="oci", seed="data")
    listed = [
        {**layer_descriptor(each, "oci"), "data": base64.b64encode(each).decode()} for each in plain.layers
    ]
    made = assemble("oci", config=plain.config, layers=plain.layers, listed=listed, platform={})
    return one("data-field", made)


def non_distributable_layers() -> DataSet:
    made = make_image(media="oci", seed="foreign", layers=1, foreign_layers=2)
    assert OCI_FOREIGN_LAYER.encode() in made.raw
    return one("non-distributable-layers", made)


def custom_fields() -> DataSet:
    children = [
        make_image(media="oci", seed="custom", architecture=a, extra=CUSTOM) for a in ("amd64", "arm64")
    ]
    return one("custom-fields", make_index(children, extra=CUSTOM))


CUSTOM = {"org.example.custom": {"anything": [1, 2.5, None, "é"]}}


def no_layers() -> DataSet:
    return one("no-layers", make_image(media="oci", seed="none", layers=0))


def docker_image() -> DataSet:
    return one("docker-image", make_image(media="docker", seed="docker", variant="v8", architecture="arm64"))


def docker_list() -> DataSet:
    children = [make_image_for(each, seed="docker list", media="docker") for each in PLATFORMS]
    return one("docker-list", make_index(children, media="docker"))


def docker_foreign_layers() -> DataSet:
    made = make_image(seed="windows", os="windows", os_version="10.0.20348.1", layers=1, foreign_layers=1)
    return one("docker-foreign-layers", made)


def mixed_index() -> DataSet:
    """A Docker image in an OCI index, as Docker's own command makes them."""
    children = [make_image_for("linux/amd64", media="oci"), make_image_for("linux/s390x", media="docker")]
    return one("mixed-index", make_index(children))


def buildx_index() -> DataSet:
    return one("buildx-index", make_buildx_index(seed="buildx"))


MAKERS: tuple[Callable[[], DataSet], ...] = (
    image,
    image_uncompressed,
    large_manifest,
    index,
    nested_index,
    empty_index,
    artifact_manifest,
    artifact_index,
    artifact_without_layers,
    artifacts_with_subject,
    index_with_subject,
    missing_subject,
    data_field,
    non_distributable_layers,
    custom_fields,
    no_layers,
    docker_image,
    docker_list,
    docker_foreign_layers,
    mixed_index,
    buildx_index,
)
