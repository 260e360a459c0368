"""`covey import`: from a file and options to a published version, all or nothing."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from covey_export import embedding, naming, version_changes
from covey_export.errors import ExportError, ImportFailed, InvalidSamples
from covey_export.importing import card, description, lines
from covey_export.importing.graphs import original_path, signature
from covey_export.importing.proving import check, proof, samples, variants
from covey_export.importing.proving.original import Original
from covey_export.importing.proving.proof import Graph
from covey_export.importing.proving.samples import Samples
from covey_export.importing.settings import activation, choices, labels, thresholds
from covey_export.importing.settings.activation import Answer
from covey_export.importing.settings.choices import Choice
from covey_export.importing.settings.resizing import Resizing
from covey_export.importing.sources import reading
from covey_export.importing.sources.contract import Contract
from covey_export.importing.sources.onnx_file import OnnxFile
from covey_export.model_versions import NewVersion
from covey_proto import atomic_files, layout, metadata
from covey_proto.tolerances import TOLERANCES
from covey_proto.v1.classifier_pb2 import ModelInfo, OriginalPath
from covey_proto.wording import listed, plural
from covey_server.errors import CoveyServerError
from covey_server.images.input_spec import InputSpec
from covey_server.inference import image_contract
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader


class Report(Protocol):
    """Where the import prints its lines and tables."""

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
    """Runs `import_model` and prints how to serve the version."""
    imported = import_model(options, report)
    if options.first_look:  # its caller serves it
        report.line(f"imported in {imported.seconds:.1f} s")
        return
    report.line(f"published {', '.join(map(str, imported.paths))}, {imported.seconds:.1f} s after the start")
    report.line(f"serve it with: covey serve --models {options.models}")


def import_model(options: argparse.Namespace, report: Report) -> Imported:
    """Publishes the file that the options name as the next version of a model.

    Raises InvalidSource, InvalidLabels, InvalidSamples, ImportFailed and ExportError; the models folder is then as it
    was.
    """
    began_s = time.monotonic()
    variants.require_possible(options)
    name = naming.require_model_name(options.name or naming.model_name_of(options.source))
    with report.doing(f"reading {options.source}"):
        file, contract = reading.read(options)
        file_signature = signature.find(
            file,
            output=options.output,
            layout=options.layout,
            image_size=options.image_size,
            usual_size=contract.size or (signature.USUAL_SIZE if options.first_look else None),
        )
        original = Original(file, file_signature)
    file_signature = original.signature  # completed by running it
    choice = choices.choose(options, file_signature, contract)
    report.line(f"source  {file.path.name}: opset {file.opset}, {file_signature.describe()}")
    report.line(
        f"input   {file_signature.height}x{file_signature.width}: {choice.resizing.describe(file_signature)} "
        f"[{choice.resizing_from}]"
    )
    report.line(f"pixels  {choice.preset.describe(file_signature.channels)} [{choice.preset_from}]")

    names, labels_from, images, assumed = _labels_and_samples(options, original, choice, contract, report)
    with report.doing("running the original"):
        scores = original.run(images.images, choice.preset)
    origin = f"{file.path}: output {file_signature.output_name}"
    answer = activation.decide(
        options.activation or contract.activation,
        activation.last_operator(original.model.graph, file_signature.output_name),
        scores,
        origin,
    )
    answer = thresholds.apply(options.thresholds, answer, names)
    report.line(f"answer  {answer.description}")
    report.line(f"labels  {lines.summarize(names)} [{labels_from}]")
    for note in (*file.notes, *original.notes, *contract.notes):
        report.line(f"note: {note}")
    for assumption in (*choice.assumed, *assumed):
        report.line(f"note: {assumption}")
    if options.check is not None:
        _check(options, file, original, choice, answer, names, report)

    expected = answer.probabilities(scores)
    accuracy = images.accuracy(expected)
    _require_accuracy(options, accuracy)
    with _explain_write_errors(options.models), ExitStack() as versions:
        new = versions.enter_context(NewVersion(options.models, name))
        with tempfile.TemporaryDirectory(prefix="covey-import-") as scratch, report.doing("building the graph"):
            graph = proof.find_graph(original, choice.preset, answer, images.images, expected, Path(scratch))
        with report.doing("comparing it with the original"):
            tolerance = TOLERANCES[proof.precision(original.model)]
            proof_result = proof.prove(graph.engine, images.images, expected, tolerance, str(file.path))
        info = description.model_info(
            name, new.version, file, original, choice, answer, names, graph, images, expected, accuracy
        )
        if options.embedding:
            info.embedding_size = embedding.publish(graph.model, frozenset((graph.entry, graph.exit)))
            report.line(f"embedding of {info.embedding_size:,} numbers")
        info.source.samples, info.source.difference = proof_result.images, proof_result.difference
        with report.doing("trying its own input"):
            own_input = original_path.find(
                graph, original, original.prepare(images.images, choice.preset), scores, answer.activation
            )
        with report.doing("loading it as a server does"):
            _write(new.folder / layout.FILE_NAME, graph, info, own_input.path)
        for line in lines.describe_proof(
            graph, proof_result, images, expected, accuracy, len(names), was_checked=options.check is not None
        ):
            report.line(line)
        report.line(f"clients {own_input.description}")
        record = description.record(
            file, original, choice, answer, graph, proof_result, images, accuracy, assumed, info
        )
        card.write(new.folder, info, record, images, expected)
        new_versions = [(new, info)]
        for precision in options.variants:
            variant_version = versions.enter_context(NewVersion(options.models, precision.model_name(name)))
            with report.doing(f"making the {precision.value} variant"):
                variant = variants.build(
                    precision, variant_version, graph, info, new.folder / layout.FILE_NAME, images, expected
                )
            _require_accuracy(options, variant.accuracy)
            for line in variant.lines(accuracy):
                report.line(line)
            card.write(variant_version.folder, variant.info, record | variant.record(), images, expected)
            new_versions.append((variant_version, variant.info))
        for version, version_info in new_versions:
            for line in version_changes.lines(version, version_info):
                report.line(line)
        paths = [version.publish() / layout.FILE_NAME for version, _ in new_versions]
    return Imported(tuple(paths), info, time.monotonic() - began_s)


def _labels_and_samples(
    options: argparse.Namespace, original: Original, choice: Choice, contract: Contract, report: Report
) -> tuple[tuple[str, ...], str, Samples, tuple[str, ...]]:
    """The labels and where they are from, the images to compare on, and what was assumed about the labels."""
    outputs = original.classes
    count = 2 if outputs == 1 else outputs
    place = options.samples or options.check
    files = samples.find(place) if place is not None else None
    assumed: tuple[str, ...] = ()
    if options.labels is not None:
        names, labels_from = labels.read(options.labels), f"--labels {options.labels}"
        labels.require_count(labels_from, names, outputs)
    elif (
        contract.labels is not None
        and contract.has_names
        and (len(contract.labels) == count or not contract.is_borrowed)
    ):
        names, labels_from, assumed = contract.labels, contract.labels_origin, contract.labels_notes
        labels.require_count(labels_from, names, outputs)
    elif files is not None and len(files.classes) == count:
        names, labels_from = files.classes, f"classes of {files.place}"
        order = "alphabetical" if files.place.is_dir() else "this"
        consequence = "if the network has another one, every answer has a wrong label"
        assumed = (f"no --labels were given; assumed are the classes of {files.place} in {order} order; {consequence}",)
    else:
        names, labels_from = tuple(f"class {place}" for place in range(count)), "assumed"
        if contract.labels is not None and len(contract.labels) == count:
            names, labels_from = contract.labels, contract.labels_origin
        assumed = (f"no --labels were given; the outputs are named {names[0]} to {names[-1]}",)
    names, renamed = labels.distinct(labels_from, names, are_the_networks=names is contract.labels)
    assumed += renamed
    spec = _input_spec(choice.resizing, choice, original)
    if files is None:
        return names, labels_from, samples.make(spec.shape), assumed
    files, matched, unknown = samples.matched(files, names)
    for note in lines.first_few(unknown, "classes that are no labels"):
        report.line(f"note: {note}")
    with report.doing(f"reading {plural(len(files.files), 'image')}"):
        images = samples.read(files, spec, matched if files.is_labelled else None)
    for note in lines.first_few([f"left out: {problem}" for problem in images.left_out], "left out"):
        report.line(f"note: {note}")
    return names, labels_from, images, assumed


def _input_spec(resizing: Resizing, choice: Choice, original: Original) -> InputSpec:
    """The input as the server reads it from the file."""
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
    """Prints the table of settings. Raises ImportFailed where another setting does clearly better."""
    files = samples.find(options.check, check.MAX_IMAGES)
    matched = samples.match(files.classes, names)
    if not files.is_labelled or max(matched) < 0:
        raise InvalidSamples(
            f"--check {options.check}: expected one folder of images for each class, named as the labels are "
            f"({lines.summarize(names)}), or a CSV of file and label; found "
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


def _write(path: Path, graph: Graph, info: ModelInfo, original_input: OriginalPath | None) -> None:
    """Writes the file, and loads and checks it as the server does at each load. Raises ImportFailed."""
    del graph.model.metadata_props[:]
    graph.model.metadata_props.add(key=metadata.KEY, value=metadata.to_json(info))
    if original_input is not None:
        graph.model.metadata_props.add(key=metadata.ORIGINAL_PATH_KEY, value=metadata.to_json(original_input))
    atomic_files.write_bytes(path, proof.serialized(graph.model))
    try:
        ModelLoader(CPU, threads=1, max_batch_size=1)(info.name, info.version, path)
    except CoveyServerError as error:
        raise ImportFailed(f"the server refuses the imported model: {error}. Nothing was published") from error


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


@contextmanager
def _explain_write_errors(folder: Path) -> Iterator[None]:
    """Raises ImportFailed, with the folder that is to blame, where writing into it fails."""
    try:
        yield
    except OSError as error:
        raise ImportFailed(
            f"cannot write the model into {folder}: {error.strerror or error}; nothing was left there"
        ) from error
