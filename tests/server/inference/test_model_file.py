"""What a model's file says of itself: read as it is meant, refused where it contradicts itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.conftest import WriteModel

from covey_proto import metadata
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
from covey_proto.v1.classifier_pb2 import ImageSpec, ModelInfo, Unknown
from covey_server.errors import RefusedModel
from covey_server.images.pixels import InputSpec
from covey_server.inference import golden, model_file
from covey_server.inference.devices import CPU
from covey_server.inference.engine import Engine
from covey_server.inference.model_loader import ModelLoader

SHORTER, PAD = ImageSpec.RESIZE_SHORTER_SIDE, ImageSpec.RESIZE_PAD
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


class TestContradictions:
    """What the file says against what its graph is."""

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (lambda info: info.input.MergeFrom(ImageSpec(height=5)), r"says an input of \(5, 4, 1\), the graph takes"),
            (
                lambda info: info.input.MergeFrom(ImageSpec(channels=3)),
                r"says an input of \(4, 4, 3\), the graph takes",
            ),
            (
                lambda info: setattr(info, "embedding_size", 84),
                r"says an embedding of 84 numbers, the graph has 0 \(0 is none\)",
            ),
            (lambda info: info.labels.append("more"), "metadata names 11 labels, the graph has 10 classes"),
            (
                lambda info: setattr(info.input, "resize", 0),
                "resize policy 0 is not known here, only .* a newer server",
            ),
            (
                lambda info: setattr(info.input, "resize", 9),
                "resize policy 9 is not known here, only .* a newer server",
            ),
            (
                lambda info: setattr(info.golden_set, "pixels", b""),
                "golden set: 0 bytes of pixels and 20 probabilities",
            ),
            (lambda info: setattr(info.golden_set, "pixels", bytes(33)), "golden set: 33 bytes of pixels and 20 prob"),
            (lambda info: info.golden_set.probabilities.append(0), "golden set: 32 bytes of pixels and 21 prob"),
        ],
    )
    def test_they_are_refused(self, engine_of: Callable[[Edit], Engine], edit: Edit, message: str) -> None:
        engine = engine_of(edit)
        with pytest.raises(RefusedModel, match=message):
            model_file.describe(engine)


class TestEmbedding:
    def test_its_size_is_told(self, tmp_path: Path, write_echo_model: WriteModel) -> None:
        path = write_echo_model(tmp_path, embedding=True)
        loaded = ModelLoader(CPU, threads=1, max_batch_size=4)("echo", 1, path)
        assert loaded.embedding_size == loaded.engine.embedding_size == loaded.info.embedding_size == 16
        pixels = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)
        probabilities, embedding = loaded.run_with_embedding(pixels)
        np.testing.assert_array_equal(probabilities, loaded.run(pixels))
        np.testing.assert_allclose(embedding, pixels.reshape(2, 16) / np.float32(255), rtol=1e-6)

    def test_a_graph_that_has_one_which_the_file_does_not_tell_of_is_refused(
        self, tmp_path: Path, write_echo_model: WriteModel
    ) -> None:
        path = write_echo_model(tmp_path, embedding=True)
        model = onnx.load(path)
        (entry,) = model.metadata_props
        info = metadata.from_json(entry.value)
        info.ClearField("embedding_size")
        entry.value = metadata.to_json(info)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(RefusedModel, match=r"an embedding of 0 numbers, the graph has 16"):
            model_file.describe(Engine(path))

    def test_one_that_is_not_finite_is_refused_at_load(self, tmp_path: Path, write_echo_model: WriteModel) -> None:
        """As 0 / 0 is, which the probabilities hide."""
        path = write_echo_model(tmp_path, embedding=True)
        model = onnx.load(path)
        for node in model.graph.node:
            node.input[:] = ["real" if name == "embedding" else name for name in node.input]
            node.output[:] = ["real" if name == "embedding" else name for name in node.output]
        model.graph.node.append(onnx.helper.make_node("Sub", ["real", "real"], ["zeros"]))
        model.graph.node.append(onnx.helper.make_node("Div", ["zeros", "zeros"], ["embedding"]))
        path.write_bytes(model.SerializeToString())
        with pytest.raises(RefusedModel, match="its embeddings hold NaN or infinity"):
            ModelLoader(CPU, threads=1, max_batch_size=4)("echo", 1, path)

    @pytest.mark.parametrize("shape", [["N", 4, 4], [2, 16]])
    def test_an_output_of_another_shape_is_none(
        self, tmp_path: Path, write_echo_model: WriteModel, shape: list[int | str]
    ) -> None:
        path = write_echo_model(tmp_path, embedding=True)
        model = onnx.load(path)
        kind = onnx.TensorProto.FLOAT
        model.graph.output[1].CopyFrom(onnx.helper.make_tensor_value_info("embedding", kind, shape))
        path.write_bytes(model.SerializeToString())
        with pytest.raises(RefusedModel, match=r"at the most embedding: tensor\(float\) \[N, D\]"):
            Engine(path)

    def test_the_digest_is_of_all_that_the_file_says(self, engine_of: Callable[[Edit], Engine], tmp_path: Path) -> None:
        first = model_file.describe(engine_of(lambda info: None)).digest
        assert len(first) == 64
        assert model_file.describe(engine_of(lambda info: None)).digest == first
        other = model_file.describe(engine_of(lambda info: setattr(info.training, "seed", 1))).digest
        assert other != first


class TestPreprocessing:
    def test_it_is_read(self, engine_of: Callable[[Edit], Engine]) -> None:
        spec = ImageSpec(
            resize=ImageSpec.RESIZE_SHORTER_SIDE,
            resize_to=5,
            interpolation=ImageSpec.INTERPOLATION_BICUBIC,
            pad="#102030",
            ignore_exif=True,
            exact=True,
            floor_crop=True,
        )
        engine = engine_of(lambda info: info.input.MergeFrom(spec))
        assert model_file.describe(engine).input == InputSpec(
            4,
            4,
            1,
            Resize.SHORTER_SIDE,
            resize_to=5,
            interpolation=Interpolation.BICUBIC,
            pad=(16, 32, 48),
            ignore_exif=True,
            exact=True,
            floor_crop=True,
        )

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            (
                ImageSpec.FromString(b"\x20\x09"),
                "resize policy 9 is not known here, only 1, 2, 3, 4; the model needs a",
            ),
            (
                ImageSpec.FromString(b"\x50\x09"),
                "interpolation 9 is not known here, only 1, 2, 3, 4; the model needs a",
            ),
            (ImageSpec(resize=SHORTER, resize_to=3), "side of 3 pixels .*; expected 4 to 16,384, so that 4 x 4"),
            (ImageSpec(resize=SHORTER), "side of 0 pixels .*; expected 4 to 16,384"),
            (ImageSpec(resize=SHORTER, resize_to=16_385), "side of 16,385 pixels .*; expected 4 to 16,384"),
            (ImageSpec(resize_to=5), "side of 5 pixels .*policy stretch, which has none; expected shorter_side"),
            (ImageSpec(resize=PAD, crop=0.5), "crop of 0.5 in .*policy pad, which has none; expected center_crop"),
            (ImageSpec(resize=PAD, pad="black"), "pad in metadata .*expected a colour.*got 'black'; convert the model"),
        ],
    )
    def test_what_is_not_known_or_contradicts_itself_is_refused(
        self, engine_of: Callable[[Edit], Engine], spec: ImageSpec, message: str
    ) -> None:
        engine = engine_of(lambda info: info.input.MergeFrom(spec))
        with pytest.raises(RefusedModel, match=message):
            model_file.describe(engine)


class TestTolerance:
    @pytest.mark.parametrize("tolerance", [0.0, -1e-6, 0.11, 0.9, float("nan")])
    def test_one_that_says_nothing_is_refused(self, engine_of: Callable[[Edit], Engine], tolerance: float) -> None:
        engine = engine_of(lambda info: setattr(info.golden_set, "tolerance", tolerance))
        with pytest.raises(RefusedModel, match=r"golden set: a tolerance of .*; expected above 0, to 0.1"):
            golden.check(engine, model_file.describe(engine).golden)

    def test_a_tenth_is_the_largest(self, engine_of: Callable[[Edit], Engine]) -> None:
        engine = engine_of(lambda info: setattr(info.golden_set, "tolerance", 0.1))
        golden.check(engine, model_file.describe(engine).golden)


class TestAnswer:
    @pytest.mark.parametrize("answer", [ModelInfo.ANSWER_UNSPECIFIED, ModelInfo.ANSWER_EXCLUSIVE])
    def test_one_class_of_all_is_served(self, engine_of: Callable[[Edit], Engine], answer: ModelInfo.Answer) -> None:
        assert model_file.describe(engine_of(lambda info: info.MergeFrom(ModelInfo(answer=answer)))).labels

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            (
                ModelInfo.FromString(b"\x40\x07"),
                r"a kind of answer \(7\) that is not known here, expected exclusive classes \(1\) or independent",
            ),
            (ModelInfo(thresholds=[0.5, 0.2]), "2 thresholds in metadata .*; expected none for exclusive classes"),
        ],
    )
    def test_any_other_kind_is_refused(
        self, engine_of: Callable[[Edit], Engine], said: ModelInfo, message: str
    ) -> None:
        with pytest.raises(RefusedModel, match=message):
            model_file.describe(engine_of(lambda info: info.MergeFrom(said)))

    @pytest.mark.parametrize(
        ("said", "read"),
        [
            ([], 10 * [0.5]),
            ([0.25], 10 * [0.25]),
            ([place / 9 for place in range(10)], [place / 9 for place in range(10)]),
        ],
    )
    def test_independent_labels_have_a_threshold_each(
        self, engine_of: Callable[[Edit], Engine], said: list[float], read: list[float]
    ) -> None:
        added = ModelInfo(answer=ModelInfo.ANSWER_INDEPENDENT, thresholds=said)
        found = model_file.describe(engine_of(lambda info: info.MergeFrom(added)))
        assert found.thresholds is not None
        assert found.thresholds.tolist() == np.array(read, np.float32).tolist()
        assert found.golden.independent

    @pytest.mark.parametrize(
        ("thresholds", "message"),
        [
            ([0.5, 0.5], "2 thresholds in metadata .*; expected one for all labels, or 10: one for each"),
            ([-0.1], "a threshold of -0.1 in metadata .*; expected a probability, from 0 to 1"),
            ([1.5], "a threshold of 1.5 in metadata"),
            (9 * [0.5] + [float("nan")], "a threshold of nan in metadata"),
        ],
    )
    def test_thresholds_that_are_none_are_refused(
        self, engine_of: Callable[[Edit], Engine], thresholds: list[float], message: str
    ) -> None:
        added = ModelInfo(answer=ModelInfo.ANSWER_INDEPENDENT, thresholds=thresholds)
        with pytest.raises(RefusedModel, match=message):
            model_file.describe(engine_of(lambda info: info.MergeFrom(added)))

    @pytest.mark.parametrize("threshold", [0.25, 1.0])
    def test_a_threshold_for_unknown_images_is_read(
        self, engine_of: Callable[[Edit], Engine], threshold: float
    ) -> None:
        found = model_file.describe(
            engine_of(lambda info: info.MergeFrom(ModelInfo(unknown=Unknown(threshold=threshold))))
        )
        assert found.known_from == np.float32(threshold)
        assert model_file.describe(engine_of(lambda info: None)).known_from is None

    @pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, float("nan")])
    def test_one_that_is_no_probability_is_refused(self, engine_of: Callable[[Edit], Engine], threshold: float) -> None:
        with pytest.raises(
            RefusedModel, match=r"for unknown images in metadata .*; expected a probability above 0, to 1"
        ):
            model_file.describe(engine_of(lambda info: info.MergeFrom(ModelInfo(unknown=Unknown(threshold=threshold)))))

    def test_one_beside_independent_labels_is_refused(self, engine_of: Callable[[Edit], Engine]) -> None:
        added = ModelInfo(answer=ModelInfo.ANSWER_INDEPENDENT, unknown=Unknown(threshold=0.5))
        with pytest.raises(RefusedModel, match=r"unknown images in metadata .* beside independent labels"):
            model_file.describe(engine_of(lambda info: info.MergeFrom(added)))


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
            (["\u200b", *"bcdefghij"], "the label of class 0 is empty, and of 1 in all"),  # a space without a width
            (
                [*"abcdefgh", "b", "b"],
                r"3 classes have the label 'b' \(class 1 and class 8 first\); expected a name of its own for each",
            ),
            (["cat", " cat\n", *"cdefghij"], "2 classes have the label 'cat'"),
            (["caf\u00e9", "cafe\u0301", *"cdefghij"], "2 classes have the label 'caf\u00e9'"),
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
    @pytest.mark.parametrize("gain", [1.0, 1.01, 0.99])
    def test_rows_that_add_up_to_one_but_for_rounding_are_good(
        self, tmp_path: Path, write_echo_model: WriteModel, gain: float
    ) -> None:
        engine = Engine(write_echo_model(tmp_path, gain=gain))
        golden.check(engine, model_file.describe(engine).golden)

    @pytest.mark.parametrize(
        ("gain", "message"),
        [
            (
                0.5,
                r"add up to 1, within 0.02, got 0.5 \(2 of 2 images are wrong\). .* import --activation sigmoid",
            ),
            (-1.0, r"from 0 to 1 that add up to 1, got numbers from -0.14\d to -0.06\d+: these are logits, or scores"),
            (9.0, r"got numbers from 0.5\d+ to 1.2\d: these are logits, or scores. Put a softmax behind them"),
        ],
    )
    def test_numbers_that_are_no_probabilities_are_refused(
        self, tmp_path: Path, write_echo_model: WriteModel, gain: float, message: str
    ) -> None:
        engine = Engine(write_echo_model(tmp_path, gain=gain))
        with pytest.raises(RefusedModel, match=message):
            golden.check(engine, model_file.describe(engine).golden)

    @pytest.mark.parametrize("gain", [0.2, 3.0])
    def test_those_of_independent_labels_add_up_to_anything(
        self, tmp_path: Path, write_echo_model: WriteModel, gain: float
    ) -> None:
        engine = Engine(write_echo_model(tmp_path, gain=gain, thresholds=[0.5]))
        assert golden.check(engine, model_file.describe(engine).golden) < 1e-6

    @pytest.mark.parametrize("gain", [-1.0, 9.0])
    def test_but_they_are_probabilities(self, tmp_path: Path, write_echo_model: WriteModel, gain: float) -> None:
        engine = Engine(write_echo_model(tmp_path, gain=gain, thresholds=[0.5]))
        with pytest.raises(RefusedModel, match=r"from 0 to 1, got .* Put a sigmoid behind them"):
            golden.check(engine, model_file.describe(engine).golden)

    def test_and_those_of_the_file(self, tmp_path: Path, write_echo_model: WriteModel) -> None:
        engine = Engine(write_echo_model(tmp_path, wrong_golden=True, thresholds=[0.5]))
        with pytest.raises(RefusedModel, match="probabilities differ from those of pytorch at export by up to"):
            golden.check(engine, model_file.describe(engine).golden)

    @pytest.mark.parametrize("gain", [float("nan"), float("inf")])
    def test_what_is_not_finite_is_named_so(
        self, tmp_path: Path, engine_of: Callable[[Edit], Engine], write_echo_model: WriteModel, gain: float
    ) -> None:
        def edit(info: ModelInfo) -> None:
            info.golden_set.probabilities[3] = gain

        with pytest.raises(RefusedModel, match="golden set: its probabilities hold NaN or infinity"):
            model_file.describe(engine_of(edit))
        computed = golden.GoldenSet(np.full((2, 4, 4, 1), 9, np.uint8), np.full((2, 10), 0.1, np.float32), 1e-6)
        engine = Engine(write_echo_model(tmp_path / "other", gain=gain, info=False))
        with pytest.raises(RefusedModel, match="the model gives NaN or infinity for 2 of 2 images"):
            golden.check(engine, computed)


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
    loader("echo", 3, path)
    loader("digits", 1, path)
    assert [record.message.partition(":")[0] for record in caplog.records[1:]] == [
        "model echo version 3",
        "model digits version 1",
    ]


def test_external_data_is_refused(
    tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_echo_model(tmp_path)
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (path.parent / "weights.bin").is_file()
    monkeypatch.chdir(path.parent)
    with pytest.raises(RefusedModel, match=r"onnxruntime cannot load it: .*expected one file that holds them all"):
        Engine(path)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_large_model_is_not_kept_twice_while_it_is_loaded(tmp_path: Path, write_echo_model: WriteModel) -> None:
    """As bytes it took 3.1 times its size, by path 2.1 times: the message that is parsed, and the session's
    own copy."""
    path = write_echo_model(tmp_path)
    model = onnx.load(path)
    large = np.full(128 * 2**20 // 4, 0.5, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(large, "large"))
    model.graph.node[3].output[0] = "sliced"
    model.graph.node.extend(  # which number is looked at depends on the images, so that none can be left out
        [
            onnx.helper.make_node("ReduceMax", ["images"], ["largest"], keepdims=0),
            onnx.helper.make_node("Cast", ["largest"], ["place"], to=onnx.TensorProto.INT64),
            onnx.helper.make_node("Gather", ["large", "place"], ["half"]),
            onnx.helper.make_node("Floor", ["half"], ["zero"]),
            onnx.helper.make_node("Add", ["sliced", "zero"], ["probabilities"]),
        ]
    )
    path.write_bytes(model.SerializeToString())
    del model, large
    code = (  # not ru_maxrss, which begins with that of the process before
        "import re, sys\nfrom pathlib import Path\nfrom covey_server.inference.engine import Engine\n"
        "def peak(): return int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) * 1024\n"
        "before = peak()\nEngine(Path(sys.argv[1]))\nprint((peak() - before) / Path(sys.argv[1]).stat().st_size)"
    )
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert float(found.stdout) < 2.6
