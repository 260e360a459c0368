"""The metrics of the whole server, as families: what was refused or closed, and the gauges of this moment.
docs/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from covey_server.errors import RefusalReason
from covey_server.observability.server_figures import ServerFigures
from covey_server.remote.sync import SyncFigures


def collect(
    figures: ServerFigures,
    refused: Mapping[RefusalReason, int],
    limited: Mapping[tuple[str, RefusalReason], int],
    explanations: Mapping[str, int],
) -> Iterable[Metric]:
    """`refused` are calls by reason, `limited` those by principal and its limit, `explanations` by status code."""
    refused_calls = CounterMetricFamily(
        "covey_refused", "Calls refused before they waited, by reason.", labels=["reason"]
    )
    for refusal, count in refused.items():
        refused_calls.add_metric((refusal,), count + figures.refused.get(refusal, 0))
    yield refused_calls
    by_principal = CounterMetricFamily(
        "covey_principal_refused", "Calls refused by a limit of their principal.", labels=["principal", "reason"]
    )
    for labels, count in limited.items():
        by_principal.add_metric(labels, count)
    yield by_principal
    explained = CounterMetricFamily("covey_explanations", "Calls of Explain, by status code.", labels=["code"])
    for code, count in explanations.items():
        explained.add_metric((code,), count)
    yield explained
    closed = CounterMetricFamily(
        "covey_connections_closed", "Connections that the server closed, by reason.", labels=["reason"]
    )
    for reason, count in figures.closed_connections.items():
        closed.add_metric((reason,), count)
    yield closed
    yield from _collect_sync(figures.sync)
    for each in fields(figures):
        if "text" in each.metadata and (value := getattr(figures, each.name)) is not None:
            yield GaugeMetricFamily(f"covey_{each.name}", each.metadata["text"], value=value)


def _collect_sync(figures: SyncFigures | None) -> Iterable[Metric]:
    """Of the models' store; families without a value where there is none."""
    synced = GaugeMetricFamily(
        "covey_models_synced_timestamp_seconds", "When the models were last as in their store.", labels=()
    )
    failures = CounterMetricFamily(
        "covey_models_sync_failures", "Failures to follow the models' store, by reason.", labels=["reason"]
    )
    fetched = CounterMetricFamily("covey_models_fetched_bytes", "Bytes read of model files in the store.", labels=())
    if figures is not None:
        if figures.synced_s is not None:
            synced.add_metric((), figures.synced_s)
        for reason, count in figures.failures.items():
            failures.add_metric((reason,), count)
        fetched.add_metric((), figures.fetched_bytes)
    yield from (synced, failures, fetched)
