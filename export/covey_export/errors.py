"""Everything that can go wrong before serving. A message says what was expected, what came, and what to do.

The command line prints the message alone and exits with `exit_code`; there is no traceback to read.
"""

from __future__ import annotations


class ExportError(Exception):
    """The root of all errors of this package's own."""

    exit_code = 2


class UnknownName(ExportError):
    """A network, data set or recipe that does not exist."""


class MissingDataset(ExportError):
    """A data set that is not on this machine and could not be downloaded."""


class InvalidDataset(ExportError):
    """Files that are not the data set they should be, or that do not fit the network."""


class InvalidCheckpoint(ExportError):
    """A checkpoint that is missing, damaged, or of another network, data set or seed."""


class DeviceUnavailable(ExportError):
    """The device asked for does not exist here."""


class TrainingFailed(ExportError):
    """Training cannot go on: the loss is no number any more."""


class TrainingInterrupted(ExportError):
    """Training was stopped by Ctrl-C; its checkpoint is saved."""

    exit_code = 130  # what a shell reports for a process ended by SIGINT


class ConversionFailed(ExportError):
    """The network could not be turned into a model file, or the file could not be written."""


class VerificationFailed(ExportError):
    """A model file does not compute what PyTorch computes."""
