"""What Triton's own client asks of a server: `python -m tests.server.protocols.triton_calls ADDRESS`.

Runs in a process of its own, and imports no Covey: package `inference` can be registered once per process. The models
are those of the fixture `server`.
"""

from __future__ import annotations

import asyncio
import io
import json
import queue
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

PIXELS = np.random.default_rng(11).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
EXPECTED = PIXELS.reshape(20, -1)[:, :10].astype(np.float32) * np.float32(1 / 255)  # as the models compute it


def tensor(pixels: NDArray[Any], name: str = "images", datatype: str = "UINT8") -> triton.InferInput:
    """An input with data."""
    made = triton.InferInput(name, list(pixels.shape), datatype)
    made.set_data_from_numpy(pixels)
    return made


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def refused(ask: Callable[[], object]) -> tuple[str, str]:
    """The status and text that a call fails with."""
    try:
        ask()
    except InferenceServerException as error:
        return str(error.status()), str(error.message())
    raise AssertionError("the call was answered")


def check_infer(address: str) -> None:
    """Pixels, one image and many, with an id."""
    with triton.InferenceServerClient(address) as client:
        for count in (1, 20):
            result = client.infer("echo", [tensor(PIXELS[:count])], request_id=f"id {count}")
            np.testing.assert_allclose(result.as_numpy("probabilities"), EXPECTED[:count], rtol=1e-6)
            response = result.get_response()
            assert (response.model_name, response.model_version, response.id) == ("echo", "1", f"id {count}")
            assert response.outputs[0].datatype == "FP32"
            assert not response.outputs[0].HasField("contents")
        result = client.infer("colour", [tensor(np.zeros((2, 2, 3, 3), np.uint8))], model_version="7")
        assert result.as_numpy("probabilities").shape == (2, 18)


def answered(client: triton.InferenceServerClient, algorithm: str) -> tuple[str | None, str]:
    """The status and message of a compressed call; none where it was answered rightly."""
    try:
        result = client.infer("echo", [tensor(PIXELS)], compression_algorithm=algorithm, client_timeout=20)
    except triton.InferenceServerException as error:
        return error.status(), error.message()
    np.testing.assert_allclose(result.as_numpy("probabilities"), EXPECTED, rtol=1e-6)
    return None, ""


def check_compression_and_timeouts(address: str) -> None:
    """What a call can be given beside its inputs."""
    with triton.InferenceServerClient(address) as client:
        # The native front takes gzip, and no server-side library deflate; the grpcio front neither.
        for algorithm in ("gzip", "deflate"):
            status, message = answered(client, algorithm)
            assert (status, algorithm in message) in ((None, False), ("StatusCode.UNIMPLEMENTED", True)), message
        result = client.infer("echo", [tensor(PIXELS)], timeout=0)
        assert result.as_numpy("probabilities").shape == (20, 10)
        result = client.infer("echo", [tensor(PIXELS)], timeout=20_000_000, priority=1, headers={"a": "b"})
        assert result.as_numpy("probabilities").shape == (20, 10)
        many = tensor(np.zeros((100_000, 4, 4, 1), np.uint8))
        status, _ = refused(lambda: client.infer("echo", [many], timeout=10))
        assert status == "StatusCode.DEADLINE_EXCEEDED"


def check_encoded(address: str) -> None:
    """Image files as a BYTES tensor."""
    files = np.array([png(each) for each in PIXELS], object)
    with triton.InferenceServerClient(address) as client:
        result = client.infer("echo", [tensor(files, "encoded", "BYTES")])
        np.testing.assert_allclose(result.as_numpy("probabilities"), EXPECTED, rtol=1e-6)
        files[3] = b"no image"
        status, text = refused(lambda: client.infer("echo", [tensor(files, "encoded", "BYTES")]))
        assert status == "StatusCode.INVALID_ARGUMENT"
        assert "element 3 of input 'encoded': not a JPEG, PNG" in text, text


def check_classification(address: str) -> None:
    """The best classes in words."""
    asked = [triton.InferRequestedOutput("probabilities", class_count=3)]
    with triton.InferenceServerClient(address) as client:
        found = client.infer("echo", [tensor(PIXELS)], outputs=asked).as_numpy("probabilities")
    assert found.shape == (20, 3)
    for row, expected in zip(found, EXPECTED, strict=True):
        best = np.argsort(-expected, kind="stable")[:3]
        assert [text.decode() for text in row] == [f"{expected[index]:f}:{index}:class {index}" for index in best]


def check_async_infer(address: str) -> None:
    """Calls with a callback, many at once."""
    done: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton.InferenceServerClient(address) as client:
        for place in range(20):
            client.async_infer(
                "echo",
                [tensor(PIXELS[place : place + 1])],
                lambda result, error: done.put((result, error)),
                request_id=str(place),
            )
        for _ in range(20):
            result, error = done.get(timeout=30)
            assert error is None, error
            place = int(result.get_response().id)
            np.testing.assert_allclose(result.as_numpy("probabilities")[0], EXPECTED[place], rtol=1e-6)


