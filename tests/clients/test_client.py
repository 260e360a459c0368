"""The synchronous client against a real gRPC server: requests, results, threads, deadlines, closing."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import gc
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import pytest

import covey
from covey.connection import normalised_target
from covey_proto.v1 import classifier_pb2 as pb

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from covey.inputs import Image

    from .conftest import ScriptedServer


def _grey(value: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.full((28, 28), value, np.uint8)


def test_one_image_gives_one_typed_classification(client: covey.Client) -> None:
    result = client.classify(b"cat", top_k=2)
    assert (result.label, result.index, result.probability) == ("cat", 0, 0.75)
    assert result.classes == (covey.Class("cat", 0, 0.75), covey.Class("not cat", 1, 0.25))
    assert (result.model, result.version, result.error) == ("digits", 3, None)
    assert result.timing == covey.Timing(600, 100, 200, 300, 7, "cpu", round_trip_us=result.timing.round_trip_us)
    assert result.timing.round_trip_us > 0


def test_results_are_frozen(client: covey.Client) -> None:
    result = client.classify(b"cat")
    parts: list[DataclassInstance] = [result, result.classes[0], result.timing, *client.models()]
    for part in parts:
        assert not hasattr(part, "__dict__")
        for field in dataclasses.fields(part):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(part, field.name, None)


def _reachable(start: object) -> list[object]:
    """All that `start` keeps alive; code apart."""
    found: dict[int, object] = {}
    new = [start]
    while new:
        one = new.pop()
        if id(one) not in found and not isinstance(one, type | ModuleType | FunctionType):
            found[id(one)] = one
            new += gc.get_referents(one)
    return list(found.values())


@pytest.mark.parametrize("read", [False, True])
def test_a_kept_result_does_not_keep_the_answer_of_its_request(client: covey.Client, read: bool) -> None:
    result = client.classify([b"%d" % number for number in range(100)])[7]
    if read:
        assert [one.label for one in result.classes] == ["7", "not 7"]
        assert result.timing.batch_size == 7
    kinds = {type(one).__module__ for one in _reachable(result)}
    assert not [kind for kind in kinds if "google" in kind or kind == pb.Result.__module__]
    assert {str, float} <= {type(one) for one in _reachable(result)}


@pytest.mark.parametrize("copied", [dataclasses.replace, copy.copy, lambda one: pickle.loads(pickle.dumps(one))])
def test_results_are_values_that_can_be_copied(client: covey.Client, copied: type) -> None:
    """Their classes are read when they are first asked for, which must not show."""
    result = copied(client.classify(b"cat", top_k=2))
    assert result.best == covey.Class("cat", 0, 0.75)
    assert [one.label for one in result.classes] == ["cat", "not cat"]
    timing = covey.Timing(*(getattr(result.timing, field.name) for field in dataclasses.fields(covey.Timing)))
    made = covey.Classification(result.classes, None, "digits", 3, timing)
    assert (made, hash(made), repr(made)) == (result, hash(result), repr(result))
    assert made.label == "cat"
    with pytest.raises(AttributeError, match="'Classification' object has no attribute 'lable'"):  # codespell:ignore
        _ = result.lable  # codespell:ignore


def test_every_kind_of_image_arrives_as_what_it_is(
    server: ScriptedServer, client: covey.Client, tmp_path: Path
) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"cat")
    assert client.classify(path).label == "cat"
    assert client.classify(str(path)).label == "cat"
    assert client.classify(_grey(7)).label == "7"
    assert client.classify(PIL.Image.fromarray(_grey(7))).label.startswith("\x89PNG")
    pixels = server.requests[2].pixels
    assert (pixels.height, pixels.width, pixels.channels, len(pixels.data)) == (28, 28, 1, 784)


def test_arguments_reach_the_server_and_are_left_out_where_not_given(
    server: ScriptedServer, client: covey.Client
) -> None:
    result = client.classify(b"cat", model="other", version=5, top_k=4)
    client.classify(b"cat")
    given, default = server.requests
    assert (given.model, given.version, given.top_k) == ("other", 5, 4)
    assert (default.model, default.version, default.HasField("top_k")) == ("", 0, False)
    assert (result.model, result.version, len(result.classes)) == ("other", 5, 4)


def test_top_k_of_zero_is_for_the_server_to_judge(server: ScriptedServer, client: covey.Client) -> None:
    client.classify(b"cat", top_k=0)
    assert server.requests[0].HasField("top_k")


def test_a_list_is_one_request_and_its_answers_are_in_order(server: ScriptedServer, client: covey.Client) -> None:
    labels = [str(number) for number in range(100)]
    assert [result.label for result in client.classify([label.encode() for label in labels])] == labels
    assert len(server.requests) == 1


def test_a_batch_array_is_one_packed_request(server: ScriptedServer, client: covey.Client) -> None:
    batch = np.stack([_grey(value) for value in range(100)])[..., np.newaxis]
    assert [result.label for result in client.classify(batch)] == [str(value) for value in range(100)]
    (request,) = server.requests
    assert request.pixels.data == batch.tobytes()


def test_a_list_or_batch_of_one_gives_a_list_of_one(client: covey.Client) -> None:
    assert [result.label for result in client.classify([b"cat"])] == ["cat"]
    assert [result.label for result in client.classify((_grey(7),))] == ["7"]
    assert [result.label for result in client.classify(_grey(7)[np.newaxis, :, :, np.newaxis])] == ["7"]


def test_a_mixed_list_is_two_requests_answered_in_the_callers_order(
    server: ScriptedServer, client: covey.Client
) -> None:
    images: list[Image] = [_grey(1), b"two", _grey(3), b"bad four", b"five"]
    results = client.classify(images)
    assert [result.label if result.error is None else None for result in results] == ["1", "two", "3", None, "five"]
    assert [request.WhichOneof("images") for request in server.requests] == ["encoded", "pixels"]


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [(b"bad", covey.InvalidImage, "not an image"), (b"huge", covey.ImageTooLarge, "too many pixels")],
)
def test_an_image_that_fails_raises_alone_and_stands_in_its_place_in_a_list(
    client: covey.Client, tmp_path: Path, image: bytes, kind: type[covey.ImageError], message: str
) -> None:
    with pytest.raises(kind, match=f"^{message}$"):
        client.classify(image)
    path = tmp_path / "image.png"
    path.write_bytes(image)
    with pytest.raises(kind, match=rf"image\.png: {message}$"):
        client.classify(path)

    before, failed, after = client.classify([b"before", image, b"after"])
    assert (before.label, after.label) == ("before", "after")
    assert isinstance(failed.error, kind)
    assert failed.classes == ()
    for name in ("best", "label", "index", "probability"):
        with pytest.raises(kind, match=message):
            getattr(failed, name)


def test_an_answer_of_another_length_is_the_servers_bug(server: ScriptedServer, client: covey.Client) -> None:
    server.answer(lambda results: results[1:])
    with pytest.raises(covey.ServerError, match=f"{server.target} answered 2 results for 3 images"):
        client.classify([b"one", b"two", b"three"])


def test_an_answer_without_classes_is_the_servers_bug(server: ScriptedServer, client: covey.Client) -> None:
    server.answer(lambda results: [pb.Result()])
    with pytest.raises(covey.ServerError, match="neither classes nor an error"):
        client.classify(b"one")


def test_arguments_that_fit_no_request_are_refused_before_sending(server: ScriptedServer, client: covey.Client) -> None:
    for top_k, version, model in ((-1, 0, ""), (1 << 40, 0, ""), (None, 1 << 70, ""), (None, 0, "\udc80")):
        with pytest.raises(covey.InvalidInput, match="cannot be sent") as info:
            client.classify(b"cat", model=model, version=version, top_k=top_k)
        assert info.value.__cause__ is not None
    with pytest.raises(covey.InvalidInput, match="cannot be sent"):
        client.model("digits", 1 << 70)
    assert server.requests == []


def test_threads_share_a_client_and_each_gets_its_own_answer(server: ScriptedServer, client: covey.Client) -> None:
    def classify(number: int) -> str:
        return client.classify(str(number).encode()).label

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(classify, range(1_000))) == [str(number) for number in range(1_000)]
    assert len(server.requests) == 1_000


@pytest.mark.parametrize("of_the_call", [True, False])
def test_a_deadline_ends_a_call(server: ScriptedServer, of_the_call: bool) -> None:
    server.hold()
    with (
        covey.Client(server.target, deadline_ms=10_000 if of_the_call else 50) as client,
        pytest.raises(covey.DeadlineExceeded, match=f"no answer from {server.target} within 50 ms"),
    ):
        client.classify(b"cat", deadline_ms=50 if of_the_call else None)


def test_one_deadline_holds_for_both_requests_of_a_mixed_list(server: ScriptedServer, client: covey.Client) -> None:
    server.takes_s = 0.5
    images: list[Image] = [b"file", _grey(1)]
    client.classify(images, deadline_ms=5_000)
    _, second = server.time_remaining_s
    assert second <= 4.75  # not 4.5: a timeout near to an earlier one is sent as that one, within some 3 %


@pytest.mark.parametrize("deadline_ms", [0, -1, float("inf"), float("nan")])
def test_a_deadline_is_a_number_above_zero(client: covey.Client, deadline_ms: float) -> None:
    with pytest.raises(covey.InvalidInput, match="deadline_ms must be a number of milliseconds above 0"):
        client.classify(b"cat", deadline_ms=deadline_ms)
    with pytest.raises(covey.InvalidInput, match="deadline_ms"):
        covey.Client(deadline_ms=deadline_ms)


def test_a_closed_client_says_so(server: ScriptedServer) -> None:
    with covey.Client(server.target) as client:
        client.classify(b"cat")
    client.close()
    with pytest.raises(covey.ClientClosed, match=f"Client\\('{server.target}', .*is closed; make a new one"):
        client.classify(b"cat")


def test_closing_ends_the_calls_under_way(server: ScriptedServer, client: covey.Client) -> None:
    server.hold()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.classify, b"cat")
        server.wait_until_held()
        client.close()
        with pytest.raises(covey.ClientClosed, match="was closed during a call"):
            call.result(timeout=30)


def test_a_client_finds_a_server_that_came_back(server: ScriptedServer, client: covey.Client) -> None:
    assert client.classify(b"cat").label == "cat"
    server.stop()
    with pytest.raises(covey.Unavailable):
        client.classify(b"cat")
    server.start_again()
    give_up_s = time.monotonic() + 30
    while True:
        try:
            assert client.classify(b"dog").label == "dog"
            break
        except covey.Unavailable:
            assert time.monotonic() < give_up_s


def test_models_are_listed_with_all_that_is_known_of_them(client: covey.Client) -> None:
    broken, digits = client.models()
    assert digits == covey.Model(
        name="digits",
        version=3,
        state=covey.ModelState.READY,
        reason="",
        is_default=True,
        labels=tuple("0123456789"),
        input=covey.InputSize(28, 28, 1, covey.Resize.STRETCH),
        training=covey.Training(
            network="lenet",
            dataset="mnist",
            recipe="tutorial",
            epochs=5,
            seed=1,
            test_accuracy=0.98765,
            test_images=10_000,
            parameters=44_426,
            created=datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC),
        ),
        serving=covey.Serving("cpu", "CPUExecutionProvider", 2, 1, 64, 67_108_864),
    )
    assert (broken.name, broken.state, broken.reason) == (
        "broken",
        covey.ModelState.REFUSED,
        "model.onnx is no ONNX file",
    )
    assert (broken.labels, broken.input, broken.training, broken.serving) == ((), None, None, None)
    assert (digits.is_ready, broken.is_ready) == (True, False)


def test_a_model_of_a_newer_server_is_still_readable(server: ScriptedServer, client: covey.Client) -> None:
    model = pb.Model(name="new")
    model.MergeFromString(b"\x18\x63")  # field 3, state: 99
    model.info.input.MergeFromString(b"\x20\x63")  # field 4, resize: 99
    server.models = [model]
    (new,) = client.models()
    assert new.state is covey.ModelState.UNKNOWN
    assert new.input == covey.InputSize(0, 0, 0, covey.Resize.UNKNOWN)


def test_one_model_by_name_and_version_or_by_default(client: covey.Client) -> None:
    assert client.model().name == "digits"
    assert client.model("digits", 3) == client.model("digits")
    assert client.model("broken").reason == "model.onnx is no ONNX file"
    with pytest.raises(covey.UnknownModel, match="no model 'digits', version 4"):
        client.model("digits", 4)


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("localhost:8001", "localhost:8001"),
        ("vision", "vision:8001"),
        ("10.0.0.7:9000", "10.0.0.7:9000"),
        ("dns:///vision:8001", "dns:///vision:8001"),
        ("unix:/run/covey.sock", "unix:/run/covey.sock"),
        ("[::1]:8001", "[::1]:8001"),
        ("[::1]", "[::1]:8001"),
    ],
)
def test_targets_are_as_grpc_takes_them_with_a_default_port(given: str, target: str) -> None:
    assert normalised_target(given) == target


def test_targets_that_no_server_can_have_are_refused() -> None:
    with pytest.raises(
        covey.InvalidInput, match="'grpc://vision:8001/' is a URL; give host and port alone: 'vision:8001'"
    ):
        covey.Client("grpc://vision:8001/")
    with pytest.raises(covey.InvalidInput, match="the target is empty"):
        covey.Client("")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("::1", "an IPv6 address without brackets"),
        ("localhost:", "has the port ''; expected 1 to 65535"),
        ("localhost:99999", "has the port '99999'"),
        ("localhost:http", "has the port 'http'"),
        ("[::1]:0", "has the port '0'"),
    ],
)
def test_a_port_that_cannot_be_is_not_dialled(target: str, message: str) -> None:
    with pytest.raises(covey.InvalidInput, match=message):
        covey.Client(target)


def test_messages_above_grpcs_own_limit_pass_both_ways(client: covey.Client) -> None:
    large = b"x" * (5 << 20)
    assert client.classify(large).label == large.decode()
