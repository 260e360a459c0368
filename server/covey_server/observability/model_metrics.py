"""The metrics of each model's version: what its tally has counted, as families. docs/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from covey_server.observability import answer_metrics
from covey_server.observability.answer_metrics import histogram
from covey_server.observability.tally import ModelTally


def collect(
    tallies: Iterable[ModelTally],
    no_model: ModelTally,
    loads_by_result: Mapping[tuple[str, str], int],
    waits: Mapping[int, int],
) -> list[Metric]:
    """The families of all versions. `no_model` has the calls that failed before a model was found, `loads_by_result`
    counts by model and result, `waits` images that wait, by the id of their tally."""
    found = list(tallies)
    model = ("model", "version")
    requests = CounterMetricFamily(
        "covey_requests", "Calls answered, by status code and protocol.", labels=(*model, "code", "protocol")
    )
    images = CounterMetricFamily("covey_images", "Images computed.", labels=model)
    invalid = CounterMetricFamily(
        "covey_invalid_images", "Encoded images that could not be decoded, by reason.", labels=(*model, "reason")
    )
    invalid_outputs = CounterMetricFamily(
        "covey_invalid_outputs", "Images whose probabilities were not finite: NaN or infinity.", labels=model
    )
    batches = CounterMetricFamily("covey_batches", "Batches, by why they left.", labels=(*model, "reason"))
    loads = CounterMetricFamily("covey_model_loads", "Versions loaded, refused, unloaded.", labels=("model", "result"))
    served = GaugeMetricFamily("covey_model_served", "1 for each model that is served.", labels=(*model, "device"))
    load_s = GaugeMetricFamily("covey_model_load_seconds", "From the file to being ready.", labels=model)
    golden = GaugeMetricFamily(
        "covey_golden_check_difference", "Largest difference of a golden probability on this device.", labels=model
    )
    cost_error = GaugeMetricFamily(
        "covey_cost_model_error", "Moving average of |real / predicted run time - 1|.", labels=model
    )
    waiting = GaugeMetricFamily("covey_waiting_images", "Images that wait for a thread.", labels=model)
    histograms = {
        "request": histogram("covey_request_seconds", "From a request's arrival to its probabilities."),
        "decode": histogram("covey_decode_seconds", "From a request's arrival until its images are queued."),
        "queue": histogram("covey_queue_seconds", "Waiting for a thread."),
        "compute": histogram("covey_compute_seconds", "From leaving the queue to the probabilities."),
        "batch_size": histogram("covey_batch_size", "Images in a batch."),
        "pixels": histogram("covey_image_pixels", "Pixels of each encoded image that was decoded."),
    }
    for tally in (no_model, *found):
        for (code, protocol), count in tally.codes.items():
            requests.add_metric((*tally.labels, code, protocol), count)
    for (name, result), count in loads_by_result.items():
        loads.add_metric((name, result), count)
    for tally in found:
        images.add_metric(tally.labels, tally.images)
        for fault, count in tally.invalid_images.items():
            invalid.add_metric((*tally.labels, fault), count)
        invalid_outputs.add_metric(tally.labels, tally.invalid_outputs)
        waiting.add_metric(tally.labels, waits[id(tally)])
        cost_error.add_metric(tally.labels, tally.cost_error)
        if tally.served:
            served.add_metric((*tally.labels, tally.device), 1)
            load_s.add_metric(tally.labels, tally.load_s)
            golden.add_metric(tally.labels, tally.golden_difference)
        for reason, count in tally.reasons.items():
            batches.add_metric((*tally.labels, reason), count)
        for part, family in histograms.items():
            times = getattr(tally, part)
            family.add_metric(tally.labels, times.buckets(), times.total)
    answers = answer_metrics.collect(found)
    return [
        requests,
        images,
        invalid,
        invalid_outputs,
        batches,
        loads,
        served,
        load_s,
        golden,
        cost_error,
        waiting,
        *histograms.values(),
        *answers,
    ]
