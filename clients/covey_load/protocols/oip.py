"""The Open Inference Protocol over gRPC: Triton, KServe, MLServer, OpenVINO's server, Covey and others.

https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from covey.errors import InvalidInput
from covey.messages import Method
from covey_load.payloads import Batch, Files
from covey_load.protocols.base import ModelInput, Protocol
from covey_load.wire.frames import Request
from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.tensors import IMAGES

_SERVICE = "/inference.GRPCInferenceService"
_METADATA: Method[pb.ModelMetadataRequest, pb.ModelMetadataResponse] = Method(
    f"{_SERVICE}/ModelMetadata", pb.ModelMetadataRequest.SerializeToString, pb.ModelMetadataResponse.FromString
)
_SERVER: Method[pb.ServerMetadataRequest, pb.ServerMetadataResponse] = Method(
    f"{_SERVICE}/ServerMetadata", pb.ServerMetadataRequest.SerializeToString, pb.ServerMetadataResponse.FromString
)
_INFER: Method[bytes, bytes] = Method(f"{_SERVICE}/ModelInfer", lambda body: body, lambda answer: answer)
_COVEYS_PIXELS = (IMAGES, "UINT8")
_COVEYS_FILES = "encoded"  # what Covey calls the tensor of image files, which its metadata tells in words


def one_image(name: str, datatype: str, shape: Sequence[int], model: str) -> tuple[int, ...]:
    """The shape of one image in a tensor whose first axis is the batch. Raises InvalidInput where it is not fixed."""
    if len(shape) < 2 or any(size < 1 for size in shape[1:]):
        raise InvalidInput(
            f"model {model!r} takes {name!r} {datatype} {list(shape)}; expected a batch of one size, as [-1, 28, 28, 1]"
        )
    return tuple(shape[1:])


def one_input(inputs: Sequence[tuple[str, str]], model: str) -> int:
    """The index of the input (of names and datatypes) that a load test sends. Covey's imported models take either of
    two. Raises InvalidInput where a model needs several."""
    if len(inputs) == 1:
        return 0
    if _COVEYS_PIXELS in inputs:
        return inputs.index(_COVEYS_PIXELS)
    raise InvalidInput(f"model {model!r} takes {len(inputs)} inputs; a load test knows one")


def bytes_tensor(files: Sequence[bytes]) -> bytes:
    """Files as the raw contents of a BYTES tensor: each behind its length."""
    return b"".join(struct.pack("<I", len(content)) + content for content in files)


def files_tensor(model_input: ModelInput) -> str:
    """The name of the tensor for image files."""
    return model_input.name if model_input.datatype == "BYTES" else _COVEYS_FILES


class OpenInference(Protocol):
    def describe(self, model: str) -> ModelInput:
        metadata = self._remote.call(_METADATA, pb.ModelMetadataRequest(name=model))
        server = self._remote.call(_SERVER, pb.ServerMetadataRequest())
        tensor = metadata.inputs[
            one_input([(tensor_input.name, tensor_input.datatype) for tensor_input in metadata.inputs], metadata.name)
        ]
        shape = () if tensor.datatype == "BYTES" else one_image(tensor.name, tensor.datatype, tensor.shape, model)
        facts = {"server": f"{server.name} {server.version}", "model": metadata.name, "platform": metadata.platform}
        return ModelInput(tensor.name, shape, tensor.datatype, facts)

    def body(self, model: str, model_input: ModelInput, batch: Batch) -> bytes:
        request = pb.ModelInferRequest(model_name=model)
        if isinstance(batch, Files):
            request.inputs.add(name=files_tensor(model_input), datatype="BYTES", shape=[len(batch.contents)])
            request.raw_input_contents.append(bytes_tensor(batch.contents))
        else:
            request.inputs.add(name=model_input.name, datatype=model_input.datatype, shape=batch.array.shape)
            request.raw_input_contents.append(batch.array.tobytes())
        return request.SerializeToString()

    def requests(self, bodies: list[tuple[str, bytes]]) -> list[Request]:
        return self._remote.requests(_INFER.path, (body for _, body in bodies))

    def check(self, model: str, body: bytes) -> None:
        self._remote.call(_INFER, body)
