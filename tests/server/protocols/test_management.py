"""Models loaded and unloaded by name: what the repository does, and what callers of a server get."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.models.reloading import TextFolder

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.v1 import classifier_pb2
from covey_server.calls.call import Call
from covey_server.calls.status import Status
from covey_server.errors import LoadFailed, Overloaded, Stopping, UnknownModel
from covey_server.protocols.management import Management

SERVICE = "/inference.GRPCInferenceService"
UNLOADED = "unloaded by a call; it stays out until a call loads it, or the server is started anew"


@pytest.fixture
def folder(tmp_path: Path) -> TextFolder:
    """Of the models a (version 1) and b (version 2), loaded."""
    folder = TextFolder(tmp_path)
    folder.write("a", 1)
    folder.write("b", 2)
    folder.repository.load()
    folder.record.take()
    return folder


def test_an_unloaded_model_stays_out_until_it_is_loaded(folder: TextFolder) -> None:
    folder.repository.unload_model("b")
    assert folder.served() == ["a/1 good"]
    assert folder.refused() == [f"b/2 {UNLOADED}"]
    assert folder.record.take() == ["unloaded b/2", "retired b/2"]
    folder.write("b", 3, "newer")
    assert folder.refresh(3) == []
    folder.repository.unload_model("b")
    assert (folder.served(), folder.record.take()) == (["a/1 good"], [])
    folder.repository.load_model("b")
    assert folder.served() == ["a/1 good", "b/3 newer"]
    assert (folder.refused(), folder.record.take()) == ([], ["loaded b/3 newer"])
    assert folder.refresh() == []
    folder.write("b", 4, "newest")  # followed again
    folder.refresh()
    assert folder.served() == ["a/1 good", "b/4 newest"]


def test_a_load_that_fails_does_not_end_that_a_model_stays_out(folder: TextFolder) -> None:
    folder.repository.unload_model("b")
    folder.write("b", 2, "bad pixels")
    with pytest.raises(LoadFailed, match="bad pixels"):
        folder.repository.load_model("b")
    folder.write("b", 2, "mended")
    folder.refresh()
    assert folder.served() == ["a/1 good"]
    folder.repository.load_model("b")
    assert folder.served() == ["a/1 good", "b/2 mended"]


def test_of_an_unloaded_model_nothing_is_left_once_its_folder_is_gone(folder: TextFolder) -> None:
    folder.repository.unload_model("b")
    shutil.rmtree(folder.folder / "b")
    folder.refresh(1)
    folder.write("b", 3)  # it was being replaced
    folder.refresh()
    assert folder.refused() == [f"b/2 {UNLOADED}"]
    shutil.rmtree(folder.folder / "b")
    folder.refresh()
    assert (folder.served(), folder.refused()) == (["a/1 good"], [])
    folder.write("b", 4)
    folder.refresh()
    assert folder.served() == ["a/1 good", "b/4 good"]


def test_unloaded_models_stay_out_when_their_disk_comes_back(folder: TextFolder, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder.repository.unload_model(name)
    away = tmp_path.with_name("away")
    tmp_path.rename(away)
    tmp_path.mkdir()
    folder.refresh(3)
    tmp_path.rmdir()
    away.rename(tmp_path)
    folder.refresh(3)
    assert folder.served() == []


def test_callers_of_an_unloaded_model_are_told_why_it_is_not_there(folder: TextFolder) -> None:
    folder.repository.unload_model("b")
    with pytest.raises(UnknownModel, match=f"model 'b' is not served here .*version 2: {UNLOADED}.*; these are: a"):
        folder.repository.catalog.find("b", 0)


def test_a_load_does_not_wait_for_a_second_look(folder: TextFolder) -> None:
    folder.write("a", 2, "newer")
    folder.write("c", 1, "new")
    folder.repository.load_model("a")
    folder.repository.load_model("c")
    assert folder.served() == ["a/2 newer", "b/2 good", "c/1 new"]
    assert folder.record.take() == ["loaded a/2 newer", "unloaded a/1", "retired a/1", "loaded c/1 new"]
    folder.loads.clear()
    folder.repository.load_model("a")
    assert (folder.loads, folder.refresh()) == ([], [])


def test_a_refused_load_names_the_reason_and_leaves_what_was_served(folder: TextFolder) -> None:
    folder.write("a", 2, "bad pixels")
    with pytest.raises(
        LoadFailed, match=r"failed to load 'a': version 2: it is bad pixels \(versions served: 1\)"
    ) as caught:
        folder.repository.load_model("a")
    assert caught.value.__cause__ is None
    assert folder.served() == ["a/1 good", "b/2 good"]
    with pytest.raises(LoadFailed, match="bad pixels"):
        folder.repository.load_model("a")
    assert folder.loads.count("a/2") == 2, "a load asked for is tried again, the file unchanged or not"
    folder.write("a", 2, "mended")
    folder.repository.load_model("a")
    assert folder.served() == ["a/2 mended", "b/2 good"]
    folder.repository.unload_model("a")
    folder.write("a", 2, "bad again")
    with pytest.raises(LoadFailed, match=r"bad again \(versions served: 1\)"):
        folder.repository.load_model("a")


def test_names_that_are_not_there(folder: TextFolder) -> None:
    with pytest.raises(UnknownModel, match="failed to load 'nobody': the models folder holds no model of this name"):
        folder.repository.load_model("nobody")
    with pytest.raises(UnknownModel, match=r"failed to unload '\.\./a': there is no model of this name"):
        folder.repository.unload_model("../a")
    (folder.folder / "empty").mkdir()
    with pytest.raises(LoadFailed, match=r"failed to load 'empty': its folder holds no VERSION/model\.onnx"):
        folder.repository.load_model("empty")
    folder.path("a", 1).unlink()
    with pytest.raises(LoadFailed, match="failed to load 'a': its folder holds no VERSION"):
        folder.repository.load_model("a")
    assert folder.served() == ["a/1 good", "b/2 good"], "two looks decide that a file is gone, not a load"


def test_without_its_folder_nothing_is_loaded_and_all_is_kept(folder: TextFolder, tmp_path: Path) -> None:
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    with pytest.raises(LoadFailed, match="failed to load 'a': the models folder cannot be read: No such file"):
        folder.repository.load_model("a")
    assert folder.served() == ["a/1 good", "b/2 good"]


def test_every_model_may_be_unloaded(folder: TextFolder) -> None:
    for name in ("a", "b"):
        folder.repository.unload_model(name)
    assert folder.served() == []
    assert folder.refresh() == ["unloaded a/1", "retired a/1", "unloaded b/2", "retired b/2"]
    assert folder.served() == []
    folder.repository.load_model("b")
    assert folder.repository.catalog.find("", 0).name == "b"


class Answered(Call):
    """A call that remembers its answer."""

    def __init__(self) -> None:
        super().__init__(b"", "peer", 0, None)
        self.answer: bytes | Status | None = None

    def reply(self, payload: bytes) -> None:
        self.answer = payload

    def fail(self, status: Status) -> None:
        self.answer = status


def test_what_waits_is_bounded_and_refused_at_the_end() -> None:
    management = Management()
    waiting = [Answered() for _ in range(64)]
    for call in waiting:
        management.submit(lambda call: call.reply(b""), call)
    with pytest.raises(Overloaded, match="64 calls wait to load models or choose versions already"):
        management.submit(lambda call: call.reply(b""), Answered())
    management.close()
    assert {call.answer.name for call in waiting if isinstance(call.answer, Status)} == {"UNAVAILABLE"}
    assert all(isinstance(call.answer, Status) for call in waiting)
    with pytest.raises(Stopping, match="it loads no models and chooses no versions any more"):
        management.submit(lambda call: call.reply(b""), Answered())


def test_it_tells_whether_a_load_goes_on() -> None:
    management, began, gate = Management(), threading.Event(), threading.Event()
    assert management.work.join(0), "it was never started"

    def load(call: Call) -> None:
        began.set()
        assert gate.wait(20)

    management.work.start()
    management.submit(load, Answered())
    assert began.wait(20)
    management.close()
    assert not management.work.join(0.01)
    gate.set()
    assert management.work.join(20)


def test_what_nobody_waits_for_is_not_begun() -> None:
    management = Management()
    gone, last, done = Answered(), Answered(), threading.Event()
    gone.cancelled = True
    management.submit(lambda call: call.reply(b""), gone)
    management.submit(lambda call: done.set(), last)
    management.work.start()
    assert done.wait(20)
    assert gone.answer is None
    management.close()


def manage(server: Server, method: str, name: str) -> tuple[str, str]:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(f"{SERVICE}/{method}")
    try:
        assert call(pb.RepositoryModelLoadRequest(model_name=name).SerializeToString(), timeout=60) == b""
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


def test_the_default_model_goes_and_comes_back_while_others_are_asked(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, "echo")
    write_echo_model(tmp_path, "other", version=3)
    server = start_server(tmp_path, default_model="echo", allow_management=True, reload_interval_s=0)
    default = classifier_pb2.ClassifyRequest(pixels=classifier_pb2.Pixels(data=bytes(16)))
    assert manage(server, "RepositoryModelUnload", "echo") == ("OK", "")
    assert server.app._figures().models_refused == 0, "nothing is wrong with it"
    code, text = server.error(default)
    assert (code.name, "the default model 'echo' is not served here" in text) == ("NOT_FOUND", True)
    other = classifier_pb2.ClassifyRequest(model="other", pixels=classifier_pb2.Pixels(data=bytes(16)))
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(manage, server, "RepositoryModelLoad", "echo") for _ in range(3)]
        assert [server.classify(other).version for _ in range(20)] == [3] * 20
        assert [load.result() for load in loads] == [("OK", "")] * 3
    assert server.classify(default).model == "echo"
    write_echo_model(tmp_path, "other", version=4, wrong_golden=True)
    code_name, text = manage(server, "RepositoryModelLoad", "other")
    assert (code_name, "failed to load 'other': version 4: golden set" in text) == ("INTERNAL", True)
    assert server.app._figures().models_refused == 1
    assert server.classify(other).version == 3
    assert manage(server, "RepositoryModelLoad", "")[0] == "INVALID_ARGUMENT"


def test_a_message_above_the_limit_is_refused_before_it_is_read(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, allow_management=True, max_message_bytes=1_000)
    code_name, text = manage(server, "RepositoryModelLoad", "x" * 2_000)
    assert (code_name, "at most 1,000 are taken here" in text) == ("INVALID_ARGUMENT", True)
    assert manage(server, "RepositoryModelLoad", "echo") == ("OK", "")