def check_asyncio(address: str) -> None:
    """The asyncio client, all of it that a server answers."""

    async def run() -> None:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("echo")
            assert not await client.is_model_ready("nobody")
            assert (await client.get_model_metadata("echo")).inputs[0].name == "images"
            calls = [client.infer("echo", [tensor(PIXELS[place : place + 1])]) for place in range(20)]
            for place, result in enumerate(await asyncio.gather(*calls)):
                np.testing.assert_allclose(result.as_numpy("probabilities")[0], EXPECTED[place], rtol=1e-6)
            answers: Any = await asyncio.gather(client.infer("nobody", [tensor(PIXELS)]), return_exceptions=True)
            error = answers[0]
            assert isinstance(error, InferenceServerException)
            assert error.status() == "StatusCode.NOT_FOUND"
            assert "model 'nobody' is not served here; these are: colour, echo" in str(error)

    asyncio.run(run())


def check_stream(address: str) -> None:
    """start_stream, async_stream_infer, stop_stream: answers by id, errors that end nothing but their request."""
    done: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: done.put((result, error)))
        for place in range(20):
            client.async_stream_infer("echo", [tensor(PIXELS[place : place + 1])], request_id=str(place))
        client.async_stream_infer("nobody", [tensor(PIXELS)], request_id="wrong", enable_empty_final_response=True)
        client.async_stream_infer("echo", [tensor(np.zeros((1, 3), np.uint8))], request_id="wrong")
        files = np.array([png(PIXELS[7])], object)
        client.async_stream_infer(
            "echo", [tensor(files, "encoded", "BYTES")], request_id="7", enable_empty_final_response=True
        )
        answers = [done.get(timeout=30) for _ in range(23)]
        client.stop_stream()
    errors = sorted(str(error) for _, error in answers if error is not None)
    assert len(errors) == 2, errors
    assert "input 'images' has shape [1, 3]; model 'echo' expects [N, 4, 4, 1]" in errors[0], errors
    assert "model 'nobody' is not served here; these are: colour, echo" in errors[1], errors
    results = [result for result, error in answers if error is None]
    for result in results:
        response = result.get_response()
        assert (response.model_name, response.model_version) == ("echo", "1")
        assert response.parameters["triton_final_response"].bool_param
        np.testing.assert_allclose(result.as_numpy("probabilities")[0], EXPECTED[int(response.id)], rtol=1e-6)
    assert sorted(int(result.get_response().id) for result in results) == sorted([*range(20), 7])


