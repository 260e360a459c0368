"""Publishes versions of a model below a server that watches, as a deployment does, and sees when they are served."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import grpc

from bench.processes import CALL_TIMEOUT_S, SERVICE, BenchError, Server, fetch
from covey_proto.v1.classifier_pb2 import GetModelRequest, GetModelResponse

RELOAD_TIMEOUT_S = 30.0
_ASK_EVERY_S = 0.02


def publish(file: Path, model: Path, version: int) -> None:
    """Publishes a model's file as a new version in the model's folder, where it appears all at once."""
    incoming = model / f".incoming-{version}"
    incoming.mkdir()
    shutil.copyfile(file, incoming / "model.onnx")
    incoming.rename(model / str(version))


def wait_until_served(server: Server, model: str, version: int, timeout_s: float = RELOAD_TIMEOUT_S) -> None:
    """Returns once the server answers that this version is the one served. Raises BenchError after `timeout_s`, or
    where the server does not know the model any more."""
    give_up = time.monotonic() + timeout_s
    with grpc.insecure_channel(server.target) as channel:
        ask: grpc.UnaryUnaryMultiCallable[GetModelRequest, GetModelResponse] = channel.unary_unary(
            f"{SERVICE}/GetModel",
            request_serializer=GetModelRequest.SerializeToString,
            response_deserializer=GetModelResponse.FromString,
        )
        while True:
            try:
                served = ask(GetModelRequest(name=model), timeout=CALL_TIMEOUT_S).model.version
            except grpc.RpcError as error:
                raise BenchError(f"GetModel {model}: {error.code().name}: {error.details()}") from error
            if served == version:
                return
            if time.monotonic() > give_up:
                raise BenchError(
                    f"version {version} of {model} was published {timeout_s:.0f} s ago and version {served} is served"
                )
            time.sleep(_ASK_EVERY_S)


def wait_until_answered(server: Server, model: str, version: int, timeout_s: float = RELOAD_TIMEOUT_S) -> None:
    """Returns once a version has computed an image of the load under way. Raises BenchError after `timeout_s`."""
    assert server.metrics_url is not None
    counted = re.compile(rf'^covey_images_total{{model="{model}",version="{version}"}} [1-9]', re.MULTILINE)
    give_up = time.monotonic() + timeout_s
    while not counted.search(fetch(server.metrics_url)):
        if time.monotonic() > give_up:
            raise BenchError(f"version {version} of {model} has answered no request in {timeout_s:.0f} s")
        time.sleep(_ASK_EVERY_S)
