"""The metrics of canaries. docs/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from covey_server.observability.canaries import Canaries
from covey_server.observability.canary_rules import REASONS

_MODEL = ("model", "version")


class CanaryMetrics(Collector):
    """Shows what is known of canaries, to be registered."""

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client at each scrape."""
        state = GaugeMetricFamily("covey_canary_state", "1 for the state of each canary.", labels=(*_MODEL, "state"))
        images = GaugeMetricFamily("covey_canary_images", "Images that a canary has answered.", labels=_MODEL)
        failed = GaugeMetricFamily("covey_canary_failed_calls", "Calls that failed on a canary.", labels=_MODEL)
        late = GaugeMetricFamily("covey_canary_late_calls", "Calls that a canary had no time for.", labels=_MODEL)
        compared = CounterMetricFamily(
            "covey_canary_compared", "Images of a canary that the served version ran again.", labels=(*_MODEL, "result")
        )
        decisions = CounterMetricFamily(
            "covey_canary_decisions", "Canaries that were promoted or rolled back, by why.", labels=("model", "reason")
        )
        with self._canaries.lock:
            for name, trial in sorted(self._canaries.trials.items()):
                labels = (name, str(trial.canary.version))
                state.add_metric((*labels, trial.state), 1)
                images.add_metric(labels, trial.images)
                failed.add_metric(labels, trial.failed_calls)
                late.add_metric(labels, trial.late_calls)
                for result, count in trial.compared.items():
                    compared.add_metric((*labels, result), count)
                for reason in REASONS:
                    decisions.add_metric((name, reason), self._canaries.decisions[name, reason])
        return (state, images, failed, late, compared, decisions)
