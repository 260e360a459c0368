"""Whether the answers of one version are of the kind that callers of another one know."""

from __future__ import annotations

from covey_proto.version_changes import labels_difference
from covey_server.inference.served_model import ServedModel
from covey_server.observability.canary_rules import Verdict


def compare_contracts(tested: ServedModel, served: ServedModel) -> Verdict | None:
    """Why a canary cannot take the served version's place: its callers could not read its answers. None if it can."""
    detail = ""
    if tested.labels != served.labels:
        what, detail = "its labels are not those of", f": {labels_difference(tested.labels, served.labels)}"
    elif tested.input_shape != served.input_shape:
        what = "its input has another shape than that of"
    elif (tested.thresholds is None) != (served.thresholds is None):
        what = "its labels are exclusive or independent, otherwise than those of"
    elif served.known_from is not None and tested.known_from is None:
        what = "it does not tell unknown images, other than"
    elif served.embedding_size and tested.embedding_size != served.embedding_size:
        what = f"its embedding has {tested.embedding_size:,} numbers, not the {served.embedding_size:,} of"
        if not tested.embedding_size:
            what = "it publishes no embedding, other than"
    elif _original(tested) != _original(served) and served.original is not None:
        what = "it has not the original input and output of"
    else:
        return None
    return Verdict("rolled_back", "contract", f"{what} version {served.version}{detail}")


def _original(model: ServedModel) -> tuple[object, ...]:
    found = model.original
    if found is None:
        return ()
    shape = found.engine.shape, found.engine.output_shape
    return (found.input_name, found.input_datatype, found.output_name, found.output_datatype, *shape)
