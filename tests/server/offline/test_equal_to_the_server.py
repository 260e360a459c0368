"""A row is what a server answers about the same bytes: images of many kinds, and files that are none."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import WriteModel
from tests.server.conftest import StartServer
from tests.server.offline.helpers import batch, read, write_folder

from covey_proto.v1 import classifier_pb2 as pb

SIDE = 300


def files() -> dict[str, bytes]:
    """Each format, with and without colour, transparency and a turn; large and tiny; and what is damaged."""
    random = np.random.default_rng(0)
    encoded: dict[str, bytes] = {}

    def add(name: str, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], kind: str, **options: object) -> None:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        encoded[name] = file.getvalue()

    noise = random.integers(0, 256, (SIDE, SIDE + 60, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    add("colour.jpg", noise[..., :3], "JPEG")
    add("turned.jpg", noise[..., :3], "JPEG", exif=exif)
    add("grey.jpg", noise[..., 0], "JPEG", progressive=True)
    add("colour.png", noise[..., :3], "PNG")
    add("transparent.png", noise, "PNG")
    add("tiny.png", noise[:1, :2, :3], "PNG")
    add("exact.png", noise[:8, :8, :3], "PNG")
    add("picture.gif", noise[:40, :40, 0], "GIF")
    add("picture.webp", noise[..., :3], "WEBP")
    add("too-large.png", np.zeros((400, 400), np.uint8), "PNG")
    encoded["cut.jpg"] = encoded["colour.jpg"][:-900]
    encoded["cut.png"] = encoded["colour.png"][:-900]
    encoded["empty.png"] = b""
    encoded["page.jpg"] = b"<!doctype html><p>not found"
    encoded["a-bitmap.png"] = b"BM" + bytes(60)
    return encoded


def test_a_row_says_what_the_server_answers(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, front: str
) -> None:
    del front
    models = tmp_path / "models"
    model = write_echo_model(models, shape=(8, 8, 3), classes=50)
    sent = files()
    limits = {"max_image_pixels": 150_000}
    server = start_server(models, **limits)
    request = pb.ClassifyRequest(encoded=pb.EncodedImages(images=sent.values()), top_k=3)
    results = dict(zip(sent, server.classify(request).results, strict=True))
    out = tmp_path / "out.parquet"
    folder = write_folder(tmp_path / "images", sent)
    assert batch(folder, "--model", model, "--to", out, "--top-k", 3, "--max-image-pixels", 150_000) == 0
    rows = {row["key"]: row for row in read(out)}
    assert rows.keys() == results.keys()
    failed = {key for key, row in rows.items() if row["error"] is not None}
    assert failed == {"too-large.png", "cut.jpg", "cut.png", "empty.png", "page.jpg", "a-bitmap.png"}
    for key, result in results.items():
        row = rows[key]
        assert row["error"] == (result.error.message or None)
        best: list[tuple[Any, ...]] = [
            (ranked.label, ranked.index, np.float32(ranked.probability)) for ranked in result.classes
        ]
        in_row = [(row[f"label{end}"], row[f"index{end}"], row[f"probability{end}"]) for end in ("", "_2", "_3")]
        assert in_row == (best or [(None, None, None)] * 3)


@pytest.fixture(scope="module", params=["native"])
def front(request: pytest.FixtureRequest) -> str:
    """One is enough: answers do not depend on it."""
    return str(request.param)
