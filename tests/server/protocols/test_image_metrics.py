"""What is counted of encoded images: how large they are, and why some cannot be decoded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image
from tests.conftest import WriteModel
from tests.server.conftest import StartServer

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.errors import IMAGE_FAULTS


def encoded(size: tuple[int, int], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, 7).save(buffer, kind, **options)
    return buffer.getvalue()


def of_65_scans() -> bytes:
    whole = encoded((20, 20), "JPEG", progressive=True)
    last, end = whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    return whole[:end] + whole[last:end] * 65 + whole[end:]


def of_12_bits() -> bytes:
    data = bytearray(encoded((20, 20), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


UNDECODABLE = {
    "empty": b"",
    "unknown_format": b"a text",
    "format_off": encoded((20, 20), "GIF"),
    "unsupported": of_12_bits(),
    "damaged": encoded((20, 20))[:-20],
    "too_many_parts": of_65_scans(),
    "too_large": encoded((3001, 3000)),
    "memory": encoded((3000, 3000), "WEBP"),
}


def test_images_are_counted_by_size_or_by_why_they_cannot_be_decoded(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(
        tmp_path, image_formats="jpeg,png,webp", max_image_pixels=9_000_000, max_decode_bytes=20_000_000
    )
    assert set(UNDECODABLE) == set(IMAGE_FAULTS)
    sizes = [(32, 32), (33, 32), (400, 300)]
    files = [*map(encoded, sizes), *UNDECODABLE.values(), b"another text"]
    answer = server.classify(pb.ClassifyRequest(encoded=pb.EncodedImages(images=files)))
    assert [result.HasField("error") for result in answer.results] == [False] * len(sizes) + [True] * 9

    def value(name: str, **labels: str) -> float | None:
        return server.app.registry.get_sample_value(name, {"model": "echo", "version": "1"} | labels)

    counts = {reason: value("covey_invalid_images_total", reason=reason) for reason in IMAGE_FAULTS}
    assert counts == dict.fromkeys(IMAGE_FAULTS, 1) | {"unknown_format": 2}
    assert value("covey_image_pixels_count") == len(sizes)
    assert value("covey_image_pixels_sum") == sum(width * height for width, height in sizes)
    assert value("covey_image_pixels_bucket", le="1024.0") == 1
    assert value("covey_image_pixels_bucket", le="4096.0") == value("covey_image_pixels_bucket", le="65536.0") == 2
    assert value("covey_image_pixels_bucket", le="262144.0") == 3


def test_an_image_that_fails_its_call_is_counted_as_well(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    """Explain, as the Open Inference Protocol, answers all images of a call or none."""
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    value = server.app.registry.get_sample_value
    labels = {"model": "echo", "version": "1", "reason": "damaged"}
    assert value("covey_invalid_images_total", labels) == 0  # from the start, so that rate() sees the first one
    server.classify(pb.ClassifyRequest(encoded=pb.EncodedImages(images=[UNDECODABLE["damaged"]])))
    assert value("covey_invalid_images_total", labels) == 1
    assert value("covey_image_pixels_count", {"model": "echo", "version": "1"}) == 0
