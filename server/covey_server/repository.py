"""Finds the models in a folder, loads, checks and warms each, and answers which one a request means.

Layout: `models/NAME/VERSION/model.onnx`, VERSION a whole number; the highest version that passes is served.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from covey_proto import layout
from covey_server.engine import Engine
from covey_server.errors import EngineFailed, NoModels, RefusedModel, UnknownModel
from covey_server.served_model import ServedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A version that was found and is not served."""

    name: str
    version: int
    reason: str


class Repository:
    """The models of one folder."""

    def __init__(self, folder: Path, start_engine: Callable[[Path], Engine], max_batch_size: int) -> None:
        """`start_engine` makes an engine of a file; it may raise RefusedModel."""
        self.folder = folder
        self._start_engine = start_engine
        self._max_batch_size = max_batch_size
        self._served: dict[str, ServedModel] = {}
        self.refusals: list[Refusal] = []
        self._default = ""

    def load(self, default_model: str = "") -> None:
        """Loads the highest good version of each model.

        Raises NoModels where none can be served, or where the default one cannot.
        """
        for path in _model_folders(self.folder):
            try:
                versions = _versions(path)
            except OSError as error:
                self._refuse(path.name, 0, f"its folder cannot be read: {error.strerror or error}")
                continue
            any(self._try(path.name, version) for version in versions)  # stops at the first that is good
        if not self._served:
            reasons = "".join(f"\n  {each.name}/{each.version}: {each.reason}" for each in self.refusals)
            raise NoModels(
                f"no model can be served from {self.folder.resolve()}"
                + (
                    f":{reasons}"
                    if reasons
                    else f": it holds no NAME/VERSION/{layout.FILE_NAME}, VERSION a whole number"
                )
                + "\nMake one with `covey-export all lenet`, or name another folder with --models"
            )
        if default_model and default_model not in self._served:
            raise NoModels(
                f"--default-model {default_model!r} is not served; these are: {', '.join(sorted(self._served))}"
            )
        self._default = default_model or (next(iter(self._served)) if len(self._served) == 1 else "")

    @property
    def served(self) -> list[ServedModel]:
        """All models served, by name."""
        return [self._served[name] for name in sorted(self._served)]

    def is_default(self, model: ServedModel) -> bool:
        """Whether requests that name no model get this one."""
        return model.name == self._default

    def find(self, name: str, version: int) -> ServedModel:
        """The model a request means: "" the default one, version 0 the one served. Raises UnknownModel."""
        model = self._served.get(name or self._default)
        if model is not None and version in (0, model.version):
            return model
        if model is not None:
            raise UnknownModel(
                f"version {version} of model {model.name!r} is not served; version {model.version} is "
                f"(ask for version 0 to get whichever is served)"
            )
        offered = ", ".join(sorted(self._served))
        if not name:
            raise UnknownModel(
                f"the request names no model and this server has no default; name one of: {offered} "
                f"(or start the server with --default-model)"
            )
        raise UnknownModel(f"model {name!r} is not served here{self._why_refused(name)}; these are: {offered}")

    def find_refusal(self, name: str, version: int) -> Refusal | None:
        """The refusal of this very version; for version 0 the highest refused one where no other is served."""
        refusals = [each for each in self.refusals if each.name == name and version in (0, each.version)]
        return refusals[0] if refusals and (version or name not in self._served) else None

    def _try(self, name: str, version: int) -> bool:
        path = self.folder / name / str(version) / layout.FILE_NAME
        began = time.monotonic()
        try:
            model = ServedModel(name, version, self._start_engine(path), self._max_batch_size)
        except (RefusedModel, EngineFailed) as error:
            self._refuse(name, version, str(error))
            return False
        self._served[name] = model
        log.info(
            "model %s version %d: %dx%dx%d -> %d classes on %s, golden set within %.1g, ready after %.0f ms",
            name, version, *model.input_shape, len(model.labels), model.engine.device.name,
            model.golden_difference, (time.monotonic() - began) * 1e3,
        )  # fmt: skip
        return True

    def _refuse(self, name: str, version: int, reason: str) -> None:
        self.refusals.append(Refusal(name, version, reason))
        log.error("model %s version %d is refused: %s", name, version, reason)

    def _why_refused(self, name: str) -> str:
        reasons = [f"version {each.version}: {each.reason}" for each in self.refusals if each.name == name]
        return f" (it was found and refused: {'; '.join(reasons)})" if reasons else ""


def _model_folders(folder: Path) -> list[Path]:
    """The models' folders by name. Raises NoModels where the folder cannot be read."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise NoModels(f"the models folder {folder.resolve()} cannot be read: {error.strerror or error}") from error
    for entry in entries:
        if not layout.is_model_name(entry.name) or (entry.suffix == ".onnx" and entry.is_file()):
            log.warning("%s is passed over: models lie in %s/NAME/VERSION/%s", entry, folder, layout.FILE_NAME)
    return [entry for entry in entries if entry.is_dir() and layout.is_model_name(entry.name)]


def _versions(folder: Path) -> list[int]:
    """The versions in a model's folder, highest first."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    for entry in entries:
        if not layout.is_version(entry.name):
            log.warning("%s is passed over: a version is a folder named by a whole number from 1 up", entry)
    return sorted(
        (int(entry.name) for entry in entries if layout.is_version(entry.name) and entry.is_dir()), reverse=True
    )
