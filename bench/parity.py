"""Covey's preprocessing against torchvision's, timm's and Hugging Face's, on 200 images: the table in
docs/preprocessing.md.

    python -m bench.parity --photographs DIR    # of JPEG and PNG files; without: pictures that are computed

Mean and largest difference of a pixel, and how often a network has the same best class. Needs extras export and dev.
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform
from torchvision import transforms
from transformers import CLIPImageProcessor, ViTImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from bench.photographs import photograph
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
from covey_server.images.pixels import InputSpec, decode

IMAGES, SIDE = 200, 224
SIZES = ((224, 224), (320, 240), (375, 500), (500, 333), (640, 480), (683, 1024), (900, 300), (1600, 1203))
LARGE = (4032, 3024)  # one in forty
Pixels = NDArray[np.uint8]  # [224, 224, 3]
Theirs = Callable[[Image.Image], Any]


def encoded(folder: Path | None) -> Iterator[bytes]:
    """JPEGs of several qualities and PNGs, cut from the pictures, which are continued by their mirror image."""
    generator = random.Random(0)
    pictures = [photograph(seed, 1600, 1200) for seed in range(20)]  # fitted_network tells 20 apart
    if folder is not None:
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
        pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files[:20]]
    for number in range(IMAGES):
        picture = pictures[number % len(pictures)]
        width, height = generator.choice(SIZES) if number % 40 else LARGE
        rows, columns = max(0, height - len(picture)), max(0, width - len(picture[0]))
        picture = np.pad(picture, ((0, rows), (0, columns), (0, 0)), "symmetric")
        top, left = generator.randint(0, len(picture) - height), generator.randint(0, len(picture[0]) - width)
        image, file = Image.fromarray(picture[top : top + height, left : left + width]), io.BytesIO()
        if number % 4 == 3:
            image.save(file, "PNG", compress_level=1)
        else:
            quality, subsampling = generator.choice((60, 75, 85, 95)), generator.choice((0, 2))
            image.save(file, "JPEG", quality=quality, subsampling=subsampling, progressive=number % 5 == 0)
        yield file.getvalue()


def pipelines() -> Iterator[tuple[str, InputSpec, Theirs]]:
    """What is compared: a name, Covey's contract, and the library's own way."""
    resamplings = (Interpolation.BILINEAR, Interpolation.BICUBIC, Interpolation.LANCZOS, Interpolation.NEAREST)
    cut, stretch = InputSpec(SIDE, SIDE, 3, Resize.SHORTER_SIDE, resize_to=256), InputSpec(SIDE, SIDE, 3)
    for resampling in resamplings:
        resize = partial(transforms.Resize, interpolation=transforms.InterpolationMode(resampling.value))
        theirs = transforms.Compose([resize(256), transforms.CenterCrop(SIDE)])
        yield f"torchvision Resize(256), CenterCrop, {resampling.value}", replace(cut, interpolation=resampling), theirs
        yield (
            f"torchvision Resize((224, 224)), {resampling.value}",
            replace(stretch, interpolation=resampling),
            resize((SIDE, SIDE)),
        )
    bicubic, bilinear = (
        replace(spec, interpolation=resampling)
        for spec, resampling in ((cut, resamplings[1]), (stretch, resamplings[0]))
    )
    yield "timm center 0.9, bicubic", replace(bicubic, resize_to=248), _timm(0.9, "center")
    yield "timm border 1.0, bicubic", replace(bicubic, resize=Resize.PAD), _timm(1.0, "border")
    floor = replace(bicubic, floor_crop=True)
    clip = replace(floor, resize_to=SIDE)
    yield "Hugging Face ViT (Pillow), bilinear", bilinear, _hugging_face(ViTImageProcessorPil())
    yield "Hugging Face CLIP (Pillow), bicubic", clip, _hugging_face(CLIPImageProcessorPil())
    convnext = ConvNextImageProcessorPil(size={"shortest_edge": SIDE})
    yield "Hugging Face ConvNeXT (Pillow), bicubic", floor, _hugging_face(convnext)
    yield "Hugging Face ViT (tensors), bilinear", bilinear, _hugging_face(ViTImageProcessor())
    yield "Hugging Face CLIP (tensors), bicubic", clip, _hugging_face(CLIPImageProcessor())


def _timm(share: float, mode: str) -> Theirs:
    options: dict[str, Any] = {"crop_pct": share, "crop_mode": mode, "normalize": False, "mean": (0, 0, 0)}
    transform = create_transform((3, SIDE, SIDE), interpolation="bicubic", **options)
    return lambda image: transform(image).permute(1, 2, 0)


def _hugging_face(processor: Callable[..., Any]) -> Theirs:
    off = {"do_rescale": False, "do_normalize": False}
    return lambda image: np.moveaxis(np.asarray(processor(image, **off)["pixel_values"][0]), 0, -1)


def scores(images: Sequence[Pixels], network: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return torch.cat([network(pixels[start : start + 20] / 255) for start in range(0, len(pixels), 20)])


def fitted_network(images: Sequence[Pixels]) -> torch.nn.Module:
    """Random features; batch norms and the last layer are fitted, to tell which of 20 pictures an image is cut from."""
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v3_small()
    network.classifier = torch.nn.Identity()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all that is seen
    scores(images, network.train())
    features = scores(images, network.eval()).double()
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6
    features = (features - mean) / std
    targets = torch.nn.functional.one_hot(torch.arange(len(images)) % 20).double()
    ridge = features.shape[1] * torch.eye(features.shape[1], dtype=torch.float64) / 10
    weights = torch.linalg.solve(features.T @ features + ridge, features.T @ targets) / std[:, None]
    last = torch.nn.Linear(*weights.shape)
    last.load_state_dict({"weight": weights.T.float(), "bias": -(mean @ weights).float()})
    return torch.nn.Sequential(network, last).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=Path, metavar="DIR")
    files = list(encoded(parser.parse_args().photographs))
    originals = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    network = None
    print("| library and its setting | exact: mean, largest, same class | not exact: mean, largest, same class |")
    print("| --- | --- | --- |")
    for name, spec, theirs in pipelines():
        expected = [np.asarray(theirs(image)).astype(np.uint8) for image in originals]
        network = network or fitted_network(expected)
        classes = scores(expected, network).argmax(dim=1)
        columns = []
        for exact in (True, False):
            ours = [decode(file, replace(spec, exact=exact)) for file in files]
            same = (scores(ours, network).argmax(dim=1) == classes).sum()
            columns.append(f"{_difference(ours, expected)}, {same}")
        print(f"| {name} | {' | '.join(columns)} |", flush=True)


def _difference(pixels: Sequence[Pixels], expected: Sequence[Pixels]) -> str:
    differences = np.abs(np.stack(pixels).astype(np.int16) - np.stack(expected))
    return "0, 0" if not differences.any() else f"{differences.mean():.2f}, {differences.max()}"


if __name__ == "__main__":
    main()
