"""Explain over gRPC, on both fronts."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from PIL import Image
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer, running_servers
from tests.server.explaining import networks

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.errors import EngineFailed
from covey_server.explaining import explainer as explainer_module

PIXELS = networks.images(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    networks.plain(folder)
    networks.residual(folder)
    networks.sequence(folder)
    return folder


@pytest.fixture(scope="module")
def server(front: str, models: Path) -> Iterator[Server]:
    with running_servers(front) as start:
        yield start(models, default_model="plain", max_batch_size=16)


def explain(server: Server, timeout_s: float = 20.0, **fields: Any) -> pb.ExplainResponse:
    request = pb.ExplainRequest(**({"pixels": PIXELS.tobytes()} | fields))
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary("/covey.v1.Classifier/Explain")
    return pb.ExplainResponse.FromString(call(request.SerializeToString(), timeout=timeout_s))


def error(server: Server, **fields: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        explain(server, **fields)
    return caught.value.code().name, caught.value.details() or ""


def counted(server: Server) -> dict[str, float]:
    return {
        sample.labels["code"]: sample.value
        for family in server.app.registry.collect()
        if family.name == "covey_explanations"
        for sample in family.samples
    }


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(file, "PNG")
    return file.getvalue()


def test_an_image_is_explained_as_it_is_classified(server: Server) -> None:
    found = explain(server)
    classified = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=PIXELS.tobytes()), top_k=5))
    assert (found.model, found.version) == ("plain", 1)
    for own, other in zip(found.classes, classified.results[0].classes, strict=True):
        assert (own.label, own.index) == (other.label, other.index)
        assert own.probability == pytest.approx(other.probability, abs=1e-5)
    assert found.image.pixels == PIXELS.tobytes()
    assert (found.image.height, found.image.width, found.image.channels) == networks.SHAPE
    assert not found.maps
    assert not found.HasField("heat_map")
    assert not found.HasField("unit")


def test_an_encoded_image_is_the_same(server: Server) -> None:
    asked: dict[str, Any] = {"maps": pb.MapsRequest(), "heat_map": pb.HeatMapRequest(), "unit": pb.UnitRequest(layer=1)}
    one, other = explain(server, pixels=b"", encoded=png(), **asked), explain(server, **asked)
    for each in (one, other):
        each.ClearField("timing")
        each.heat_map.compute_us = 0
    assert one == other


def test_without_an_image_only_the_layers_are_told(server: Server) -> None:
    found = explain(server, pixels=None, model="residual")
    assert [each.index for each in found.layers] == list(range(len(found.layers)))
    assert found.layers[0].kind == "input"
    assert not found.classes
    assert not found.HasField("image")
    assert found.timing.images == 0


def test_maps_are_those_of_the_graph(server: Server, models: Path) -> None:
    found = explain(server, model="residual", maps=pb.MapsRequest(float32=True))
    names = [layer.output for layer in found.layers]
    expected = networks.tensors(onnx.load(models / "residual" / "1" / "model.onnx"), PIXELS, names)
    assert [each.layer for each in found.maps] == list(range(len(names)))
    for maps, layer in zip(found.maps, found.layers, strict=True):
        values = np.frombuffer(maps.values, "<f4").reshape(-1, maps.height, maps.width)
        whole = expected[layer.output][0]
        whole = whole.reshape(1, 1, -1) if whole.size == len(whole) else whole
        np.testing.assert_allclose(values, whole[list(maps.channels)], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(maps.strength, np.abs(whole).mean(axis=(1, 2)), rtol=1e-4)


def test_layers_that_answer_no_tensor_are_left_out_of_the_maps(server: Server) -> None:
    found = explain(server, model="sequence", maps=pb.MapsRequest(), heat_map=pb.HeatMapRequest())
    ops = [found.layers[each.layer].op for each in found.maps]
    assert ops[1:3] == ["Conv", "ConcatFromSequence"]
    assert found.layers[2].op == "SplitToSequence"


def test_maps_stay_within_their_bytes(server: Server) -> None:
    for limit in (200, 3_000, 30_000):
        found = explain(server, maps=pb.MapsRequest(bytes=limit))
        assert 0 < sum(len(each.values) for each in found.maps) <= limit
    some = explain(server, maps=pb.MapsRequest(layers=[4, 1], channels=2, side=5))
    assert [(each.layer, len(each.channels), each.height, each.width) for each in some.maps] == [
        (1, 2, 5, 5),
        (4, 2, 5, 5),
    ]


def test_heat_maps_name_their_method_and_their_cost(server: Server) -> None:
    exact = explain(server, model="residual", heat_map=pb.HeatMapRequest()).heat_map
    assert (exact.method, exact.exact, exact.images) == ("class_activation", True, 1)
    values = np.frombuffer(exact.values, "<f4")
    assert float(values.mean()) + exact.bias == pytest.approx(exact.score, abs=1e-4)
    covered = explain(server, model="residual", heat_map=pb.HeatMapRequest(method="occlusion", class_index=3)).heat_map
    assert (covered.method, covered.exact, covered.class_index, covered.label) == ("occlusion", False, 3, "class 3")
    assert covered.images > 100
    assert covered.compute_us > 0
    found = explain(server, heat_map=pb.HeatMapRequest())
    assert (found.heat_map.method, found.heat_map.class_index) == ("occlusion", found.classes[0].index)
    assert found.timing.images == found.heat_map.images + 1
    timing = found.timing
    assert timing.total_us == timing.decode_us + timing.queue_us + timing.compute_us


def test_a_unit_adds_up_to_what_the_engine_answers(server: Server) -> None:
    unit = explain(server, unit=pb.UnitRequest(layer=1, channel=2, y=3, x=4)).unit
    inputs, weights = np.frombuffer(unit.inputs, "<f4"), np.frombuffer(unit.weights, "<f4")
    assert (unit.operation, unit.channels, unit.height, unit.width, len(inputs)) == ("sum", 3, 5, 5, 75)
    assert float(inputs.astype(float) @ weights) + unit.bias == pytest.approx(unit.result, abs=1e-5)
    assert unit.result == pytest.approx(unit.engine_value, abs=1e-5)
    assert sum(unit.channel_sums) + unit.bias == pytest.approx(unit.result, abs=1e-5)
    assert [step.layer for step in unit.next] == [2, 3]


def test_of_many_terms_the_strongest_are_listed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from covey_server.explaining import units

    whole = explain(server, unit=pb.UnitRequest(layer=8, channel=2)).unit
    assert (len(whole.inputs) // 4, len(whole.places)) == (128, 0)
    monkeypatch.setattr(units, "MAX_TERMS", 10)
    unit = explain(server, unit=pb.UnitRequest(layer=8, channel=2)).unit
    products = np.frombuffer(whole.inputs, "<f4").astype(float) * np.frombuffer(whole.weights, "<f4")
    assert sorted(np.argsort(-np.abs(products))[:10].tolist()) == list(unit.places)
    listed = np.frombuffer(unit.inputs, "<f4").astype(float) * np.frombuffer(unit.weights, "<f4")
    assert float(listed.sum()) + unit.rest + unit.bias == pytest.approx(unit.result, abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"model": "nobody"}, "NOT_FOUND", "model 'nobody' is not served here"),
        ({"pixels": b"abc"}, "INVALID_ARGUMENT", "pixels has 3 bytes; model 'plain' expects 20 x 18 x 3"),
        ({"pixels": b"", "encoded": b"abc"}, "INVALID_ARGUMENT", "the 3 bytes are text"),
        ({"pixels": None, "maps": pb.MapsRequest()}, "INVALID_ARGUMENT", "and holds no image"),
        ({"maps": pb.MapsRequest(layers=[12])}, "INVALID_ARGUMENT", "maps.layers has 12; expected 0 to 11"),
        ({"maps": pb.MapsRequest(side=513)}, "INVALID_ARGUMENT", "maps.side is 513; expected at most 512"),
        ({"maps": pb.MapsRequest(bytes=1 << 30)}, "INVALID_ARGUMENT", "maps.bytes is 1,073,741,824"),
        ({"heat_map": pb.HeatMapRequest(class_index=5)}, "INVALID_ARGUMENT", "expected 0 to 4"),
        ({"heat_map": pb.HeatMapRequest(method="magic")}, "INVALID_ARGUMENT", "heat_map.method is 'magic'"),
        (
            {"heat_map": pb.HeatMapRequest(method="class_activation")},
            "INVALID_ARGUMENT",
            "model 'plain' has no class activation map",
        ),
        ({"unit": pb.UnitRequest(layer=7)}, "INVALID_ARGUMENT", "layer 7 (reshape_1, flatten) has no units"),
    ],
)
def test_what_cannot_be_explained_is_told(server: Server, fields: dict[str, Any], code: str, text: str) -> None:
    before = counted(server).get(code, 0)
    found = error(server, **fields)
    assert found[0] == code
    assert text in found[1]
    assert counted(server)[code] == before + 1


def test_explanations_are_counted_apart_from_requests_and_their_refusals(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alerts on those are about serving."""

    def served() -> float:
        return sum(
            sample.value
            for family in server.app.registry.collect()
            if family.name in ("covey_requests", "covey_refused")
            for sample in family.samples
        )

    before, all_before = counted(server), served()
    explain(server)
    monkeypatch.setattr(explainer_module, "MAX_BACKLOG_MS", -1.0)
    error(server)
    assert counted(server)["OK"] == before.get("OK", 0) + 1
    assert counted(server)["RESOURCE_EXHAUSTED"] == before.get("RESOURCE_EXHAUSTED", 0) + 1
    assert served() == all_before


