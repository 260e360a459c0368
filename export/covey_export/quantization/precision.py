"""What a model file computes in, and what that means for its name and for the answers it may give."""

from __future__ import annotations

import enum

from covey_export import naming
from covey_export.errors import VerificationFailed


class Precision(enum.Enum):
    """What the network's own layers compute in; pixels come in and probabilities go out as ever."""

    FLOAT32 = "float32"  # as trained
    FLOAT16 = "float16"
    INT8 = "int8"

    @classmethod
    def of_file(cls, said: str) -> Precision:
        """What a file's `Build.precision` says. Raises VerificationFailed."""
        try:
            return cls(said or cls.FLOAT32.value)
        except ValueError:
            known = ", ".join(precision.value for precision in cls)
            raise VerificationFailed(
                f"the model says it computes in {said!r}, known are {known}; convert it with this version of Covey"
            ) from None

    @property
    def tolerance(self) -> float:
        """The largest absolute difference of a probability that the golden check allows."""
        return _TOLERANCES[self]

    def model_name(self, name: str) -> str:
        """The name of the variant of model `name`: "lenet-int8". Raises ExportError where it is too long."""
        return name if self is Precision.FLOAT32 else naming.require_model_name(f"{name}-{self.value}")


_TOLERANCES = {
    Precision.FLOAT32: 1e-4,
    # Against PyTorch in float32. CPUs differed by up to 0.0003 over the test sets of MNIST and CIFAR-10; a device that
    # really adds up in 11 bits of significand, as CPUs do not, may be several times further off.
    Precision.FLOAT16: 0.02,
    # Against the int8 graph's own answers. Other kernels give the same integers but for values that lie at the edge
    # between two: by onnxruntime's plain kernels in place of its fused ones fewer than one image in a hundred
    # changed, by up to 0.034.
    Precision.INT8: 0.05,
}
