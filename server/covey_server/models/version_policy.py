"""Which of a model's versions are served: the N highest that pass their check, or all that do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from covey_server.errors import InvalidConfiguration

_LATEST = re.compile(r"latest:([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class VersionPolicy:
    """At most `latest` versions of each model are served; None: no limit."""

    latest: int | None = 1

    @classmethod
    def parse(cls, text: str) -> VersionPolicy:
        """`latest:N` or `all`. Raises InvalidConfiguration for anything else."""
        if text == "all":
            return cls(None)
        if match := _LATEST.fullmatch(text):
            return cls(int(match[1]))
        raise InvalidConfiguration(
            f"--version-policy {text!r}: expected latest:N, N a whole number from 1 up (the N highest versions of each "
            f"model that pass their check), or all"
        )

    def is_met(self, versions: int) -> bool:
        """Whether so many good versions of a model are enough."""
        return self.latest is not None and versions >= self.latest

    def __str__(self) -> str:
        return "all" if self.latest is None else f"latest:{self.latest}"
