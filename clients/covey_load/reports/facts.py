"""The content of a report as rows (name, text): the same in the summary and on the page."""

from __future__ import annotations

from covey_load.measurement import Capacity, Report, Run, ServerMetrics, ServerProcess, ServerTiming
from covey_load.reports import verdict, words
from covey_load.reports.figures import batch_size, error_share
from covey_load.reports.verdict import Standing
from covey_load.reports.words import number

STAGES = ("outside", "decode", "queue", "compute")

_MAX_BATCH_SIZES = 6
_UNKNOWN = "the server's answers do not say"

_INVALID = {  # how a line on a run begins that is marked invalid
    Standing.VALID: "INVALID",
    Standing.INVALID: "INVALID",
    Standing.OVERLOAD: "Overload",
    Standing.SET_ASIDE: "Set aside",
}

Row = tuple[str, str]


def about(report: Report) -> list[Row]:
    """What was measured, and with what."""
    return _without_empty(
        ("target", words.subject(report)),
        ("server", _joined(report.server, but="model")),
        ("payload", report.payload),
        ("bound", f"{report.slo_ms:g} ms; a call answered later is not good" if report.slo_ms is not None else ""),
        ("begun", f"{report.started_at}, covey {report.covey_version}, seed {report.seed}"),
    )


def surroundings(report: Report) -> list[Row]:
    """What one needs to know to measure it again."""
    return _without_empty(("command", report.command), ("machine", _joined(report.machine)))


def throughput(run: Run) -> list[Row]:
    """The load and the calls that were answered."""
    failed = words.counts(run.errors)
    goodput = f"{number(run.goodput_per_s)} calls/s within the bound" if run.goodput_per_s is not None else ""
    return _without_empty(
        ("load", f"{words.load_name(run.load)}, {_loop(run)}; {number(run.seconds)} s after {_warm_up(run)}"),
        ("throughput", f"{number(run.calls_per_s)} calls/s, {number(run.images_per_s)} images/s"),
        ("goodput", goodput),
        ("calls", f"{run.calls:,}"),
        ("errors", f"{failed} ({words.share(error_share(run))} of the calls)" if failed else "none"),
    )


def inside(run: Run) -> list[Row]:
    """The stages of a call, and the costs of both ends."""
    return _without_empty(
        ("time goes", _stages(run.timing) if run.timing else _UNKNOWN),
        ("batches", _batches(run.timing) if run.timing else ""),
        ("generator", _generator(run)),
        ("server", _process(run.server_process) if run.server_process else ""),
        ("server counts", _metrics(run.metrics) if run.metrics else ""),
    )


def remarks(report: Report) -> list[str]:
    """Remarks that must not be overlooked. Those of several runs are named; a single run's leave out what verdict and
    throughput say."""
    lines = [f"Note: {remark}" for remark in report.remarks]
    if len(report.runs) == 1:
        return lines + [f"Note: {warning}" for warning in report.runs[0].warnings]
    for run in report.runs:
        name = words.load_name(run.load)
        begins = _INVALID[verdict.standing(run, report.capacity)]
        lines += [f"{begins}, {name}: {reason}" for reason in run.invalid]
        lines += [f"Note, {name}: {warning}" for warning in run.warnings]
        lines += [f"Errors, {name}: {words.counts(run.errors)}"] if run.errors else []
    if any(verdict.standing(run, report.capacity) is Standing.OVERLOAD for run in report.runs):
        lines.append("Note: a search for the capacity goes on until rates fail; overload is expected, and in no answer")
    return lines


def capacity(result: Capacity) -> str:
    """The result of a capacity search, as a sentence."""
    within = f"{words.share(result.share)} of the calls within {result.slo_ms:g} ms"
    if result.rate_per_s is None:
        if not result.tried:
            return f"Capacity: no rate was tried: {'; '.join(result.limited_by)}."
        lowest = min(rate for rate, _ in result.tried)
        lower = f" Lower ones were not tried: {'; '.join(result.limited_by)}." if result.limited_by else ""
        return f"Capacity: not even the lowest rate tried, {number(lowest)} calls/s, had {within}.{lower}"
    limits = f" It may be higher: {'; '.join(result.limited_by)}." if result.limited_by else ""
    return f"Capacity: {number(result.rate_per_s)} calls/s, the highest rate tried that had {within}.{limits}"


def _without_empty(*rows: Row) -> list[Row]:
    return [(name, text) for name, text in rows if text]


def _joined(parts: dict[str, str], but: str = "") -> str:
    return ", ".join(f"{name} {text}" for name, text in parts.items() if text and name != but)


def _loop(run: Run) -> str:
    scenario = f", scenario {run.load.scenario}" if run.load.scenario else ""
    images = f", {run.load.images_per_call:,} images a call" if run.load.images_per_call > 1 else ""
    return f"{run.load.loop} loop{scenario}{images}"


def _warm_up(run: Run) -> str:
    return f"{number(run.load.warm_up_s)} s of warm-up" if run.load.warm_up_s else "no warm-up"


def _stages(timing: ServerTiming) -> str:
    stages = ", ".join(f"{stage} {number(timing.mean_ms[stage])}" for stage in STAGES if stage in timing.mean_ms)
    return f"mean ms: {stages}; all in the server {number(timing.mean_ms.get('total'))}"


def _batches(timing: ServerTiming) -> str:
    sizes = timing.batch_sizes
    if not any(sizes.values()):
        return _UNKNOWN
    frequent = sorted(sizes, key=lambda size: (-sizes[size], size))[:_MAX_BATCH_SIZES]
    calls = sum(sizes.values())
    shares = ", ".join(f"{size}: {words.share(sizes[size] / calls)}" for size in sorted(frequent))
    chosen = "the most frequent sizes" if len(frequent) < len(sizes) else "sizes"
    return f"of {number(batch_size(timing))} on average; {chosen} and their share of the calls: {shares}"


def _generator(run: Run) -> str:
    generator = run.generator
    priority = f", {'with' if generator.real_time else 'without'} real-time priority" if run.load.loop == "open" else ""
    return (
        f"{number(generator.cpu_us_per_call)} us of CPU a call; its busiest process used "
        f"{generator.busiest_core_share:.0%} of a core ({words.plural(generator.processes, 'process', 'processes')}, "
        f"{words.plural(generator.connections, 'connection')}{priority})"
    )


def _process(process: ServerProcess) -> str:
    name = f"{process.name}, " if process.name else ""
    return (
        f"{number(process.cpu_us_per_call)} us of CPU a call, {number(process.cores_used)} cores, "
        f"at most {words.size(process.peak_memory_bytes)} of memory ({name}process {process.pid})"
    )


def _metrics(metrics: ServerMetrics) -> str:
    agreement = "the same" if metrics.requests == metrics.client_calls else "NOT the same"
    refused = f"; refused: {words.counts(metrics.refused)}" if any(metrics.refused.values()) else ""
    counted = f"{words.plural(metrics.requests, 'request')}, the client {metrics.client_calls:,}, warm-up included"
    return f"{counted}: {agreement}{refused}"
