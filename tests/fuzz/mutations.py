"""Owns what is done to bytes to make them wrong: bits, numbers, pieces. Knows nothing of requests or images.

Every function draws from the `random.Random` it is given, so that a case is the same in every run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

# Where parsers go wrong: ends of ranges, signs, lengths that overflow once something is added.
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1)
MAX_BYTES = 40_000  # of what comes out, so that a run spends its time on many cases and not on long ones

Mutation = Callable[[random.Random, bytearray], None]


def flip_bits(chance: random.Random, data: bytearray) -> None:
    """Turns over one to eight bits anywhere."""
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def damage_header(chance: random.Random, data: bytearray) -> None:
    """Gives a few of the first bytes other values: formats keep their sizes and counts there."""
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(min(len(data), 400))] = chance.choice(
            (0, 1, 0x7F, 0x80, 0xFE, 0xFF, chance.randrange(256))
        )


def write_number(chance: random.Random, data: bytearray) -> None:
    """Writes a number of one, two or four bytes over what is there, high byte first or last."""
    size = chance.choice((1, 2, 4))
    start = chance.randrange(len(data))
    number = chance.choice(NUMBERS) % 256**size
    data[start : start + size] = number.to_bytes(size, chance.choice(("big", "little")))


def cut_off(chance: random.Random, data: bytearray) -> None:
    """Leaves out the end."""
    del data[chance.randrange(len(data)) :]


def leave_out(chance: random.Random, data: bytearray) -> None:
    """Leaves out a piece."""
    start = chance.randrange(len(data))
    del data[start : start + chance.randint(1, 64)]


def put_in(chance: random.Random, data: bytearray) -> None:
    """Puts random bytes in."""
    start = chance.randrange(len(data) + 1)
    data[start:start] = chance.randbytes(chance.randint(1, 32))


def repeat(chance: random.Random, data: bytearray) -> None:
    """Repeats a piece, up to two hundred times."""
    start = chance.randrange(len(data))
    piece = data[start : start + chance.choice((1, 4, 16, 64, 256))]
    data[start:start] = piece * chance.choice((1, 2, 10, 200))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, flip_bits, damage_header, write_number, cut_off, leave_out, put_in, repeat,
)  # fmt: skip


def splice(chance: random.Random, data: bytearray, other: bytes) -> None:
    """The beginning of one, and the end of another."""
    data[chance.randrange(len(data)) :] = other[chance.randrange(len(other)) :]


def mutate(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """`data` with one to three mutations; `others` are what pieces may come from."""
    mutated = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if not mutated:
            break
        if others and chance.random() < 0.1:
            splice(chance, mutated, chance.choice(others))
        else:
            chance.choice(MUTATIONS)(chance, mutated)
    return bytes(mutated[:MAX_BYTES])
