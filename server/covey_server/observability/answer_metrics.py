"""The metrics of what models answer, and of what other versions would have answered. docs/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from covey_proto.usual_answers import CONFIDENCE
from covey_server.observability.answers import ENTROPY
from covey_server.observability.comparison import DIFFERENCES
from covey_server.observability.tally import ModelTally, cumulative

_MODEL = ("model", "version")


def collect(tallies: Iterable[ModelTally]) -> list[Metric]:
    """The families of some versions, counted up to now."""
    found = list(tallies)
    return [*_answers(found), *_drift(found), *_shadows(found), _captures(found)]


def _answers(tallies: list[ModelTally]) -> Iterable[Metric]:
    classes = CounterMetricFamily(
        "covey_answers", "Images by the class that was most probable.", labels=(*_MODEL, "class")
    )
    confidence = histogram("covey_confidence", "The largest probability of each image.")
    entropy = histogram("covey_entropy", "How undecided each answer is: 0 not at all, 1 all classes alike.")
    for tally in tallies:
        if (answers := tally.answers) is None:
            continue
        answers.count()
        for label, count in answers.by_class():
            classes.add_metric((*tally.labels, label), count)
        confidence.add_metric(tally.labels, cumulative(CONFIDENCE, answers.confidence), answers.confidence_sum)
        if answers.is_exclusive:
            entropy.add_metric(tally.labels, cumulative(ENTROPY, answers.entropy), answers.entropy_sum)
    return (classes, confidence, entropy)


def _drift(tallies: list[ModelTally]) -> Iterable[Metric]:
    of = (*_MODEL, "of")
    recent = GaugeMetricFamily("covey_drift_images", "Images that the drift is told of.", labels=_MODEL)
    index = GaugeMetricFamily(
        "covey_drift_index", "Population stability index of the answers against test images.", labels=of
    )
    p_value = GaugeMetricFamily("covey_drift_p_value", "How probable such a difference is by chance alone.", labels=of)
    for tally in tallies:
        if tally.answers is None or not tally.served:
            continue
        recent.add_metric(tally.labels, tally.answers.recent)
        for name, drift in tally.answers.drift().items():
            index.add_metric((*tally.labels, name), drift.stability_index)
            p_value.add_metric((*tally.labels, name), drift.p_value)
    return (recent, index, p_value)


def _shadows(tallies: list[ModelTally]) -> Iterable[Metric]:
    images = CounterMetricFamily(
        "covey_shadow_images", "Images that a shadow version ran again, by result.", labels=(*_MODEL, "result")
    )
    differs = CounterMetricFamily(
        "covey_shadow_differs", "Images of another class than served, by the class served.", labels=(*_MODEL, "class")
    )
    seconds = CounterMetricFamily("covey_shadow_compute_seconds", "What running them took.", labels=_MODEL)
    difference = histogram("covey_shadow_difference", "Largest difference of a probability of each image.")
    for tally in tallies:
        found = tally.shadow
        if not found.results:
            continue
        for result, count in found.results.items():
            images.add_metric((*tally.labels, result), count)
        for label, count in found.by_class(tally.answers.labels if tally.answers is not None else ()):
            differs.add_metric((*tally.labels, label), count)
        seconds.add_metric(tally.labels, found.seconds)
        difference.add_metric(tally.labels, cumulative(DIFFERENCES, found.differences), found.difference_sum)
    return (images, differs, seconds, difference)


def _captures(tallies: list[ModelTally]) -> Metric:
    captures = CounterMetricFamily(
        "covey_captured_images", "Images that were captured, by why they were.", labels=(*_MODEL, "result")
    )
    for tally in tallies:
        for result, count in tally.captures.items():
            captures.add_metric((*tally.labels, result), count)
    return captures


def histogram(name: str, text: str) -> HistogramMetricFamily:
    """A histogram of each version."""
    return HistogramMetricFamily(name, text, labels=_MODEL)
