"""/v1 over HTTP: the same answers as Classify, ListModels and GetModel give."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import EXPECTED, PIXELS, Answer, ask, png
from tests.waiting import wait_until

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.images.decode_pool import Decoded, DecodePool, Steps
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.classify import _write_classified

CLASSIFY = "/v1/models/echo/classify"
FILES = [png(each) for each in PIXELS]


def form(*files: bytes, disposition: str = 'form-data; name="f"; filename="f.png"') -> tuple[bytes, dict[str, str]]:
    parts = [b"--xYz\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + each + b"\r\n" for each in files]
    return b"".join(parts) + b"--xYz--\r\n", {"Content-Type": "multipart/form-data; boundary=xYz"}


def as_json(value: object) -> tuple[bytes, dict[str, str]]:
    return json.dumps(value).encode(), {"Content-Type": "application/json"}


def require_probabilities(answer: Answer, first: int, count: int, top_k: int = 5) -> None:
    assert answer.status == 200, answer.body
    results = answer.json["results"]
    assert len(results) == count
    for result, expected in zip(results, EXPECTED[first : first + count], strict=True):
        best = np.argsort(-expected, kind="stable")[:top_k]
        assert [each["index"] for each in result["classes"]] == best.tolist()
        assert [each["label"] for each in result["classes"]] == [f"class {index}" for index in best]
        assert [np.float32(each["probability"]) for each in result["classes"]] == expected[best].tolist()


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("kind", ["", "image/png", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_file_as_the_body_is_classified(server: Server, method: str, kind: str) -> None:
    answer = ask(server.http_port, method, CLASSIFY, FILES[3], {"Content-Type": kind} if kind else {})
    require_probabilities(answer, 3, 1)
    assert (answer.json["model"], answer.json["version"]) == ("echo", 1)
    timing = answer.json["timing"]
    assert timing["total_us"] == timing["decode_us"] + timing["queue_us"] + timing["compute_us"]
    assert timing["batch_size"] == 1


def test_the_answer_has_all_that_classify_has(server: Server) -> None:
    request = pb.ClassifyRequest(model="echo", encoded=pb.EncodedImages(images=[FILES[0], b"no image"]), top_k=3)
    expected = server.classify(request)
    body, headers = form(FILES[0], b"no image")
    found = ask(server.http_port, "POST", f"{CLASSIFY}?top_k=3", body, headers).json
    assert found.keys() == {"results", "model", "version", "timing"}
    assert found["timing"].keys() == {field.name for field, _ in expected.timing.ListFields()}
    first, second = expected.results
    assert [(each["label"], each["index"]) for each in found["results"][0]["classes"]] == [
        (each.label, each.index) for each in first.classes
    ]
    assert found["results"][1] == {"error": {"reason": "REASON_INVALID", "message": second.error.message}}


def test_a_form_has_several_files_and_a_bad_one_fails_itself(server: Server) -> None:
    body, headers = form(*FILES)
    require_probabilities(ask(server.http_port, "POST", CLASSIFY, body, headers), 0, 20)
    body, headers = form(FILES[0], b"not an image", FILES[1])
    results = ask(server.http_port, "POST", CLASSIFY, body, headers).json["results"]
    assert [sorted(each) for each in results] == [["classes"], ["error"], ["classes"]]


def test_json_has_one_image_or_several(server: Server) -> None:
    texts = [base64.b64encode(each).decode() for each in FILES]
    require_probabilities(ask(server.http_port, "POST", CLASSIFY, *as_json({"image": texts[2]})), 2, 1)
    require_probabilities(ask(server.http_port, "POST", CLASSIFY, *as_json({"images": texts})), 0, 20)
    url = f"data:image/png;base64,{texts[4]}"
    require_probabilities(ask(server.http_port, "POST", CLASSIFY, *as_json({"image": url, "top_k": 2})), 4, 1, top_k=2)


def test_the_query_sets_top_k_version_and_timeout(server: Server) -> None:
    path = f"{CLASSIFY}?top_k=1&version=1&timeout_ms=20000"
    require_probabilities(ask(server.http_port, "POST", path, FILES[5]), 5, 1, top_k=1)


@pytest.mark.parametrize(
    ("status", "path", "text"),
    [
        (404, "/v1/models/nobody/classify", "model 'nobody' is not served here"),
        (404, f"{CLASSIFY}?version=9", "version 9 of model 'echo' is not served"),
        (400, f"{CLASSIFY}?version=x", "version is 'x'"),
        (400, f"{CLASSIFY}?top_k=11", "top_k is 11; expected 1 to 10"),
        (400, f"{CLASSIFY}?top_k=-1", "top_k is '-1'"),
        (400, f"{CLASSIFY}?top-k=1", "the query has the parameter 'top-k'"),
        (400, f"{CLASSIFY}?top_k=1&top_k=2", "'top_k' comes more than once"),
        (400, f"{CLASSIFY}?timeout_ms={'0' * 12}9999999999", "timeout_ms is '000"),
        (400, f"{CLASSIFY}?timeout_ms=soon", "timeout_ms is 'soon'"),
    ],
)
def test_what_is_wrong_with_path_or_query_is_said(server: Server, status: int, path: str, text: str) -> None:
    answer = ask(server.http_port, "POST", path, FILES[0])
    assert (answer.status, text in answer.error) == (status, True), answer.body


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (422, b"not an image", "", "not a JPEG, PNG"),
        (400, b"", "", "the request has no body"),
        (415, b"x", "text/html", "bodies of the type 'text/html' are not read here"),
        (400, b"{", "application/json", "the body is no JSON"),
        (400, b"[" * 100_000, "application/json", "the body is no JSON|nested too deeply"),
        (400, b'{"a":' * 16_000, "application/json", "the body is no JSON|nested too deeply"),
        (400, b"[]", "application/json", "the JSON is an array"),
        (400, b"{}", "application/json", "the JSON has no image"),
        (400, b'{"picture":""}', "application/json", "the JSON has the member 'picture'"),
        (400, b'{"image":"?"}', "application/json", "'image' is not in base64"),
        (400, b'{"image":3}', "application/json", "'image' is a number"),
        (400, b'{"images":"AA=="}', "application/json", "'images' is a string"),
        (422, b'{"image":""}', "application/json", "empty"),
        (400, b"\xff\xfe{", "application/json", "the body is no JSON"),
        (400, b"x", "multipart/form-data", "needs a boundary"),
        (400, b"x", "multipart/form-data; boundary=b", "does not end with its boundary"),
        (400, b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n5\r\n--b--", "multipart/form-data; boundary=b",
         "part 1 of the form is no file"),
        (400, b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b", "is no file"),
        (400, b"--b--", "multipart/form-data; boundary=b", "the request holds no image: the form is empty"),
        (400, b'{"images":[]}', "application/json", "the request holds no image: 'images' is empty"),
        *((422, each, "application/x-www-form-urlencoded", "send a file with -T FILE or --data-binary @FILE (-d")
          for each in (FILES[0].translate(None, b"\r\n\0"), b'{"image":"AA=="}', b"image=cat.jpg")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_body_is_said(server: Server, status: int, body: bytes, kind: str, text: str) -> None:
    answer = ask(server.http_port, "POST", CLASSIFY, body, {"Content-Type": kind} if kind else {})
    assert answer.status == status, answer.body
    assert any(each in answer.error for each in text.split("|")), answer.body


def test_json_and_query_do_not_contradict_each_other(server: Server) -> None:
    body, headers = as_json({"image": base64.b64encode(FILES[0]).decode(), "top_k": 1})
    answer = ask(server.http_port, "POST", f"{CLASSIFY}?top_k=2", body, headers)
    assert (answer.status, answer.error) == (400, "'top_k' is in the query and in the JSON; give it once")


def test_models_are_listed_with_those_that_are_refused(server: Server) -> None:
    models = ask(server.http_port, "GET", "/v1/models").json["models"]
    assert [(each["name"], each["version"], each["state"]) for each in models] == [
        ("colour", 7, "STATE_READY"),
        ("echo", 1, "STATE_READY"),
        ("skewed", 1, "STATE_REFUSED"),
    ]
    one = ask(server.http_port, "GET", "/v1/models/colour?version=7").json
    assert one == models[0]
    assert one["info"]["input"]["height"] == 2
    assert one["serving"]["batch_curve"][0]["batch_size"] == 1
    assert ask(server.http_port, "GET", "/v1/models/nobody").status == 404


def test_torchserve_callers_find_what_they_know(server: Server) -> None:
    for path in ("/predictions/echo", "/predictions/echo/1", "/predictions/echo/1.0"):
        answer = ask(server.http_port, "PUT", path, FILES[6])
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        best = np.argsort(-EXPECTED[6], kind="stable")[:5]
        assert list(answer.json) == [f"class {index}" for index in best]
        assert [np.float32(each) for each in answer.json.values()] == EXPECTED[6][best].tolist()
    body, headers = form(FILES[6], disposition='form-data; name="data"; filename="kitten.jpg"')
    assert list(ask(server.http_port, "POST", "/predictions/echo", body, headers).json) == list(answer.json)
    body, headers = as_json({"data": base64.b64encode(FILES[6]).decode()})
    assert list(ask(server.http_port, "POST", "/predictions/echo", body, headers).json) == list(answer.json)
    assert ask(server.http_port, "GET", "/ping").json == {"status": "Healthy"}
    assert list(ask(server.http_port, "PUT", "/predictions/echo?top_k=2", FILES[6]).json) == list(answer.json)[:2]
    failed = ask(server.http_port, "PUT", "/predictions/echo?version=1", FILES[6])  # it is in the path
    assert (failed.status, failed.error) == (
        400,
        "the query has the parameter 'version'; expected 'top_k', 'timeout_ms'",
    )
    failed = ask(server.http_port, "POST", "/predictions/nobody", FILES[6])
    assert (failed.json["code"], failed.json["message"]) == (404, failed.error)


def test_independent_labels_are_limited_by_how_many_are_answered(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    """Without top_k that may be all labels of each image, or none."""
    write_echo_model(tmp_path, shape=(40, 50, 1), classes=2000, thresholds=[0.5])
    port = start_server(tmp_path).http_port
    dark, bright = (base64.b64encode(png(np.full((40, 50, 1), value, np.uint8))).decode() for value in (9, 200))

    def classify(images: list[str], query: str = "") -> Answer:
        body = json.dumps({"images": images}).encode()
        return ask(port, "POST", f"/v1/models/echo/classify{query}", body, {"Content-Type": "application/json"})

    for images, query, classes in (
        ([bright] * 32, "", 64_000),
        ([dark] * 200, "", 0),
        ([bright] * 32 + [dark] * 100, "", 64_000),
        ([bright] * 200, "?top_k=5", 1000),
    ):
        answer = classify(images, query)
        assert answer.status == 200
        assert sum(len(each["classes"]) for each in answer.json["results"]) == classes
    answer = classify([bright] * 33)
    assert answer.status == 413
    assert answer.error.startswith("the answer has more than 65,536 classes")


def test_the_timing_of_an_answer_has_all_its_fields() -> None:
    """It is written by hand, since that is quicker."""
    timing = pb.Timing(device='cpu "0"')
    for number, name in enumerate(pb.Timing.DESCRIPTOR.fields_by_name, 1):
        if name != "device":
            setattr(timing, name, number)
    payload = pb.ClassifyResponse(model="m", version=3, timing=timing, answer=pb.ModelInfo.ANSWER_INDEPENDENT)
    written = json.loads(_write_classified(payload.SerializeToString(), is_one=False, is_open_ended=False))
    assert written == {
        "results": [], "model": "m", "version": 3, "timing": json_text.as_dict(timing), "answer": "ANSWER_INDEPENDENT",
    }  # fmt: skip


def test_while_others_are_decoded_a_worker_runs_what_is_done(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it gathers a batch. The last one is run by the thread that decoded it."""
    write_echo_model(tmp_path)
    server = start_server(tmp_path, inline_us=1_000_000)
    (model,) = server.app.repository.catalog.served
    pool, admission, run, decode = server.app._decoders, server.app._admission, model.engine.run, DecodePool.decode
    threads, places, has_run = [], itertools.count(), threading.Event()

    def noted(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        threads.append(threading.current_thread().name)
        has_run.set()
        return run(images)

    def in_turn(*given: Any, **more: Any) -> Steps[Decoded]:
        if next(places):
            assert has_run.wait(20)
            wait_until(lambda: not server.app._workers._batcher._running[model])  # nobody runs anything else
        else:
            wait_until(lambda: admission.decodes == 2)
        return (yield from decode(pool, *given, **more))

    monkeypatch.setattr(model.engine, "run", noted)
    monkeypatch.setattr(pool, "decode", in_turn)
    with ThreadPoolExecutor(2) as callers:
        for answer in callers.map(lambda place: ask(server.http_port, "POST", CLASSIFY, FILES[place]), range(2)):
            assert answer.status == 200
    assert [name.rstrip("_-0123456789") for name in threads] == ["worker", "decode"]
