"""The metrics of several processes as those of one server: counters and histograms add up, gauges by what they mean.

Families travel as plain lists (`Plain`), which JSON can carry.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from prometheus_client.core import Metric

# [name, type, help, samples], a sample being [name, labels, value].
PlainFamily: TypeAlias = list[Any]
Plain: TypeAlias = list[PlainFamily]

_SUMMED = frozenset({"counter", "histogram"})
_VERSION = ("model", "version")  # labels of counts that end with a version

# How gauges of several processes become one. Each gauge is in one of these; a test looks.
ADDED = frozenset(
    {
        "covey_waiting_images", "covey_calls_in_flight", "covey_bytes_in_flight", "covey_answer_bytes",
        "covey_connections_open", "covey_unfinished_bytes", "covey_streams_open", "covey_stream_bytes",
        "covey_decodes_in_flight", "covey_decode_bytes", "covey_decodes_waiting", "covey_engine_stuck",
        "covey_drift_images", "covey_canary_images", "covey_canary_failed_calls", "covey_canary_late_calls",
        "process_virtual_memory_bytes", "process_resident_memory_bytes", "process_open_fds", "process_max_fds",
    }
)  # fmt: skip
LARGEST = frozenset(
    {
        "covey_model_served", "covey_model_load_seconds", "covey_golden_check_difference", "covey_cost_model_error",
        "covey_models_refused", "covey_models_held_back", "covey_device_fallback", "covey_drift_index",
        "covey_canary_state", "covey_models_synced_timestamp_seconds", "covey_usable_cores", "python_info",
    }
)  # fmt: skip
SMALLEST = frozenset(
    {"covey_ready", "covey_drift_p_value", "covey_certificate_expiry_timestamp_seconds", "process_start_time_seconds"}
)


def plain(families: Iterable[Metric]) -> Plain:
    """Families as a registry collects them, to be sent."""
    return [
        [each.name, each.type, each.documentation, [[found.name, found.labels, found.value] for found in each.samples]]
        for each in families
    ]  # fmt: skip


def families(found: Plain) -> Iterable[Metric]:
    """The same as prometheus_client writes them."""
    for name, kind, text, samples in found:
        family = Metric(name, text, kind)
        for sample, labels, value in samples:
            family.add_sample(sample, labels, value)
        yield family


def merge(parts: Sequence[Plain]) -> Plain:
    """One set of families of those of several processes."""
    merged: dict[str, tuple[str, str, dict[tuple[object, ...], list[Any]]]] = {}
    for part in parts:
        for name, kind, text, samples in part:
            combine = _combine(name, kind)
            found = merged.setdefault(name, (kind, text, {}))[2]
            for sample in samples:
                key = _key(sample)
                if key in found:
                    found[key][2] = combine(found[key][2], sample[2])
                else:
                    found[key] = list(sample)
    return [[name, kind, text, list(found.values())] for name, (kind, text, found) in merged.items()]


class Ended:
    """What processes that have ended had counted: counters of the server must not fall when one is replaced."""

    def __init__(self) -> None:
        self._counts: Plain = []

    def add(self, last: Plain) -> None:
        """Keeps the counts of a process that has ended, as it last told them."""
        self._counts = merge([self._counts, [family for family in last if family[1] in _SUMMED]])

    def counts(self, running: Sequence[Plain]) -> Plain:
        """The counts, without model versions that no process of `running` shows any more. As long as one of those has
        told nothing yet, all counts stay: it may serve them."""
        if running and all(running):
            shown = {_version(sample[1]) for part in running for family in part for sample in family[3]} | {None}
            self._counts = [
                [name, kind, text, [each for each in samples if _version(each[1]) in shown]]
                for name, kind, text, samples in self._counts
            ]
        return self._counts


def _combine(name: str, kind: str) -> Callable[[float, float], float]:
    if kind in _SUMMED or name in ADDED:
        return operator.add
    return min if name in SMALLEST else max


def _key(sample: Sequence[Any]) -> tuple[object, ...]:
    return (sample[0], *sorted(sample[1].items()))


def _version(labels: Mapping[str, str]) -> tuple[str, ...] | None:
    """The model and version a sample belongs to; None if it belongs to none."""
    return tuple(labels[name] for name in _VERSION) if labels.keys() >= set(_VERSION) else None
