"""Reads an ONNX file completely: below 2 GB, its external data included, all weights finite."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import external_data_helper, numpy_helper

from covey_export.errors import InvalidSource
from covey_export.importing.sources import file_kind
from covey_proto import layout, metadata
from covey_proto.wording import listed, plural
from covey_server.errors import CoveyServerError
from covey_server.inference import model_file
from covey_server.inference.engine import Engine

_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed:|Fatal error: "
    r"|/\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])"
)
MAX_BYTES = 2**31 - 1  # of one protobuf message, which a model's file is
OLDEST_OPSET = 7
_DOMAINS = ("", "ai.onnx")
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """A model as its file has it, all weights in it; or, with `run`, as it was exported from a network that computes
    the original's scores in its place.

    `kind` is that of ModelInfo.source. `run` gives the outputs for the original's own input; `versions` are those of
    the libraries that it needs.
    """

    path: Path
    model: onnx.ModelProto
    sha256: str
    opset: int  # of ONNX's own operators
    notes: tuple[str, ...]
    kind: str = "onnx"
    run: Callable[[NDArray[np.generic]], NDArray[np.generic]] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> OnnxFile:
    """Reads the file. Raises InvalidSource where it is not a complete ONNX model that can be imported."""
    try:
        if path.is_dir():
            raise InvalidSource(f"{path}: expected an ONNX file, {_folder(path)}")
        with path.open("rb") as file:
            head = file.read(file_kind.HEAD_BYTES)
        if other := file_kind.describe(head, path):
            raise InvalidSource(f"{path}: expected an ONNX file, but {other}")
        _require_small(path, path.stat().st_size)
        data = path.read_bytes()
    except OSError as error:
        raise InvalidSource(f"{path}: cannot be read: {error.strerror or error}; expected an ONNX file") from error
    model = _parse(path, data)
    sha256 = hashlib.sha256(data).hexdigest()
    del data
    _require_foreign(path, model)
    notes = _fold_in(path, model)
    opset = _opset(path, model)
    _require_known_operators(path, model, opset)
    _require_finite(path, model)
    return OnnxFile(path, model, sha256, opset, notes)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                yield from graphs(inner)


_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _folder(path: Path) -> str:
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*.onnx"))
    models = _models_folder(path)
    if models is not None:
        return (
            f"got a folder of models; serve it: covey serve --models {shlex.quote(str(models))}; or import one of its "
            f"files: {listed(files)}"
        )
    if files:
        return f"got a folder; import one of its files: {listed(files)}"
    if (path / file_kind.SAVED_MODEL).exists():
        return f"but {file_kind.saved_model(path)}"
    return (
        "got a folder without any .onnx file in it; name the file of the network, or a folder with config.json, "
        "preprocessor_config.json and weights, as Hugging Face has it"
    )


def _models_folder(path: Path) -> Path | None:
    """The folder that holds NAME/VERSION/model.onnx: the path itself, or the folder above if it is NAME, or the one
    above that if it is NAME/VERSION. None where it is none of these."""
    for above, within in enumerate(("*/*/", "*/", "")):
        folder = Path(os.path.normpath(path.joinpath(*[".."] * above)))
        for file in path.glob(f"{within}{layout.FILE_NAME}"):
            if layout.is_version(file.resolve().parent.name):
                return folder
    return None


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        kind = (
            f"its {len(data):,} bytes begin as one and end too early: it is truncated or damaged. Download or export "
            f"it again"
            if data[:1] == b"\x08"
            else f"its {len(data):,} bytes are something else. Export the network to ONNX first"
        )
        raise InvalidSource(f"{path}: expected an ONNX file, but {kind}") from error
    if not model.graph.node:
        raise InvalidSource(
            f"{path}: expected an ONNX file with a network in it, found none in its {len(data):,} bytes; it is "
            f"truncated, or something else. Download or export it again"
        )
    return model


def _require_foreign(path: Path, model: onnx.ModelProto) -> None:
    """Raises InvalidSource for a model of Covey's own: an import would lose its labels and preprocessing."""
    if not any(entry.key == metadata.KEY for entry in model.metadata_props):
        return
    try:
        info = model_file.describe(Engine(path)).info
    except CoveyServerError:
        return
    models = _models_folder(path.parent) if path.name == layout.FILE_NAME else None
    advice = (
        f"covey serve --models {shlex.quote(str(models))}"
        if models is not None
        else f"copy it to models/{info.name or 'NAME'}/1/{layout.FILE_NAME}"
    )
    raise InvalidSource(
        f"{path}: is a model of Covey's already ({info.name} version {info.version}), with its labels and its "
        f"preprocessing; expected a network from elsewhere. Serve it as it is: {advice}"
    )


