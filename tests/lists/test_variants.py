"""Whether an image is the one that was expected."""

from __future__ import annotations

import pytest

from app.lists.source import parse_any_platform
from app.lists.variants import satisfies


@pytest.mark.parametrize(
    ("actual", "expected", "does"),
    [
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64/v3", "linux/amd64/v2", False),
        ("linux/amd64", "windows/amd64", False),
        ({"os": "windows", "architecture": "amd64", "os_version": "10.0.1"}, "windows/amd64", True),
        (
            {"os": "windows", "architecture": "amd64", "os_version": "10.0.1"},
            {"os": "windows", "architecture": "amd64", "os_version": "10.0.2"},
            False,
        ),
        (
            "windows/amd64",
            {"os": "windows", "architecture": "amd64", "os_features": ["win32k"]},
            False,
        ),
    ],
)
def test_an_image_meets_an_expectation(
    actual: str | dict[str, object], expected: str | dict[str, object], does: bool
) -> None:
    assert satisfies(parse_any_platform(actual), parse_any_platform(expected)) is does
