"""gRPC's messages over HTTP: the same bytes come back as over gRPC, and the same statuses."""

from __future__ import annotations

import grpc
import pytest
from tests.server.conftest import Server
from tests.server.http.asking import PIXELS, Answer, ask, png

from covey_proto.v1 import classifier_pb2 as pb

KIND = "application/x-protobuf"
CLASSIFY, HEALTH = "/covey.v1.Classifier/Classify", "/grpc.health.v1.Health/Check"


def post(server: Server, path: str, body: bytes = b"", kind: str = KIND) -> Answer:
    return ask(server.http_port, "POST", path, body, {"Content-Type": kind})


@pytest.mark.parametrize("kind", [KIND, "application/protobuf", "application/proto", "Application/X-Protobuf; a=b"])
def test_a_message_is_answered_as_over_grpc(server: Server, kind: str) -> None:
    pixels = pb.Pixels(data=PIXELS[:3].tobytes(), height=4, width=4, channels=1)
    files = pb.EncodedImages(images=[png(PIXELS[0]), b"no image"])
    for request in (pb.ClassifyRequest(pixels=pixels, top_k=4), pb.ClassifyRequest(model="echo", encoded=files)):
        answer = post(server, CLASSIFY, request.SerializeToString(), kind)
        assert (answer.status, answer.headers["content-type"]) == (200, kind.partition(";")[0].lower())
        found, expected = pb.ClassifyResponse.FromString(answer.body), server.classify(request)
        assert found.timing.batch_size
        for each in (found, expected):
            each.ClearField("timing")
        assert found == expected


@pytest.mark.parametrize(("method", "body"), [("ListModels", b""), ("GetModel", b"\x0a\x06colour")])
def test_models_are_described_as_over_grpc(server: Server, method: str, body: bytes) -> None:
    answer = post(server, f"/covey.v1.Classifier/{method}", body)
    assert (answer.status, answer.body) == (200, server.ask(method, body))


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        (pb.ClassifyRequest(model="nobody", encoded=pb.EncodedImages(images=[b"x"])), 404),
        (pb.ClassifyRequest(), 400),
        (pb.ClassifyRequest(pixels=pb.Pixels(data=b"12345", height=4, width=4, channels=1)), 400),
    ],
)
def test_errors_have_the_status_and_the_words_of_grpc(server: Server, refused: pb.ClassifyRequest, status: int) -> None:
    code, details = server.error(refused)
    answer = post(server, CLASSIFY, refused.SerializeToString())
    assert (answer.status, answer.json["grpc_status"], answer.error) == (status, code.name, details)


def test_what_is_no_message(server: Server) -> None:
    assert post(server, CLASSIFY, b"\xff\xff").status == 400
    for kind in ("application/json", "image/png", ""):
        answer = post(server, CLASSIFY, b"", kind)
        assert (answer.status, answer.json["grpc_status"]) == (415, "UNIMPLEMENTED")
        assert "/v1/models/NAME/classify" in answer.error


def test_a_deadline_in_the_query(server: Server) -> None:
    request = pb.ClassifyRequest(encoded=pb.EncodedImages(images=[png(PIXELS[0])]))
    assert post(server, f"{CLASSIFY}?timeout_ms=20000", request.SerializeToString()).status == 200
    assert post(server, f"{CLASSIFY}?timeout_ms=soon", request.SerializeToString()).status == 400


def test_health_and_what_is_not_there(server: Server) -> None:
    assert post(server, HEALTH).body == b"\x08\x01"
    assert post(server, HEALTH, b"\x0a\x01x").status == 400
    nowhere = post(server, "/elsewhere/covey.v1.Classifier/Classify")
    assert (nowhere.status, nowhere.json["grpc_status"]) == (404, grpc.StatusCode.UNIMPLEMENTED.name)
    server.app._health.serving = False
    try:
        assert post(server, HEALTH).body == b"\x08\x02"
    finally:
        server.app._health.serving = True
