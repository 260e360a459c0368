"""The contract stays what it was: generated code up to date, and no field ever renumbered, retyped or renamed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from covey_proto import metadata
from covey_proto.v1 import classifier_pb2 as pb

PROTO = Path(__file__).parents[2] / "proto"

# Of every field: number, and what it holds. After a release lines are only added here.
FIELDS = """
BatchCost batch_size 1 UINT32
BatchCost run_us 2 DOUBLE
Box bottom 3 UINT32
Box left 2 UINT32
Box right 4 UINT32
Box top 1 UINT32
Build covey_version 2 STRING
Build created 1 Timestamp
Build onnx_version 4 STRING
Build opset 5 UINT32
Build precision 6 STRING
Build torch_version 3 STRING
Calibration error_after 4 DOUBLE
Calibration error_before 3 DOUBLE
Calibration images 2 UINT32
Calibration temperature 1 DOUBLE
ChooseVersionRequest action 2 Action
ChooseVersionRequest model 1 STRING
ChooseVersionRequest version 3 INT64
ChooseVersionResponse canary_version 3 INT64
ChooseVersionResponse default_version 2 INT64
ChooseVersionResponse model 1 STRING
ChooseVersionResponse shadow_version 4 INT64
Class index 2 UINT32
Class label 1 STRING
Class probability 3 FLOAT
ClassifyRequest embedding 6 BOOL
ClassifyRequest encoded 4 oneof images EncodedImages
ClassifyRequest model 1 STRING
ClassifyRequest pixels 5 oneof images Pixels
ClassifyRequest top_k 3 optional UINT32
ClassifyRequest version 2 INT64
ClassifyResponse answer 5 Answer
ClassifyResponse model 2 STRING
ClassifyResponse results 1 repeated Result
ClassifyResponse timing 4 Timing
ClassifyResponse version 3 INT64
ClassifyStreamRequest deadline_us 3 UINT64
ClassifyStreamRequest id 1 STRING
ClassifyStreamRequest request 2 ClassifyRequest
ClassifyStreamResponse error 3 oneof answer StreamError
ClassifyStreamResponse id 1 STRING
ClassifyStreamResponse response 2 oneof answer ClassifyResponse
EncodedImages images 1 repeated BYTES
ExplainRequest encoded 3 oneof image BYTES
ExplainRequest heat_map 6 HeatMapRequest
ExplainRequest maps 5 MapsRequest
ExplainRequest model 1 STRING
ExplainRequest pixels 4 oneof image BYTES
ExplainRequest unit 7 UnitRequest
ExplainRequest version 2 INT64
ExplainResponse classes 3 repeated Class
ExplainResponse heat_map 7 HeatMap
ExplainResponse image 4 ExplainedImage
ExplainResponse layers 5 repeated Layer
ExplainResponse maps 6 repeated LayerMaps
ExplainResponse model 1 STRING
ExplainResponse timing 9 ExplainTiming
ExplainResponse unit 8 Unit
ExplainResponse version 2 INT64
ExplainTiming compute_us 4 UINT64
ExplainTiming decode_us 2 UINT64
ExplainTiming images 6 UINT32
ExplainTiming open_us 5 UINT64
ExplainTiming queue_us 3 UINT64
ExplainTiming total_us 1 UINT64
ExplainedImage channels 3 UINT32
ExplainedImage height 1 UINT32
ExplainedImage pixels 4 BYTES
ExplainedImage width 2 UINT32
GetModelRequest name 1 STRING
GetModelRequest version 2 INT64
GetModelResponse model 1 Model
GoldenSet pixels 1 BYTES
GoldenSet probabilities 2 repeated FLOAT
GoldenSet reference 4 STRING
GoldenSet tolerance 3 FLOAT
HeatMap bias 11 FLOAT
HeatMap class_index 3 UINT32
HeatMap compute_us 13 UINT64
HeatMap detail 14 STRING
HeatMap exact 2 BOOL
HeatMap height 5 UINT32
HeatMap high 9 FLOAT
HeatMap images 12 UINT32
HeatMap label 4 STRING
HeatMap low 8 FLOAT
HeatMap method 1 STRING
HeatMap score 10 FLOAT
HeatMap values 7 BYTES
HeatMap width 6 UINT32
HeatMapRequest class_index 1 optional UINT32
HeatMapRequest method 2 STRING
ImageError message 2 STRING
ImageError reason 1 Reason
ImageSpec background 6 STRING
ImageSpec channels 3 UINT32
ImageSpec colour_order 14 STRING
ImageSpec crop 5 FLOAT
ImageSpec exact 13 BOOL
ImageSpec floor_crop 15 BOOL
ImageSpec height 1 UINT32
ImageSpec ignore_exif 12 BOOL
ImageSpec interpolation 10 Interpolation
ImageSpec mean 7 repeated FLOAT
ImageSpec pad 11 STRING
ImageSpec resize 4 Resize
ImageSpec resize_to 9 UINT32
ImageSpec std 8 repeated FLOAT
ImageSpec width 2 UINT32
Layer detail 5 STRING
Layer has_units 9 BOOL
Layer index 1 UINT32
Layer inputs 8 repeated UINT32
Layer kind 3 STRING
Layer name 2 STRING
Layer op 4 STRING
Layer output 10 STRING
Layer parameters 7 UINT64
Layer shape 6 repeated UINT32
LayerMaps channels 2 repeated UINT32
LayerMaps encoding 9 STRING
LayerMaps height 3 UINT32
LayerMaps high 7 repeated FLOAT
LayerMaps layer 1 UINT32
LayerMaps low 6 repeated FLOAT
LayerMaps strength 8 repeated FLOAT
LayerMaps values 5 BYTES
LayerMaps width 4 UINT32
ListModelsResponse models 1 repeated Model
MapsRequest bytes 4 UINT32
MapsRequest channels 2 UINT32
MapsRequest float32 5 BOOL
MapsRequest layers 1 repeated UINT32
MapsRequest side 3 UINT32
Model canary 10 Canary
Model canary_reason 11 STRING
Model info 6 ModelInfo
Model is_default 5 BOOL
Model is_default_version 8 BOOL
Model is_shadow 9 BOOL
Model name 1 STRING
Model reason 4 STRING
Model serving 7 Serving
Model state 3 State
Model version 2 INT64
ModelInfo answer 8 Answer
ModelInfo build 6 Build
ModelInfo calibration 11 Calibration
ModelInfo embedding_size 14 UINT32
ModelInfo golden_set 7 GoldenSet
ModelInfo input 4 ImageSpec
ModelInfo labels 3 repeated STRING
ModelInfo name 1 STRING
ModelInfo source 10 Source
ModelInfo thresholds 9 repeated FLOAT
ModelInfo training 5 Training
ModelInfo unknown 12 Unknown
ModelInfo usual_answers 13 UsualAnswers
ModelInfo version 2 INT64
OriginalPath activation 5 STRING
OriginalPath graph 2 BYTES
OriginalPath output_datatype 3 STRING
OriginalPath output_shape 4 repeated UINT32
OriginalPath unused_nodes 1 repeated STRING
Pixels channels 4 UINT32
Pixels data 1 BYTES
Pixels height 2 UINT32
Pixels width 3 UINT32
Result classes 1 repeated Class
Result embedding 4 BYTES
Result error 2 ImageError
Result known 3 optional BOOL
Serving batch_curve 7 repeated BatchCost
Serving device 1 STRING
Serving device_fallback 11 STRING
Serving digest 12 STRING
Serving golden_difference 10 DOUBLE
Serving load_ms 8 UINT64
Serving max_batch_size 5 UINT32
Serving max_message_bytes 6 UINT64
Serving memory_bytes 9 UINT64
Serving provider 2 STRING
Serving threads 4 UINT32
Serving workers 3 UINT32
Source difference 10 FLOAT
Source file 2 STRING
Source golden_is_made 8 BOOL
Source input_datatype 5 STRING
Source input_layout 6 STRING
Source input_name 4 STRING
Source kind 1 STRING
Source max_batch 11 UINT32
Source output_name 7 STRING
Source samples 9 UINT32
Source sha256 3 STRING
StreamError code 1 STRING
StreamError message 2 STRING
StreamError retry_after_ms 3 UINT32
Timing batch_size 5 UINT32
Timing compute_us 4 UINT64
Timing decode_us 2 UINT64
Timing device 6 STRING
Timing queue_us 3 UINT64
Timing total_us 1 UINT64
Training dataset 2 STRING
Training epochs 4 UINT32
Training network 1 STRING
Training parameters 8 UINT64
Training recipe 3 STRING
Training seed 5 UINT64
Training started_from 9 STRING
Training test_accuracy 6 DOUBLE
Training test_images 7 UINT32
Unit bias 17 FLOAT
Unit channel 2 UINT32
Unit channel_sums 21 repeated FLOAT
Unit channels 7 UINT32
Unit columns 12 repeated INT32
Unit engine_value 19 FLOAT
Unit first_channel 10 UINT32
Unit height 8 UINT32
Unit inputs 13 BYTES
Unit layer 1 UINT32
Unit next 20 repeated UnitStep
Unit operation 5 STRING
Unit places 15 repeated UINT32
Unit receptive_field 6 Box
Unit rest 16 FLOAT
Unit result 18 FLOAT
Unit rows 11 repeated INT32
Unit weights 14 BYTES
Unit width 9 UINT32
Unit x 4 UINT32
Unit y 3 UINT32
Unknown false_alarms 2 DOUBLE
Unknown images 4 UINT32
Unknown test_false_alarms 3 DOUBLE
Unknown threshold 1 FLOAT
UnitRequest channel 2 UINT32
UnitRequest layer 1 UINT32
UnitRequest x 4 UINT32
UnitRequest y 3 UINT32
UnitStep height 4 UINT32
UnitStep inputs 6 repeated FLOAT
UnitStep layer 1 UINT32
UnitStep value 7 FLOAT
UnitStep width 5 UINT32
UnitStep x 3 UINT32
UnitStep y 2 UINT32
UsualAnswers classes 2 repeated UINT64
UsualAnswers confidence 3 repeated UINT64
UsualAnswers images 1 UINT64
"""
TYPES = {value: name.removeprefix("TYPE_") for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}


def kind(field: FieldDescriptor) -> str:
    """ "repeated Class", "optional UINT32", "oneof images EncodedImages", "STRING"."""
    refers_to = field.message_type or field.enum_type
    name = refers_to.name if refers_to is not None else TYPES[field.type]
    if field.is_repeated:
        return f"repeated {name}"
    if field.containing_oneof is None:
        return name
    group = field.containing_oneof.name
    return f"optional {name}" if group == f"_{field.name}" else f"oneof {group} {name}"


def test_no_field_changed() -> None:
    found = {
        f"{message.name} {field.name} {field.number} {kind(field)}"
        for message in pb.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
    }
    assert found == set(FIELDS.split("\n")) - {""}


def test_enum_values_keep_their_numbers() -> None:
    assert pb.Model.State.items() == [("STATE_UNSPECIFIED", 0), ("STATE_READY", 1), ("STATE_REFUSED", 2)]
    assert pb.Model.Canary.items() == [
        ("CANARY_UNSPECIFIED", 0),
        ("CANARY_CHECKING", 1),
        ("CANARY_TRIAL", 2),
        ("CANARY_PROMOTED", 3),
        ("CANARY_ROLLED_BACK", 4),
    ]
    assert pb.ImageSpec.Resize.items() == [
        ("RESIZE_UNSPECIFIED", 0),
        ("RESIZE_STRETCH", 1),
        ("RESIZE_CENTER_CROP", 2),
        ("RESIZE_SHORTER_SIDE", 3),
        ("RESIZE_PAD", 4),
    ]
    assert pb.ImageSpec.Interpolation.values() == [0, 1, 2, 3, 4]
    assert pb.ChooseVersionRequest.Action.items() == [
        ("ACTION_UNSPECIFIED", 0),
        ("ACTION_PROMOTE", 1),
        ("ACTION_ROLL_BACK", 2),
        ("ACTION_CANARY", 3),
        ("ACTION_SHADOW", 4),
    ]
    assert pb.ModelInfo.Answer.items() == [
        ("ANSWER_UNSPECIFIED", 0),
        ("ANSWER_EXCLUSIVE", 1),
        ("ANSWER_INDEPENDENT", 2),
    ]
    assert pb.ImageError.Reason.items() == [
        ("REASON_UNSPECIFIED", 0),
        ("REASON_INVALID", 1),
        ("REASON_TOO_LARGE", 2),
        ("REASON_NO_ANSWER", 3),
    ]


def generate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_generated_code_is_up_to_date_and_stale_code_is_found(tmp_path: Path) -> None:
    copied = tmp_path / "proto"
    for path in [PROTO / "generate.py", *PROTO.glob("covey_proto/*/*.p*")]:
        target = copied / path.relative_to(PROTO)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert generate(copied, "--check").returncode == 0
    contract = copied / "covey_proto/v1/classifier.proto"
    contract.write_text(contract.read_text().replace("string device = 6;", "string device = 6; string host = 7;"))
    stale = generate(copied, "--check")
    assert stale.returncode == 1
    assert "stale: proto/covey_proto/v1/classifier_pb2.py (run `make proto` and commit it)" in stale.stderr
    assert generate(copied).returncode == 0
    assert generate(copied, "--check").returncode == 0


def test_metadata_survives_its_way_through_a_file() -> None:
    info = pb.ModelInfo(name="é", version=2**40, labels=["a", "b"], golden_set=pb.GoldenSet(pixels=b"\0\xff"))
    info.build.created.FromSeconds(1_795_000_000)
    assert metadata.from_json(metadata.to_json(info)) == info
    assert metadata.from_json('{"name": "x", "of_a_newer_covey": 1}') == pb.ModelInfo(name="x")


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"version": "many"}'])
def test_other_text_is_no_metadata(text: str) -> None:
    with pytest.raises(ValueError, match=r"not the JSON of a covey\.v1\.ModelInfo"):
        metadata.from_json(text)


def test_the_contract_imports_nothing_else_of_covey() -> None:
    code = "import sys, covey_proto.metadata, covey_proto.v1.classifier_pb2; print(*sorted(sys.modules))"
    modules = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not {name for name in modules if name.split(".")[0] in ("covey", "covey_server", "covey_export")}
