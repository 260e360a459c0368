"""What a model's file says of itself: read as it is meant, refused where it contradicts itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from tests.conftest import WriteModel

from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import ImageSpec, ModelInfo
from covey_server import golden, model_file
from covey_server.devices import CPU
from covey_server.engine import Engine
from covey_server.errors import RefusedModel
from covey_server.images import InputSpec, Resize
from covey_server.served_model import ModelLoader

Edit = Callable[[ModelInfo], object]


@pytest.fixture
def engine_of(tmp_path: Path, write_echo_model: WriteModel) -> Callable[[Edit], Engine]:
    """The engine of an echo model whose ModelInfo was edited."""

    def start(edit: Edit) -> Engine:
        path = write_echo_model(tmp_path)
        model = onnx.load(path)
        (entry,) = model.metadata_props
        info = metadata.from_json(entry.value)
        edit(info)
        entry.value = metadata.to_json(info)
        path.write_bytes(model.SerializeToString())
        return Engine(path)

    return start


class TestCrop:
    def test_it_is_read(self, engine_of: Callable[[Edit], Engine]) -> None:
        spec = ImageSpec(resize=ImageSpec.RESIZE_CENTER_CROP, crop=0.875)
        engine = engine_of(lambda info: info.input.MergeFrom(spec))
        assert model_file.describe(engine).input == InputSpec(4, 4, 1, Resize.CENTER_CROP, 0.875)

    def test_where_nothing_is_said_nothing_is_left_out(self, engine_of: Callable[[Edit], Engine]) -> None:
        engine = engine_of(lambda info: info.input.ClearField("crop"))
        assert model_file.describe(engine).input == InputSpec(4, 4, 1, Resize.STRETCH, 1.0)

    @pytest.mark.parametrize("crop", [-0.5, 1.25, float("inf"), float("nan")])
    def test_what_is_no_share_is_refused(self, engine_of: Callable[[Edit], Engine], crop: float) -> None:
        engine = engine_of(lambda info: info.input.MergeFrom(ImageSpec(crop=crop)))
        with pytest.raises(RefusedModel, match=rf"a crop of {crop:g} in metadata .*; expected a share above 0, to 1"):
            model_file.describe(engine)


class TestBackground:
    def test_it_is_read(self, engine_of: Callable[[Edit], Engine]) -> None:
        engine = engine_of(lambda info: info.input.MergeFrom(ImageSpec(background="#ff8000")))
        assert model_file.describe(engine).input.background == (255, 128, 0)

    def test_a_file_from_before_it_drops_transparency(self, engine_of: Callable[[Edit], Engine]) -> None:
        engine = engine_of(lambda info: info.input.ClearField("background"))
        assert model_file.describe(engine).input.background is None

    @pytest.mark.parametrize("background", ["white", "#fff", "#gggggg", "#ffffff00"])
    def test_what_is_no_colour_is_refused(self, engine_of: Callable[[Edit], Engine], background: str) -> None:
        engine = engine_of(lambda info: info.input.MergeFrom(ImageSpec(background=background)))
        with pytest.raises(RefusedModel, match=f"background in metadata .*expected a colour.*got '{background}'"):
            model_file.describe(engine)


class TestReference:
    """Who computed the golden probabilities: it is named where answers differ from them."""

    @pytest.mark.parametrize(
        ("said", "read"), [("", "pytorch"), ("pytorch", "pytorch"), ("onnxruntime", "onnxruntime")]
    )
    def test_it_is_named_where_answers_differ(self, engine_of: Callable[[Edit], Engine], said: str, read: str) -> None:
        def edit(info: ModelInfo) -> None:
            info.golden_set.reference = said
            info.golden_set.probabilities[0] += 0.5

        engine = engine_of(edit)
        found = model_file.describe(engine).golden
        assert found.reference == read
        with pytest.raises(RefusedModel, match=f"probabilities differ from those of {read} at export by up to 0.5"):
            golden.check(engine, found)

    def test_so_it_is_where_a_class_differs_by_more_than_a_tie(self, engine_of: Callable[[Edit], Engine]) -> None:
        def edit(info: ModelInfo) -> None:
            info.golden_set.pixels = bytes([130, 125] + 14 * [0])  # computed: 0.510 and 0.490
            info.golden_set.probabilities[:] = [0.420, 0.580] + 8 * [0.0]  # each within the tolerance
            info.golden_set.tolerance = 0.095
            info.golden_set.reference = "onnxruntime"

        engine = engine_of(edit)
        with pytest.raises(RefusedModel, match="1 of 1 images get another class than onnxruntime gave at export"):
            golden.check(engine, model_file.describe(engine).golden)


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (["a", "", *"cdefghij"], "the label of class 1 is empty, and of 1 in all; expected a name for each class"),
            ([" ", "\t", *"cdefghij"], "the label of class 0 is empty, and of 2 in all"),
            ([*"abcdefgh", "b", "b"], "3 classes have the label 'b'; expected a name of its own for each class"),
        ],
    )
    def test_those_that_leave_it_open_which_class_is_meant_are_refused(
        self, engine_of: Callable[[Edit], Engine], labels: list[str], message: str
    ) -> None:
        def edit(info: ModelInfo) -> None:
            info.ClearField("labels")
            info.labels.extend(labels)

        with pytest.raises(RefusedModel, match=message):
            model_file.describe(engine_of(edit))


class TestProbabilities:
    @pytest.mark.parametrize(("gain", "is_one"), [(1.0, True), (1.01, True), (0.5, False), (-1.0, False), (9.0, False)])
    def test_numbers_that_do_not_add_up_to_one_are_refused(
        self, tmp_path: Path, write_echo_model: WriteModel, gain: float, is_one: bool
    ) -> None:
        engine = Engine(write_echo_model(tmp_path, gain=gain))
        golden_set = model_file.describe(engine).golden
        if is_one:
            golden.check(engine, golden_set)
            return
        with pytest.raises(RefusedModel, match=r"add up to 1 in each row, got .* may be logits or independent labels"):
            golden.check(engine, golden_set)


def test_a_file_of_another_name_is_told(
    tmp_path: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_echo_model(tmp_path)
    loader = ModelLoader(CPU, 1, 4)
    loader("echo", 1, path)
    assert not caplog.records
    loader("digits", 3, path)
    assert [record.message for record in caplog.records] == [
        "model digits version 3: its file says that it is echo version 1; it is served by the names of its folders"
    ]


def test_external_data_is_refused(
    tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_echo_model(tmp_path)
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (path.parent / "weights.bin").is_file()
    monkeypatch.chdir(path.parent)
    with pytest.raises(RefusedModel, match=r"onnxruntime cannot load it: .*xternal data"):
        Engine(path)
