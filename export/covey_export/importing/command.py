"""`covey-export import`: from a file and options to a published version, all or nothing."""

from __future__ import annotations

import argparse
import difflib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covey_export import atomic_files, model_card, model_versions, naming
from covey_export.errors import ExportError, ImportFailed, InvalidSamples, InvalidSource
from covey_export.importing import (
    activation,
    card,
    check,
    choices,
    description,
    labels,
    onnx_file,
    proof,
    samples,
    signature,
    variants,
)  # fmt: skip
from covey_export.importing.activation import Answer
from covey_export.importing.choices import Choice
from covey_export.importing.onnx_file import OnnxFile
from covey_export.importing.original import Original
from covey_export.importing.proof import Graph, Proof
from covey_export.importing.resizing import Resizing
from covey_export.importing.samples import Files, Samples
from covey_export.model_versions import NewVersion
from covey_proto import layout, metadata
from covey_proto.tolerances import TOLERANCES
from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_proto.wording import listed, plural
from covey_server.errors import CoveyServerError
from covey_server.images.input_spec import InputSpec
from covey_server.inference import golden, image_contract, model_file
from covey_server.inference.engine import Engine

RECORD = "import.json"
_LABELS_SHOWN = 8
_PROBLEMS_SHOWN = 3
_MIN_SPREAD = 1e-3  # of a probability between images, below which a comparison says little


class Report(Protocol):
    """Where the words go."""

    def line(self, text: str = "") -> None: ...
    def doing(self, what: str) -> AbstractContextManager[None]: ...
    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None: ...


@dataclass(frozen=True)
class Imported:
    """A published version, and those of its variants."""

    paths: tuple[Path, ...]  # of each model.onnx
    info: ModelInfo
    seconds: float


def run(options: argparse.Namespace, report: Report) -> None:
    """As `import_model`, and says how to serve the version."""
    done = import_model(options, report)
    if options.first_look:  # its caller serves it
        report.line(f"imported in {done.seconds:.1f} s")
        return
    report.line(f"published {', '.join(map(str, done.paths))}, {done.seconds:.1f} s after the start")
    report.line(f"serve it with: covey-server --models {options.models}")


def import_model(options: argparse.Namespace, report: Report) -> Imported:
    """Publishes the file that the options name as the next version of a model.

    Raises InvalidSource, InvalidLabels, InvalidSamples, ImportFailed and ExportError; the models folder is then as it
    was.
    """
    began_s = time.monotonic()
    variants.require_possible(options)
    name = naming.require_model_name(options.name or naming.model_name_of(options.source))
    with report.doing(f"reading {options.source}"):
        file = onnx_file.read(options.source)
        _require_foreign(file)
        found = signature.find(
            file,
            output=options.output,
            layout=options.layout,
            image_size=options.image_size,
            assumes_size=options.first_look,
        )
        original = Original(file, found)
    found = original.signature
    choice = choices.choose(options, found)
    report.line(f"source  {file.path.name}: opset {file.opset}, {found.describe()}")
    report.line(f"input   {found.height}x{found.width}: {choice.resizing.describe(found)}")
    report.line(f"pixels  {choice.preset.describe(found.channels)}")

    names, images, assumed = _labels_and_samples(options, original, choice, report)
    with report.doing("running the original"):
        scores = original.run(images.images, choice.preset)
    where = f"{file.path}: output {found.output_name}"
    answer = activation.decide(
        options.activation, activation.last_operator(original.model.graph, found.output_name), scores, where
    )
    report.line(f"answer  {answer.said}")
    report.line(f"labels  {_shown(names)}")
    for note in (*file.notes, *original.notes):
        report.line(f"note: {note}")
    for assumption in (*choice.assumed, *assumed):
        report.line(f"note: {assumption}")
    if options.check is not None:
        _check(options, file, original, choice, answer, names, report)

    expected = answer.probabilities(scores)
    accuracy = images.accuracy(expected)
    _require_accuracy(options, accuracy)
    with _explained(options.models), ExitStack() as versions:
        new = versions.enter_context(NewVersion(options.models, name))
        with tempfile.TemporaryDirectory(prefix="covey-import-") as scratch, report.doing("building the graph"):
            graph = proof.find_graph(original, choice.preset, answer, images.images, expected, Path(scratch))
        with report.doing("comparing it with the original"):
            tolerance = TOLERANCES[proof.precision(original.model)]
            shown = proof.prove(graph.engine, images.images, expected, tolerance, str(file.path))
        info = description.model_info(
            name, new.version, file, original, choice, answer, names, graph, images, expected, accuracy
        )
        info.source.samples, info.source.difference = shown.images, shown.difference
        with report.doing("loading it as a server does"):
            _write(new.folder / layout.FILE_NAME, graph, info)
        _say_proof(report, graph, shown, images, expected, accuracy, names)
        record = description.record(file, original, choice, answer, graph, shown, images, accuracy, assumed, info)
        _write_papers(new.folder, info, record, images, expected)
        made = [new]
        for precision in options.variants:
            beside = versions.enter_context(NewVersion(options.models, precision.model_name(name)))
            with report.doing(f"making the {precision.value} variant"):
                variant = variants.build(
                    precision, beside, graph, info, new.folder / layout.FILE_NAME, images, expected
                )
            _require_accuracy(options, variant.accuracy)
            for line in variant.lines(accuracy):
                report.line(line)
            _write_papers(beside.folder, variant.info, record | variant.record(), images, expected)
            made.append(beside)
        for each in made:
            _say_others(each, report)
        published = [each.publish() / layout.FILE_NAME for each in made]
    return Imported(tuple(published), info, time.monotonic() - began_s)


