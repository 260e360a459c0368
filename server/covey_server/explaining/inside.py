"""A session over the file of a served model that returns the answers of all its layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey_proto import tensors
from covey_server.errors import EngineFailed, Overloaded, RefusedModel, RequestTooLarge
from covey_server.explaining import layers, onnx_graph
from covey_server.explaining.layers import Layer
from covey_server.inference.devices import CPU
from covey_server.inference.engine import FileState, Session, require_loadable
from covey_server.inference.merged_file import Content, merged
from covey_server.inference.served_model import ServedModel
from covey_server.system.memory_limit import room
from covey_server.system.regular_files import open_regular

MAX_ACTIVATION_BYTES = 512 << 20  # of one image, all layers together: a run keeps them all
_SMALL_BYTES = 64 << 20
_COPIES = 1  # of the file in memory while it is loaded, beside what any model takes
_FLOAT_BYTES = 4


class Inside:
    """The layers of a model, and their answers. Runs on the CPU and on the calling thread, whatever device serves the
    model. Does not keep the served model alive."""

    def __init__(self, model: ServedModel) -> None:
        """Opens the file. Raises EngineFailed, Overloaded if there is no memory for it now, RequestTooLarge."""
        path = model.engine.path
        # What the session gets from the file itself.
        self._own = {"", tensors.IMAGES, tensors.PROBABILITIES}
        if model.embedding_size:
            self._own.add(tensors.EMBEDDING)
        changed = EngineFailed(
            f"the file of model {model.name!r} version {model.version} is not the one that was loaded any more; ask "
            f"again once the server has loaded the new one"
        )
        try:
            with open_regular(path) as (descriptor, self.file_bytes):
                if FileState.of(descriptor) != model.engine.file:
                    raise changed
                available = room() if self.file_bytes > _SMALL_BYTES else None
                require_loadable(path, self.file_bytes, available, _COPIES)
                with merged(descriptor, self.file_bytes, self._add_outputs) as merged_model:
                    # All layers' answers of 30 models at 256 x 256 would stay as 2 GB (2026-11-29).
                    self._session = Session(merged_model, CPU, threads=1, keeps_memory=False)
        except OSError as error:
            raise changed from error
        except RefusedModel as error:
            if isinstance(error.__cause__, OSError):
                raise Overloaded(f"no room to explain the model now: {error}", retry_after_ms=10_000) from error
            raise EngineFailed(f"the model cannot be opened to be explained: {error}") from error
        self.shapes = {layer.index: self._declared(layer) for layer in self.layers}
        self._complete(model)

    def run(self, pixels: NDArray[np.uint8], names: list[str]) -> dict[str, NDArray[Any]]:
        """The tensors of these names for one image `[1, H, W, C] uint8`. Raises EngineFailed."""
        distinct = list(dict.fromkeys(names))
        return dict(zip(distinct, self._session.run_outputs(pixels, distinct), strict=True))

    def answer(self, layer: Layer, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """A layer's answer to one image without the axis of images, channels first: `[C, H, W]`, `[T, F]`, `[F]`."""
        return self.planes(tensor, layer.layout)

    @staticmethod
    def planes(tensor: NDArray[Any], layout: str) -> NDArray[np.float32]:
        """Any tensor in the same form; empty for what is no tensor of numbers."""
        if not isinstance(tensor, np.ndarray) or tensor.dtype == object:  # a sequence of tensors, or text
            return np.zeros(0, np.float32)
        if tensor.ndim > 1 and tensor.shape[0] == 1:
            tensor = tensor[0]
            if tensor.ndim == 3 and layout == "NHWC":
                tensor = tensor.transpose(2, 0, 1)
        return np.ascontiguousarray(tensor, np.float32)

    def _add_outputs(self, model: Content) -> bytes:
        graph = onnx_graph.read(model)
        self.layers = layers.find(graph)
        names: list[str] = []
        for layer in self.layers:
            names += (layer.output, layer.data, layer.weight, layer.bias)
        return onnx_graph.outputs([name for name in dict.fromkeys(names) if name not in self._own])

    def _declared(self, layer: Layer) -> tuple[int, ...]:
        """The shape of a layer's answer as the engine says; () where it does not know."""
        shape = self._session.output_shapes.get(layer.output, [])[1:]
        sizes = tuple(size for size in shape if isinstance(size, int))
        if len(sizes) < len(shape):
            return ()
        return (sizes[2], *sizes[:2]) if len(sizes) == 3 and layer.layout == "NHWC" else sizes

    def _complete(self, model: ServedModel) -> None:
        """Runs an image once: this tells the shapes that are not declared, and shows that both sessions answer
        alike."""
        total_bytes = _FLOAT_BYTES * sum(int(np.prod(shape, dtype=np.int64)) for shape in self.shapes.values())
        if total_bytes > MAX_ACTIVATION_BYTES:
            raise RequestTooLarge(
                f"the layers of model {model.name!r} answer {total_bytes:,} bytes for one image; models of up to "
                f"{MAX_ACTIVATION_BYTES:,} are explained"
            )
        image = np.zeros((1, *model.input_shape), np.uint8)
        unknown = [layer for layer in self.layers if not self.shapes[layer.index] and has_answer(layer)]
        outputs = self.run(image, [tensors.PROBABILITIES, *(layer.output for layer in unknown)])
        for layer in unknown:
            self.shapes[layer.index] = self.answer(layer, outputs[layer.output]).shape
        self.shapes[0] = self.shapes[0] or (model.input_shape[2], *model.input_shape[:2])


def has_answer(layer: Layer) -> bool:
    """Whether a layer has answers of its own. The bare image of a network without layers has none."""
    return layer.output != tensors.IMAGES
