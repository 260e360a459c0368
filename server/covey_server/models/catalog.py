"""The catalog: what is served at one moment, immutable. Tells which model a request means, and why one is not there.

`find` is called for each request, from any thread, while the repository may be making the next catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from covey_server.errors import UnknownModel
from covey_server.inference.served_model import ServedModel
from covey_server.models.canary import Canary

_SHOWN = 100  # characters of an unknown name; models' names have at most 64


@dataclass(frozen=True)
class RefusedVersion:
    """A version whose file was found and is refused. Version 0 stands for the model's whole folder. `by_call`: nothing
    is wrong with it, a call unloaded it. What the file held before may still be served as this version."""

    name: str
    version: int
    reason: str
    by_call: bool = False


class Catalog:
    """The models served, by name and version, and the versions refused."""

    def __init__(
        self,
        models: Mapping[str, Mapping[int, ServedModel]],
        default: str = "",
        refusals: Sequence[RefusedVersion] = (),
        chosen: Mapping[str, int] | None = None,
        shadows: Mapping[str, int] | None = None,
        canaries: Mapping[str, Canary] | None = None,
    ) -> None:
        """Requests that name no model get the model `default`; if it is "" or not served, they fail. `chosen` are the
        versions, by model, for requests that name none; without one they get the highest. Where that version is not
        served, they get the highest below it and never one above, which nobody has chosen. `shadows` are the versions,
        by model, that run the same images again; `canaries` those that a share of the callers gets."""
        self.shadows = dict(shadows or {})
        self._models = {name: dict(models[name]) for name in sorted(models) if models[name]}
        self.default = default
        self.refusals = tuple(sorted(refusals, key=lambda refusal: (refusal.name, -refusal.version)))
        self.names = tuple(self._models)
        self.served = tuple(
            versions[version] for versions in self._models.values() for version in sorted(versions, reverse=True)
        )
        # As requests ask: version 0 is the model's default one, the name "" the default model. Two lookups answer any.
        self._asked = {name: dict(versions) for name, versions in self._models.items()}
        for name, versions in self._asked.items():
            limit = (chosen or {}).get(name, max(versions))
            if below := [version for version in versions if version <= limit]:
                versions[0] = versions[max(below)]
        if default in self._asked:
            self._asked[""] = self._asked[default]
        # By the names that requests give, as above; nearly always empty.
        self.canaries = {
            name: canary
            for name in self._asked
            if (canary := (canaries or {}).get(name or default)) is not None and self._is_beside_another(name, canary)
        }

    def find(self, name: str, version: int) -> ServedModel:
        """The model a request means: "" the default one, version 0 its default version. Raises UnknownModel."""
        try:
            return self._asked[name][version]
        except KeyError:
            raise UnknownModel(self._explain(name[:_SHOWN], version)) from None

    def find_refusal(self, name: str, version: int) -> RefusedVersion | None:
        """The refusal of this version or, for version 0, of the highest refused one; None if the request can be
        served."""
        if version in self._asked.get(name, ()):
            return None
        refused = (each for each in self.refusals if each.name == (name or self.default))
        return next((each for each in refused if version in (0, each.version)), None)

    @property
    def not_served(self) -> Sequence[RefusedVersion]:
        """The refusals of what is not served, in place of which nothing else is."""
        return [each for each in self.refusals if each.version not in self._models.get(each.name, ())]

    def refusal_of_file(self, model: ServedModel) -> str:
        """Why the file of a version that is served, which has changed, is refused; empty where it is as it was."""
        found = (each for each in self.refusals if (each.name, each.version) == (model.name, model.version))
        return next((each.reason for each in found), "")

    def default_version(self, name: str) -> ServedModel | None:
        """The model that a request gets which names no version; None if none is served."""
        return self._asked.get(name, {}).get(0)

    def is_default(self, model: ServedModel) -> bool:
        """Whether requests that name no model get this one."""
        return self._asked.get("", {}).get(0) is model

    def is_default_version(self, model: ServedModel) -> bool:
        """Whether requests for its model that name no version get this one."""
        return self.default_version(model.name) is model

    def shadow_of(self, model: ServedModel) -> ServedModel | None:
        """The version that is to run again what this one answers; None if there is none."""
        shadow = self._models.get(model.name, {}).get(self.shadows.get(model.name, 0))
        return shadow if shadow is not model else None

    def is_shadow(self, model: ServedModel) -> bool:
        """Whether this version runs again what its model's default version answers."""
        default = self.default_version(model.name)
        return default is not None and self.shadow_of(default) is model

    def _is_beside_another(self, name: str, canary: Canary) -> bool:
        """Whether a canary is served, is not ended, and is not what its callers get anyway."""
        versions = self._asked[name]
        return (
            canary.outcome != "rolled_back"
            and canary.version in versions
            and 0 in versions
            and versions[0].version != canary.version
        )

    @property
    def keys(self) -> frozenset[tuple[str, int]]:
        """Name and version of each model served."""
        return frozenset((name, version) for name, versions in self._models.items() for version in versions)

    def _explain(self, name: str, version: int) -> str:
        meant = name or self.default
        if meant in self._models:
            *others, lowest = (str(each) for each in sorted(self._models[meant], reverse=True))
            served = f"versions {', '.join(others)} and {lowest} are" if others else f"version {lowest} is"
            refusal = self.find_refusal(meant, version)
            refused = f" (it was found and refused: {refusal.reason})" if refusal is not None else ""
            if not version:
                return f"the version that was chosen for model {meant!r} is not served; {served}: name one of them"
            return (
                f"version {version} of model {meant!r} is not served{refused}; {served} "
                f"(ask for version 0 to get {'the default one of them' if others else 'whichever is served'})"
            )
        offered = f"these are: {', '.join(self.names)}" if self.names else "no model is, at the moment"
        if meant:
            which = "the default model" if not name else "model"
            reasons = [f"version {each.version}: {each.reason}" for each in self.refusals if each.name == meant]
            refused = f" (it was found and refused: {'; '.join(reasons)})" if reasons else ""
            return f"{which} {meant!r} is not served here{refused}; {offered}"
        if not self.names:
            return "no model is served at the moment; put one into the server's models folder"
        return (
            f"the request names no model and this server has no default; name one of: {', '.join(self.names)} "
            f"(`--model NAME` of the covey command), or start the server with --default-model"
        )
