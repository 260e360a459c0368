"""Carries out what a call chooses: writes the files in the models folder, and returns once the server follows them. A
choice that cannot be followed is taken back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from covey_proto import layout
from covey_proto.layout import CANARY_VERSION, DEFAULT_VERSION, SHADOW_VERSION
from covey_server.errors import ChoiceRefused, InvalidRequest, LoadFailed, UnknownModel
from covey_server.inference.served_model import ServedModel
from covey_server.models import choice_files
from covey_server.models.folder import Fingerprint, path_of, scan
from covey_server.models.repository import Repository

log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """The versions of a model that are chosen; 0: none."""

    model: str
    default: int
    canary: int
    shadow: int


class Choosing:
    """For one models folder; its methods are for one thread at a time. All raise UnknownModel if the model or its
    version is not there, InvalidRequest for what makes no sense, ChoiceRefused if the version cannot be served,
    LoadFailed if the folder cannot be read or written."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._folder = repository.folder

    def promote(self, name: str, version: int) -> Choice:
        """Makes a version the default one."""
        name, served = self._find(name)
        self._require_there(name, version)
        with self._undone_on_failure(name, DEFAULT_VERSION, CANARY_VERSION):
            choice_files.write(self._folder, name, DEFAULT_VERSION, version, self._before(name, version, served))
            if self._chosen(name, CANARY_VERSION) == version:
                choice_files.remove(self._folder, name, CANARY_VERSION)
            self._follow()
            self._require_default(name, version)
        return self._told(name, f"promoted version {version}")

    def roll_back(self, name: str) -> Choice:
        """Takes the canary away if there is one, else goes back to the default version before."""
        name, served = self._find(name)
        canary = self._chosen(name, CANARY_VERSION)
        if canary:
            with self._undone_on_failure(name, DEFAULT_VERSION, CANARY_VERSION):
                on_trial = self._repository.catalog.canaries.get(name)
                if on_trial is not None:
                    on_trial.end("rolled_back")  # at once
                choice_files.roll_back_canary(self._folder, name, canary, served.version)
                self._follow()
            return self._told(name, f"took the canary away, version {canary}")
        try:
            before = self._previous(name, served)
            refused = self._repository.catalog.find_refusal
            others = [str(v) for v in self._versions(name) if v != served.version and refused(name, v) is None]
        except (OSError, ValueError) as error:
            raise LoadFailed(f"failed to roll back: {error}") from error
        if before is None:
            raise InvalidRequest(
                f"model {name!r} has no canary, and no version is noted as its default one before {served.version}. "
                + (
                    f"Choose a version yourself ({', '.join(others)}): covey promote {name} VERSION"
                    if others
                    else "It has no other"
                )
            )
        self._require_there(name, before)
        with self._undone_on_failure(name, DEFAULT_VERSION):
            choice_files.write(self._folder, name, DEFAULT_VERSION, before)
            self._follow()
            self._require_default(name, before)
        return self._told(name, f"rolled back to version {before}")

    def canary(self, name: str, version: int) -> Choice:
        """Gives a share of the callers a version; 0: none any more."""
        return self._set_beside(name, CANARY_VERSION, version)

    def shadow(self, name: str, version: int) -> Choice:
        """Runs a version in the shadow of the default one; 0: none any more."""
        return self._set_beside(name, SHADOW_VERSION, version)

    def _set_beside(self, name: str, file: str, version: int) -> Choice:
        name, served = self._find(name)
        if not version:
            if file == CANARY_VERSION and self._chosen(name, file):
                return self.roll_back(name)
            with self._undone_on_failure(name, file):
                choice_files.remove(self._folder, name, file)
                self._follow()
            return self._told(name, f"removed {file}")
        if version == served.version:
            raise InvalidRequest(f"version {version} of model {name!r} is its default one; name another version")
        self._require_there(name, version)
        self._follow()  # else a canary that a rule has just taken away would be the same one, which has ended
        has_default = (self._folder / name / DEFAULT_VERSION).exists()
        with self._undone_on_failure(name, *([] if has_default else [DEFAULT_VERSION]), file):
            if not has_default:  # else the highest would be it
                choice_files.write(self._folder, name, DEFAULT_VERSION, served.version)
            choice_files.write(self._folder, name, file, version)
            self._follow()
            self._require_served(name, version)
        return self._told(name, f"set {file} to {version}")

    def _before(self, name: str, version: int, served: ServedModel) -> int | None:
        """What a promotion goes back to. One that is asked for twice, as callers do who got no answer, keeps it."""
        if served.version != version:
            return served.version
        try:
            return self._previous(name, served)
        except (OSError, ValueError):
            return None

    def _previous(self, name: str, served: ServedModel) -> int | None:
        """The version to go back to; None if that is not known. Where none was ever chosen, the highest one became the
        default by itself, and it is the next one below. Raises OSError, ValueError."""
        path = self._folder / name / DEFAULT_VERSION
        if path.exists():
            return choice_files.read(path)[1]
        return max((each for each in self._versions(name) if each < served.version), default=None)

    def _versions(self, name: str) -> list[int]:
        """Those of a model that have a file, whether it can be served or not. Raises OSError."""
        found = scan(self._folder).versions.get(name, {})
        return sorted(version for version, look in found.items() if isinstance(look, Fingerprint))

    def _find(self, name: str) -> tuple[str, ServedModel]:
        """The model that is meant, in its default version."""
        served = self._repository.catalog.find(name, 0)
        return served.name, served

    def _require_there(self, name: str, version: int) -> None:
        if version < 1 or not path_of(self._folder, name, version).exists():
            raise UnknownModel(
                f"version {version} of model {name!r} is not there: expected {name}/{version}/{layout.FILE_NAME} in "
                f"the models folder"
            )

    def _require_default(self, name: str, version: int) -> None:
        found = self._repository.catalog.default_version(name)
        if found is None or found.version != version:
            self._require_served(name, version)
            raise ChoiceRefused(f"version {version} of model {name!r} did not become its default one; the log says why")

    def _require_served(self, name: str, version: int) -> None:
        catalog = self._repository.catalog
        if (name, version) not in catalog.keys:
            refusal = catalog.find_refusal(name, version)
            why = refusal.reason if refusal is not None else "the log says why"
            raise ChoiceRefused(f"version {version} of model {name!r} is not served: {why}")

    def _follow(self) -> None:
        """A change is followed when two looks in a row find the same."""
        for _ in range(2):
            self._repository.refresh()

    @contextmanager
    def _undone_on_failure(self, name: str, *files: str) -> Iterator[None]:
        """Puts these files back as they were if what is done meanwhile fails. Others may be written meanwhile by what a
        rule decides. Raises LoadFailed for an OSError."""
        paths = [self._folder / name / file for file in files]
        before: dict[Path, bytes | None] = {}
        try:
            before |= {path: path.read_bytes() if path.is_file() else None for path in paths}
            yield
        except (OSError, LoadFailed, ChoiceRefused) as error:
            with suppress(OSError):  # the same as it failed with
                for path, text in before.items():
                    choice_files.restore(path, text)
            self._follow()
            if isinstance(error, OSError):
                why = error.strerror or str(error)
                log.error(
                    "model %s: a call's choice is not made, since %s cannot be read or written: %s; expected a folder "
                    "that this process may write into. By hand, as a user who may, the file is %s",
                    name, self._folder / name, why, paths[0],
                )  # fmt: skip
                raise LoadFailed(f"the models folder cannot be read or written: {why}") from error
            raise

    def _chosen(self, name: str, file: str) -> int:
        try:
            return choice_files.read(self._folder / name / file)[0]
        except (OSError, ValueError):
            return 0

    def _told(self, name: str, what: str) -> Choice:
        log.info("model %s: a call %s", name, what)
        served = self._repository.catalog.find(name, 0)
        return Choice(name, served.version, self._chosen(name, CANARY_VERSION), self._chosen(name, SHADOW_VERSION))
