"""The registry at the wire that misbehaves on command, and the names needed to command it."""

from __future__ import annotations

from tests.support.registry_double.auth import ANONYMOUS, Authority
from tests.support.registry_double.content import MANIFEST_TYPES, digest_text
from tests.support.registry_double.faults import (
    ContentType,
    CutUpload,
    Drip,
    Endless,
    ExpiredToken,
    Fault,
    FlippedByte,
    Gzipped,
    Hold,
    Html,
    LostReply,
    MountDeclined,
    OtherBody,
    OtherStatus,
    Oversize,
    Redirect,
    Reset,
    Rule,
    Silence,
    Status,
    TokenDocument,
    Truncated,
    UploadLocation,
    WithHeaders,
    WithoutHeader,
    WrongDigestHeader,
)
from tests.support.registry_double.journal import Received, TagPut
from tests.support.registry_double.manifests import Rules
from tests.support.registry_double.server import RegistryDouble

__all__ = [
    "ANONYMOUS",
    "MANIFEST_TYPES",
    "Authority",
    "ContentType",
    "CutUpload",
    "Drip",
    "Endless",
    "ExpiredToken",
    "Fault",
    "FlippedByte",
    "Gzipped",
    "Hold",
    "Html",
    "LostReply",
    "MountDeclined",
    "OtherBody",
    "OtherStatus",
    "Oversize",
    "Received",
    "Redirect",
    "RegistryDouble",
    "Reset",
    "Rule",
    "Rules",
    "Silence",
    "Status",
    "TagPut",
    "TokenDocument",
    "Truncated",
    "UploadLocation",
    "WithHeaders",
    "WithoutHeader",
    "WrongDigestHeader",
    "digest_text",
]
