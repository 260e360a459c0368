"""Triton's own client through the edge: `python -m tests.deploy.triton_through_edge ADDRESS AUTHORITY KEY CERTIFICATE
TOKEN` prints the class of a grey image four times, by a call, by asyncio, and by both of two elements of a stream.

In a process of its own: package `inference` can be registered once per process.
"""

from __future__ import annotations

import asyncio
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio


def main(address: str, authority: str, key: str, certificate: str, token: str) -> None:
    """Prints one label a line."""
    secure = {"ssl": True, "root_certificates": authority, "private_key": key, "certificate_chain": certificate}
    headers = {"authorization": f"Bearer {token}"}
    image = triton.InferInput("images", [1, 28, 28, 1], "UINT8")
    image.set_data_from_numpy(np.full((1, 28, 28, 1), 128, np.uint8))
    best = [triton.InferRequestedOutput("probabilities", class_count=1)]

    def show(result: triton.InferResult) -> None:
        print(result.as_numpy("probabilities")[0, 0].decode().rpartition(":")[2])

    async def by_asyncio() -> None:
        async with triton_aio.InferenceServerClient(address, **secure) as client:
            show(await client.infer("lenet", [image], outputs=best, headers=headers))

    with triton.InferenceServerClient(address, **secure) as client:
        assert client.is_server_ready(headers=headers)
        show(client.infer("lenet", [image], outputs=best, headers=headers))
        asyncio.run(by_asyncio())
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
        for _ in range(2):
            client.async_stream_infer("lenet", [image], outputs=best)
        for _ in range(2):
            result, error = answers.get(timeout=20)
            assert error is None, error
            show(result)
        client.stop_stream()


if __name__ == "__main__":
    main(*sys.argv[1:])
