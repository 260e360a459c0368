"""A checkpoint to a verified model version in the models folder: all of it, or nothing.

Between the two: conversion.py makes the bytes, verification.py holds them against PyTorch, model_versions.py
owns the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from covey_export import atomic_files, conversion, model_versions, verification
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import ConversionFailed, VerificationFailed
from covey_export.networks import Network
from covey_export.report import Report
from covey_export.verification import Verification
from covey_proto import layout
from covey_proto.v1.classifier_pb2 import ModelInfo


@dataclass(frozen=True)
class Published:
    """A model version that passed."""

    path: Path  # of model.onnx
    info: ModelInfo
    verification: Verification


def publish(
    network: Network, checkpoint: Checkpoint, dataset: Dataset, models: Path, name: str, report: Report
) -> Published:
    """Converts, verifies, and publishes as the next free version of `name` in `models`.

    Raises InvalidCheckpoint, ConversionFailed, VerificationFailed; the models folder is then as it was.
    """
    checkpoint.require_match(network, dataset)
    model = conversion.restore(network, checkpoint)
    try:
        with model_versions.NewVersion(models, name) as new:
            report.line(f"converting {network.name}, trained on {dataset.name}, to {name} version {new.version}")
            info = conversion.describe(network, checkpoint, model, dataset, name, new.version)
            atomic_files.write_bytes(new.folder / layout.FILE_NAME, conversion.convert(model, info))
            report.line("verifying it with the server's own code")
            found = verification.verify(new.folder / layout.FILE_NAME, model, dataset)
            found.require_passed(new.folder / layout.FILE_NAME)
            verification.write(found, new.folder)
            folder = new.publish()
    except OSError as error:
        raise ConversionFailed(
            f"cannot write the model into {models}: {error.strerror or error}; nothing was left there"
        ) from error
    report.verification(found)
    report.line(f"published {folder / layout.FILE_NAME}")
    return Published(folder / layout.FILE_NAME, info, found)


def verify(
    network: Network,
    checkpoint: Checkpoint,
    dataset: Dataset,
    models: Path,
    name: str,
    version: int | None,
    report: Report,
) -> Verification:
    """Verifies a published version (by default the highest) once more and renews its verification.json.

    Raises InvalidCheckpoint, VerificationFailed, OSError.
    """
    checkpoint.require_match(network, dataset)
    published = model_versions.versions(models / name)
    chosen = version or max(published, default=None)
    if chosen not in published:
        there = ", ".join(map(str, published)) or "none"
        raise VerificationFailed(
            f"{models / name} holds no version {chosen or ''}".rstrip()
            + f" (there: {there}); publish one with covey-export convert"
        )
    folder = models / name / str(chosen)
    found = verification.verify(folder / layout.FILE_NAME, conversion.restore(network, checkpoint), dataset)
    verification.write(found, folder)
    report.verification(found)
    found.require_passed(folder / layout.FILE_NAME)
    return found
