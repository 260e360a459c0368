"""covey.v1.Classifier over the wire, on both fronts: a real server, a real channel, models that echo their input."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.errors import PortUnavailable

RNG = np.random.default_rng(5)


def images(count: int, shape: tuple[int, int, int] = (4, 4, 1)) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (count, *shape), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def probabilities(result: pb.Result, classes: int) -> list[float]:
    """All probabilities of a result, in the order of the classes."""
    assert len(result.classes) == classes
    assert [each.label for each in result.classes] == [f"class {each.index}" for each in result.classes]
    found = sorted((each.index, each.probability) for each in result.classes)
    return [probability for _, probability in found]


def test_packed_pixels_come_back_in_order_however_many_batches_they_take(server: Server) -> None:
    pixels = images(50)
    response = server.classify(pb.ClassifyRequest(top_k=10, pixels=pb.Pixels(data=pixels.tobytes())))
    assert (response.model, response.version) == ("echo", 1)
    found = [probabilities(result, 10) for result in response.results]
    assert found == pytest.approx(pixels.reshape(50, -1)[:, :10] / 255)
    timing = response.timing
    assert timing.total_us == timing.decode_us + timing.queue_us + timing.compute_us
    assert 1 <= timing.batch_size <= 8
    assert timing.device == "cpu"


def test_encoded_images_answer_as_their_pixels_do(server: Server) -> None:
    pixels = images(3, (2, 3, 3))
    request = pb.ClassifyRequest(model="colour", version=7, top_k=18)
    request.encoded.images.extend(png(image) for image in pixels)
    found = [probabilities(result, 18) for result in server.classify(request).results]
    assert found == pytest.approx(pixels.reshape(3, -1) / 255)


def test_one_bad_image_fails_itself_alone(server: Server) -> None:
    good = images(2)
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    request = pb.ClassifyRequest(top_k=10)
    request.encoded.images.extend([b"text.png", png(good[0]), png(good[0])[:-30], png(good[1]), bomb.getvalue()])
    results = server.classify(request).results
    assert [result.error.reason for result in results] == [1, 0, 1, 0, 2]
    assert "not a JPEG, PNG, WebP, GIF or AVIF image" in results[0].error.message
    assert "damaged or cut off" in results[2].error.message
    assert "20000 x 20000 = 400,000,000 pixels" in results[4].error.message
    assert probabilities(results[1], 10) == pytest.approx(good[0].ravel()[:10] / 255)
    assert probabilities(results[3], 10) == pytest.approx(good[1].ravel()[:10] / 255)


def test_nothing_but_bad_images_is_answered_too(server: Server) -> None:
    request = pb.ClassifyRequest(encoded=pb.EncodedImages(images=[b"", b"x"]))
    response = server.classify(request)
    assert [result.error.reason for result in response.results] == [1, 1]
    assert response.model == "echo"


def test_top_k_is_five_unless_said(server: Server) -> None:
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(range(16))))
    assert [each.index for each in server.classify(request).results[0].classes] == [9, 8, 7, 6, 5]
    request.top_k = 1
    assert [each.index for each in server.classify(request).results[0].classes] == [9]


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (pb.ClassifyRequest(), "INVALID_ARGUMENT", "the request holds no image; set encoded.images"),
        (pb.ClassifyRequest(encoded=pb.EncodedImages()), "INVALID_ARGUMENT", "the request holds no image"),
        (
            pb.ClassifyRequest(pixels=pb.Pixels()),
            "INVALID_ARGUMENT",
            "pixels.data has 0 bytes; model 'echo' expects n x 4 x 4 x 1 (height x width x channels), a multiple of 16",
        ),
        (pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(17))), "INVALID_ARGUMENT", "pixels.data has 17 bytes"),
        (
            pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16), height=2, width=8)),
            "INVALID_ARGUMENT",
            "height 2, width 8, 1 channel(s) were sent; model 'echo' takes height 4, width 4, 1 channel(s)",
        ),
        (
            pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16)), top_k=0),
            "INVALID_ARGUMENT",
            "top_k is 0; expected 1 to 10",
        ),
        (
            pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16)), top_k=11),
            "INVALID_ARGUMENT",
            "top_k is 11; expected 1 to 10",
        ),
        (
            pb.ClassifyRequest(model="ehco"),
            "NOT_FOUND",
            "model 'ehco' is not served here; these are: colour, echo",
        ),
        (
            pb.ClassifyRequest(model="colour", version=6),
            "NOT_FOUND",
            "version 6 of model 'colour' is not served; version 7 is",
        ),
        (pb.ClassifyRequest(model="skewed"), "NOT_FOUND", "found and refused: version 1: golden set"),
    ],
)
def test_wrong_requests_say_what_was_expected(
    server: Server, request_: pb.ClassifyRequest, code: str, message: str
) -> None:
    found, text = server.error(request_)
    assert found.name == code
    assert message in text
    server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))))  # and the server goes on


def test_bytes_that_are_no_message_are_refused(server: Server) -> None:
    for method in ("Classify", "GetModel"):
        with pytest.raises(grpc.RpcError) as caught:
            server.ask(method, b"\xff\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "covey.v1." in (caught.value.details() or "")


def test_an_unknown_method_is_unimplemented(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.ask("Sing", b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_large_message_is_refused_and_a_large_batch_is_not(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_message_bytes=100_000)
    code, message = server.error(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 6251))))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "at most 100,000 are taken here" in message
    assert len(server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 6000)))).results) == 6000


def test_encoded_images_are_bounded_by_what_they_decode_to(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, shape=(100, 100, 1))
    server = start_server(tmp_path, max_message_bytes=100_000)
    small = png(images(1)[0])
    assert len(server.classify(pb.ClassifyRequest(encoded=pb.EncodedImages(images=[small] * 10))).results) == 10
    code, message = server.error(pb.ClassifyRequest(encoded=pb.EncodedImages(images=[small] * 11)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "decode to 110,000 bytes, at most 100,000" in message


def test_many_callers_at_once_each_get_their_own_answer(server: Server) -> None:
    pixels = images(2000)
    expected = pixels.reshape(len(pixels), -1)[:, :10] / 255

    def classify(place: int) -> list[float]:
        request = pb.ClassifyRequest(top_k=10, pixels=pb.Pixels(data=pixels[place].tobytes()))
        return probabilities(server.classify(request).results[0], 10)

    with ThreadPoolExecutor(32) as callers:
        assert list(callers.map(classify, range(len(pixels)))) == pytest.approx(expected)


def test_two_servers_live_in_one_process(
    server: Server, tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, "other")
    other = start_server(tmp_path)
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16)))
    assert [server.classify(request).model, other.classify(request).model] == ["echo", "other"]


def test_a_port_that_is_taken_is_named(
    server: Server, tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    grpc_port, metrics_port = server.app.front.port, server.app.metrics_port
    with pytest.raises(PortUnavailable, match=f"gRPC cannot listen on 127.0.0.1:{grpc_port}"):
        start_server(tmp_path, grpc_port=grpc_port)
    with pytest.raises(PortUnavailable, match=f"metrics cannot listen on 127.0.0.1:{metrics_port}"):
        start_server(tmp_path, metrics_port=metrics_port)
