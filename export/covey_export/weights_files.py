"""Reads a file of weights, or says what else the file is. Runs none of its code."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

import safetensors.torch
import torch

from covey_export.errors import InvalidWeights

_EXPECTED = "expected what torch.save(network.state_dict(), FILE) writes, or .safetensors"
_LFS = b"version https://git-lfs"
_PAGE = (b"<!doctype", b"<html", b"<?xml")


def read(file: Path) -> object:
    """What torch.save or safetensors wrote: tensors and plain values. Raises InvalidWeights, with what the file is."""
    head = _head(file)
    if head.startswith(_LFS):
        raise InvalidWeights(f"{file} is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`")
    if head.lstrip().lower().startswith(_PAGE):
        raise InvalidWeights(f"{file} is a web page, not weights; download the file itself")
    if file.suffix.lower() == ".onnx":
        raise InvalidWeights(f"{file} is an ONNX file, which holds a whole network; {_EXPECTED}")
    if file.suffix.lower() == ".safetensors" or _is_safetensors(head):
        return _read_safetensors(file)
    if _is_torchscript(file):
        raise InvalidWeights(
            f"{file} is TorchScript, a whole network with its code; {_EXPECTED}: "
            f"torch.save(torch.jit.load(FILE).state_dict(), ...) makes one of it"
        )
    try:
        content: object = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InvalidWeights(_explanation(file, error)) from error
    return content


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(512)


def _is_safetensors(head: bytes) -> bool:
    """A length of eight bytes, then JSON."""
    return len(head) > 9 and head[8:10] in (b'{"', b"{}") and int.from_bytes(head[:8], "little") < 2**30


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except Exception as error:
        raise InvalidWeights(f"{file} is a damaged safetensors file ({error}); fetch it again") from error


def _is_torchscript(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _explanation(file: Path, error: Exception) -> str:
    size = f"{file} ({file.stat().st_size:,} bytes)"
    classes = sorted(_classes(file))
    if not classes:
        return f"{size} is damaged, or no file of PyTorch's; {_EXPECTED}"
    refused = [name for name in classes if not name.startswith(("torch._utils.", "torch.", "collections.OrderedDict"))]
    modules = [name for name in classes if name.startswith(("torch.nn.modules.", "__main__."))] or refused
    if modules:
        return (
            f"{size} holds more than tensors and plain values ({', '.join(modules[:3])}), as a whole network "
            f"pickled by torch.save, and would have to run code to be read; {_EXPECTED}. If you trust the file, "
            f"load it with torch.load(FILE, weights_only=False) and save its state_dict()"
        )
    return f"{size} cannot be read ({str(error).strip().splitlines()[0]}); {_EXPECTED}"


def _classes(file: Path) -> set[str]:
    """The names of Python objects that a pickle would import; nothing is imported here."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                name = next(each for each in archive.namelist() if each.endswith("data.pkl"))
                pickles = [archive.read(name)]
        else:
            pickles = [file.read_bytes()]
    except (zipfile.BadZipFile, StopIteration, OSError):
        return set()
    found: set[str] = set()
    for content in pickles:
        strings: list[str] = []
        try:
            for opcode, argument, _ in pickletools.genops(content):
                if opcode.name == "GLOBAL" and isinstance(argument, str):
                    found.add(argument.replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL" and len(strings) >= 2:
                    found.add(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
        except Exception:  # noqa: BLE001 - the file is damaged: what was found until there counts
            pass
    return found