def _require_foreign(file: OnnxFile) -> None:
    """Raises InvalidSource for a whole model of Covey's: an import would lose its labels and its preprocessing."""
    if not any(each.key == metadata.KEY for each in file.model.metadata_props):
        return
    try:
        info = model_file.describe(Engine(file.path)).info
    except CoveyServerError:
        return
    raise InvalidSource(
        f"{file.path}: is a model of Covey's already ({info.name} version {info.version}), with its labels and its "
        f"preprocessing; expected a network from elsewhere. Serve it as it is: copy it to "
        f"models/{info.name or 'NAME'}/1/{layout.FILE_NAME}"
    )


def _labels_and_samples(
    options: argparse.Namespace, original: Original, choice: Choice, report: Report
) -> tuple[tuple[str, ...], Samples, tuple[str, ...]]:
    """The labels, the images to compare on, and what was assumed about the labels."""
    outputs = original.classes
    count = 2 if outputs == 1 else outputs
    names = labels.read(options.labels) if options.labels is not None else ()
    if names:
        labels.require_count(options.labels, names, outputs)
    place = options.samples or options.check
    files = samples.find(place) if place is not None else None
    assumed: tuple[str, ...] = ()
    if not names and files is not None and len(files.classes) == count:
        names = files.classes
        labels.require_distinct(str(files.place), names)
        order = "alphabetical" if files.place.is_dir() else "this"
        wrong = "if the network has another one, every answer has a wrong label"
        assumed = (f"no --labels were given; assumed are the classes of {files.place} in {order} order; {wrong}",)
    elif not names:
        names = tuple(f"class {place}" for place in range(count))
        assumed = (f"no --labels were given; the outputs are named {names[0]} to {names[-1]}",)
    spec = _input_spec(choice.resizing, choice, original)
    if files is None:
        return names, samples.make(spec.shape), assumed
    files, matched = _matched(files, names, report)
    with report.doing(f"reading {plural(len(files.files), 'image')}"):
        images = samples.read(files, spec, matched if files.is_labelled else None)
    for problem in images.left_out[:_PROBLEMS_SHOWN]:
        report.line(f"note: left out: {problem}")
    if (more := len(images.left_out) - _PROBLEMS_SHOWN) > 0:
        report.line(f"note: and {plural(more, 'image')} more left out in the same way")
    return names, images, assumed


