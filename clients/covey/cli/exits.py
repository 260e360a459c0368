"""The exit codes of `covey`; main's epilog explains them to users."""

import enum


class Exit(enum.IntEnum):
    OK = 0
    FILES_FAILED = 1
    USAGE = 2
    SERVER = 3
    INVALID = 4  # of a load test: its figures must not be believed
    ASSERTION_FAILED = 5  # of a load test: a figure was not as --assert demands
    INTERRUPTED = 130  # as shells report SIGINT
