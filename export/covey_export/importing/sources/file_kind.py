"""Recognises files that should be ONNX and are not, by their first bytes."""

from __future__ import annotations

from pathlib import Path

HEAD_BYTES = 4096
SAVED_MODEL = "saved_model.pb"
_ZIP_TAIL_BYTES = 1 << 20  # where an archive lists its members


def describe(head: bytes, path: Path) -> str | None:
    """What the file is and what to do about it; None: it may be ONNX. `head` is its first HEAD_BYTES."""
    if path.name == SAVED_MODEL:
        return saved_model(path.parent)
    lower = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "it is empty (0 bytes); download or export it again"
    if lower.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself; fetch that with: git lfs pull"
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<svg")):
        return (
            "it is a page of HTML or XML, as a failed download or a page about the file leaves behind; download the "
            "file itself"
        )
    if head.startswith(b"PK"):
        return _archive(path)
    if head.startswith(b"\x80") and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return f"it is a Python pickle, as old PyTorch checkpoints are; {_NETWORK}"
    if head.startswith(b"\x89HDF\r\n"):
        return f"it is HDF5, as Keras saves models; {_EXPORT_KERAS}"
    if head[4:8] == b"TFL3":
        return "it is a TensorFlow Lite model; convert it with: python -m tf2onnx.convert --tflite FILE --output X.onnx"
    if head[4:8] == b"ORTM":
        return "it is a model in onnxruntime's own format (.ort); import the .onnx file that it was made from"
    if _is_safetensors(head):
        return f"it is safetensors, weights without a network; {_NETWORK}"
    if head.startswith(b"GGUF"):
        return "it is a language model (GGUF); expected an image classifier"
    if head.startswith((b"\x1f\x8b", b"BZh", b"7z\xbc\xaf", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"Rar!")):
        return "it is a compressed archive; unpack it, and import the .onnx file in it"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF")):
        return "it is an image or a document, not a model; name the file of the network"
    if _is_text(head):
        first = head[:40].decode(errors="replace").splitlines()[0]
        return f"it is text that begins with {first!r}; name the file of the network"
    return None


def saved_model(folder: Path) -> str:
    """The same for a folder of TensorFlow's; None: it is another one."""
    return (
        f"it is a SavedModel of TensorFlow; convert it with: python -m tf2onnx.convert --saved-model {folder} "
        f"--output X.onnx"
    )


_EXPORT_TORCH = "export the network to ONNX with torch.onnx.export, and import that file"
_NETWORK = "say which network it belongs to, with --network torchvision:NAME, timm:NAME or MODULE:FUNCTION"
_EXPORT_KERAS = "export it with model.export('X.onnx', format='onnx'), and import that file"


def _archive(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _ZIP_TAIL_BYTES))
            members = file.read()
    except OSError:
        members = b""
    if b"/code/" in members and b"constants.pkl" in members:
        return f"it is TorchScript; {_EXPORT_TORCH}"
    if b"data.pkl" in members:
        return f"it is a PyTorch checkpoint; {_NETWORK}"
    if b"model.weights.h5" in members:
        return f"it is a Keras model; {_EXPORT_KERAS}"
    return "it is a zip archive; unpack it, and import the .onnx file in it"


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of length, then JSON."""
    return 2 <= int.from_bytes(head[:8], "little") < 1 << 32 and head[8:10] in (b'{"', b"{ ", b"{}")


def _is_text(head: bytes) -> bool:
    """ONNX begins with a byte 8, which is no text."""
    try:
        text = head.decode("ascii")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n" for character in text)
