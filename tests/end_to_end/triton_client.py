"""A Triton client as people have it for a network in ONNX. Imports no Covey.

`python -m tests.end_to_end.triton_client ADDRESS INPUT OUTPUT VALUES ANSWERS FILES`: VALUES and ANSWERS are .npy files,
its inputs and what comes back for them, in several calls at once, of one image and of many, beside callers that send
the image FILES (a folder).
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray


def main(address: str, input_name: str, output_name: str, values: str, answers: str, files: str) -> None:
    prepared = np.load(values)
    contents = [path.read_bytes() for path in sorted(Path(files).iterdir())]

    def original(part: NDArray[np.float32]) -> NDArray[np.float32]:
        tensor = triton.InferInput(input_name, list(part.shape), "FP32")
        tensor.set_data_from_numpy(part)
        asked = triton.InferRequestedOutput(output_name)
        found: NDArray[np.float32] = client.infer("net", [tensor], outputs=[asked]).as_numpy(output_name)
        return found

    def encoded(content: bytes) -> NDArray[np.float32]:
        tensor = triton.InferInput("encoded", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([content], np.object_))
        found: NDArray[np.float32] = client.infer("net", [tensor]).as_numpy("probabilities")
        return found

    with triton.InferenceServerClient(address) as client, ThreadPoolExecutor(8) as pool:
        described = client.get_model_metadata("net")
        assert input_name in [tensor.name for tensor in described.inputs]
        assert output_name in [tensor.name for tensor in described.outputs]
        singles = [pool.submit(original, prepared[place : place + 1]) for place in range(len(prepared))]
        images = [pool.submit(encoded, content) for content in contents]
        many = pool.submit(original, prepared)
        np.save(answers, np.concatenate([*(each.result() for each in singles), many.result()]))
        assert {each.result().shape[0] for each in images} == {1}


if __name__ == "__main__":
    main(*sys.argv[1:])
