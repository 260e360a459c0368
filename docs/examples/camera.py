"""Frames as they come, through one call: python camera.py [HOST:PORT]. No answer waits for the next frame."""

import asyncio
import sys
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

import covey


async def frames(shape: tuple[int, ...]) -> AsyncIterator[tuple[int, NDArray[np.uint8]]]:
    """Thirty numbered frames in a second, of a square that grows brighter."""
    for number in range(30):
        yield number, np.full(shape, number * 8, np.uint8)
        await asyncio.sleep(1 / 30)


async def main(target: str = "localhost:8001") -> None:
    async with covey.AsyncClient(target) as client:
        size = (await client.model()).input
        assert size is not None
        async for number, answer in client.classify_stream(frames((size.height, size.width, size.channels))):
            print(number, answer.label)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
