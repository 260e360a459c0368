"""Records what 0.1.0 makes and says, into tests/compatibility/v0_1_0: its model files, the calls of its SDK as they
went over the wire, the answers of its server, and what the SDK made of them. Run once, on 2026-11-30:

    git worktree add ../v010 $(python -c 'from tests.compatibility.released import COMMIT; print(COMMIT)')
    python -m tests.compatibility.record ../v010
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from PIL import Image
from tests.compatibility import released, source_trees
from tests.compatibility.conversation import COLOUR, GREY, pixels

OF_GRPC = ("user-agent", "grpc-accept-encoding")  # the library's own metadata, not the SDK's


def record(tree: Path) -> None:
    shutil.rmtree(released.FOLDER, ignore_errors=True)
    released.IMAGES.mkdir(parents=True)
    make_images(released.IMAGES)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        export(tree, place)
        for model in (GREY, COLOUR):
            (released.MODELS / model / "1").mkdir(parents=True)
            shutil.copy(place / "models" / model / "1" / "model.onnx", released.MODELS / model / "1")
        talk(tree, place)
    dump = "import sys; from covey_proto.v1.classifier_pb2 import DESCRIPTOR as file; "
    dump += "sys.stdout.buffer.write(file.serialized_pb)"
    done = subprocess.run(
        [sys.executable, "-c", dump], env=source_trees.environment(tree), stdout=subprocess.PIPE, check=True
    )
    released.DESCRIPTOR.write_bytes(done.stdout)


def make_images(folder: Path) -> None:
    """One of each kind that the preparation of images tells apart."""
    Image.fromarray(pixels(28, 28, 1, 9)[:, :, 0]).save(folder / "digit.png")
    photo = Image.fromarray(pixels(20, 30, 3, 1))
    photo.save(folder / "photo.jpg", quality=90)
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.save(folder / "turned.jpg", quality=90, exif=turned)
    clear = photo.resize((16, 16)).convert("RGBA")
    clear.putalpha(Image.fromarray(pixels(16, 16, 1, 3)[:, :, 0]))
    clear.save(folder / "clear.png")


def export(tree: Path, place: Path) -> None:
    """The two model files, by the exporter of 0.1.0."""
    for label, seed in (("stripes", 1), ("waves", 20)):
        (place / "folder" / label).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(pixels(24, 20, 3, seed + number)).save(place / "folder" / label / f"{number}.png")
    common = ["--models", str(place / "models"), "--checkpoints", str(place / "checkpoints"), "--no-report"]
    colour = ["--dataset", f"folder:{place / 'folder'}", "--image-size", "16", "--resize", "center_crop"]
    for options in (
        ["--dataset", "sample", "--name", GREY, "--epochs", "1"],
        [*colour, "--crop", "0.875", "--name", COLOUR, "--epochs", "60"],
    ):
        command = [sys.executable, "-m", "covey_export", "all", "networks:tiny", *options, *common]
        # From this folder, where networks.py is.
        subprocess.run(command, cwd=Path(__file__).parent, env=source_trees.environment(tree), check=True)


def talk(tree: Path, place: Path) -> None:
    """Server and SDK of 0.1.0, with a proxy between them that writes down what passes."""
    with source_trees.server(tree, place) as target, proxy(target) as (own_target, calls):
        released.RESULTS.write_text(source_trees.converse(tree, own_target))
    unique = {json.dumps({name: call[name] for name in ("path", "metadata", "requests")}): call for call in calls}
    released.CALLS.write_text(json.dumps(list(unique.values()), indent=1))


@contextmanager
def proxy(target: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where it listens, and the calls that came so far. Bytes are in base64."""
    calls: list[dict[str, Any]] = []
    with grpc.insecure_channel(target) as channel:

        def forward(path: str, requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            metadata = [pair for pair in context.invocation_metadata() if pair[0] not in OF_GRPC]
            call: dict[str, Any] = {"path": path, "metadata": metadata, "requests": [], "responses": []}
            calls.append(call)

            def sent() -> Iterator[bytes]:
                for request in requests:
                    call["requests"].append(base64.b64encode(request).decode())
                    yield request

            # On the wire a call of one message is a stream of one. A call without a deadline has a huge one here.
            timeout_s = min(context.time_remaining(), 600)
            send: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
            answers = send(sent(), metadata=tuple(metadata), timeout=timeout_s)
            try:
                for answer in answers:
                    call["responses"].append(base64.b64encode(answer).decode())
                    yield answer
            except grpc.RpcError as error:
                if context.is_active():  # else the SDK has hung up, having all that it wants
                    call["status"] = error.code().name
                    context.abort(error.code(), error.details() or "")

        server = grpc.server(ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((_Any(forward),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", calls
        finally:
            server.stop(None).wait()


class _Any(grpc.GenericRpcHandler):
    """Hands every method to one function, which is told its path."""

    def __init__(self, answer: Any) -> None:  # noqa: ANN401
        self._answer = answer

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        path = details.method
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._answer(path, requests, context))


if __name__ == "__main__":
    record(Path(sys.argv[1]).resolve())
