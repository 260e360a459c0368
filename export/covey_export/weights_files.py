"""Reads a file of weights and finds the tensors in it, or says what else the file is. Runs none of its code."""

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
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")
_AVERAGE_KEYS = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")  # the average is what is meant to be served
_COUNTERS = ("n_averaged",)  # of AveragedModel, beside its tensors
_SHOWN = 8


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


def state_dict(content: object, file: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors by name in what `read` gave, and which of several state dicts they are. Raises InvalidWeights."""
    part = ""
    if isinstance(content, dict):
        found = [key for key in (*_AVERAGE_KEYS, *_STATE_DICT_KEYS) if _holds_tensors(content.get(key))]
        others = [key for key, value in content.items() if key not in found and _is_state_dict(value)]
        if not found and len(others) > 1 and not _holds_tensors(content):
            raise InvalidWeights(
                f"{file} holds several state dicts ({', '.join(map(str, others))}); save the one of the network alone: "
                f"torch.save(torch.load(FILE)[NAME], ...)"
            )
        if not _holds_tensors(content):
            found = found or others
        found = found or [key for key in _STATE_DICT_KEYS if isinstance(content.get(key), dict)]
        if len(found) > 1:
            part = f": its {found[0]}, not its {' or '.join(found[1:])}"
        content = content[found[0]] if found else content
    if not isinstance(content, dict) or not content:
        raise InvalidWeights(f"{file} holds a {type(content).__name__}; expected tensors by their names (a state dict)")
    content = {name: value for name, value in content.items() if name not in _COUNTERS}
    strange = [
        f"{name} is a {type(value).__name__}"
        for name, value in content.items()
        if not (isinstance(name, str) and isinstance(value, torch.Tensor))
    ]
    if strange:
        raise InvalidWeights(
            f"{file} is no state dict: {', '.join(strange[:_SHOWN])}; expected tensors by their names, alone or below "
            f"one of {', '.join(_STATE_DICT_KEYS)}"
        )
    return dict(content), part


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and isinstance(each, torch.Tensor) for name, each in value.items())
    )


def _holds_tensors(value: object) -> bool:
    """Beside the settings of an average (its decay and the like) some file formats keep no tensors."""
    return isinstance(value, dict) and any(isinstance(each, torch.Tensor) for each in value.values())


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
