"""/v2 over HTTP: the Open Inference Protocol in JSON and with the binary extension, and Triton's client."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer, write_standard_models
from tests.server.http.asking import EXPECTED, PIXELS, Answer, ask, png
from tests.waiting import wait_until
from tritonclient.utils import InferenceServerException

INFER = "/v2/models/echo/infer"
FLAT: list[int] = PIXELS[0].ravel().tolist()


def images(count: int = 1, **more: object) -> dict[str, Any]:
    return {"name": "images", "shape": [count, 4, 4, 1], "datatype": "UINT8", **more}


def infer(server: Server, request: object, binary: bytes = b"", path: str = INFER) -> Answer:
    """Asks in JSON, with bytes behind it if there are any."""
    head = json.dumps(request).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    return ask(server.http_port, "POST", path, head + binary, headers)


def values(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.body
    return list(answer.json["outputs"][0]["data"])


@pytest.mark.parametrize("path", [INFER, "/v2/models/echo/versions/1/infer"])
@pytest.mark.parametrize("data", [FLAT, PIXELS[:1].tolist()])
def test_json_in_and_out(server: Server, path: str, data: list[Any]) -> None:
    answer = infer(server, {"id": "a", "inputs": [images(data=data)]}, path=path)
    assert np.array(values(answer), np.float32).tolist() == EXPECTED[0].tolist()
    assert answer.json == {
        "model_name": "echo", "model_version": "1", "id": "a",
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 10], "data": values(answer)}],
    }  # fmt: skip


def test_binary_in_and_out(server: Server) -> None:
    request = {
        "inputs": [images(20, parameters={"binary_data_size": 320})],
        "parameters": {"binary_data_output": True},
    }
    answer = infer(server, request, PIXELS.tobytes())
    length = int(answer.headers["inference-header-content-length"])
    head = json.loads(answer.body[:length])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 800}
    assert answer.body[length:] == EXPECTED.tobytes()


def test_image_files_come_as_bytes_or_in_base64(server: Server) -> None:
    files = [png(each) for each in PIXELS]
    raw = b"".join(struct.pack("<I", len(each)) + each for each in files)
    encoded = {"name": "encoded", "shape": [20], "datatype": "BYTES"}
    answer = infer(server, {"inputs": [{**encoded, "parameters": {"binary_data_size": len(raw)}}]}, raw)
    assert np.array(values(answer), np.float32).tolist() == EXPECTED.ravel().tolist()
    data = [base64.b64encode(each).decode() for each in files]
    answer = infer(server, {"inputs": [{**encoded, "data": data, "parameters": {"content_type": "base64"}}]})
    assert np.array(values(answer), np.float32).tolist() == EXPECTED.ravel().tolist()


def test_classes_in_words(server: Server) -> None:
    output = {"name": "probabilities", "parameters": {"classification": 2}}
    answer = infer(server, {"inputs": [images(data=FLAT)], "outputs": [output]})
    best = np.argsort(-EXPECTED[0], kind="stable")[:2]
    assert values(answer) == [f"{EXPECTED[0][index]:f}:{index}:class {index}" for index in best]
    assert answer.json["outputs"][0]["datatype"] == "BYTES"


@pytest.mark.parametrize(
    ("status", "request_", "text"),
    [
        (400, [], "the JSON is an array"),
        (400, {}, "inputs is null"),
        (400, {"inputs": {}}, "inputs is an object"),
        (400, {"inputs": [3]}, "an element of inputs is a number"),
        (400, {"inputs": []}, "nothing sent as input"),
        (400, {"inputs": [images()]}, "input 'images' has no data"),
        (400, {"inputs": [images(data="x")]}, "data of input 'images' is a string"),
        (400, {"inputs": [images(data=[1, 2])]}, "has 2 bytes"),
        (400, {"inputs": [images(data=[256] * 16)]}, "they reach from 256 to 256"),
        (400, {"inputs": [images(data=[-1] * 16)]}, "they reach from -1 to -1"),
        (400, {"inputs": [images(data=[0.5] * 16)]}, "no numbers of UINT8"),
        (400, {"inputs": [images(data=["a"] * 16)]}, "no numbers of UINT8"),
        (400, {"inputs": [images(data=[[1], 2])]}, "no numbers of UINT8"),
        (400, {"inputs": [images(data=[10**400] * 16)]}, "no numbers of UINT8"),
        (400, {"inputs": [{**images(data=[1e300] * 16), "datatype": "FP32"}]}, "no numbers of FP32: overflow"),
        (501, {"inputs": [{**images(data=FLAT), "datatype": "UINT4"}]}, "has datatype 'UINT4'"),
        (400, {"inputs": [{**images(data=FLAT), "datatype": "INT32"}]}, "expected UINT8"),
        (400, {"inputs": [{**images(data=FLAT), "shape": "x"}]}, "shape of input 'images'"),
        (400, {"inputs": [{**images(data=FLAT), "shape": [1, 2**70]}]}, "shape of input 'images'"),
        (400, {"inputs": [{**images(data=FLAT), "shape": [1, 4, 4, 3]}]}, "expects [N, 4, 4, 1]"),
        (400, {"inputs": [{**images(data=FLAT), "name": 3}]}, "name of an input is a number"),
        (400, {"inputs": [{**images(data=FLAT), "name": "\ud800"}]}, "half of a character"),
        (400, {"inputs": [images(parameters={"binary_data_size": 99})]}, "more than the 0 bytes that follow"),
        (400, {"inputs": [images(parameters={"binary_data_size": -1})]}, "a binary_data_size from 0 up"),
        (400, {"inputs": [images(data=FLAT, parameters={"binary_data_size": 16})]}, "either data or"),
        (400, {"inputs": [images(data=FLAT)], "outputs": [{"name": "other"}]}, "'other' asked for as output"),
        (400, {"inputs": [images(data=FLAT)], "parameters": {"timeout": -1}}, "parameter 'timeout'"),
        (400, {"inputs": [images(data=FLAT)], "parameters": {"x": []}}, "parameter 'x' of the request is an array"),
        (400, {"inputs": [images(data=FLAT)], "parameters": {"\ud800": 1}}, "half of a character"),
        (400, {"inputs": [images(data=FLAT)], "parameters": {"x": "\ud800"}}, "half of a character"),
        (400, {"inputs": [images(data=FLAT, parameters={"x": "\ud800"})]}, "half of a character"),
        (504, {"inputs": [images(data=FLAT)], "parameters": {"timeout": 1}}, "deadline"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_its_clients_look(server: Server, status: int, request_: object, text: str) -> None:
    answer = infer(server, request_)
    assert (answer.status, text in answer.error) == (status, True), answer.body
    assert answer.json["error"] == answer.error


@pytest.mark.parametrize("length", ["0", "-1", "x", "99999", "1" * 100, "1" * 5000])
def test_a_wrong_length_of_the_json_is_said(server: Server, length: str) -> None:
    answer = ask(server.http_port, "POST", INFER, b"{}", {"Inference-Header-Content-Length": length})
    assert (answer.status, "expected the bytes of the JSON" in answer.error) == (400, True)


def test_a_large_answer_is_given_as_bytes_only(server: Server) -> None:
    pixels = np.zeros((30_000, 4, 4, 1), np.uint8)
    request = {"inputs": [images(30_000, parameters={"binary_data_size": pixels.nbytes})]}
    answer = infer(server, request, pixels.tobytes())
    assert (answer.status, "ask for binary data" in answer.error) == (413, True)
    answer = infer(server, {**request, "parameters": {"binary_data_output": True}}, pixels.tobytes())
    assert answer.status == 200
    assert len(answer.body) > 1_200_000
    wait_until(lambda: not server.app._admission.answer_bytes)


def test_health_is_told_by_status(server: Server) -> None:
    assert ask(server.http_port, "GET", "/v2/health/live").json == {"live": True}
    assert ask(server.http_port, "GET", "/v2/health/ready").json == {"ready": True}
    assert ask(server.http_port, "GET", "/v2/models/echo/ready").json == {"name": "echo", "ready": True}
    answer = ask(server.http_port, "GET", "/v2/models/skewed/versions/1/ready")
    assert (answer.status, answer.json) == (503, {"name": "skewed", "ready": False})


def test_triton_client_asks_and_is_answered(server: Server) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{server.http_port}", concurrency=4) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("echo", "1")
        assert not client.is_model_ready("nobody")
        metadata = client.get_server_metadata()
        assert (metadata["name"], "binary_tensor_data" in metadata["extensions"]) == ("covey", True)
        metadata = client.get_model_metadata("colour")
        assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 2, 3, 3]}]
        assert client.get_model_config("echo")["input"][0]["dims"] == [4, 4, 1]
        states = {each["name"]: each["state"] for each in client.get_model_repository_index()}
        assert states == {"colour": "READY", "echo": "READY", "skewed": "UNAVAILABLE"}
        before = client.get_inference_statistics("echo")["model_stats"][0]["inference_count"]
        for binary_in in (True, False):
            for binary_out in (True, False):
                made = triton.InferInput("images", [20, 4, 4, 1], "UINT8")
                made.set_data_from_numpy(PIXELS, binary_data=binary_in)
                wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary_out)]
                result = client.infer("echo", [made], outputs=wanted, request_id="7", timeout=20_000_000, priority=1)
                assert result.as_numpy("probabilities").tolist() == EXPECTED.tolist()
                assert result.get_response()["id"] == "7"
                wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary_out, class_count=3)]
                assert client.infer("echo", [made], outputs=wanted).as_numpy("probabilities").shape == (20, 3)
        calls = [client.async_infer("echo", [made]) for _ in range(20)]
        assert all(each.get_result().as_numpy("probabilities").tolist() == EXPECTED.tolist() for each in calls)
        after = client.get_inference_statistics("echo", "1")["model_stats"][0]["inference_count"]
        assert after - before == 28 * 20
        files = triton.InferInput("encoded", [20], "BYTES")
        files.set_data_from_numpy(np.array([png(each) for each in PIXELS], object))
        assert client.infer("echo", [files]).as_numpy("probabilities").tolist() == EXPECTED.tolist()
        assert refusal(lambda: client.infer("nobody", [made])) == (
            "404", "model 'nobody' is not served here; these are: colour, echo",
        )  # fmt: skip
        status, text = refusal(lambda: client.infer("echo", [made], request_compression_algorithm="gzip"))
        assert (status, "are not read here" in text) == ("415", True)
        status, text = refusal(lambda: client.load_model("echo"))
        assert (status, "is not allowed" in text) == ("403", True)
        status, text = refusal(lambda: client.get_log_settings())
        assert (status, "there is nothing at '/v2/logging'" in text) == ("404", True)


def test_triton_client_loads_and_unloads(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_standard_models(tmp_path, write_echo_model)
    server = start_server(tmp_path, allow_management=True, reload_interval_s=0)
    with triton.InferenceServerClient(f"127.0.0.1:{server.http_port}", network_timeout=60) as client:
        client.unload_model("echo")
        assert not client.is_model_ready("echo")
        client.load_model("echo")
        assert client.is_model_ready("echo")
        status, text = refusal(lambda: client.load_model("skewed"))
        assert (status, "golden" in text) == ("409", True), text
        assert refusal(lambda: client.load_model("nobody"))[0] == "404"
        status, text = refusal(lambda: client.load_model("echo", config="{}"))
        assert (status, "takes no parameter 'config'" in text) == ("501", True)


def refusal(do: Callable[[], object]) -> tuple[str, str]:
    """The status and the text that Triton's client raises."""
    with pytest.raises(InferenceServerException) as caught:
        do()
    return str(caught.value.status()), str(caught.value.message())
