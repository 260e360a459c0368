"""The decode pool: what it keeps, what it drops, when it ends early."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from covey_server.errors import Cancelled, InvalidImage, Stopping
from covey_server.images.decode_pool import DecodePool
from covey_server.images.pixels import InputSpec

SPEC = InputSpec(2, 2, 1)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((2, 2), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_good_rows_stay_in_order_and_bad_images_keep_their_places() -> None:
    decoded = DecodePool(1, 100, 1 << 30).decode([png(1), b"x", png(2)], SPEC, check=lambda: None)
    assert decoded.rows == bytes([1] * 4 + [2] * 4)
    assert [type(failure) for failure in decoded.failures] == [type(None), InvalidImage, type(None)]
    assert decoded.count == 2


def test_of_all_or_none_nothing_is_decoded_behind_a_bad_image() -> None:
    decoded = DecodePool(1, 100, 1 << 30).decode([png(1), b"x", png(2)], SPEC, check=lambda: None, all_or_none=True)
    assert [type(failure) for failure in decoded.failures] == [type(None), InvalidImage]


def test_ends_when_the_pool_is_closed() -> None:
    pool = DecodePool(1, 100, 1 << 30)
    pool.close()
    with pytest.raises(Stopping):
        pool.decode([png(1)] * 1000, SPEC, check=lambda: None)


def test_asks_before_each_image_whether_somebody_still_waits() -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Cancelled("gone")

    with pytest.raises(Cancelled):
        DecodePool(1, 100, 1 << 30).decode([png(1)] * 1000, SPEC, check)
    assert asked == 3
