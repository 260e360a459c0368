"""`python -m bench.attacks`: attacks a server in a memory cgroup, and prints what that cost it and its other callers.

Every server is one that this command started on this machine; each attack is bounded in count and time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import trustme

from bench.attacks import victims
from bench.attacks.attackers import ATTACKS, Attack, Target
from bench.attacks.http_attackers import HTTP_ATTACKS
from bench.attacks.limited_server import limited_server
from bench.edges import Edge, edge_before
from bench.load import Caller, OpenLoad, open_load
from bench.processes import CALL_TIMEOUT_S, ROOT, BenchError, Server
from bench.raw_http2 import Place
from covey.security import TLS, TokenFile
from covey_proto.v1.classifier_pb2 import ClassifyRequest, Pixels

TOKEN = "a-token-of-the-innocent"
HTTP = "http"  # as a front
RATE_PER_S = 100  # of the innocent callers
_IMAGES = 64  # different ones of theirs
_COLUMNS = "attack|front|server|RSS before, MB|peak, MB|after, MB|innocent p50, ms|p99, ms|max, ms|failed|attacker gets"


@dataclass(frozen=True)
class Result:
    """One attack on one front. Memory in MB, times in ms."""

    attack: str
    front: str
    server: str
    before_mb: int
    peak_mb: int
    after_mb: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    failed: str
    got: str

    def cells(self) -> list[str]:
        """The row of the table."""
        times = [
            f"{value:,.1f}" if math.isfinite(value) else "none" for value in (self.p50_ms, self.p99_ms, self.max_ms)
        ]
        sizes = [f"{value:,}" for value in (self.before_mb, self.peak_mb, self.after_mb)]
        return [self.attack, self.front, self.server, *sizes, *times, self.failed, self.got]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the attacks. Exit code 0 where every server lived through its attack."""
    options = _parse(arguments)
    rows: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="covey-attacks-") as scratch:
        for front in options.fronts.split(","):
            attacks = HTTP_ATTACKS if front == HTTP else ATTACKS
            for name in options.only.split(";") if options.only else attacks:
                row = _attack(name, attacks[name], front, Path(scratch), options)
                print(" | ".join(row.cells()), flush=True)
                rows.append(row)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print("\n| " + _COLUMNS.replace("|", " | ") + " |\n|" + " --- |" * (_COLUMNS.count("|") + 1))
    for row in rows:
        print("| " + " | ".join(row.cells()) + " |")
    return 0 if all(row.server == "alive" for row in rows) else 1


def _attack(name: str, attack: Attack, front: str, scratch: Path, options: argparse.Namespace) -> Result:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    flags = ["--front", "native" if front == HTTP else front, "--default-model", attack.model, *options.flags.split()]
    seconds = max(options.seconds, attack.min_seconds)
    models = victims.write(folder / "models", (attack.model, *attack.others))
    innocent = Caller()
    if attack.tokens:
        token = folder / "token"
        token.write_text(TOKEN + "\n")
        token.chmod(0o600)
        flags += ["--auth-token-file", str(token)]
        innocent = replace(innocent, token=TokenFile(token))
    limit_bytes = options.limit_mb * 2**20
    with (
        limited_server(options.checkout, models, folder, limit_bytes, flags, attack.soft_files) as server,
        contextlib.ExitStack() as stack,
    ):
        edge: Edge | None = None
        context: ssl.SSLContext | None = None
        if options.edge:
            edge, authority = _edge(stack, server.target, server.metrics_port, folder, with_tokens=attack.tokens)
            innocent = replace(innocent, tls=TLS(authority))
            context = ssl.create_default_context(cafile=str(authority))
            context.set_alpn_protocols(["h2"])
        front_door: Server = edge or server
        target = Target(
            Place.of(front_door.target, context), Place("127.0.0.1", server.metrics_port),
            Place.of(server.http_target), seconds,
        )  # fmt: skip
        if front == HTTP:
            innocent = replace(innocent, http=True, path=f"/v1/models/{attack.model}/classify")
            front_door = server.over_http
        before_mb = server.resident_mb()
        with open_load(
            front_door,
            [_request(attack.model, seed, by_http=innocent.http) for seed in range(_IMAGES)],
            rate=RATE_PER_S,
            seconds=seconds + 4,
            timeout_s=CALL_TIMEOUT_S,
            caller=innocent,
        ) as running:
            time.sleep(2.0)  # what an innocent caller waits without an attack is in the figures, too
            try:
                outcome = attack.run(target)
            except OSError as error:
                outcome = f"{error.__class__.__name__}: {error}"
            peak_mb = server.peak_mb()
            load: OpenLoad | None = None
            try:
                load = running.finish()
                failed = f"{load.calls.failures} of {load.calls.calls}"
            except BenchError as error:
                failed = str(error)[:80]
        peak_mb = max(peak_mb, server.peak_mb())
        verdict, after_mb = server.verdict(), server.resident_mb()
        if edge is not None:
            outcome += f"; edge {edge.peak_bytes() // 2**20} MB"
    p50_ms, p99_ms, max_ms = (load.percentile_ms(percent) if load else math.inf for percent in (50, 99, 100))
    front_name = f"{front}, edge" if options.edge else front
    return Result(name, front_name, verdict, before_mb, peak_mb, after_mb, p50_ms, p99_ms, max_ms, failed, outcome)


def _request(model: str, seed: int, *, by_http: bool) -> bytes:
    """What an innocent caller sends: pixels or, over HTTP, an image file."""
    if by_http:
        return victims.picture(seed)
    return ClassifyRequest(model=model, pixels=Pixels(data=victims.image(seed))).SerializeToString()


def _edge(
    stack: contextlib.ExitStack, address: str, metrics_port: int, folder: Path, *, with_tokens: bool
) -> tuple[Edge, Path]:
    """An edge before the server until the stack is closed, and the certificate of its authority."""
    signer = trustme.CA()
    authority, pair = folder / "authority.pem", folder / "edge.pem"
    authority.write_bytes(signer.cert_pem.bytes())
    pair.touch(mode=0o600)
    pair.write_bytes(signer.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.bytes())
    settings = {"COVEY_EDGE_TOKEN_FILE": str(folder / "token")} if with_tokens else {}
    url = f"http://127.0.0.1:{metrics_port}/metrics"
    edge = stack.enter_context(edge_before(address, url, pair, pair, folder, settings))
    return edge, authority


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.attacks", description=__doc__)
    parser.add_argument("--fronts", default="native,grpcio", help="of native, grpcio, http (default: the first two)")
    names = f"of {', '.join(ATTACKS)}; of http: {', '.join(HTTP_ATTACKS)}"
    parser.add_argument("--only", default="", metavar="NAME;...", help=names.replace("%", "%%"))
    parser.add_argument("--edge", action="store_true", help="with nginx before the server; both are measured")
    parser.add_argument("--seconds", type=float, default=8.0, help="bound of each attack (default: 8)")
    parser.add_argument("--limit-mb", type=int, default=512, help="memory of the server; 0: no limit (default: 512)")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose server is attacked (default: this one)")
    parser.add_argument("--flags", default="", help="more flags for the server, in one string")
    parser.add_argument("--json", type=Path, help="writes the rows to a file, too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, subprocess.SubprocessError) as error:
        sys.exit(f"bench.attacks: {error}")
