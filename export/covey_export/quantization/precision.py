"""The precision that a model file computes in, and what follows for its name and its answers."""

from __future__ import annotations

import enum

from covey_export import naming
from covey_export.errors import VerificationFailed
from covey_proto.tolerances import TOLERANCES


class Precision(enum.Enum):
    """What the network's own layers compute in; pixels come in and probabilities go out as ever."""

    FLOAT32 = "float32"  # as trained
    FLOAT16 = "float16"
    INT8 = "int8"

    @classmethod
    def of_file(cls, value: str) -> Precision:
        """What a file's `Build.precision` says. Raises VerificationFailed."""
        try:
            return cls(value or cls.FLOAT32.value)
        except ValueError:
            known = ", ".join(precision.value for precision in cls)
            raise VerificationFailed(
                f"the model says it computes in {value!r}, known are {known}; convert it with this version of Covey"
            ) from None

    @property
    def tolerance(self) -> float:
        """The largest absolute difference of a probability that the golden check allows."""
        return TOLERANCES[self.value]

    def model_name(self, name: str) -> str:
        """The name of the variant of model `name`: "lenet-int8". Raises ExportError where it is too long."""
        return name if self is Precision.FLOAT32 else naming.require_model_name(f"{name}-{self.value}")
