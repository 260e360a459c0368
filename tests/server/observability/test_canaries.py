"""A canary of a real server under load, from its first caller to what becomes of it; the versions are real files."""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import re
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from prometheus_client import generate_latest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer, running_servers
from tests.waiting import wait_until

import covey
from covey_proto import layout
from covey_proto.inference import open_inference_pb2 as oip
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.models import choice_files
from covey_server.observability.canary_metrics import CanaryMetrics
from covey_server.observability.canary_rules import Rules, Verdict
from covey_server.observability.trial import Decision, OnTrial
from covey_server.processes import merging

NO_SLOWNESS = 1000.0  # times: where time is not what a test is about, a busy machine shall not decide it


def told(server: Server, version: int) -> tuple[str, str]:
    """What GetModel tells of a version as the canary: its state, and why that is over."""
    request = pb.GetModelRequest(version=version).SerializeToString()
    model = pb.GetModelResponse.FromString(server.ask("GetModel", request)).model
    return pb.Model.Canary.Name(model.canary).removeprefix("CANARY_"), model.canary_reason


class Load:
    """Callers of a server, each call with a request id of its own, until they are to stop."""

    def __init__(self, server: Server, callers: int = 3, batch: int = 4) -> None:
        self.versions: Counter[int] = Counter()
        self.failures: list[str] = []
        self._server = server
        self._batch = batch
        self._ids = itertools.count()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(callers)]

    def __enter__(self) -> Load:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for each in self._threads:
            each.join()

    def _run(self, seed: int) -> None:
        chance = np.random.default_rng(seed)
        while not self._is_over.is_set():
            try:
                answer = ask(self._server, f"{seed}-{next(self._ids)}", peaks(chance, self._batch))
            except grpc.RpcError as error:
                self.failures.append(str(error))
            else:
                self.versions[answer.version] += 1
                self.failures += [str(result.error) for result in answer.results if result.HasField("error")]


def peaks(chance: np.random.Generator, count: int) -> bytes:
    """Images of 16 pixels with one white one, which says the class."""
    pixels = np.zeros((count, 16), np.uint8)
    pixels[np.arange(count), chance.integers(1, 10, count)] = 255
    return pixels.tobytes()


def ask(server: Server, request_id: str, pixels: bytes = bytes(16), **fields: Any) -> pb.ClassifyResponse:
    call = server.channel.unary_unary(
        "/covey.v1.Classifier/Classify",
        request_serializer=pb.ClassifyRequest.SerializeToString,
        response_deserializer=pb.ClassifyResponse.FromString,
    )
    metadata = (("x-request-id", request_id),) if request_id else ()
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=pixels), **fields)
    return call(request, timeout=60, metadata=metadata)


def shown(server: Server, name: str) -> dict[str, float]:
    """The values of a metric of canaries that are not 0, by the label beside the model and its version."""
    values = {}
    page = generate_latest(server.app.registry).decode()
    for labels, value in re.findall(rf"^covey_canary_{name}{{(.*)}} (\S+)$", page, re.MULTILINE):
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        (label,) = [pairs[each] for each in pairs if each not in ("model", "version")]
        values[label] = float(value)
    return {label: value for label, value in values.items() if value}


def state(server: Server) -> str:
    with server.app._observers.canaries.lock:
        trial = server.app._observers.canaries.trials.get("echo")
        return "" if trial is None else trial.state


def files(models: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (models / "echo").iterdir() if path.is_file()}


@pytest.fixture
def start() -> Iterator[StartServer]:
    """On the native front; deciding knows no front."""
    with running_servers("native") as start:
        yield lambda models, **settings: start(
            models, **({"canary_share": 0.5, "canary_window_s": 0, "canary_slowdown": NO_SLOWNESS} | settings)
        )


