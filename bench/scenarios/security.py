"""What security costs the server: tokens on the fast front, TLS on the other, TLS by an edge before the fast one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import trustme

from bench import samples
from bench.edges import edge_before, nginx_is_there
from bench.load import Caller, Cost, measure_load
from bench.processes import Server
from bench.rows import Goal, Row, make_row, missing_row
from bench.run import Run
from bench.scenarios.rounds import MANY, Side, cpu_row, rows, take_turns
from covey.security import TLS, TokenFile

_TOKEN = "a-token-as-long-as-those-that-generators-make-0123456789abcdef"


def tokens(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per request where each brings a token, against a server that wants none; on the native front."""
    scenario = f"{model}, {MANY} in flight, tokens"
    file = run.folder() / "tokens"
    file.touch(mode=0o600)
    file.write_text(_TOKEN)
    with run.server([model]) as plain, run.server([model], flags=["--auth-token-file", str(file)]) as guarded:
        caller = Caller(token=TokenFile(file))
        return _compare(run, scenario, model, plain, guarded, caller, goal, "the same without tokens")


def tls(run: Run, model: str) -> list[Row]:
    """Server CPU per request over TLS, against plaintext; on the grpcio front."""
    scenario = f"{model}, {MANY} in flight, grpcio front, TLS"
    authority, pair = _write_certificates(run.folder())
    secure = ["--tls-certificate", str(pair), "--tls-key", str(pair)]
    with run.server([model], "grpcio") as plain, run.server([model], "grpcio", secure) as encrypted:
        return _compare(
            run, scenario, model, plain, encrypted, Caller(tls=TLS(authority)), None, "the same in plaintext"
        )


def edge(run: Run, model: str, goal: Goal) -> list[Row]:
    """CPU per request of server and edge together, where nginx ends TLS before the native front: against the grpcio
    front with TLS, and against the native front in plaintext."""
    scenario = f"{model}, {MANY} in flight, nginx before the native front"
    against = "grpcio with TLS"
    if not nginx_is_there():
        return [missing_row(scenario, "server and edge CPU", "us/request", goal, "nginx is not installed")]
    authority, pair = _write_certificates(run.folder())
    messages = samples.golden_messages(model, run.models.file(model))
    secure, caller = ["--tls-certificate", str(pair), "--tls-key", str(pair)], Caller(tls=TLS(authority))
    edged: list[tuple[Cost, Cost]] = []
    plain, encrypted = [], []
    with (
        run.server([model]) as native,
        run.server([model], "grpcio", secure) as grpcio,
        edge_before(native.target, native.metrics_url, pair, pair, run.folder()) as nginx,
    ):
        for _ in run.each_round(scenario):
            plain.append(measure_load(native, messages, MANY, run.seconds))
            encrypted.append(measure_load(grpcio, messages, MANY, run.seconds, caller))
            before_s = native.cpu_seconds()
            through = measure_load(nginx, messages, MANY, run.seconds, caller)
            edged.append(
                (through, replace(through, cpu_us=(native.cpu_seconds() - before_s) * 1e6 / through.calls.calls))
            )
    total_us = [front.cpu_us + server_cost.cpu_us for front, server_cost in edged]
    floors, native_floors = ([load.cpu_us for load in loads] for loads in (encrypted, plain))
    return [
        make_row(scenario, "server and edge CPU", "us/request", total_us, floors, goal, against=against),
        make_row(scenario, "server and edge CPU", "us/request", total_us, native_floors, against="native in plaintext"),
        make_row(scenario, "edge CPU", "us/request", [front.cpu_us for front, _ in edged]),
        *rows(scenario, [front for front, _ in edged], "throughput", "latency p99"),
    ]


def _write_certificates(folder: Path) -> tuple[Path, Path]:
    """An authority's certificate, and a certificate it signed for this machine together with its key."""
    signer = trustme.CA()
    authority, pair = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(signer.cert_pem.bytes())
    pair.touch(mode=0o600)
    pair.write_bytes(signer.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
    return authority, pair


def _compare(
    run: Run,
    scenario: str,
    model: str,
    plain: Server,
    secured: Server,
    caller: Caller,
    goal: Goal | None,
    against: str,
) -> list[Row]:
    """Loads on both in turn; `caller` is that of the secured one."""
    messages = samples.golden_messages(model, run.models.file(model))
    without, loads = take_turns(run, scenario, Side(plain, messages), Side(secured, messages, caller=caller))
    return [
        cpu_row(scenario, loads, [load.cpu_us for load in without], goal, against),
        *rows(scenario, loads, "throughput", "latency p99"),
    ]
