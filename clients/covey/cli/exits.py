"""The exit codes of `covey`; main's epilog explains them to users."""

import enum


class Exit(enum.IntEnum):
    OK = 0
    FILES_FAILED = 1
    USAGE = 2
    SERVER = 3
    INTERRUPTED = 130  # as shells report SIGINT
