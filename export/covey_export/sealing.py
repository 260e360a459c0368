"""An ONNX graph to the bytes of a model's file, its description inside. Needs no torch; writes no files."""

from __future__ import annotations

import onnx

from covey_export.errors import ConversionFailed
from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import ModelInfo


def seal(proto: onnx.ModelProto, info: ModelInfo) -> bytes:
    """The bytes of the file, with `info` as its only metadata. Raises ConversionFailed where it is no valid ONNX."""
    # The exporter notes on each node the lines of source it came from, with this machine's paths.
    for node in proto.graph.node:
        del node.metadata_props[:]
    del proto.metadata_props[:]
    proto.metadata_props.add(key=metadata.KEY, value=metadata.to_json(info))
    require_valid(proto)
    data: bytes = proto.SerializeToString()
    return data


def require_valid(proto: onnx.ModelProto) -> None:
    """Raises ConversionFailed."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionFailed(f"the exported graph is no valid ONNX: {error}") from error
