"""What changed between two versions is said in words that name it."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from covey_proto.v1.classifier_pb2 import ImageSpec, ModelInfo
from covey_proto.version_changes import differences

NAMES = ("cat", "dog", "owl", "fox", "hen")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def info(changes: str = "", labels: tuple[str, ...] = NAMES) -> ModelInfo:
    """A model of 32x32 colour images, with changes in protobuf's text form."""
    spec = ImageSpec(height=32, width=32, channels=3, resize=ImageSpec.RESIZE_STRETCH, crop=1, mean=MEAN, std=STD)
    found = ModelInfo(name="net", version=1, labels=labels, input=spec)
    changed = ModelInfo()
    text_format.Parse(changes, changed)
    for field in ("mean", "std"):
        if getattr(changed.input, field):
            found.input.ClearField(field)
    found.MergeFrom(changed)
    return found


def test_equal_versions_do_not_differ() -> None:
    """Name, version, origin and accuracy are nobody's concern here; nor is what is said in another way."""
    other = "name: 'x' version: 2 training {test_accuracy: 0.5} answer: ANSWER_EXCLUSIVE input {colour_order: 'rgb'}"
    assert differences(info(other), info()) == ()
    assert differences(info("input {interpolation: INTERPOLATION_BILINEAR}"), info()) == ()
    one, three = info("input {mean: 0.5 std: 0.25}"), info("input {mean: [0.5, 0.5, 0.5] std: [0.25, 0.25, 0.25]}")
    assert differences(one, three) == ()


def test_what_an_older_file_does_not_say_is_not_compared() -> None:
    older = info()
    older.input.ClearField("mean")
    older.input.ClearField("std")
    assert differences(info(), older) == ()
    assert differences(older, info()) == ()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("dog", "owl", "cat", "fox", "hen"), "labels: 3 of 5 moved, first: class 0 'dog' was 'cat'"),
        (("cat", "dog", "owl", "wolf", "hen"), "labels: 1 of 5 differ, first: class 3 'wolf' was 'fox'"),
        (("cat", "cow", "dog"), "3 labels instead of 5, first: class 1 'cow' was 'dog'"),
        (("cat", "dog"), "2 labels instead of 5"),
    ],
)
def test_labels(labels: tuple[str, ...], expected: str) -> None:
    assert differences(info(labels=labels), info()) == (expected,)


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        ("input {height: 28 channels: 1}", "", "input 28x32x1 instead of 32x32x3"),
        (
            "input {resize: RESIZE_SHORTER_SIDE resize_to: 36}",
            "input {resize: RESIZE_CENTER_CROP crop: 0.875}",
            "resize shorter_side to 36 instead of center_crop of 0.875",
        ),
        (
            "input {resize: RESIZE_SHORTER_SIDE resize_to: 36}",
            "input {resize: RESIZE_SHORTER_SIDE resize_to: 40 floor_crop: true}",
            "resize shorter_side to 36 instead of shorter_side to 40, the smaller half cut off first",
        ),
        ("input {resize: RESIZE_PAD pad: '#727272'}", "", "resize pad with #727272 instead of stretch"),
        ("input {interpolation: INTERPOLATION_BICUBIC}", "", "interpolation bicubic instead of bilinear"),
        ("input {colour_order: 'bgr'}", "", "colour order bgr instead of rgb"),
        ("input {mean: 0.5}", "", "mean 0.5 instead of 0.485, 0.456, 0.406"),
        ("input {std: [0.25, 0.25, 0.5]}", "", "std 0.25, 0.25, 0.5 instead of 0.229, 0.224, 0.225"),
        ("input {background: '#ffffff'}", "", "background of transparent pixels #ffffff instead of none"),
        ("input {ignore_exif: true}", "", "EXIF orientation ignored instead of followed"),
        ("input {exact: true}", "", "pixels exactly as Pillow's instead of faster"),
        ("", "input {exact: true}", "pixels faster instead of as Pillow's"),
        ("answer: ANSWER_INDEPENDENT", "", "answer independent labels instead of one class of all"),
        (
            "answer: ANSWER_INDEPENDENT thresholds: [0.5, 0.25, 0.5, 0.5, 0.75]",
            "answer: ANSWER_INDEPENDENT",
            "thresholds: 2 of 5 differ, first: class 1 'dog' 0.25 instead of 0.5",
        ),
        ("embedding_size: 64", "", "embedding 64 numbers instead of 0 numbers"),
        ("", "unknown {threshold: 0.5}", "unknown images are not told any more"),
    ],
)
def test_each_difference_is_named(now: str, before: str, expected: str) -> None:
    assert differences(info(now), info(before)) == (expected,)


def test_all_differences_are_named() -> None:
    now = info("input {width: 28 mean: 0.5}", ("dog", *NAMES[1:]))
    assert differences(now, info()) == (
        "labels: 1 of 5 differ, first: class 0 'dog' was 'cat'",
        "input 32x28x3 instead of 32x32x3",
        "mean 0.5 instead of 0.485, 0.456, 0.406",
    )
