"""Raises how many files the process may have open: each connection is one, and shells often allow only 1,024."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger(__name__)

MAX_FILES = 65_536  # enough for any connections; containers often have a hard limit of a thousand million
_MIN_FILES = 4096  # below, few connections fit


def raise_limit() -> int:
    """Raises the soft limit to the hard one, at most to MAX_FILES. Returns the limit from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = MAX_FILES if hard == unlimited else min(hard, MAX_FILES)
    if soft != unlimited and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError) as error:  # macOS has a limit of its own below the hard one
            log.warning("the limit of open files stays at %d: %s", soft, error)
    if soft != unlimited and soft < _MIN_FILES:
        log.warning("only %d files can be open, about as many as connections: raise the hard limit (ulimit -Hn)", soft)
    return MAX_FILES if soft == unlimited else soft