@pytest.fixture
def models(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    """Version 1 is served, version 2 its canary once it is written."""
    write_echo_model(tmp_path, version=1)
    (tmp_path / "echo" / "default-version").write_text("1")
    (tmp_path / "echo" / "canary-version").write_text("2")
    return tmp_path


def test_a_worse_version_under_load_is_rolled_back_and_no_call_fails(
    start: StartServer, models: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    write_echo_model(models, version=2, shift=1)  # other weights, the same labels
    server = start(models)
    with Load(server) as load:
        wait_until(lambda: state(server) == "rolled_back")
        assert {ask(server, str(number)).version for number in range(50)} == {1}, "at once"
        wait_until(lambda: not server.app.repository.catalog.canaries)
    assert load.failures == []
    assert load.versions[2] > 0
    assert files(models) == {"default-version": "1"}
    assert shown(server, "state") == {"rolled_back": 1}
    assert shown(server, "decisions_total") == {"agreement": 1}
    (line,) = [each for each in caplog.messages if "is rolled back" in each]
    assert re.fullmatch(
        r"model echo: the canary, version 2, is rolled back: 0\.0% of \d+ images got the same class from version 1, at "
        r"least 90\.0% are to; in \d+ s [\d,]+ calls, 0 failed, [\d,]+ images, 99% [\w .]+, of version 1 "
        r"[\d,]+ calls, 0 failed, [\d,]+ images, 99% [\w .]+; 0\.00% of [\d,]+ images agree",
        line,
    )
    assert ask(server, "", version=2).version == 2, "by its number it is served"
    state_, reason = told(server, 2)
    assert state_ == "ROLLED_BACK"
    assert f"is rolled back: {reason}; in" in line
    assert told(server, 1) == ("UNSPECIFIED", "")


def test_an_equal_version_is_promoted_and_a_restart_keeps_it(
    start: StartServer, models: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_echo_model(models, version=2)
    server = start(models, canary_images=200)
    with Load(server) as load:
        wait_until(lambda: state(server) == "promoted")
        wait_until(lambda: server.app.repository.catalog.find("", 0).version == 2)
        assert {ask(server, str(number)).version for number in range(20)} == {2}
    assert load.failures == []
    assert files(models) == {"default-version": "2\n1\n"}
    assert shown(server, "decisions_total") == {"enough": 1}
    assert shown(server, "compared_total").keys() <= {"agrees", "skipped"}
    state_, reason = told(server, 2)
    assert state_ == "PROMOTED"
    assert f"the canary, version 2, is promoted: {reason}; in" in caplog.text
    again = start(models)
    assert ask(again, "").version == 2
    assert shown(again, "state") == {}


def test_what_was_decided_is_told_until_somebody_decides_otherwise(
    start: StartServer, models: Path, write_echo_model: WriteModel
) -> None:
    """A version that was promoted and is not the default one any more is nobody's canary; nor is the reverse."""
    write_echo_model(models, version=2)
    server = start(models, canary_images=50, allow_management=True)
    with covey.Client(server.target) as client:
        with Load(server):
            wait_until(lambda: server.app.repository.catalog.find("", 0).version == 2)
        assert told(server, 2)[0] == "PROMOTED"
        client.choose("rollback")
        assert told(server, 2) == ("UNSPECIFIED", "")
        write_echo_model(models, version=3, shift=1)
        client.choose("canary", version=3)
        with Load(server):
            wait_until(lambda: state(server) == "rolled_back")
        assert told(server, 3)[0] == "ROLLED_BACK"
        client.choose("promote", version=3)
        assert told(server, 3) == ("UNSPECIFIED", "")


def test_a_slow_version_is_rolled_back(
    start: StartServer, models: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    """It is as quick as the other one when it is loaded, and slow on callers' images."""
    write_echo_model(models, version=2, hangs_at=255, hang_turns=20_000)  # 5 ms: also a busy machine sees it
    server = start(models, canary_slowdown=2.0)
    with Load(server) as load:
        wait_until(lambda: state(server) == "rolled_back")
    assert load.failures == []
    assert shown(server, "decisions_total") == {"slow": 1}
    # By its runs or by its calls, whichever have told enough first; test_canary_rules has each rule alone.
    by_runs = r"the same images took it [\d.]+ times as long as version 1, in \d+ runs"
    by_calls = r"\d+ of \d+ calls took longer than [\d.]+ ms, and 99% of version 1 up to [\d.]+ ms"
    assert re.search(f"is rolled back: ({by_runs}|{by_calls});", caplog.text)


@pytest.mark.parametrize("fault", ["fails_at", "nan_at"])
def test_a_version_whose_engine_fails_is_rolled_back_and_no_call_fails(
    start: StartServer, models: Path, write_echo_model: WriteModel, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_echo_model(models, version=2, **{fault: 255})
    server = start(models)
    with Load(server) as load:
        wait_until(lambda: state(server) == "rolled_back")
    assert load.failures == []
    assert load.versions.keys() == {1}
    assert shown(server, "decisions_total") == {"errors": 1}
    assert shown(server, "state") == {"rolled_back": 1}
    page = generate_latest(server.app.registry).decode()
    assert float(re.findall(r'^covey_canary_failed_calls{model="echo",version="2"} (\S+)$', page, re.MULTILINE)[0]) >= 3
    codes = dict(
        re.findall(r'^covey_requests_total{code="(\w+)".*protocol="grpc",version="2"} (\S+)$', page, re.MULTILINE)
    )
    assert codes == {"OK": "0.0", "INTERNAL": "0.0"}, "each call counts once: as answered by version 1"
    assert re.search(r"is rolled back: [\d,]+ of [\d,]+ failed, and of version 1 0 of [\d,]+; in", caplog.text)


@pytest.mark.parametrize(
    ("options", "text"),
    [({"classes": 9}, "its labels are not those of version 1: 9 labels instead of 10"),
     ({"shape": (5, 4, 1)}, "its input has another shape than that of version 1"),
     ({"thresholds": [0.5]}, "its labels are exclusive or independent, otherwise than those of version 1"),
     ({"embedding": False}, "it publishes no embedding, other than version 1")],
)  # fmt: skip
def test_a_version_of_another_contract_never_answers(
    start: StartServer, models: Path, write_echo_model: WriteModel, options: dict[str, Any], text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    write_echo_model(models, version=1, embedding=True)
    write_echo_model(models, version=2, **{"embedding": True, **options})
    server = start(models, canary_share=1.0)
    assert {ask(server, str(number)).version for number in range(20)} == {1}
    wait_until(lambda: state(server) == "rolled_back")
    assert {ask(server, str(number)).version for number in range(20)} == {1}
    assert f"is rolled back: {text}; it has answered nobody" in caplog.text
    assert files(models) == {"default-version": "1"}
    assert shown(server, "decisions_total") == {"contract": 1}


def write_gate(folder: Path, label: str = "class 3") -> Path:
    """Images whose class is 3: version 1 gets them right, one of other weights does not."""
    pixels = np.zeros((4, 4), np.uint8)
    pixels[0, 3] = 255
    (folder / label).mkdir(parents=True)
    for number in range(40):
        Image.fromarray(pixels).save(folder / label / f"{number}.png")
    (folder / label / "notes.png").write_text("no image")
    return folder


@pytest.mark.parametrize(
    ("shift", "label", "expected"),
    [(1, "class 3", "accuracy"), (0, "class 3", ""), (0, "elephant", "gate")],
)
@pytest.mark.parametrize("of_model", [True, False])
def test_the_gate(
    start: StartServer, models: Path, write_echo_model: WriteModel, tmp_path_factory: pytest.TempPathFactory,
    shift: int, label: str, expected: str, of_model: bool, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    write_echo_model(models, version=2, shift=shift)
    gate = tmp_path_factory.mktemp("gate")
    write_gate(gate / "echo" if of_model else gate, label)
    server = start(models, canary_share=1.0, canary_gate=str(gate))
    wait_until(lambda: state(server) == ("rolled_back" if expected else "trial"))
    assert ask(server, "any").version == (1 if expected else 2)
    assert shown(server, "decisions_total") == ({expected: 1} if expected else {})
    texts = {
        "accuracy": "of 40 images of --canary-gate it got 0.00% right, version 1 100.00%; it has answered nobody",
        "gate": "elephant is named as none of the model's labels",
        "": "has passed: of 40 images of --canary-gate it got 100.00% right, version 1 100.00%",
    }
    assert texts[expected] in caplog.text


@pytest.mark.parametrize("shift", [0, 1])
def test_where_the_folder_cannot_be_written_a_decision_holds_in_this_process(
    start: StartServer, models: Path, write_echo_model: WriteModel, shift: int, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The one thing here that is not real: as root, tests can write any folder."""
    caplog.set_level("INFO")
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name == "canary-version":
            raise OSError(30, "Read-only file system")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    write_echo_model(models, version=2, shift=shift)
    server = start(models, canary_images=50)
    with Load(server) as load:
        wait_until(lambda: state(server) == ("rolled_back" if shift else "promoted"))
        wait_until(lambda: not server.app.repository.catalog.canaries)
    assert load.failures == []
    expected = 1 if shift else 2
    assert ask(server, "").version == expected
    assert files(models) == {"default-version": "1", "canary-version": "2"}
    assert "The models folder cannot be written (Read-only file system)" in caplog.text
    assert f"By hand: echo {expected} > {models}/echo/default-version; rm {models}/echo/canary-version" in caplog.text
    write_echo_model(models, version=3)
    (models / "echo" / "canary-version").write_text("3")
    wait_until(lambda: state(server) == "trial")
    assert server.app.repository.catalog.canaries["echo"].version == 3, "a new canary is judged anew"


def test_the_copy_of_a_store_is_not_written(
    start: StartServer, models: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    """The next look at the store would undo it, and the canary would begin anew."""
    (models / layout.MIRROR_LOCK).touch()
    write_echo_model(models, version=2, shift=1)
    server = start(models, canary_images=50)
    with Load(server):
        wait_until(lambda: state(server) == "rolled_back")
    assert files(models) == {"default-version": "1", "canary-version": "2"}
    assert "it is the copy of a store; write the file there" in caplog.text
    assert "By hand: echo 1 > echo/default-version; rm echo/canary-version" in caplog.text


def test_a_canary_that_is_taken_away_by_hand_is_over(
    start: StartServer, models: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(models, version=2)
    server = start(models, canary_share=1.0)
    wait_until(lambda: state(server) == "trial")
    assert told(server, 2) == ("TRIAL", "")
    assert ask(server, "any").version == 2
    (models / "echo" / "canary-version").unlink()
    wait_until(lambda: state(server) == "")
    assert told(server, 2) == ("UNSPECIFIED", "")
    assert ask(server, "any").version == 1
    assert shown(server, "state") == shown(server, "decisions_total") == {}


def test_the_shadow_is_told_and_a_canary_before_it_is_looked_at(
    start: StartServer, models: Path, write_echo_model: WriteModel
) -> None:
    for version in (2, 3):
        write_echo_model(models, version=version)
    (models / "echo" / "shadow-version").write_text("3")
    server = start(models)
    wait_until(lambda: state(server) == "trial")
    server.app._observers.canaries.stop(60)
    server.app._observers.canaries.trials.clear()
    assert told(server, 2) == ("CHECKING", "")
    listed = pb.ListModelsResponse.FromString(server.ask("ListModels", b"")).models
    assert [(each.version, each.is_shadow) for each in listed] == [(1, False), (2, False), (3, True)]
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/v1/models", timeout=60) as answer:
        found = {each["version"]: each for each in json.load(answer)["models"]}
    assert (found[2]["canary"], found[3]["canary"]) == ("CANARY_CHECKING", "CANARY_UNSPECIFIED")
    assert (found[2]["is_shadow"], found[3]["is_shadow"]) == (False, True)


def test_another_default_version_begins_the_trial_anew(
    start: StartServer, models: Path, write_echo_model: WriteModel
) -> None:
    for version in (2, 3):
        write_echo_model(models, version=version)
    server = start(models, canary_share=1.0, version_policy="all")
    wait_until(lambda: state(server) == "trial")
    ask(server, "any")
    canaries = server.app._observers.canaries
    wait_until(lambda: canaries.trials["echo"].images == 1)
    choice_files.write(models, "echo", "default-version", 3)
    wait_until(lambda: canaries.trials["echo"].served_version == 3 and state(server) == "trial")
    assert canaries.trials["echo"].images == 0


# Who gets it, by every way a call can come.


@pytest.fixture
def halved(start_server: StartServer, models: Path, write_echo_model: WriteModel) -> Server:
    """On each front: half of the callers get version 2, and nothing is decided."""
    write_echo_model(models, version=2)
    server = start_server(models, canary_share=0.5, canary_slowdown=NO_SLOWNESS)
    wait_until(lambda: state(server) == "trial")
    return server


def test_a_request_id_keeps_its_version_by_every_way(halved: Server) -> None:
    canary = halved.app.repository.catalog.canaries["echo"]
    ids = [f"id {number}" for number in range(20)]
    expected = [2 if canary.takes(each) else 1 for each in ids]
    assert {*expected} == {1, 2}

    png = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(png, "PNG")
    inputs = [{"name": "images", "shape": [1, 4, 4, 1], "datatype": "UINT8", "data": [0] * 16}]
    ways = {
        "/v1/models/echo/classify": {"image": base64.b64encode(png.getvalue()).decode()},
        "/v2/models/echo/infer": {"inputs": inputs},
    }
    for _ in range(2):
        assert [ask(halved, each).version for each in ids] == expected
        assert [infer(halved, each) for each in ids] == expected
        for path, body in ways.items():
            assert [by_http(halved, path, each, body) for each in ids] == expected
    assert {ask(halved, each, version=1).version for each in ids} == {1}, "who names a version gets it"
    assert {ask(halved, each, model="echo").version for each in ids} == {1, 2}


def infer(server: Server, request_id: str) -> int:
    request = oip.ModelInferRequest(
        model_name="echo",
        inputs=[oip.ModelInferRequest.InferInputTensor(name="images", datatype="UINT8", shape=[1, 4, 4, 1])],
        raw_input_contents=[bytes(16)],
    )
    call = server.channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=oip.ModelInferRequest.SerializeToString,
        response_deserializer=oip.ModelInferResponse.FromString,
    )
    return int(call(request, timeout=60, metadata=(("x-request-id", request_id),)).model_version)


def by_http(server: Server, path: str, request_id: str, body: object) -> int:
    headers = {"x-request-id": request_id, "content-type": "application/json"}
    url = f"http://127.0.0.1:{server.http_port}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        found = json.load(answer)
    return int(found.get("model_version") or found["version"])


def test_bursts_are_divided(halved: Server) -> None:
    """Calls that come together and say the same: the fast way answers some, the ordinary way the others."""
    canary = halved.app.repository.catalog.canaries["echo"]
    ask(halved, "known from now on")
    ids = [f"burst {number}" for number in range(200)]
    with ThreadPoolExecutor(50) as callers:
        found = list(callers.map(lambda each: ask(halved, each).version, ids))
    assert found == [2 if canary.takes(each) else 1 for each in ids]


def test_a_connection_keeps_its_version(halved: Server) -> None:
    """Callers who send no id are told apart by their connections."""
    versions = set()
    for number in range(40):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.primary_user_agent", str(number))]
        with grpc.insecure_channel(halved.target, options=options) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
            request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString()
            (version,) = {pb.ClassifyResponse.FromString(call(request, timeout=60)).version for _ in range(3)}
            versions.add(version)
    assert versions == {1, 2}


def test_what_two_processes_show_adds_up(start: StartServer, models: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(models, version=2)
    server = start(models, canary_share=1.0)
    wait_until(lambda: state(server) == "trial")
    ask(server, "any")
    canaries = server.app._observers.canaries
    wait_until(lambda: canaries.trials["echo"].images == 1 and canaries.trials["echo"].compared["agrees"] == 1)
    page = merging.plain(CanaryMetrics(canaries).collect())
    values = {
        (name, *sample[1].values()): sample[2]
        for name, _, _, samples in merging.merge([page, page])
        for sample in samples
    }
    assert values["covey_canary_images", "echo", "2"] == 2
    assert values["covey_canary_compared", "echo", "2", "agrees"] == 2
    assert values["covey_canary_state", "echo", "2", "trial"] == 1


# Of several processes, one decides.


class Others:
    """The other processes of a server: what they were told."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def tell_trials(self, on_trial: Sequence[OnTrial]) -> None: ...

    def tell_decision(self, decision: Decision) -> None:
        self.decisions.append(decision)


@pytest.fixture
def watched(start: StartServer, models: Path, write_echo_model: WriteModel) -> Server:
    """All callers get version 2, and this process decides nothing: it hears of others."""
    write_echo_model(models, version=2, shift=1)
    server = start(models, canary_share=1.0)
    wait_until(lambda: state(server) == "trial")
    assert server.app._observers.canaries.stop(60)
    return server


def test_what_another_process_decides_holds_here_at_once(watched: Server) -> None:
    """Before the file is looked at, and where there is none to look at."""
    canaries = watched.app._observers.canaries
    canaries.follow(Decision("echo", 3, 1, "rolled_back", "another canary"))
    canaries.follow(Decision("echo", 2, 3, "rolled_back", "beside another version"))
    assert ask(watched, "any").version == 2
    canaries.follow(Decision("echo", 2, 1, "rolled_back", "it failed there"))
    assert ask(watched, "any").version == 1
    assert told(watched, 2) == ("ROLLED_BACK", "it failed there")
    assert shown(watched, "decisions_total") == {}, "who decided counts it"


def test_of_two_decisions_at_the_same_time_the_roll_back_stands(watched: Server) -> None:
    """In a folder that cannot be written, whose files say nothing."""
    canaries = watched.app._observers.canaries
    for outcome in ("promoted", "rolled_back", "promoted"):
        canaries.follow(Decision("echo", 2, 1, outcome, f"{outcome} there"))
    assert told(watched, 2) == ("ROLLED_BACK", "rolled_back there")
    assert ask(watched, "any").version == 1


def test_a_decision_about_a_canary_that_was_never_seen_here_is_told(watched: Server, models: Path) -> None:
    """Another process looked at the folder first, and was quick."""
    canaries = watched.app._observers.canaries
    canaries.trials.clear()
    canaries.follow(Decision("echo", 2, 1, "rolled_back", "other labels"))
    assert told(watched, 2) == ("ROLLED_BACK", "other labels"), "its file is there"
    assert ask(watched, "any").version == 1
    canaries.look()
    assert canaries.trials == {}, "it does not begin here any more"
    (models / "echo" / "canary-version").unlink()
    wait_until(lambda: not watched.app.repository.catalog.canaries)
    assert told(watched, 2) == ("ROLLED_BACK", "other labels")


def test_the_others_are_told_of_a_decision_that_is_made_here(watched: Server, models: Path) -> None:
    """Only of one that counts: here somebody has taken the file away before."""
    canaries, others = watched.app._observers.canaries, Others()
    canaries._others = others
    verdict = Verdict("rolled_back", "slow", "it was slow")
    path = models / "echo" / "canary-version"
    path.rename(path.with_name("elsewhere"))
    canaries._decide(canaries.trials["echo"], verdict, "")
    assert others.decisions == []
    assert told(watched, 2)[0] == "TRIAL"
    path.with_name("elsewhere").rename(path)
    canaries._decide(canaries.trials["echo"], verdict, "")
    assert others.decisions == [Decision("echo", 2, 1, "rolled_back", "it was slow")]
    assert not path.exists()


def test_that_others_were_first_is_logged_once(
    watched: Server, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Until the folder is looked at, which may be never (--reload-interval 0), each look finds it good enough."""
    canaries = watched.app._observers.canaries
    monkeypatch.setattr(Rules, "judge", lambda *_: Verdict("promoted", "enough", "it is good"))
    assert watched.app._watch.stop(60)
    (models / "echo" / "canary-version").unlink()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            canaries.look()
    assert caplog.text.count("was to be promoted: it is good; but canary-version does not name it any more") == 1
