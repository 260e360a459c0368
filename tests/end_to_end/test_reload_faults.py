"""What can go wrong with a models folder while a server serves from it: no caller notices, ListModels tells why, and
what is repaired is served."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from bench.processes import covey_server
from PIL import Image
from tests.conftest import WriteModel
from tests.end_to_end.serving import Serving, under_load

from covey_proto import metadata
from covey_proto.v1 import classifier_pb2 as pb

pytestmark = pytest.mark.slow
FLAGS = ("--reload-interval-s", "0.02")


def serve(stack: ExitStack, models: Path, log: Path, *flags: str, front: str = "auto") -> Serving:
    server = stack.enter_context(covey_server(models, front, log, (*FLAGS, *flags)))
    return stack.enter_context(under_load(server, log))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def models(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    """A folder with version 1 of `echo`."""
    write_echo_model(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def serving(request: pytest.FixtureRequest, stack: ExitStack, models: Path, tmp_path: Path) -> Serving:
    """Of one process, or as many as the test is given."""
    return serve(stack, models, tmp_path / "log", "--processes", str(getattr(request, "param", 1)))


# Each process looks for new versions by itself; two tests hold them all to the same.
IN_TWO_PROCESSES = pytest.mark.parametrize("serving", [2], ids="{} processes".format, indirect=True)


def _golden_pixels(path: Path) -> bytes:
    (entry,) = onnx.load(path).metadata_props
    return metadata.from_json(entry.value).golden_set.pixels


def mount(folder: Path, size: str = "4m") -> None:
    """A file system of its own, in memory."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not permitted here")


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # the server may be looking into it


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk that can be filled and unmounted."""
    folder = tmp_path / "disk"
    mount(folder, "256k")
    yield folder
    while os.path.ismount(folder):
        unmount(folder)


@pytest.mark.parametrize("front", ["native", "grpcio"])
def test_a_corrupt_new_version(
    stack: ExitStack, models: Path, tmp_path: Path, write_echo_model: WriteModel, front: str
) -> None:
    serving = serve(stack, models, tmp_path / "log", front=front)
    good = write_echo_model(tmp_path / "elsewhere").read_bytes()
    path = models / "echo" / "2" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(good[: len(good) // 2])
    serving.wait_for("echo/1", f"echo/2 {path}: onnxruntime cannot load it")
    write_echo_model(models, version=2, wrong_golden=True)
    serving.wait_for("echo/1", "echo/2 golden set: probabilities differ")
    path.write_bytes(b"")
    serving.wait_for("echo/1", f"echo/2 {path}: onnxruntime cannot load it")
    serving.wait_for_answers(version=1)
    assert serving.versions == {1}
    path.write_bytes(good)
    serving.wait_for("echo/2")
    serving.wait_for_answers(version=2)
    serving.wait_for_log("model echo version 1 is freed")


@IN_TWO_PROCESSES
def test_a_served_version_that_is_overwritten(serving: Serving, models: Path, write_echo_model: WriteModel) -> None:
    path = models / "echo" / "1" / "model.onnx"
    path.write_bytes(b"not a model")
    serving.wait_for(f"echo/1 ready {path}: onnxruntime cannot load it")
    assert serving.models()[0].endswith("(what its file held before is still served as this version)")
    serving.wait_for_answers(version=1)
    write_echo_model(models)
    serving.wait_for("echo/1")
    serving.wait_for_log("model echo version 1 is freed")
    serving.wait_for_answers(version=1)


def test_a_version_that_is_copied_slowly(serving: Serving, models: Path) -> None:
    whole = (models / "echo" / "1" / "model.onnx").read_bytes()
    path = models / "echo" / "2" / "model.onnx"
    path.parent.mkdir()
    *pieces, last = (whole[start : start + 200] for start in range(0, len(whole), 200))
    with path.open("wb", buffering=0) as file:
        for piece in pieces:
            file.write(piece)
            serving.wait_for_answers(version=1, count=5)
            assert serving.versions == {1}
        file.write(last)
    serving.wait_for("echo/2")
    serving.wait_for_answers(version=2)


@IN_TWO_PROCESSES
def test_versions_that_are_removed(serving: Serving, models: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(models, version=2)
    serving.wait_for("echo/2")
    serving.wait_for_answers(version=2)
    shutil.rmtree(models / "echo" / "2")
    serving.wait_for("echo/1")
    serving.wait_for_answers(version=1)
    for number in range(10):  # removed before or after it is loaded
        write_echo_model(models, version=3 + number)
        serving.wait_for_answers(count=8 * number)
        shutil.rmtree(models / "echo" / f"{3 + number}")
    serving.wait_for("echo/1")
    write_echo_model(models, version=99)
    serving.wait_for("echo/99")
    serving.wait_for_answers(version=99)


def test_a_version_that_is_removed_while_it_is_loaded(
    stack: ExitStack, models: Path, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    serving = serve(stack, models, tmp_path / "log", "--log-level", "debug")
    path = models / "echo" / "2" / "model.onnx"
    # Its golden check meets its largest pixel and takes most of a second: so long it is being loaded.
    largest = int(np.frombuffer(_golden_pixels(models / "echo" / "1" / "model.onnx"), np.uint8).max())
    write_echo_model(models, version=2, hangs_at=largest, hang_turns=150_000)
    serving.wait_for_log("model echo version 2: loading")
    shutil.rmtree(path.parent)
    assert serving.models() == ["echo/1"]
    serving.wait_for_answers(version=1)
    serving.wait_for_log("model echo version 2 was removed while it was loaded; it is not served")
    serving.wait_for_answers(version=1)
    assert serving.models() == ["echo/1"]
    write_echo_model(models, version=2)
    serving.wait_for("echo/2")
    serving.wait_for_answers(version=2)


def test_a_disk_that_is_full(stack: ExitStack, disk: Path, tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(disk)
    serving = serve(stack, disk, tmp_path / "log")
    filler = disk / ".filler"
    with pytest.raises(OSError, match="No space left on device"):
        filler.write_bytes(bytes(1024**2))
    with pytest.raises(OSError, match="No space left on device"):
        write_echo_model(disk, version=2)
    path = disk / "echo" / "2" / "model.onnx"
    assert path.stat().st_size == 0
    serving.wait_for("echo/1", f"echo/2 {path}: ")
    serving.wait_for_answers(version=1)
    filler.unlink()
    write_echo_model(disk, version=2)
    serving.wait_for("echo/2")
    serving.wait_for_answers(version=2)


def test_a_disk_that_is_unmounted(stack: ExitStack, disk: Path, tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(disk)
    serving = serve(stack, disk, tmp_path / "log")
    unmount(disk)
    serving.wait_for_log("holds no NAME/VERSION/model.onnx any more, as when a disk is unmounted")
    serving.wait_for_answers(version=1)
    assert serving.models() == ["echo/1"]
    mount(disk)
    serving.wait_for_answers(version=1)
    write_echo_model(disk, version=2)
    serving.wait_for("echo/2")
    serving.wait_for_log("is back")
    serving.wait_for_answers(version=2)


def test_a_folder_that_goes_away_and_comes_back(serving: Serving, models: Path, write_echo_model: WriteModel) -> None:
    away = models.with_name("away")
    for times in (1, 2, 3):
        models.rename(away)
        serving.wait_for_log("cannot be read: No such file or directory, as when a disk is unmounted", times)
        serving.wait_for_answers(version=1)
        away.rename(models)
        serving.wait_for_log("is back", times)
    assert serving.models() == ["echo/1"]
    models.rename(away)
    write_echo_model(away, version=2)
    away.rename(models)
    serving.wait_for("echo/2")
    serving.wait_for_answers(version=2)


def test_times_that_jump(serving: Serving, models: Path, write_echo_model: WriteModel) -> None:
    path = models / "echo" / "1" / "model.onnx"
    for times, year_s in enumerate((2**32, 0, 2**33 - 1), 1):  # 2106, 1970, 2242
        os.utime(path, (year_s, year_s))
        serving.wait_for_log("model echo version 1 has other content than was loaded before", times)
        serving.wait_for_answers(version=1)
    new = write_echo_model(models.with_name("elsewhere"), version=2)
    os.utime(new, (1, 1))
    new.parent.rename(models / "echo" / "2")  # older than what it replaces
    serving.wait_for("echo/2")
    serving.wait_for_answers(version=2)
    serving.wait_for_log("model echo version 1 is freed", 4)


def test_several_versions_are_asked_for_by_number(
    stack: ExitStack, models: Path, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    serving = serve(stack, models, tmp_path / "log", "--version-policy", "latest:2")
    write_echo_model(models, version=2)
    serving.wait_for("echo/1", "echo/2")
    write_echo_model(models, version=3)
    serving.wait_for("echo/2", "echo/3")
    assert serving.versions_answering((0, 2, 3)) == [3, 2, 3]


@pytest.mark.parametrize("front", ["native", "grpcio"])
def test_an_idle_server_holds_nothing_of_what_it_replaced(
    stack: ExitStack, models: Path, tmp_path: Path, write_echo_model: WriteModel, front: str
) -> None:
    server = stack.enter_context(covey_server(models, front, tmp_path / "log", FLAGS))
    serving = Serving(server, [stack.enter_context(grpc.insecure_channel(server.target))], tmp_path / "log")
    assert serving.versions_answering([0] * 200) == [1] * 200
    picture = io.BytesIO()
    Image.new("L", (4, 4)).save(picture, "PNG")
    assert serving.classify(pb.ClassifyRequest(encoded=pb.EncodedImages(images=[picture.getvalue()] * 3))).version == 1
    assert serving.classify(pb.ClassifyRequest(encoded=pb.EncodedImages(images=[b"no image"]))).version == 1
    with pytest.raises(grpc.RpcError, match="top_k is 99"):
        serving.classify(pb.ClassifyRequest(top_k=99, pixels=pb.Pixels(data=bytes(16))))
    write_echo_model(models, version=2)
    serving.wait_for("echo/2")
    serving.wait_for_log("model echo version 1 is freed")
