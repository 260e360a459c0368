"""Twenty digits as people draw them: each is lines through points, in shares of the surface's side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]
Stroke: TypeAlias = Sequence[Point]


def arc(x: float, y: float, across: float, up: float, start: float, stop: float) -> list[Point]:
    """Points of an ellipse around (x, y), from one angle to another in degrees, 0 to the right, clockwise."""
    steps = 16
    angles = [math.radians(start + (stop - start) * step / steps) for step in range(steps + 1)]
    return [(x + across * math.cos(angle), y + up * math.sin(angle)) for angle in angles]


DIGITS: Sequence[tuple[int, Sequence[Stroke]]] = (
    (0, [arc(0.5, 0.5, 0.2, 0.32, -90, 270)]),
    (0, [arc(0.48, 0.52, 0.25, 0.3, -70, 290)]),
    (1, [[(0.52, 0.15), (0.48, 0.85)]]),
    (1, [[(0.58, 0.18), (0.44, 0.84)]]),
    (2, [[*arc(0.48, 0.34, 0.2, 0.17, -170, 40), (0.3, 0.8), (0.74, 0.78)]]),
    (2, [[*arc(0.5, 0.35, 0.22, 0.18, -160, 50), (0.28, 0.82), (0.45, 0.78), (0.76, 0.82)]]),
    (3, [[*arc(0.46, 0.33, 0.2, 0.16, -150, 90), *arc(0.46, 0.66, 0.23, 0.18, -90, 150)]]),
    (3, [[*arc(0.48, 0.32, 0.19, 0.16, -160, 80), *arc(0.47, 0.66, 0.22, 0.19, -80, 160)]]),
    (4, [[(0.34, 0.16), (0.27, 0.52), (0.74, 0.5)], [(0.66, 0.18), (0.6, 0.86)]]),
    (4, [[(0.3, 0.2), (0.28, 0.5), (0.68, 0.5)], [(0.68, 0.16), (0.66, 0.86)]]),
    (5, [[(0.7, 0.18), (0.38, 0.18), (0.34, 0.45), *arc(0.46, 0.63, 0.2, 0.19, -80, 150)]]),
    (5, [[(0.72, 0.2), (0.4, 0.2), (0.35, 0.46), *arc(0.48, 0.64, 0.2, 0.18, -90, 140)]]),
    (6, [[(0.6, 0.15), (0.42, 0.36), *arc(0.5, 0.66, 0.17, 0.17, -200, 160)]]),
    (6, [[(0.56, 0.14), (0.38, 0.4), *arc(0.49, 0.66, 0.18, 0.17, -190, 170)]]),
    (7, [[(0.28, 0.22), (0.72, 0.22), (0.46, 0.84)]]),
    (7, [[(0.3, 0.25), (0.7, 0.22), (0.6, 0.5), (0.48, 0.84)]]),
    (8, [arc(0.5, 0.33, 0.15, 0.16, 90, 450), arc(0.5, 0.66, 0.18, 0.17, -90, 270)]),
    (8, [arc(0.52, 0.32, 0.15, 0.15, 90, 450), arc(0.48, 0.65, 0.17, 0.18, -90, 270)]),
    (9, [[*arc(0.48, 0.36, 0.17, 0.17, 0, 360), (0.64, 0.5), (0.58, 0.86)]]),
    (9, [[*arc(0.5, 0.35, 0.17, 0.18, -10, 350), (0.66, 0.5), (0.62, 0.86)]]),
)
