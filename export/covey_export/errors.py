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


class InvalidNetwork(ExportError):
    """A network that is not Covey's own and cannot be built, or does not give what one must give."""


class InvalidCheckpoint(ExportError):
    """A checkpoint that is missing, damaged, or of another network, data set or seed."""


class InvalidWeights(ExportError):
    """Weights to begin with that are missing, damaged, or of another network."""


class InvalidRecipe(ExportError):
    """A recipe with a field that nothing could be trained by."""


class DeviceUnavailable(ExportError):
    """The device asked for does not exist here."""


class TrainingFailed(ExportError):
    """Training cannot start or continue: nothing to learn, too small a batch, or a loss that is NaN or infinite."""


class TrainingInterrupted(ExportError):
    """Training was stopped by Ctrl-C; its checkpoint is saved."""

    exit_code = 130  # what a shell reports for a process ended by SIGINT


class ConversionFailed(ExportError):
    """The network could not be turned into a model file, or the file could not be written."""


class MissingModel(ExportError):
    """A published model, or a version of it, that is not in the models folder."""


class VerificationFailed(ExportError):
    """A model file does not compute what PyTorch computes, or is less accurate than was asked for."""


class ReportFailed(ExportError):
    """A report or a comparison cannot be made of what is there."""


class InvalidSource(ExportError):
    """A file to import that cannot be read, or is no image classifier."""


class InvalidLabels(ExportError):
    """Labels that cannot be read, or are not those of the outputs."""


class InvalidSamples(ExportError):
    """Images to compare on that are not there, or cannot be read."""


class ImportFailed(ExportError):
    """An imported model does not compute what the original does, or could not be written."""
