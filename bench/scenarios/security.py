"""What security costs the server: tokens on the fast front, TLS on the one that has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trustme

from bench import samples
from bench.closed_load import Load, measure_load, put_load
from bench.processes import Server
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Goal, Row, make_row
from bench.run import Run
from bench.scenarios.single_images import MANY

_TOKEN = "a-token-as-long-as-those-that-generators-make-0123456789abcdef"


def tokens(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per request where each brings a token, against a server that wants none; on the native front."""
    scenario = f"{model}, {MANY} in flight, tokens"
    file = run.folder() / "tokens"
    file.touch(mode=0o600)
    file.write_text(_TOKEN)
    messages = _messages(run, model)
    flags = ["--token-file", str(file)]
    with run.server([model]) as plain, run.server([model], flags=["--auth-token-file", str(file)]) as guarded:
        without, with_tokens = _compare(run, scenario, messages, plain, guarded, flags)
    return _rows(scenario, without, with_tokens, goal, against="the same without tokens")


def tls(run: Run, model: str) -> list[Row]:
    """Server CPU per request over TLS, against plaintext; on the grpcio front."""
    scenario = f"{model}, {MANY} in flight, grpcio front, TLS"
    authority, pair = _write_certificates(run.folder())
    messages = _messages(run, model)
    secure = ["--tls-certificate", str(pair), "--tls-key", str(pair)]
    with run.server([model], "grpcio") as plain, run.server([model], "grpcio", secure) as encrypted:
        flags = ["--ca-certificate", str(authority)]
        without, with_tls = _compare(run, scenario, messages, plain, encrypted, flags)
    return _rows(scenario, without, with_tls, None, against="the same in plaintext")


def _messages(run: Run, model: str) -> Path:
    golden = samples.golden(RawOnnxruntime(run.models.file(model)))
    return samples.write(samples.single_images(model, golden), run.folder() / "messages")


def _write_certificates(folder: Path) -> tuple[Path, Path]:
    """An authority's certificate, and a certificate it signed for this machine together with its key."""
    made = trustme.CA()
    authority, pair = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(made.cert_pem.bytes())
    pair.touch(mode=0o600)
    pair.write_bytes(made.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
    return authority, pair


def _compare(
    run: Run, scenario: str, messages: Path, plain: Server, secured: Server, flags: Sequence[str]
) -> tuple[list[Load], list[Load]]:
    """Loads on both in turn; `flags` are the generator's for the secured one."""
    without, secure = [], []
    put_load(plain, messages, MANY, run.seconds / 2)
    put_load(secured, messages, MANY, run.seconds / 2, flags)
    for _ in run.each_round(scenario):
        without.append(measure_load(plain, messages, MANY, run.seconds))
        secure.append(measure_load(secured, messages, MANY, run.seconds, flags))
    return without, secure


def _rows(scenario: str, without: list[Load], secured: list[Load], goal: Goal | None, against: str) -> list[Row]:
    cpu, floors = ([load.cpu_us for load in loads] for loads in (secured, without))
    return [
        make_row(scenario, "server CPU", "us/request", cpu, floors, goal, against=against),
        make_row(scenario, "throughput", "requests/s", [load.result.calls_per_second for load in secured]),
        make_row(scenario, "latency p99", "us", [load.result.latency_p99_us for load in secured]),
    ]
