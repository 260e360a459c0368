"""Triton's own client, unchanged: python tritonclient_infer.py cat.jpg [HOST:PORT]. Knows nothing of Covey."""

import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton


def main(path: str, target: str = "localhost:8001") -> None:
    with triton.InferenceServerClient(target) as client:
        name = next(model.name for model in client.get_model_repository_index().models if model.state == "READY")

        # An image file as it is; the three most probable classes come as "probability:index:label".
        files = np.array([Path(path).read_bytes()], object)
        encoded = triton.InferInput("encoded", [1], "BYTES")
        encoded.set_data_from_numpy(files)
        best = triton.InferRequestedOutput("probabilities", class_count=3)
        for line in client.infer(name, [encoded], outputs=[best]).as_numpy("probabilities").ravel():
            print(line.decode())

        # Pixels at the model's size, two images at once; all probabilities come as float32.
        shape = [2, *client.get_model_metadata(name).inputs[0].shape[1:]]
        pixels = triton.InferInput("images", shape, "UINT8")
        pixels.set_data_from_numpy(np.zeros(shape, np.uint8))
        print(client.infer(name, [pixels]).as_numpy("probabilities").shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