def _matched(files: Files, names: tuple[str, ...], report: Report) -> tuple[Files, list[int]]:
    """The output of each class of the samples. Folders that are no labels at all are only folders; a table of other
    labels is a mistake: raises InvalidSamples."""
    matched = samples.match(files.classes, names)
    unknown = [place for place, output in enumerate(matched) if output < 0]
    if unknown and len(unknown) == len(matched):
        if not files.place.is_dir():
            raise InvalidSamples(
                f"{files.place}: expected the network's labels ({_shown(names)}) or their numbers, got "
                f"{listed(files.classes)}"
            )
        report.line(f"note: no folder in {files.place} is named as a label; its images are taken without labels")
        return replace(files, classes=(), class_of=(), found_at=()), []
    for place in unknown[:_PROBLEMS_SHOWN]:
        near = difflib.get_close_matches(files.classes[place], names, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        report.line(
            f"note: {files.found_at[place]}: {files.classes[place]!r} is no label of the network{meant}; such images "
            f"count as wrong"
        )
    if (more := len(unknown) - _PROBLEMS_SHOWN) > 0:
        report.line(f"note: and {plural(more, 'class', 'classes')} more are no labels of the network")
    return files, matched


def _input_spec(resizing: Resizing, choice: Choice, original: Original) -> InputSpec:
    """As the server reads it from the file."""
    return image_contract.read(resizing.message(original.signature, choice.preset))


def _check(
    options: argparse.Namespace,
    file: OnnxFile,
    original: Original,
    choice: Choice,
    answer: Answer,
    names: tuple[str, ...],
    report: Report,
) -> None:
    """Shows the table. Raises ImportFailed where another setting does clearly better."""
    files = samples.find(options.check, check.MAX_IMAGES)
    matched = samples.match(files.classes, names)
    if not files.is_labelled or max(matched) < 0:
        raise InvalidSamples(
            f"--check {options.check}: expected one folder of images for each class, named as the labels are "
            f"({_shown(names)}), or a CSV of file and label; found "
            f"{listed(files.classes) if files.classes else 'images without labels'}"
        )

    def read(resizing: Resizing) -> Samples:
        return samples.read(files, _input_spec(resizing, choice, original), matched)

    with report.doing("comparing settings"):
        table = check.compare(file, original, choice.preset, choice.resizing, answer, names, read)
    report.table(
        f"The original on {plural(table.images, 'image')} of {options.check}, fed in other ways",
        check.HEADER,
        [row.cells(table.best) for row in table.rows],
    )
    if table.advice:
        raise ImportFailed(f"{table.advice}, or without --check to publish it as it is. Nothing was published")
    report.line("no other setting does clearly better than the one chosen")
    if table.hint:
        report.line(f"note: {table.hint}")


def _write(path: Path, graph: Graph, info: ModelInfo) -> None:
    """The file, loaded and checked as the server does at each load. Raises ImportFailed."""
    del graph.model.metadata_props[:]
    graph.model.metadata_props.add(key=metadata.KEY, value=metadata.to_json(info))
    atomic_files.write_bytes(path, proof.serialized(graph.model))
    try:
        engine = Engine(path)
        golden.check(engine, model_file.describe(engine).golden)
    except CoveyServerError as error:
        raise ImportFailed(f"the server refuses the imported model: {error}. Nothing was published") from error


def _write_papers(
    folder: Path, info: ModelInfo, record: Mapping[str, object], images: Samples, expected: NDArray[np.float32]
) -> None:
    """What lies beside a model for people."""
    atomic_files.write_text(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    atomic_files.write_text(folder / model_card.FILE, card.write_card(info, record, images, expected))


def _require_accuracy(options: argparse.Namespace, accuracy: float | None) -> None:
    if options.min_accuracy is None:
        return
    if accuracy is None:
        raise ExportError(
            "--min-accuracy needs labelled images: --samples DIR with one folder per class, or a CSV of file and label"
        )
    if accuracy < options.min_accuracy:
        raise ImportFailed(
            f"{options.source.name} has an accuracy of {accuracy:.2%} on the samples, --min-accuracy asks for "
            f"{options.min_accuracy:.2%}; it is not published"
        )


def _say_proof(
    report: Report,
    graph: Graph,
    shown: Proof,
    images: Samples,
    expected: NDArray[np.float32],
    accuracy: float | None,
    names: Sequence[str],
) -> None:
    kind = "made image" if images.is_made else "image"
    report.line(
        f"batches {graph.said}; batches of {', '.join(map(str, proof.BATCH_SIZES))} give what single images give"
    )
    report.line(
        f"proven  equal to the original on {plural(shown.images, kind)}: largest difference of a probability "
        f"{shown.difference:.1e} (allowed {shown.tolerance:.0e}), the same labels"
    )
    spread = float(np.ptp(expected, axis=0).max())
    if spread < _MIN_SPREAD and len(expected) > 1:
        report.line(
            f"warning: the original gives nearly the same probabilities for all of these images (they differ by "
            f"{spread:.1g} at most), so that this says little: compare on real images, with --samples DIR"
        )
    if accuracy is not None:
        report.line(f"accuracy on the {plural(shown.images, 'labelled image')}: {accuracy:.2%}")
        if accuracy < 1.5 / len(names) and shown.images >= 2 * len(names):
            report.line(
                f"warning: that is no better than guessing among {len(names):,} classes: the preprocessing or the "
                f"order of the labels is wrong; --check DIR compares the usual ones"
            )


def _say_others(new: NewVersion, report: Report) -> None:
    before = [each for each in model_versions.versions(new.parent) if each < new.version]
    if before:
        report.line(
            f"note: {new.parent.name} has {plural(len(before), 'version')} already; servers give callers this one, "
            f"version {new.version}, from now on"
        )


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(f"{place} {name}" for place, name in enumerate(names[:_LABELS_SHOWN]))
    more = len(names) - _LABELS_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Raises ImportFailed, with the folder that is to blame, where writing into it fails."""
    try:
        yield
    except OSError as error:
        raise ImportFailed(
            f"cannot write the model into {folder}: {error.strerror or error}; nothing was left there"
        ) from error
