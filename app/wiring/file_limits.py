"""The limit of open files."""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard limit: each connection is a file; 1,024 are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # macOS rejects "unlimited".
        _log.warning("The limit of open files stays at %s: %s", soft, error)
