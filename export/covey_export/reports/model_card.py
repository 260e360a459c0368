"""The model card of a network that Covey trained, filled with what is known and no more."""

from __future__ import annotations

from covey_export import model_card
from covey_export.model_card import ModelCard, escape
from covey_export.reports import figures
from covey_export.reports.findings import Findings
from covey_proto.wording import plural


def write_card(found: Findings) -> str:
    """The whole file, as Markdown."""
    dataset, licence = escape(found.dataset), escape(found.licence)
    images = plural(found.test_images, "test image")
    started = f" The training began with the weights of {escape(found.started_from)}." if found.started_from else ""
    untrained = "" if found.history else " Nothing was learned from them: the training has 0 epochs."
    return ModelCard(
        title=found.title,
        details=[*figures.rows(found), *figures.provenance(found)],
        intended_use=f"Classifying images of the kind in {dataset} into its "
        f"{plural(len(found.labels), 'class', 'classes')}. For what else it was made, and by whom, is for its maker to "
        f"write here.",
        factors="The classes are the only groups by which the figures are split; nothing else is known of the images.",
        metrics="Accuracy: the share of test images whose most probable class is theirs, in all and by class. Expected "
        f"calibration error (Guo et al. 2017, {len(found.calibration.bins)} bins): how far the probabilities are from "
        "how often they are right. Largest difference and disagreements: the model file against PyTorch.",
        evaluation_data=f"{images} of {dataset}; licence: {licence}. They were not trained on, but the accuracy on "
        f"them was shown after each epoch.",
        training_data=f"{found.train_images:,} training images of {dataset}; licence: {licence}.{started}{untrained}",
        analyses=_analyses(found, images),
        caveats=[
            model_card.always_one_of(found.labels, tells_unknown=found.verification.unknown is not None),
            model_card.holds_for(f"the test images of {dataset}"),
            f"Weakest classes: {model_card.weakest(found.labels, found.class_accuracy)}.",
        ],
    ).markdown()


def _analyses(found: Findings, images: str) -> str:
    error = f"{found.calibration.error:.2%} at a mean confidence of {found.calibration.mean_confidence:.2%}"
    accuracy = f"Accuracy {found.verification.onnxruntime_accuracy:.2%} on {images}"
    parts = [f"{accuracy}; expected calibration error {error}."]
    shown = model_card.shown_classes(found.labels, found.class_accuracy)
    if shown < len(found.labels):
        parts.append(f"The {shown} weakest of {len(found.labels):,} classes; report.json has all.")
    parts.append(model_card.class_table(found.labels, found.class_accuracy, found.class_images, "test images"))
    parts.append("Training curves, confusion matrix, mistakes and reliability diagram: report.html beside this file.")
    return "\n\n".join(parts)
