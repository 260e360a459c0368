"""Covey's client: classify images on a Covey server, in three lines.

import covey

with covey.Client("localhost:8001") as client:
    print(client.classify("cat.jpg").label)
"""

from covey import grpc_log as grpc_log  # first: before grpc is imported
from covey.async_client import AsyncClient
from covey.choosing import Choice
from covey.client import Client
from covey.errors import (
    CallError,
    ClientClosed,
    CoveyError,
    DeadlineExceeded,
    ForkedProcess,
    HandshakeFailed,
    ImageError,
    ImageTooLarge,
    InvalidImage,
    InvalidInput,
    InvalidRequest,
    MissingFile,
    NoLabel,
    NotFinite,
    Overloaded,
    PermissionDenied,
    ServerError,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnreadableFile,
    UnsupportedInput,
    WrongEventLoop,
)
from covey.explaining import Explanation, HeatMap, Layer, LayerMaps, Unit
from covey.results import (
    BatchCost,
    CanaryState,
    Class,
    Classification,
    InputSize,
    Model,
    ModelState,
    Serving,
    Timing,
    Training,
)
from covey.security import TLS, TokenFile
from covey_proto import __version__ as __version__
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize

__all__ = [
    "TLS",
    "AsyncClient",
    "BatchCost",
    "CallError",
    "CanaryState",
    "Choice",
    "Class",
    "Classification",
    "Client",
    "ClientClosed",
    "CoveyError",
    "DeadlineExceeded",
    "Explanation",
    "ForkedProcess",
    "HandshakeFailed",
    "HeatMap",
    "ImageError",
    "ImageTooLarge",
    "InputSize",
    "Interpolation",
    "InvalidImage",
    "InvalidInput",
    "InvalidRequest",
    "Layer",
    "LayerMaps",
    "MissingFile",
    "Model",
    "ModelState",
    "NoLabel",
    "NotFinite",
    "Overloaded",
    "PermissionDenied",
    "Resize",
    "ServerError",
    "Serving",
    "Timing",
    "TokenFile",
    "Training",
    "Unauthenticated",
    "Unavailable",
    "Unit",
    "UnknownModel",
    "UnreadableFile",
    "UnsupportedInput",
    "WrongEventLoop",
]
