"""The doctor's rules, each on both sides of its threshold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey_load import bottleneck, doctor
from covey_load.bottleneck import Runs
from covey_load.measurement import Generator, Run, ServerMetrics, ServerProcess, ServerTiming
from covey_load.observation import Front
from covey_load.reports import facts
from covey_load.reports.text import write_diagnosis

from . import examples

OUTSIDE = examples.timing(outside=7.0, decode=0.1, queue=0.1, compute=0.1)


def runs(loaded: Run | None = None, alone: Run | None = None, cores: int = 2) -> Runs:
    return Runs(
        alone or examples.run(0.3, 2_000.0, load=examples.load(1), timing=examples.timing(batch_size=1)),
        loaded or examples.run(3.0, 20_000.0, load=examples.load(64), timing=examples.timing(batch_size=32)),
        cores,
    )


def loaded(**other: object) -> Runs:
    return runs(replace(runs().loaded, **other))  # type: ignore[arg-type]


def sentence(text: str | None) -> str:
    assert text is not None
    return text


@pytest.mark.parametrize(
    ("longest", "part", "expected"),
    [
        ("outside", "network", "7.00 of a call's 10.0 ms are network, kernel and the protocol on both ends"),
        ("decode", "decode", "7.00 of a call's 10.0 ms are reading the image files"),
        ("queue", "queue", "7.00 of a call's 10.0 ms are waiting for a batch to begin"),
        ("compute", "compute", "7.00 of a call's 10.0 ms are the network itself"),
    ],
)
def test_longest_part_of_a_call_limits(longest: str, part: str, expected: str) -> None:
    outside, decode, queue, compute = (7.0 if stage == longest else 1.0 for stage in facts.STAGES)

    limit = bottleneck.limit(loaded(timing=examples.timing(outside, decode, queue, compute)))

    assert limit.part == part
    assert limit.sentence.startswith(f"with 64 in flight, {expected}")


def test_busy_client_limits_before_all_else() -> None:
    busy, free = (loaded(generator=Generator(1, 2, 90.0, share)) for share in (0.9, 0.89))

    assert bottleneck.limit(busy).part == "client"
    assert "used 90% of a core, 90.0 us a call" in bottleneck.limit(busy).sentence
    assert bottleneck.client(free) is None
    assert bottleneck.limit(free).part == "compute"


@pytest.mark.parametrize(
    ("cores", "cores_used", "part"),
    [(1, 0.8, "processor"), (1, 0.79, "network"), (2, 0.97, "network"), (0.5, 0.45, "processor")],
)
def test_a_full_processor_is_not_taken_for_the_network(cores: float, cores_used: float, part: str) -> None:
    """A server that may use one core of two is full when it uses one."""
    process = ServerProcess(1, 50.0, cores_used, 10**8)
    full = replace(loaded(timing=OUTSIDE, server_process=process), cores=cores)
    assert bottleneck.limit(full).part == part
    assert ("the processor is full" in sentence(doctor.processor(full))) is (part == "processor")
    if part == "processor":
        expected = f"while the server used {cores_used:.3f} of the {cores:g} core that it may use: calls wait for its"
        assert expected in bottleneck.limit(full).sentence


def test_cores_of_a_server_elsewhere_are_those_that_it_counts() -> None:
    metrics = ServerMetrics(100, 100, None, {}, cores_used=0.9, usable_cores=1)
    assert bottleneck.cores_used(loaded(server_process=None, metrics=metrics).loaded) == 0.9
    assert bottleneck.cores_used(loaded(server_process=None, metrics=None).loaded) is None
    assert bottleneck.cores_used(loaded(server_process=ServerProcess(1, 50.0, 0.5, 1), metrics=metrics).loaded) == 0.5


@pytest.mark.parametrize(
    ("metrics", "part", "expected"),
    [
        (
            ServerMetrics(1, 1, None, {"images_per_s": 5}, {"nightly/images_per_s": 5}), "token's limit",
            "with 64 in flight were refused, for images_per_s of [nightly] in the server's limits file; 20,000 calls/s",
        ),
        (
            ServerMetrics(1, 1, None, {"in_flight": 5}, {"other/in_flight": 5}), "token's limit",
            "for in_flight of [default] in the server's limits file",
        ),
        (None, "limits on calls", "for a limit of the token (--limits-file) or one of the server's own;"),
        (ServerMetrics(1, 1, None, {}), "limits on calls", "by a proxy before it"),
        (ServerMetrics(1, 1, None, {"calls": 7}), "server's limits", "the server counts 7 calls"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "HTTP 429"])
def test_calls_that_are_refused_are_bounded_by_what_refuses_them(
    metrics: ServerMetrics | None, part: str, expected: str, code: str
) -> None:
    refused = replace(loaded(timing=OUTSIDE, metrics=metrics, errors={code: 24_000}), caller="token")
    assert bottleneck.limit(refused).part == part
    assert bottleneck.limit(refused).sentence.startswith("24.00% of the calls with 64 in flight were refused")
    assert expected in bottleneck.limit(refused).sentence
    process = ServerProcess(1, 50.0, 0.1, 10**8)
    idle = replace(refused, loaded=replace(refused.loaded, server_process=process))
    assert doctor.processor(idle) == "the server used 0.100 of the 2 cores that it may use"


@pytest.mark.parametrize(
    ("refusal", "part"),
    [
        ("'nightly' may send 0.5 images per second, and 1 more would pass that; try again in 9 ms", "token's limit"),
        ("this caller may send 5 requests per second (divided by 2 processes) and has sent them", "token's limit"),
        ("8 calls of 'a b' are unanswered, as many as it may have at once; wait for answers", "token's limit"),
        ("the server holds 1,024 calls", "server's limits"),
    ],
)
def test_without_metrics_what_the_server_said_to_a_refused_call_counts(refusal: str, part: str) -> None:
    refused = loaded(timing=OUTSIDE, metrics=None, errors={"RESOURCE_EXHAUSTED": 24_000})
    told = bottleneck.limit(replace(refused, caller="token", refusal=refusal))
    assert told.part == part
    assert f'were refused: "{refusal}"; 20,000 calls/s were answered' in told.sentence


def test_few_refusals_for_the_servers_own_limits_bound_nothing() -> None:
    metrics = ServerMetrics(1, 1, None, {"calls": 1_000})
    few, more = (loaded(errors={"RESOURCE_EXHAUSTED": count}, metrics=metrics) for count in (1_000, 1_001))
    assert bottleneck.limit(few).part == "compute"
    assert bottleneck.limit(more).part == "server's limits"


def test_of_one_run_only_what_it_shows_is_said() -> None:
    metrics = ServerMetrics(1, 1, None, {"requests_per_s": 5}, {"nightly/requests_per_s": 5})
    alone = replace(runs().alone, errors={"RESOURCE_EXHAUSTED": 1_000}, metrics=metrics)
    assert bottleneck.is_held_by_a_limit(alone)
    only = Runs(alone, alone, 2, caller="certificate")
    assert bottleneck.limit(only).part == "certificate's limit"
    assert "with 1 in flight were refused" in bottleneck.limit(only).sentence
    assert doctor.batches(only) is doctor.gain(only) is None
    assert sentence(doctor.left_out(only)) == "more calls in flight were not tried, as one alone was refused already"
    assert sentence(doctor.failures(only)) == "calls failed: 10.00% with 1 in flight (1,000 RESOURCE_EXHAUSTED)"
    assert doctor.left_out(runs()) is None


def test_which_runs_are_held_by_a_limit() -> None:
    for metrics, errors, expected in (
        (ServerMetrics(1, 1, None, {}, {"a/in_flight": 1}), {"HTTP 429": 1}, True),
        (ServerMetrics(1, 1, None, {}, {"a/in_flight": 1}), {}, False),  # other callers' calls
        (None, {"RESOURCE_EXHAUSTED": 1}, True),
        (ServerMetrics(1, 1, None, {"calls": 1}), {"RESOURCE_EXHAUSTED": 1}, False),
        (None, {"INTERNAL": 1}, False),
    ):
        assert bottleneck.is_held_by_a_limit(loaded(metrics=metrics, errors=errors).loaded) is expected


def test_server_that_tells_nothing() -> None:
    silent = runs(replace(runs().loaded, timing=None), replace(runs().alone, timing=None))

    report = examples.report(silent.alone, silent.loaded)

    assert "What limits it: not to be told. The client was not busy, and this server's answers do not say" in " ".join(
        write_diagnosis(report, silent).split()
    )
    assert doctor.lone_call(silent) is doctor.lone_batches(silent) is doctor.batches(silent) is None


def test_lone_call() -> None:
    assert sentence(doctor.lone_call(runs())) == (
        "a call by itself takes 1.50 ms: outside 0.400, decode 0, queue 0.500, compute 0.600"
    )


def test_average_batch_of_one_since_only_one_was_in_flight() -> None:
    assert sentence(doctor.lone_batches(runs())) == "average batch 1.0: only one request was in flight"
    shared = replace(runs().alone, timing=_batches({1: 1, 3: 1}))
    assert doctor.lone_batches(runs(alone=shared)) is None
    hardly = replace(runs().alone, timing=_batches({1: 1, 2: 1}))
    assert "average batch 1.5" in sentence(doctor.lone_batches(runs(alone=hardly)))


def test_batches_under_load() -> None:
    assert "average batch 2.0 with 64 in flight: requests do share" in sentence(
        doctor.batches(loaded(timing=_batches({2: 5})))
    )
    assert "average batch 1.5 although 64 were in flight" in sentence(
        doctor.batches(loaded(timing=_batches({1: 1, 2: 1})))
    )


def _batches(sizes: dict[int, int]) -> ServerTiming:
    return replace(examples.timing(), batch_sizes=sizes)


def test_gain() -> None:
    assert sentence(doctor.gain(loaded(calls_per_s=3_000.0))).startswith(
        "64 in flight were answered 1.50 times as fast as one: 3,000 calls/s against 2,000"
    )
    assert "only 1.49 times" in sentence(doctor.gain(loaded(calls_per_s=2_980.0)))
    assert doctor.gain(runs(alone=replace(runs().alone, calls_per_s=0.0))) is None


@pytest.mark.parametrize(
    ("cores_used", "timing", "expected"),
    [
        (1.6, examples.timing(), "the server used 1.60 of the 2 cores that it may use: the processor is full"),
        (1.59, examples.timing(queue=9.0), "the server used 1.59 of the 2 cores that it may use"),
        (1.0, examples.timing(queue=9.0), "the server used 1.00 of the 2 cores that it may use"),
        (
            0.99,
            examples.timing(queue=9.0),
            "the server used 0.990 of the 2 cores that it may use while calls waited: more workers",
        ),
        (
            0.99,
            examples.timing(outside=9.0),
            "the server used 0.990 of the 2 cores that it may use: if the others were not idle",
        ),
        (0.99, examples.timing(compute=9.0), "the server used 0.990 of the 2 cores that it may use"),
    ],
)
def test_processor(cores_used: float, timing: ServerTiming, expected: str) -> None:
    process = ServerProcess(1, 50.0, cores_used, 10**8)

    text = sentence(doctor.processor(loaded(server_process=process, timing=timing)))

    assert text.startswith(expected)
    assert (":" in text) is (":" in expected)
    assert doctor.processor(loaded(server_process=None)) is None


@pytest.mark.parametrize(
    ("cores_used", "cores", "compute", "is_said"),
    [
        (3.0, 16, 0.5, True),
        (8.0, 16, 0.5, False),  # half of them
        (0.9, 16, 0.5, False),  # it is not busy
        (3.0, 16, 1.1, False),  # computing is no small part
        (1.0, 2, 0.5, False),
    ],
)
def test_several_processes_are_proposed_where_the_interpreter_is_the_limit(
    cores_used: float, cores: int, compute: float, is_said: bool
) -> None:
    process = ServerProcess(1, 50.0, cores_used, 10**8)
    runs_seen = replace(loaded(server_process=process, timing=examples.timing(queue=5.0, compute=compute)), cores=cores)
    text = doctor.interpreter(runs_seen)
    assert bool(text) is is_said
    if text:
        assert "a batch takes only 0.500 ms" in text
        assert "try covey serve --processes 5;" in text
    assert (
        doctor.interpreter(replace(runs_seen, loaded=replace(runs_seen.loaded, generator=Generator(1, 2, 90.0, 0.9))))
        is None
    )


def test_failures() -> None:
    assert doctor.failures(runs()) is None
    assert sentence(doctor.failures(loaded(errors={"RESOURCE_EXHAUSTED": 1_000}))) == (
        "calls failed: 1.00% with 64 in flight (1,000 RESOURCE_EXHAUSTED)"
    )


def test_counts() -> None:
    assert doctor.counts(runs()) is None
    assert doctor.counts(loaded(metrics=None)) is None
    assert sentence(doctor.counts(loaded(metrics=ServerMetrics(101, 100, None, {})))).startswith(
        "the server counted 101 requests, the client 100"
    )


def test_others_are_what_has_something_to_say() -> None:
    rules = [doctor.lone_call, doctor.lone_batches, doctor.batches, doctor.gain, doctor.processor]
    assert doctor.others(runs()) == [rule(runs()) for rule in rules]


@pytest.mark.parametrize(
    ("front", "tls", "part", "expected"),
    [
        (Front.GRPCIO, False, "front", "the server's grpcio front needs several times the processor time a call"),
        (Front.GRPCIO, True, "front", "the server's grpcio front, TLS included, needs several times"),
        (Front.OTHER, True, "front", "TLS is encrypted and decrypted at both ends"),
        (Front.OTHER, False, "network", "network, kernel and the protocol on both ends"),
        (Front.UNKNOWN, False, "network", "network, kernel and the protocol on both ends"),
    ],
)
def test_a_costly_front_is_named_where_the_way_to_the_server_limits(
    front: Front, tls: bool, part: str, expected: str
) -> None:
    limit = bottleneck.limit(replace(loaded(timing=OUTSIDE), front=front, tls=tls))
    assert limit.part == part
    assert expected in limit.sentence
    assert doctor.front(replace(loaded(timing=OUTSIDE), front=front, tls=tls)) is None


def test_a_costly_front_that_does_not_limit_is_told_too() -> None:
    computing = replace(runs(), front=Front.GRPCIO)
    assert bottleneck.limit(computing).part == "compute"
    assert "several times the processor time a call that --front native does" in sentence(doctor.front(computing))
    assert doctor.front(runs()) is None
