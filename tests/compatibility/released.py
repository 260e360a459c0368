"""What stands for 0.1.0: a commit, what was recorded of it, and its own messages.

Nothing had been published under that number. The commit is the last one of the first stage of development
(2026-11-22): the earliest at which SDK (streams, asyncio and tokens included), server, export and deployment were
complete, tested and reviewed. HTTP, `covey import`, explanations, embeddings and the choice of versions came later.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import Message

COMMIT = "a031055d24a74a1dc1f679085e18a81a1cf813f1"
FOLDER = Path(__file__).parent / "v0_1_0"
MODELS = FOLDER / "models"
IMAGES = FOLDER / "images"
CALLS = FOLDER / "calls.json"
RESULTS = FOLDER / "results.json"
DESCRIPTOR = FOLDER / "classifier.descriptor"  # a FileDescriptorProto: classifier.proto as it was
CONVERSATION = Path(__file__).parent / "conversation.py"
# Of a probability. Photographs are decoded and resized by newer libraries than then; that made up to 0.0005.
TOLERANCE = 0.005


def messages() -> Mapping[str, type[Message]]:
    """The message classes of covey.v1 as 0.1.0 had them, by name; apart from those of the present code."""
    pool = descriptor_pool.DescriptorPool()
    timestamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(timestamp)
    pool.Add(timestamp)
    file = descriptor_pb2.FileDescriptorProto.FromString(DESCRIPTOR.read_bytes())
    pool.Add(file)
    found = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(each) for name, each in found.items()}


def request_and_response(path: str) -> tuple[str, str]:
    """The names of a method's messages, which follow from its own: /covey.v1.Classifier/GetModel."""
    method = path.rpartition("/")[2]
    return f"{method}Request", f"{method}Response"


def differences(expected: Any, found: Any, tolerance: float, place: str = "") -> list[str]:  # noqa: ANN401 - of JSON
    """Where two JSON values differ: numbers by more than `tolerance`, anything else at all. Fields that only the
    second one has are left alone: a newer release may add some."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            text
            for key, value in expected.items()
            for text in differences(value, found.get(key, "not there"), tolerance, f"{place}.{key}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [text for at, (one, other) in pairs for text in differences(one, other, tolerance, f"{place}[{at}]")]
    if isinstance(expected, float) and isinstance(found, (int, float)) and abs(expected - found) <= tolerance:
        return []
    return [] if expected == found else [f"{place}: expected {expected!r}, found {found!r}"]
