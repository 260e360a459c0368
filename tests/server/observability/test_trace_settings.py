"""What OpenTelemetry's variables mean for the server."""

from __future__ import annotations

import random

import pytest

from covey_server.errors import InvalidConfiguration
from covey_server.observability.trace_settings import Sampling, are_wanted, read_sampling

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = SAMPLED[:-2] + "00"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_SERVICE_NAME": "shop"}, False),
    ],
)
def test_when_traces_are_wanted(environment: dict[str, str], expected: bool) -> None:
    assert are_wanted(environment) is expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Sampling(1.0, follows_parent=True)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, Sampling(0.0, follows_parent=False)),
        ({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "x"}, Sampling(1.0, follows_parent=False)),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
            Sampling(0.01, follows_parent=True),
        ),
    ],
)
def test_samplers(environment: dict[str, str], expected: Sampling) -> None:
    assert read_sampling(environment) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
    ],
)
def test_wrong_settings_say_what_is_expected(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidConfiguration, match="expected"):
        read_sampling(environment)


def test_the_caller_decides() -> None:
    sampling = Sampling(0.5, follows_parent=True)
    assert sampling.wants(SAMPLED)
    assert not sampling.wants(NOT_SAMPLED)
    assert sampling.wants("01-" + SAMPLED[3:] + "-more")  # a later version may say more
    ratio = Sampling(0.5, follows_parent=False)
    assert not ratio.wants(SAMPLED)  # 8448... is above the half
    assert ratio.wants(SAMPLED.replace("8448", "7448"))


@pytest.mark.parametrize(
    "parent", ["", "00", "nonsense", "ff" + SAMPLED[2:], "00-" + "0" * 32 + "-b7ad6b7169203331-01", SAMPLED + "\n"]
)
def test_a_header_that_cannot_be_read_counts_as_none(parent: str) -> None:
    assert Sampling(1.0).wants(parent)
    assert not Sampling(0.0).wants(parent)


def test_a_share_of_new_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", random.Random(21).random)
    wanted = sum(Sampling(0.25).wants("") for _ in range(4000))
    assert 900 < wanted < 1100
