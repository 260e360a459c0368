"""The doctor's rules, each on both sides of its threshold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey_load import doctor
from covey_load.doctor import Runs
from covey_load.measurement import Generator, Run, ServerMetrics, ServerProcess, ServerTiming
from covey_load.observation import Front
from covey_load.reports import facts
from covey_load.reports.text import write_diagnosis

from . import examples


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

    limit = doctor.limit(loaded(timing=examples.timing(outside, decode, queue, compute)))

    assert limit.part == part
    assert limit.sentence.startswith(f"with 64 in flight, {expected}")


def test_busy_client_limits_before_all_else() -> None:
    busy, free = (loaded(generator=Generator(1, 2, 90.0, share)) for share in (0.9, 0.89))

    assert doctor.limit(busy).part == "client"
    assert "used 90% of a core, 90.0 us a call" in doctor.limit(busy).sentence
    assert doctor.client(free) is None
    assert doctor.limit(free).part == "compute"


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
        (1.6, examples.timing(), "the server used 1.60 of 2 cores: the processor is full"),
        (1.59, examples.timing(queue=9.0), "the server used 1.59 of 2 cores"),
        (1.0, examples.timing(queue=9.0), "the server used 1.00 of 2 cores"),
        (0.99, examples.timing(queue=9.0), "the server used 0.990 of 2 cores while calls waited: more workers"),
        (0.99, examples.timing(outside=9.0), "the server used 0.990 of 2 cores: if the others were not idle"),
        (0.99, examples.timing(compute=9.0), "the server used 0.990 of 2 cores"),
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
        assert "try covey-server --processes 5;" in text
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


OUTSIDE = examples.timing(outside=7.0, decode=0.1, queue=0.1, compute=0.1)


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
    limit = doctor.limit(replace(loaded(timing=OUTSIDE), front=front, tls=tls))
    assert limit.part == part
    assert expected in limit.sentence
    assert doctor.front(replace(loaded(timing=OUTSIDE), front=front, tls=tls)) is None


def test_a_costly_front_that_does_not_limit_is_told_too() -> None:
    computing = replace(runs(), front=Front.GRPCIO)
    assert doctor.limit(computing).part == "compute"
    assert "several times the processor time a call that --front native does" in sentence(doctor.front(computing))
    assert doctor.front(runs()) is None