def check_asyncio_stream(address: str) -> None:
    """The same by the asyncio client, with requests from a generator."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for place in range(200):
            name = "nobody" if place == 100 else "echo"
            yield {
                "model_name": name,
                "inputs": [tensor(PIXELS[place % 20 : place % 20 + 1])],
                "request_id": str(place),
            }

    async def run() -> None:
        found, errors = set(), []
        async with triton_aio.InferenceServerClient(address) as client:
            async for result, error in client.stream_infer(requests()):
                if error is not None:
                    errors.append(str(error))
                    continue
                place = int(result.get_response().id)
                np.testing.assert_allclose(result.as_numpy("probabilities")[0], EXPECTED[place % 20], rtol=1e-6)
                found.add(place)
        assert found == set(range(200)) - {100}
        assert len(errors) == 1
        assert "model 'nobody' is not served here" in errors[0]

    asyncio.run(run())


def check_descriptions(address: str) -> None:
    """Readiness, metadata, configuration, statistics, index."""
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("echo", "1")
        assert not client.is_model_ready("echo", "2")
        assert not client.is_model_ready("skewed")
        server = client.get_server_metadata(as_json=True)
        assert server["name"] == "covey"
        assert server["extensions"] == ["classification", "model_configuration", "model_repository", "statistics"]
        metadata = client.get_model_metadata("colour", as_json=True)
        assert metadata["versions"] == ["7"]
        assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": ["-1", "2", "3", "3"]}]
        assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": ["-1", "18"]}]
        config = client.get_model_config("colour", as_json=True)["config"]
        assert config["input"] == [
            {"name": "images", "data_type": "TYPE_UINT8", "format": "FORMAT_NHWC", "dims": ["2", "3", "3"]}
        ]
        assert config["output"] == [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": ["18"]}]
        assert config["instance_group"][0]["kind"] == "KIND_CPU"
        assert config["max_batch_size"] > 1000
        before = client.get_inference_statistics("colour").model_stats[0]
        client.infer("colour", [tensor(np.zeros((2, 2, 3, 3), np.uint8))])
        after = client.get_inference_statistics("colour").model_stats[0]
        assert after.inference_count - before.inference_count == 2
        assert after.inference_stats.queue.count - before.inference_stats.queue.count == 1
        assert {each.name for each in client.get_inference_statistics().model_stats} == {"colour", "echo"}
        index = client.get_model_repository_index(as_json=True)["models"]
        assert [(each["name"], each["state"]) for each in index] == [
            ("colour", "READY"),
            ("echo", "READY"),
            ("skewed", "UNAVAILABLE"),
        ]
        assert "golden set" in index[2]["reason"]


def check_management(address: str) -> None:
    """Models taken out of service and back."""

    def states(client: triton.InferenceServerClient) -> list[tuple[str, str]]:
        models = client.get_model_repository_index(as_json=True)["models"]
        return [(each["name"], each["state"]) for each in models]

    with triton.InferenceServerClient(address) as client:
        client.load_model("colour")  # served already
        for _ in range(2):
            client.unload_model("colour")
            assert not client.is_model_ready("colour")
            assert states(client) == [("colour", "UNAVAILABLE"), ("echo", "READY"), ("skewed", "UNAVAILABLE")]
        status, text = refused(lambda: client.infer("colour", [tensor(np.zeros((1, 2, 3, 3), np.uint8))]))
        assert (status, "unloaded by a call" in text) == ("StatusCode.NOT_FOUND", True), text
        client.load_model("colour")
        assert client.is_model_ready("colour", "7")
        assert states(client)[0] == ("colour", "READY")
        assert client.infer("colour", [tensor(np.zeros((1, 2, 3, 3), np.uint8))]) is not None

    async def run() -> None:
        async with triton_aio.InferenceServerClient(address) as client:
            await client.unload_model("colour")
            assert not await client.is_model_ready("colour")
            await asyncio.gather(*[client.load_model("colour") for _ in range(5)])
            assert await client.is_model_ready("colour")

    asyncio.run(run())


def check_errors(address: str) -> None:
    """What is wrong has Triton's status, and says what was expected."""
    logits, floats = [triton.InferRequestedOutput("logits")], PIXELS.astype(np.float32)
    with triton.InferenceServerClient(address) as client:
        no_data = triton.InferInput("images", [1, 4, 4, 1], "UINT8")
        shared = triton.InferInput("images", [1, 4, 4, 1], "UINT8")
        shared.set_shared_memory("region", 16)
        image, files = tensor(PIXELS[:1]), tensor(np.array([b"x"], object), "encoded", "BYTES")
        invalid, unknown, unsupported, failed = (
            f"StatusCode.{name}" for name in ("INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "INTERNAL")
        )
        cases: list[tuple[str, str, Callable[[], object]]] = [
            (unknown, "'nobody' is not served", lambda: client.infer("nobody", [image])),
            (unknown, "version 2 of model 'echo'", lambda: client.infer("echo", [image], model_version="2")),
            (invalid, "expected a whole number", lambda: client.infer("echo", [image], model_version="last")),
            (unknown, "'nobody' is not served", lambda: client.get_model_metadata("nobody")),
            (unknown, "'nobody' is not served", lambda: client.get_model_config("nobody")),
            (unknown, "'nobody' is not served", lambda: client.get_inference_statistics("nobody")),
            (invalid, "nothing sent as input", lambda: client.infer("echo", [])),
            (invalid, "'images', 'encoded' sent as input", lambda: client.infer("echo", [image, files])),
            (invalid, "'pixels' sent as input", lambda: client.infer("echo", [tensor(PIXELS, "pixels")])),
            (invalid, "datatype 'FP32'", lambda: client.infer("echo", [tensor(floats, datatype="FP32")])),
            (invalid, "shape [4, 4, 1]", lambda: client.infer("echo", [tensor(PIXELS[0])])),
            (invalid, "'logits' asked for", lambda: client.infer("echo", [image], outputs=logits)),
            (invalid, "has no data", lambda: client.infer("echo", [no_data])),
            (unsupported, "lies in shared memory", lambda: client.infer("echo", [shared])),
            (failed, "version 1: golden set", lambda: client.load_model("skewed")),
            (unknown, "holds no model of this name", lambda: client.load_model("nobody")),
            (unknown, "there is no model of this name", lambda: client.unload_model("nobody")),
            (unsupported, "takes no parameter 'config'", lambda: client.load_model("echo", config="{}")),
            (unsupported, "takes no parameter", lambda: client.load_model("echo", config="{}", files={"file:1": b"x"})),
            (unsupported, "", lambda: client.register_system_shared_memory("region", "/key", 16)),
        ]
        for status, text, ask in cases:
            found_status, found_text = refused(ask)
            assert (found_status, text in found_text) == (status, True), (found_status, found_text, text)


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}


def failure(check: Callable[[str], None], address: str) -> str:
    """What a check fails with, or nothing."""
    try:
        check(address)
    except Exception:  # noqa: BLE001 - it is told
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    print(json.dumps({name: failure(check, sys.argv[1]) for name, check in CHECKS.items()}))
