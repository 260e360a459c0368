"""Frames as they come: python camera.py [HOST:PORT]. An answer never waits for the next frame."""

import asyncio
import sys
from collections.abc import AsyncIterator

import numpy as np

import covey


async def frames(shape: tuple[int, ...]) -> AsyncIterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Thirty frames a second for a second, of a square that grows brighter."""
    for brightness in range(0, 240, 8):
        yield np.full(shape, brightness, np.uint8)
        await asyncio.sleep(1 / 30)


async def main(target: str = "localhost:8001") -> None:
    async with covey.AsyncClient(target) as client:
        size = (await client.model()).input
        assert size is not None
        async for answer in client.classify_many(frames((size.height, size.width, size.channels))):
            print(answer.label)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