def test_serving_goes_first(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    explain(server)
    monkeypatch.setattr(explainer_module, "MAX_BACKLOG_MS", -1.0)
    code, text = error(server)
    assert code == "RESOURCE_EXHAUSTED"
    assert "wait to be served, and explanations come after them" in text
    assert server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=PIXELS.tobytes()))).results[0].classes


def test_a_deadline_ends_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explainer_module, "_GIVE_WAY_S", 20.0)
    explainer = server.app._explainer
    assert explainer is not None
    monkeypatch.setattr(explainer, "require_time", lambda: None)
    monkeypatch.setattr(explainer_module, "MAX_BACKLOG_MS", -1.0)  # it waits for ever
    with pytest.raises(grpc.RpcError) as caught:
        explain(server, timeout_s=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    monkeypatch.undo()
    explain(server)  # the thread is free again


def test_a_run_that_fails_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    model = server.app.repository.catalog.find("plain", 0)

    def fails(images: object) -> None:
        raise EngineFailed("onnxruntime failed")

    monkeypatch.setattr(model, "run", fails)
    assert error(server, heat_map=pb.HeatMapRequest()) == ("INTERNAL", "onnxruntime failed")
    assert server.app._admission.calls == 0


def test_no_answer_holds_nan(start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, nan_at=255)
    server = start_server(tmp_path)
    pixels = np.full(16, 255, np.uint8).tobytes()
    code, text = error(server, pixels=pixels, heat_map=pb.HeatMapRequest(), maps=pb.MapsRequest())
    assert code == "INTERNAL"
    assert "not finite" in text or "NaN" in text
    assert explain(server, pixels=np.arange(16, dtype=np.uint8).tobytes(), maps=pb.MapsRequest()).maps


def test_nothing_is_left_of_an_explanation(server: Server) -> None:
    explain(server, maps=pb.MapsRequest(), heat_map=pb.HeatMapRequest())
    error(server, maps=pb.MapsRequest(layers=[99]))
    assert (server.app._admission.calls, server.app._admission.decodes) == (0, 0)


def test_it_can_be_switched_off(start_server: StartServer, models: Path) -> None:
    server = start_server(models, default_model="plain", explain=False)
    assert error(server) == ("UNIMPLEMENTED", "this server explains nothing: it was started with --no-explain")


def test_classifying_goes_on_while_much_is_explained(server: Server) -> None:
    """Each answer is its own, however they meet."""
    ended = threading.Event()
    failures: list[str] = []

    def ask() -> None:
        while not ended.is_set():
            try:
                explain(server, heat_map=pb.HeatMapRequest(method="occlusion"))
            except grpc.RpcError as failure:
                if failure.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    failures.append(failure.details() or "")

    threads = [threading.Thread(target=ask) for _ in range(3)]
    expected = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=PIXELS.tobytes())))
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + 20
    for _ in range(200):
        found = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=PIXELS.tobytes())))
        assert found.results == expected.results
        assert time.monotonic() < give_up
    ended.set()
    for thread in threads:
        thread.join(20)
    assert not failures