def _require_small(path: Path, size_bytes: int, what: str = "") -> None:
    if size_bytes > MAX_BYTES:
        raise InvalidSource(
            f"{path}: has {size_bytes:,} bytes{what}; a served model is one ONNX file of at most {MAX_BYTES:,}. "
            f"Import a smaller network, or its float16 version"
        )


def _fold_in(path: Path, model: onnx.ModelProto) -> tuple[str, ...]:
    """Loads external data into the model; returns what was done, for people."""
    tensors = [tensor for tensor in _tensors(model) if external_data_helper.uses_external_data(tensor)]
    if not tensors:
        return ()
    places = [external_data_helper.ExternalDataInfo(tensor) for tensor in tensors]
    names = sorted({place.location for place in places})
    total = path.stat().st_size
    for name in names:
        data = path.parent / name
        if not data.is_file():
            raise InvalidSource(
                f"{path}: its weights lie in another file, {name}, which is not beside it; put it there, or save the "
                f"model as one file"
            )
        with data.open("rb") as file:
            if (other := file_kind.describe(file.read(64), data)) and "LFS" in other:
                raise InvalidSource(f"{path}: its weights lie in {name}, but {other}")
        size_bytes = data.stat().st_size
        total += size_bytes
        ends = [int(place.offset or 0) + int(place.length or 0) for place in places if place.location == name]
        if max(ends) > size_bytes:
            raise InvalidSource(
                f"{path}: its weights lie in {name}, which should have {max(ends):,} bytes and has {size_bytes:,}: it "
                f"is truncated. Download or export it again"
            )
    _require_small(path, total, f" with its weights in {listed(names)}")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise InvalidSource(f"{path}: its weights in {listed(names)} cannot be read: {first_line(error)}") from error
    return (f"its weights lay in {listed(names)}; they are part of the served file",)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in graphs(model.graph):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    yield attribute.t


def _opset(path: Path, model: onnx.ModelProto) -> int:
    opset = next((imported.version for imported in model.opset_import if imported.domain in _DOMAINS), 0) or 1
    if opset < OLDEST_OPSET:
        raise InvalidSource(
            f"{path}: its operators are those of opset {opset}; expected {OLDEST_OPSET} or later. Export the network "
            f"again with a current exporter"
        )
    return int(opset)


def _require_known_operators(path: Path, model: onnx.ModelProto, opset: int) -> None:
    local_functions = {(function.domain, function.name) for function in model.functions}
    unknown = sorted(
        {
            node.op_type
            for graph in graphs(model.graph)
            for node in graph.node
            if node.domain in _DOMAINS
            and (node.domain, node.op_type) not in local_functions
            and not onnx.defs.has(node.op_type)
            and node.op_type not in _EXPERIMENTAL
        }
    )
    if unknown:
        raise InvalidSource(
            f"{path}: uses {plural(len(unknown), 'operator')} that ONNX does not have: {listed(unknown)}; expected "
            f"standard operators of opset {opset}. Export the network without its own operators"
        )


_EXPERIMENTAL = frozenset({"Affine", "Crop", "ImageScaler", "ParametricSoftplus", "ScaledTanh", "ThresholdedRelu"})


def _require_finite(path: Path, model: onnx.ModelProto) -> None:
    not_numbers = []
    for tensor in _tensors(model):
        if tensor.data_type in _FLOATS:
            try:
                values = numpy_helper.to_array(tensor)
            except Exception as error:
                raise InvalidSource(
                    f"{path}: its weights {tensor.name!r} cannot be read: {first_line(error)}; the file is damaged. "
                    f"Export it again"
                ) from error
            if np.isnan(values.astype(np.float32) if values.dtype.kind not in "f" else values).any():
                not_numbers.append(tensor.name or "a constant")
    if not_numbers:
        raise InvalidSource(
            f"{path}: expected weights that are numbers, found NaN in {plural(len(not_numbers), 'tensor')}: "
            f"{listed(not_numbers)}; the training went wrong. Export a checkpoint from before that"
        )


def first_line(error: BaseException) -> str:
    """The first line of an error's text; of onnxruntime's errors without codes, places in its source and the file's
    name."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return _NOISE.sub("", line).strip() or line
