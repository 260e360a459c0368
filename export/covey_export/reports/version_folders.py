"""Which published version is meant by what stands on the command line."""

from __future__ import annotations

from pathlib import Path

from covey_export import model_versions, naming
from covey_export.errors import ReportFailed, UnknownName
from covey_proto import layout


def find_version_folder(text: str, models: Path) -> Path:
    """The folder `models/NAME/VERSION` for a model's NAME (its highest version), NAME/VERSION, or a path to either.

    A name in `models` goes before a path. Raises UnknownName, with the nearest names, or ReportFailed.
    """
    name, _, version = text.strip("/").partition("/")
    model = models / name
    if layout.is_model_name(name) and (not version or layout.is_version(version)) and model_versions.versions(model):
        return _version_of(model, version)
    path = Path(text)
    if path.name == layout.FILE_NAME and path.is_file():
        return path.parent
    if (path / layout.FILE_NAME).is_file():
        return path
    if model_versions.versions(path):
        return _version_of(path, "")
    if path.is_dir():
        raise ReportFailed(f"{path} holds no {layout.FILE_NAME}; expected a folder models/NAME/VERSION")
    known = names(models)
    if not known:
        raise ReportFailed(
            f"{models} holds no models, and {text} is no folder; publish one with covey export all, or name the folder "
            f"that models were published in: --models DIR"
        )
    others = f", in {models}; of another folder say --models DIR"
    raise naming.unknown("model", name if layout.is_model_name(name) else text, known, others=others)


def names(models: Path) -> list[str]:
    """The names of the published models in a folder."""
    return [folder.name for folder in _folders(models) if model_versions.versions(folder)]


def _version_of(model: Path, version: str) -> Path:
    there = model_versions.versions(model)
    if version and int(version) not in there:
        raise UnknownName(f"{model.name} has no version {version}; there are: {', '.join(map(str, there))}")
    return model / (version or str(max(there)))


def _folders(models: Path) -> list[Path]:
    if not models.is_dir():
        return []
    return sorted(folder for folder in models.iterdir() if folder.is_dir() and not folder.name.startswith("."))
