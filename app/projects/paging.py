"""Positions in listings, which go from the newest item to the oldest."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

# The creation time and the id of an item.
Position = tuple[datetime, UUID]
