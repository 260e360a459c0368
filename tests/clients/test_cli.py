"""The `covey` command: what it prints, and how it exits."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import covey
from covey.cli import json_lines, main, table
from covey.cli.exits import Exit
from covey.results import Class
from covey.testing import FakeServer
from covey_proto.progress import Progress
from covey_proto.resize import Resize
from covey_proto.v1 import classifier_pb2 as pb

if TYPE_CHECKING:
    from .conftest import ScriptedServer


@pytest.fixture
def transport() -> str:
    return "grpc"  # what is printed does not depend on it


@pytest.fixture(autouse=True)
def _target(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVEY_TARGET", server.target)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, of files whose answer is their content."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    for name, content in {"cat.jpg": "cat", "second.png": "a dog", "bad.png": "bad", "empty.png": ""}.items():
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.usefixtures("files")
def test_classify_prints_an_aligned_table_and_the_timing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "second.png", "cat.jpg", "--top-k", "3"]) == 0
    header, first, second, empty, *summary = capsys.readouterr().out.splitlines()
    assert header == "FILE        LABEL  PROBABILITY  NEXT"
    assert first == "second.png  a dog       75.00%  not a dog 25.00%, not a dog 12.50%"
    assert second == "cat.jpg     cat         75.00%  not cat 25.00%, not cat 12.50%"
    assert empty == ""
    assert summary[0].startswith("2 of 2 files classified in ")
    assert summary[1] == "by digits version 3 on cpu; mean batch size 7.0"
    assert summary[2].endswith("of it in the server 0.60 (decode 0.10, queue 0.20, compute 0.30)")


@pytest.mark.usefixtures("files")
def test_what_fails_a_file_stands_on_its_line_and_the_others_are_classified(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["classify", "bad.png", "cat.jpg", "empty.png", "missing.png", "nothing"]) == 1
    out, err = capsys.readouterr()
    _, *lines = out.splitlines()[:6]
    assert [line.split() for line in lines[:2]] == [
        ["bad.png", "-", "-", "error:", "not", "an", "image"],
        ["cat.jpg", "cat", "75.00%", "not", "cat", "25.00%"],
    ]
    assert lines[2].endswith("error: is empty (0 bytes); give a whole JPEG, PNG, WebP, GIF or AVIF file")
    assert lines[3].endswith("error: there is no such file")
    assert lines[4].endswith("error: is a folder; give its files")
    assert "\n1 of 5 files classified in " in out
    assert err == ""


@pytest.mark.usefixtures("files")
def test_classify_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "cat.jpg", "bad.png", "--json", "--top-k", "2"]) == 1
    cat, bad = _json_lines(capsys)
    round_trip_us = cat["timing"].pop("round_trip_us")
    assert round_trip_us > 0
    assert cat == {
        "file": "cat.jpg",
        "label": "cat",
        "probability": 0.75,
        "classes": [
            {"label": "cat", "index": 0, "probability": 0.75},
            {"label": "not cat", "index": 1, "probability": 0.25},
        ],
        "independent": False,
        "known": None,
        "error": None,
        "model": "digits",
        "version": 3,
        "timing": {
            "total_us": 600,
            "decode_us": 100,
            "queue_us": 200,
            "compute_us": 300,
            "batch_size": 7,
            "device": "cpu",
        },
    }
    assert bad == {
        "file": "bad.png",
        "label": None,
        "probability": None,
        "classes": [],
        "independent": None,
        "known": None,
        "error": {"type": "InvalidImage", "message": "bad.png: not an image"},
        "model": None,
        "version": None,
        "timing": None,
    }


@pytest.mark.usefixtures("files")
def test_classify_passes_its_options_on(server: ScriptedServer) -> None:
    assert main(["classify", "cat.jpg", "--model", "other", "--version", "9", "--top-k", "4"]) == 0
    (request,) = server.requests
    assert (request.model, request.version, request.top_k) == ("other", 9, 4)


def test_many_files_are_in_the_order_given(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{number}.png" for number in range(200)]
    for name in names:
        (files / name).write_text(name)
    assert main(["classify", "--json", *names]) == 0
    assert [(line["file"], line["label"]) for line in _json_lines(capsys)] == [(name, name) for name in names]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("code", "exit_code", "message"),
    [
        (grpc.StatusCode.UNAVAILABLE, 3, "no Covey server answers at"),
        (grpc.StatusCode.NOT_FOUND, 2, "does not know the model: why"),
        (grpc.StatusCode.INVALID_ARGUMENT, 2, "refuses the request: why"),
    ],
)
def test_what_would_fail_every_file_is_said_once(
    server: ScriptedServer,
    capsys: pytest.CaptureFixture[str],
    code: grpc.StatusCode,
    exit_code: int,
    message: str,
) -> None:
    server.fail(code, "why")
    for arguments in (["classify", "cat.jpg", "second.png"], ["models"]):
        assert main(arguments) == exit_code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("covey: ")
        assert message in err
        assert len(err.splitlines()) == 1


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL])
def test_what_may_fail_one_call_and_not_the_next_stands_on_its_line(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], code: grpc.StatusCode
) -> None:
    server.fail(code, "why")
    assert main(["classify", "cat.jpg", "missing.png"]) == 3
    _, cat, missing, *_ = capsys.readouterr().out.splitlines()
    assert "why" in cat
    assert "no such file" in missing


def test_lines_before_the_server_went_away_are_printed(
    files: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{number}.png" for number in range(100)]
    for name in names:
        (files / name).write_text(name)
    server.fail(grpc.StatusCode.UNAVAILABLE, "stopping", after=50)
    assert main(["classify", "--json", *names]) == 3
    out, err = capsys.readouterr()
    answered = [json.loads(line)["file"] for line in out.splitlines()]
    assert 0 < len(answered) <= 50
    assert answered == names[: len(answered)]
    assert "stopping" in err
    assert len({request.encoded.images[0] for request in server.requests}) < 100


def test_models_prints_what_is_served_and_what_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "MODEL   VERSION  STATE      INPUT  CLASSES  DATA SET  ACCURACY  DEVICE  REMARK",
        "broken        1  refused        -        -  -                -  -       model.onnx is no ONNX file",
        "digits        3  ready    28x28x1       10  mnist       98.77%  cpu     default",
    ]


@pytest.mark.parametrize(
    ("fields", "remark"),
    [
        ({"is_default": True, "is_default_version": True}, "default"),
        ({"is_default_version": True}, "default version"),
        ({"is_shadow": True}, "shadow"),
        ({"canary": pb.Model.CANARY_CHECKING}, "canary, checked first"),
        ({"canary": pb.Model.CANARY_TRIAL, "is_shadow": True}, "canary; shadow"),
        ({"canary": pb.Model.CANARY_ROLLED_BACK, "canary_reason": "3 failed"}, "canary, rolled back: 3 failed"),
        (
            {"canary": pb.Model.CANARY_PROMOTED, "canary_reason": "it was good", "is_default_version": True},
            "default version; canary, promoted: it was good",
        ),
        ({"canary": 99}, ""),
    ],
)
def test_models_says_what_a_version_is_chosen_for(
    server: ScriptedServer, fields: dict[str, Any], remark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = [pb.Model(name="m", version=number, state=pb.Model.STATE_READY) for number in (1, 2)]
    versions[1].MergeFrom(pb.Model(**fields))
    server.models = versions
    assert main(["models"]) == 0
    header, _, line = capsys.readouterr().out.splitlines()
    assert line[header.index("REMARK") :] == remark
    assert main(["models", "--json"]) == 0
    state = fields.get("canary", 0)
    said = pb.Model.Canary.Name(state).removeprefix("CANARY_").lower() if 0 < state < 99 else None
    assert _json_lines(capsys)[1]["canary"] == said


def test_models_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    broken, digits = _json_lines(capsys)
    assert (broken["state"], broken["reason"], broken["input"]) == ("refused", "model.onnx is no ONNX file", None)
    assert (digits["state"], digits["is_default"], digits["labels"][9]) == ("ready", True, "9")
    size = {"height": 28, "width": 28, "channels": 1, "resize": "stretch", "crop": 1.0, "background": ""}
    resizing = {"resize_to": 0, "interpolation": None, "pad": "", "ignore_exif": False, "exact": False}
    assert digits["input"] == {**size, "mean": [], "std": [], **resizing, "colour_order": ""}
    assert digits["training"]["created"] == "2026-11-21T12:00:00+00:00"
    assert digits["serving"]["provider"] == "CPUExecutionProvider"


@pytest.mark.usefixtures("files")
def test_the_target_option_comes_before_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COVEY_TARGET", "grpc://nowhere")
    assert main(["classify", "cat.jpg"]) == 2
    assert "covey: the target 'grpc://nowhere' is a URL" in capsys.readouterr().err
    assert main(["classify", "cat.jpg", "--target", server.target]) == 0


def test_a_deadline_is_passed_on(server: ScriptedServer, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.hold()
    assert main(["classify", str(files / "cat.jpg"), "--deadline-ms", "50"]) == 3
    assert "within 50 ms" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["load", "doctor"])
def test_two_targets_are_one_too_many(server: ScriptedServer, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "one", "--target", "two"]) == 2
    assert capsys.readouterr().err == "covey: two targets were given, one and --target two; give one of them\n"
    assert server.requests == []


@pytest.mark.parametrize(
    "arguments", [[], ["classify"], ["models", "--colour"], ["classify", "x", "--top-k", "many"], ["fly"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    said = capsys.readouterr().err
    assert ": error: " in said
    assert "All options: covey" in said


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["classify", "x", "--modle", "m"], ". Did you mean --model?"),
        (["models", "--tagret=a:1"], ". Did you mean --target?"),
        (["models", "--colour"], "--colour\n"),
        (["models", "--concurency", "1"], "--concurency 1\n"),  # of `load` only
        (["models", "--server", "http://a:1"], "unrecognized arguments: --server http://a:1"),  # not --server-name
    ],
)
def test_a_misspelled_option_gets_the_nearest(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    said = capsys.readouterr().err
    assert meant in said
    assert f"All options: covey {arguments[0]} --help" in said


@pytest.mark.parametrize(
    ("arguments", "least"), [(["promote", "m", "x"], 1), (["promote", "m", "0"], 1), (["canary", "m", "1.5"], 0)]
)
def test_a_version_is_a_number(arguments: list[str], least: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    expected = f"expected a version's number, {least} or more, not {arguments[-1]!r}"
    assert expected in capsys.readouterr().err


def test_help_tells_the_exit_codes_and_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["classify", "--help"], ["models", "--help"], ["info", "--help"], ["wait", "--help"]):
        with pytest.raises(SystemExit) as info:
            main(arguments)
        assert info.value.code == 0
        out = capsys.readouterr().out
        assert "exit codes:" in out
        assert all(f"\n  {code.value:<4} " in out for code in Exit)
        assert "COVEY_TARGET" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(["--version"])
    assert info.value.code == 0
    assert capsys.readouterr().out == f"covey {covey.__version__}\n"


def test_what_fails_every_file_is_found_before_the_first(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value, text in (
        ("--top-k", "-3", "--top-k takes a number of classes from 1 on, not -3"),
        (
            "--version",
            "9" * 20,
            f"model '', version {'9' * 20}, top_k None cannot be sent (Value out of range: {'9' * 20})",
        ),
        ("--token-file", "nowhere", "nowhere: cannot be read (No such file or directory)"),
    ):
        assert main(["classify", "cat.jpg", "dog.jpg", option, value]) == 2
        assert capsys.readouterr() == ("", f"covey: {text}\n")


def test_a_table_shows_control_characters_instead_of_obeying_them() -> None:
    assert table.render(("A", "B"), [("\x1b[2J\udc80", "é\n")]) == "A" + " " * 14 + "B\n\\x1b[2J\\udc80  é\\n"


def test_a_table_counts_columns_of_the_terminal() -> None:
    rendered = table.render(("LABEL", "N"), [("猫", "1"), ("e\u0301", "2")])
    assert rendered.splitlines() == ["LABEL  N", "猫     1", "e\u0301      2"]


def test_folders_patterns_and_stdin_are_classified(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "nothing" / "b").mkdir()
    for name in ("b/deep.PNG", "a.gif", "notes.txt", "x[1].jpg"):
        (files / "nothing" / name).write_text(name)
    with (files / "cat.jpg").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["classify", "--json", "nothing", "*.jpg", "nothing/x[1].jpg", "-"]) == 0
    assert [(line["file"], line["label"]) for line in _json_lines(capsys)] == [
        ("nothing/a.gif", "a.gif"),
        ("nothing/b/deep.PNG", "b/deep.PNG"),
        ("nothing/x[1].jpg", "x[1].jpg"),
        ("cat.jpg", "cat"),
        ("nothing/x[1].jpg", "x[1].jpg"),
        ("-", "cat"),
    ]


def test_a_folder_says_what_it_leaves_out_and_passes_over_what_is_hidden(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    for name in ("in/cat.JPG", "in/1.heic", "in/2.HEIC", "in/b/3.heic", "in/notes.txt", "in/read.txt", "in/README"):
        (files / name).parent.mkdir(exist_ok=True, parents=True)
        (files / name).write_text("cat")
    for name in ("._cat.jpg", ".DS_Store", "Thumbs.db", "__MACOSX/cat.jpg", "@eaDir/cat.jpg", ".thumbs/a.png"):
        (files / "in" / name).parent.mkdir(exist_ok=True)
        (files / "in" / name).write_text("hidden")
    assert main(["classify", "--json", "in"]) == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["file"] for line in printed.out.splitlines()] == ["in/cat.JPG"]
    assert printed.err.startswith("left out 3 .heic, 2 .txt, 1 without a suffix; ")
    assert main(["classify", "--json", "in/**/*.jpg", "in/**/*.heic", "in/._cat.jpg", "in/@eaDir/*"]) == 1
    printed = capsys.readouterr()
    sent = [json.loads(line)["file"] for line in printed.out.splitlines()]
    assert sent == ["in/**/*.jpg", "in/1.heic", "in/b/3.heic", "in/._cat.jpg", "in/@eaDir/cat.jpg"]


@pytest.mark.usefixtures("files")
def test_a_pattern_that_matches_nothing_is_an_error_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "*.tiff", "cat.jpg"]) == 1
    _, first, *_ = capsys.readouterr().out.splitlines()
    assert first.split() == ["*.tiff", "-", "-", "error:", "there", "is", "no", "such", "file"]


@pytest.mark.usefixtures("files")
def test_classify_as_comma_separated_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--csv", "cat.jpg", "bad.png"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "file,label,index,probability,error,model,version,known",
        "cat.jpg,cat,0,0.75,,digits,3,",
        "bad.png,,,,bad.png: not an image,,,",
    ]


ImageSpec = pb.ImageSpec
SHORTER_SIDE = ImageSpec(resize=ImageSpec.RESIZE_SHORTER_SIDE, resize_to=32, exact=True, ignore_exif=True)
PAD = ImageSpec(resize=ImageSpec.RESIZE_PAD, pad="#727272", interpolation=ImageSpec.INTERPOLATION_BICUBIC)
CROP = ImageSpec(resize=ImageSpec.RESIZE_CENTER_CROP, crop=0.875, interpolation=ImageSpec.INTERPOLATION_NEAREST)
NEWER = ImageSpec.FromString(b"\x20\x63\x50\x63")  # resize 99, interpolation 99
EXACT, QUICK = "exact: every pixel of the file counts", "large images are averaged down before"


@pytest.mark.parametrize(
    ("spec", "resize", "exif"),
    [
        (
            SHORTER_SIDE,
            f"the shorter side to 32, then the centred 28 x 28 is cut out; bilinear, {EXACT}",
            "ignored: images are taken as they lie in the file",
        ),
        (PAD, f"to fit within 28 x 28, centred on #727272; bicubic, {QUICK}", "turns images upright"),
        (
            CROP,
            f"0.875 of the largest centred part of the aspect ratio, to 28 x 28; nearest, {EXACT}",
            "turns images upright",
        ),
        (NEWER, f"by a policy that this client does not know; unknown, {QUICK}", "turns images upright"),
    ],
)
def test_info_tells_how_images_are_prepared(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], spec: ImageSpec, resize: str, exif: str
) -> None:
    server.models[1].info.input.MergeFrom(spec)
    assert main(["info", "digits"]) == 0
    told = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert told["resize"].strip() == resize
    assert told["EXIF"].strip() == exif


def test_info_tells_all_of_a_model(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    serving = server.models[1].serving
    serving.batch_curve.add(batch_size=1, run_us=43.4)
    serving.batch_curve.add(batch_size=32, run_us=1_480)
    serving.load_ms, serving.memory_bytes, serving.golden_difference = 1_234, 3 << 20, 2.4e-7
    serving.device_fallback = "no CUDA"
    assert main(["info", "digits"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model        digits version 3, the default",
        "state        ready",
        "input        28 x 28 x 1, stretch",
        "resize       to 28 x 28, whatever the aspect ratio; bilinear, large images are averaged down before",
        "EXIF         turns images upright",
        "background   none: transparency is dropped",
        "pixels       grey",
        "labels       10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "answer       one label: probabilities add up to 1",
        "network      lenet, 44,426 parameters, float32, made 2026-11-21 12:00 UTC",
        "accuracy     98.77% of 10,000 test images of mnist",
        "device       cpu (CPUExecutionProvider), 2 workers of 1 thread",
        "fallback     no CUDA",
        "batches      of at most 64 images",
        "batch curve  us by batch size: 1: 43, 32: 1,480",
        "requests     of at most 67,108,864 bytes",
        "load         1,234 ms, 3.0 MiB",
        "golden set   largest difference 2.4e-07",
    ]
    assert main(["info", "digits", "--json"]) == 0
    (model,) = _json_lines(capsys)
    assert model["serving"]["batch_curve"][0] == {"batch_size": 1, "run_us": 43.4}
    assert main(["info", "broken"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "state  refused: model.onnx is no ONNX file"
    assert main(["info", "unknown"]) == 2
    assert "does not know the model" in capsys.readouterr().err


def test_info_lists_ten_of_many_labels(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    model = server.models[1]
    del model.info.labels[:]
    model.info.labels.extend(str(number) for number in range(1_000))
    model.info.training.test_images = 1
    assert main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["labels"] == "1,000: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... and 990 more; --json lists all"
    assert lines["accuracy"] == "98.77% of 1 test image of mnist"
    assert main(["info", "--json"]) == 0
    (told,) = _json_lines(capsys)
    assert len(told["labels"]) == 1_000


@pytest.mark.usefixtures("files")
def test_one_file_is_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "cat.jpg"]) == 0
    assert "\n1 of 1 file classified in " in capsys.readouterr().out


def test_a_number_that_json_has_not_is_null_and_all_is_ascii() -> None:
    surrogate = os.fsdecode(b"caf\xe9.jpg")
    record = {
        "file": surrogate,
        "probability": math.nan,
        "classes": (Class("é", 1, math.inf),),
        "state": Resize.STRETCH,
    }
    text = json_lines.line(record)
    assert text.isascii()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "file": surrogate,
        "probability": None,
        "classes": [{"label": "é", "index": 1, "probability": None}],
        "state": "stretch",
    }


def test_a_long_run_says_now_and_then_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(1_200, line_every_s=0.0)
    progress.step()
    progress.step()
    progress.close()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("1 of 1,200 files, ")
    assert second.startswith("2 of 1,200 files, ")
    Progress(1_200).step()
    assert capsys.readouterr().err == ""


def test_wait_returns_once_the_server_is_ready(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.health_answers = [b"\x08\x02", b"", b"\x08\x02"]
    assert main(["wait"]) == 0
    assert server.health_answers == []
    server.health_answers = [b"\x08\x02"] * 1_000
    assert main(["wait", "--deadline-ms", "250"]) == 3
    assert "is not ready after 250 ms; the last attempt said that it is not ready" in capsys.readouterr().err


def _json_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class TestIndependentLabels:
    """A model that answers with any number of labels."""

    @pytest.fixture(autouse=True)
    def _fake(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        labels = ["cat", "dog", "bird"]
        with FakeServer(labels, answer=lambda image: image.decode().split(), independent=True) as fake:
            monkeypatch.setenv("COVEY_TARGET", fake.target)
            yield

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "both.jpg").write_text("dog cat")
        (tmp_path / "none.jpg").write_text(" ")

    def test_the_table_has_all_of_them(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["classify", "both.jpg", "none.jpg"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[1] == "both.jpg  dog        100.00%  cat 100.00%"
        assert lines[2] == "none.jpg  -                -  no label reaches its threshold"
        assert lines[4].startswith("2 of 2 files classified")

    def test_so_have_json_and_csv(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["classify", "both.jpg", "none.jpg", "--json"]) == 0
        both, none = _json_lines(capsys)
        assert ([each["label"] for each in both["classes"]], both["independent"]) == (["dog", "cat"], True)
        assert (none["label"], none["probability"], none["classes"], none["independent"]) == (None, None, [], True)
        assert none["error"] is None
        assert main(["classify", "none.jpg", "--csv"]) == 0
        assert capsys.readouterr().out.splitlines()[1] == "none.jpg,,,,,fake,1,"

    def test_top_k_is_at_the_most(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["classify", "both.jpg", "--top-k", "1", "--json"]) == 0
        (both,) = _json_lines(capsys)
        assert [each["label"] for each in both["classes"]] == ["dog"]

    def test_info_tells_the_kind(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info"]) == 0
        assert "answer      independent labels: all from a probability of 0.5 on" in capsys.readouterr().out


def test_unknown_images_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "stone"):
        (tmp_path / f"{name}.jpg").write_text(name)
    with FakeServer(["cat"], known=lambda image: image == b"cat") as fake:
        monkeypatch.setenv("COVEY_TARGET", fake.target)
        assert main(["classify", "cat.jpg", "stone.jpg"]) == 0
        _, first, second, *_ = capsys.readouterr().out.splitlines()
        assert first.split() == ["cat.jpg", "cat", "100.00%"]
        assert second.split() == ["stone.jpg", "unknown", "(cat)", "100.00%"]
        assert main(["classify", "cat.jpg", "stone.jpg", "--json"]) == 0
        assert [each["known"] for each in _json_lines(capsys)] == [True, False]
        assert main(["classify", "cat.jpg", "stone.jpg", "--csv"]) == 0
        assert [line.split(",")[-1] for line in capsys.readouterr().out.splitlines()] == ["known", "true", "false"]


def test_info_tells_temperature_and_threshold(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.models[1].info.calibration.temperature = 1.25
    server.models[1].info.unknown.threshold = 0.75
    assert main(["info", "digits"]) == 0
    told = capsys.readouterr().out
    assert "calibrated  scores divided by a temperature of 1.250" in told
    assert "unknown     where no class reaches a probability of 0.75" in told


def test_info_tells_thresholds_of_each_label(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    info = server.models[1].info
    info.answer = pb.ModelInfo.ANSWER_INDEPENDENT
    info.thresholds.extend([0.35] * 9 + [0.9])
    assert main(["info", "digits"]) == 0
    told = capsys.readouterr().out
    assert "answer      independent labels: each from its own threshold on, 0.35 to 0.9; --json lists all" in told
    assert main(["info", "digits", "--json"]) == 0
    (model,) = _json_lines(capsys)
    assert model["thresholds"] == [0.35] * 9 + [0.9]
