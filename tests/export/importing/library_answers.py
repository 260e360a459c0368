"""Photographs as files, and what an imported model says of them, to be held against a library's own answers."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bench.photographs import photograph
from bench.processes import covey_server
from numpy.typing import NDArray
from PIL import Image
from tests.export.importing.imports import Served
from torch import nn

from covey import Client
from covey_export.importing.sources.torch_module import scores_of
from covey_server.images.pixels import decode

SIZES = ((160, 120), (101, 150), (97, 61), (90, 200))  # odd rests among them


def files() -> list[bytes]:
    """JPEG and PNG, wide and tall; the last one is transparent in parts."""
    encoded = []
    for seed, size in enumerate(SIZES):
        image = Image.fromarray(photograph(seed, *size))
        if seed == len(SIZES) - 1:
            image.putalpha(Image.linear_gradient("L").resize(size))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG" if seed < 2 else "PNG", **({"quality": 90} if seed < 2 else {}))
        encoded.append(buffer.getvalue())
    return encoded


def image(data: bytes) -> Image.Image:
    """As the libraries' users open it."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def lively(module: nn.Module, transform: Callable[[Image.Image], torch.Tensor]) -> nn.Module:
    """Fresh networks answer all images alike. This one's scores differ between the files, by about 1, once `transform`
    has prepared them; batch normalisation has seen them, as else rounding would grow from layer to layer."""
    torch.manual_seed(3)
    prepared = torch.stack([transform(image(data)) for data in files()])
    head = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    nn.init.normal_(head.weight, std=1.0)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the mean over all batches: this one
                layer.train()
        module(prepared)
        module.eval()
        head.weight.mul_(1 / scores_of(module(prepared)).std(dim=0).mean())
        assert head.bias is not None
        head.bias.sub_(scores_of(module(prepared)).mean(dim=0))
    return module


def answers(module: nn.Module, transform: Callable[[Image.Image], torch.Tensor]) -> NDArray[np.float32]:
    """The library's own: `transform` gives `[C, H, W]` of an image."""
    with torch.inference_mode():
        rows = [scores_of(module(transform(image(data))[None])).softmax(1)[0] for data in files()]
    probabilities: NDArray[np.float32] = torch.stack(rows).numpy()
    return probabilities


def served_answers(models: Path, classes: int) -> tuple[NDArray[np.float32], list[str]]:
    """The probabilities `[N, K]` that a server gives for the files of model `net`, one by one, and its labels."""
    rows, labels = [], []
    with covey_server(models, "native", models.parent / "server.log") as server, Client(server.target) as client:
        for data in files():
            answer = client.classify(data, model="net", top_k=classes)
            ordered = sorted(answer.classes, key=lambda each: each.index)
            rows.append([class_.probability for class_ in ordered])
            labels = [class_.label for class_ in ordered]
    return np.array(rows, np.float32), labels


def assert_alike(served: Served, expected: NDArray[np.float32], labels: list[str] | None = None) -> None:
    """`expected` are the library's own probabilities for the files; decoding and engine are the server's."""
    probabilities = np.concatenate(
        [served.engine.run(decode(data, served.description.input)[None]) for data in files()]
    )
    assert_close(probabilities, expected)
    if labels is not None:
        assert list(served.description.info.labels) == labels


def assert_close(probabilities: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Within what the import itself allows, and the same classes."""
    assert np.ptp(expected, axis=0).max() > 1e-3  # else nothing would be compared
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert (probabilities.argmax(axis=1) == expected.argmax(axis=1)).all()
