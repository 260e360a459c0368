"""0.1.0 and the present code understand each other: its model files, the calls of its SDK, the answers of its server.

All was recorded by record.py; `make test-release` runs the real code of 0.1.0 as well (tests/release).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from bench.processes import Server, covey_server
from google.protobuf import json_format
from tests.compatibility import released, source_trees
from tests.compatibility.conversation import GREY, TOKEN, hold, pixels
from tests.compatibility.recorded_server import RecordedServer

import covey

# What differs between machines or from run to run.
VARYING = ("timing", "serving", "message")


@pytest.fixture(scope="module", params=["native", "grpcio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The present one, with the model files of 0.1.0."""
    place = tmp_path_factory.mktemp(request.param)
    flags = ["--auth-token-file", str(source_trees.write_tokens(place))]
    with covey_server(released.MODELS, request.param, place / "log", flags) as running:
        yield running


def test_its_model_files_are_served(server: Server) -> None:
    """With the answers, names and figures that its own server and SDK gave."""
    found = json.loads(json.dumps(hold(server.target, released.IMAGES)))
    assert released.differences(_results(), found, released.TOLERANCE) == []


@pytest.mark.parametrize("number", range(len(json.loads(released.CALLS.read_text()))))
def test_a_call_of_its_sdk_is_answered(number: int, server: Server) -> None:
    """Byte for byte as it was sent; the answer is read with the messages that the SDK had."""
    call = json.loads(released.CALLS.read_text())[number]
    with grpc.insecure_channel(server.target) as channel:
        send: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(call["path"])
        metadata = tuple((str(name), str(value)) for name, value in call["metadata"])
        answers = send(iter(_decoded(call["requests"])), metadata=metadata, timeout=120)
        if "status" in call:
            with pytest.raises(grpc.RpcError) as failed:
                list(answers)
            assert failed.value.code().name == call["status"]
            return
        found = list(answers)
    if "Classifier" not in call["path"]:
        assert found == _decoded(call["responses"])  # health
        return
    expected, got = (
        sorted((_fields(call["path"], each) for each in part), key=json.dumps)
        for part in (_decoded(call["responses"]), found)
    )
    assert released.differences(expected, got, released.TOLERANCE) == []


def test_its_server_answers_the_present_sdk() -> None:
    with RecordedServer() as target:
        found = json.loads(json.dumps(hold(target, released.IMAGES)))
    assert released.differences(_results(), found, 1e-6) == []


def test_the_present_sdk_says_what_its_server_does_not_know() -> None:
    image = pixels(28, 28, 1, 1)
    with RecordedServer() as target, covey.Client(target, token=TOKEN, retries=0) as client:
        with pytest.raises(covey.ServerError, match="without the embeddings that were asked for, so it is older"):
            client.classify(image, model=GREY, embedding=True)
        with pytest.raises(covey.ServerError, match="without the embeddings"):
            list(client.classify_stream([("x", image)], model=GREY, embedding=True))
        with pytest.raises(covey.ServerError, match="does not know this call; is it a Covey server, and new enough"):
            client.explain(image, model=GREY)
        with pytest.raises(covey.ServerError, match="does not know this call"):
            client.choose("promote", GREY, 1)
        model = client.model(GREY, 1)
        assert (model.embedding_size, model.known_from, model.temperature) == (0, None, None)


def _results() -> Any:  # noqa: ANN401
    return json.loads(released.RESULTS.read_text())


def _decoded(messages: Sequence[str]) -> list[bytes]:
    return [base64.b64decode(each) for each in messages]


def _fields(path: str, response: bytes) -> Any:  # noqa: ANN401
    kind = released.messages()[released.request_and_response(path)[1]]
    fields = json_format.MessageToDict(kind.FromString(response))
    return json.loads(json.dumps(fields), object_hook=_without_varying)


def _without_varying(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in VARYING}
