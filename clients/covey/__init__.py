"""Covey's client: classify images on a Covey server, in three lines.

import covey

with covey.Client("localhost:8001") as client:
    print(client.classify("cat.jpg").label)
"""

from covey.async_client import AsyncClient
from covey.client import Client
from covey.errors import (
    CallError,
    ClientClosed,
    CoveyError,
    DeadlineExceeded,
    ImageError,
    ImageTooLarge,
    InvalidImage,
    InvalidInput,
    InvalidRequest,
    MissingFile,
    Overloaded,
    ServerError,
    Unavailable,
    UnknownModel,
    UnreadableFile,
    UnsupportedInput,
    WrongEventLoop,
)
from covey.results import (
    BatchCost,
    Class,
    Classification,
    InputSize,
    Model,
    ModelState,
    Resize,
    Serving,
    Timing,
    Training,
)
from covey_proto import __version__ as __version__

__all__ = [
    "AsyncClient",
    "BatchCost",
    "CallError",
    "Class",
    "Classification",
    "Client",
    "ClientClosed",
    "CoveyError",
    "DeadlineExceeded",
    "ImageError",
    "ImageTooLarge",
    "InputSize",
    "InvalidImage",
    "InvalidInput",
    "InvalidRequest",
    "MissingFile",
    "Model",
    "ModelState",
    "Overloaded",
    "Resize",
    "ServerError",
    "Serving",
    "Timing",
    "Training",
    "Unavailable",
    "UnknownModel",
    "UnreadableFile",
    "UnsupportedInput",
    "WrongEventLoop",
]
