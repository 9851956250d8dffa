"""Findings about lists and pushes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.lists.findings.finding import Finding, Severity


def encode_finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "detail": finding.detail,
        "entry_id": str(finding.entry_id) if finding.entry_id is not None else None,
    }


def read_finding(document: Mapping[str, Any]) -> Finding:
    entry_id = document.get("entry_id")
    return Finding(
        document["code"],
        Severity(document["severity"]),
        document["detail"],
        UUID(entry_id) if entry_id else None,
    )
