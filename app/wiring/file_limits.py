"""What the system lets a process have."""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)


def raise_file_limit() -> None:
    """Let this process open as many files as it may: each connection is one, and often 1,024 are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # Where "unlimited" can't be had, as on macOS.
        _log.warning("the limit of open files stays at %s: %s", soft, error)
