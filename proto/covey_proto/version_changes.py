"""What changed from one version of a model to the next, as far as it concerns callers and their images. The import says
it before a version is published, the server when it loads one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from covey_proto import colours, interpolation, resize
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
from covey_proto.v1.classifier_pb2 import ImageSpec, ModelInfo
from covey_proto.wording import plural

_DEFAULT_THRESHOLD = 0.5  # of independent labels, where the file says none


def differences(now: ModelInfo, before: ModelInfo) -> tuple[str, ...]:
    """A phrase about each difference in labels, input, preparation of images and kind of answer; none if there is none.

    What a file from before a field does not say is not compared.
    """
    labels = labels_difference(now.labels, before.labels)
    return (*([labels] if labels else []), *_of_input(now.input, before.input), *_of_answer(now, before))


def labels_difference(now: Sequence[str], before: Sequence[str]) -> str:
    """How the labels differ, with the first class that does; empty if they are the same."""
    places = [place for place, pair in enumerate(zip(now, before, strict=False)) if pair[0] != pair[1]]
    first = f", first: class {places[0]} {now[places[0]]!r} was {before[places[0]]!r}" if places else ""
    if len(now) != len(before):
        return f"{plural(len(now), 'label')} instead of {len(before):,}{first}"
    if not places:
        return ""
    if sorted(now) == sorted(before):
        return f"labels: {len(places):,} of {len(now):,} moved{first}"
    return f"labels: {len(places):,} of {len(now):,} differ{first}"


def _of_input(now: ImageSpec, before: ImageSpec) -> Iterator[str]:
    yield from _pair("input", _size(now), _size(before))
    yield from _pair("resize", _resize(now), _resize(before))
    yield from _pair("interpolation", _interpolation(now), _interpolation(before))
    yield from _pair("colour order", now.colour_order or "rgb", before.colour_order or "rgb")
    if now.mean and before.mean:
        yield from _pair("mean", _numbers(now.mean), _numbers(before.mean))
    if now.std and before.std:
        yield from _pair("std", _numbers(now.std), _numbers(before.std))
    yield from _pair("background of transparent pixels", now.background or "none", before.background or "none")
    yield from _pair("EXIF orientation", _exif(now), _exif(before))
    if now.exact != before.exact:
        yield "pixels exactly as Pillow's instead of faster" if now.exact else "pixels faster instead of as Pillow's"


def _of_answer(now: ModelInfo, before: ModelInfo) -> Iterator[str]:
    is_same_kind = _is_independent(now) == _is_independent(before)
    if not is_same_kind:
        yield from _pair("answer", _kind(now), _kind(before))
    elif _is_independent(now) and len(now.labels) == len(before.labels):
        each = [*zip(now.labels, _thresholds(now), _thresholds(before), strict=False)]
        places = [place for place, (_, ours, theirs) in enumerate(each) if ours != theirs]
        if places:
            label, ours, theirs = each[places[0]]
            yield (
                f"thresholds: {len(places):,} of {len(now.labels):,} differ, first: class {places[0]} {label!r} "
                f"{ours:g} instead of {theirs:g}"
            )
    yield from _pair("embedding", f"{now.embedding_size:,} numbers", f"{before.embedding_size:,} numbers")
    if before.HasField("unknown") and not now.HasField("unknown"):
        yield "unknown images are not told any more"


def _pair(what: str, now: str, before: str) -> Iterator[str]:
    if now != before:
        yield f"{what} {now} instead of {before}"


def _size(spec: ImageSpec) -> str:
    return f"{spec.height}x{spec.width}x{spec.channels}"


def _resize(spec: ImageSpec) -> str:
    policy = resize.from_message(spec.resize)
    parts = {
        Resize.CENTER_CROP: f" of {spec.crop:g}" if spec.crop not in (0, 1) else "",
        Resize.SHORTER_SIDE: f" to {spec.resize_to}" + (", the smaller half cut off first" if spec.floor_crop else ""),
        Resize.PAD: f" with {spec.pad or colours.BLACK}",
    }
    return policy.value + parts.get(policy, "")


def _interpolation(spec: ImageSpec) -> str:
    return (interpolation.from_message(spec.interpolation) or Interpolation.BILINEAR).value


def _exif(spec: ImageSpec) -> str:
    return "ignored" if spec.ignore_exif else "followed"


def _numbers(channels: Sequence[float]) -> str:
    """One number for all channels alike, or one for each."""
    texts = [f"{number:.4g}" for number in channels]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def _is_independent(info: ModelInfo) -> bool:
    return info.answer == ModelInfo.ANSWER_INDEPENDENT


def _kind(info: ModelInfo) -> str:
    return "independent labels" if _is_independent(info) else "one class of all"


def _thresholds(info: ModelInfo) -> Sequence[float]:
    said = list(info.thresholds) or [_DEFAULT_THRESHOLD]
    return said * len(info.labels) if len(said) == 1 else said
