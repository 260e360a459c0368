"""`make test-swarm`: Covey on a Docker Swarm of three engines that fail and are updated; its callers notice nothing.

    python -m tests.swarm [--image covey-server:test] [--threads N] [--only plain|secrets]

The servers are deployed by deploy/swarm/stack.yml, word for word as docs/swarm.md has it. Callers go on without a pause
while a node is killed, one is cut off, and the server's image and its model are replaced; then, with tokens and TLS by
Docker secrets, while these are replaced. Needs root, and an engine of this machine that has the image. Exit code 1
where a call failed or was answered wrongly.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.swarm.callers import DEADLINE_MS, Callers
from tests.swarm.engines import NODES, Engines, Failed, address, missing, wait_until
from tests.swarm.secrets import FILES, KEPT_TOKEN, Secrets

import covey

SWARM = Path(__file__).parents[2] / "deploy" / "swarm"
TARGETS = [f"{address(node)}:8001" for node in NODES]
_SERVICE = "covey_server"
_FIRST, _NEXT = "covey-server:swarm-1", "covey-server:swarm-2"  # one image; Swarm goes by the name
_READY_S = 400.0
_CUT_OFF_S = 20.0
_AFTER_S = 5.0  # that callers go on behind each step


class Campaign:
    """One stack on three nodes."""

    def __init__(self, engines: Engines, models: Path) -> None:
        self.engines = engines
        self.models = models
        self.manager = 2  # of the commands: not the node that is killed
        self.secrets: Secrets | None = None

    def docker(self, *arguments: str) -> str:
        return self.engines.docker(self.manager, *arguments)

    def wait_until_up(self, image: str = "") -> None:
        wait_until(lambda: are_up(self.engines, image), f"each node has a healthy server {image}", _READY_S)

    def kill_a_node(self) -> None:
        """The leader's, which comes back later."""
        self.engines.kill(1)
        time.sleep(10)
        self.engines.start(1)
        self.wait_until_up()

    def cut_off_a_node(self) -> None:
        self.engines.cut_off(3)
        time.sleep(_CUT_OFF_S)
        self.engines.connect_again(3)
        self.wait_until_up()

    def update_the_image(self) -> None:
        self.docker("service", "update", "--detach", "--no-resolve-image", "--image", _NEXT, _SERVICE)
        self.wait_until_up(_NEXT)

    def update_the_model(self) -> None:
        publish(self.models, 2)
        wait_until(lambda: versions() == {2}, "all servers have the new version", _READY_S)

    def stop_a_node(self) -> None:
        """As for its maintenance: Swarm drains it."""
        self.docker("node", "update", "--availability", "drain", "node3")
        wait_until(lambda: not self.engines.docker(3, "ps", "--quiet"), "the node has no server left", _READY_S)
        self.docker("node", "update", "--availability", "active", "node3")
        self.wait_until_up()

    def begin_secrets(self) -> Secrets:
        """The stack is deployed anew, with tokens and TLS."""
        folder = self.models.parent / "secrets"
        self.secrets = Secrets(folder, self.docker, [address(node) for node in NODES])
        self._deploy_secrets(self.secrets)
        return self.secrets

    def replace_tokens(self) -> None:
        assert self.secrets is not None
        self.secrets.next_tokens()
        self._deploy_secrets(self.secrets)
        self.secrets.remove_earlier("tokens")

    def replace_certificate(self) -> None:
        assert self.secrets is not None
        self.secrets.next_certificate()
        self._deploy_secrets(self.secrets)
        self.secrets.remove_earlier("certificate", "key")

    def _deploy_secrets(self, secrets: Secrets) -> None:
        deploy(self.engines, self.manager, self.models, FILES, secrets.settings)
        state = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"  # none, updating, completed, or that it went wrong
        wait_until(
            lambda: self.docker("service", "inspect", "--format", state, _SERVICE).strip() == "completed",
            "all servers have the secrets",
            _READY_S,
        )
        self.wait_until_up()
        secrets.require_tokens(TARGETS)
        secrets.require_certificate([(address(node), 8000) for node in NODES])


STEPS: dict[str, Callable[[Campaign], None]] = {
    "a node is killed, and comes back after 10 s": Campaign.kill_a_node,
    f"a node is cut off for {_CUT_OFF_S:g} s": Campaign.cut_off_a_node,
    "a node is drained, and takes part again": Campaign.stop_a_node,
    "the server's image is replaced": Campaign.update_the_image,
    "a new version of the model is published": Campaign.update_the_model,
}
SECRET_STEPS: dict[str, Callable[[Campaign], None]] = {
    "the tokens are replaced": Campaign.replace_tokens,
    "the certificate and its key are replaced": Campaign.replace_certificate,
}


def versions() -> set[int]:
    """Of the model, on all servers."""
    found = set()
    for target in TARGETS:
        with covey.Client(target) as client:
            found.add(client.model().version)
    return found


def are_up(engines: Engines, image: str = "") -> bool:
    """Whether each node has a healthy server, of this image."""
    for node in NODES:
        try:
            images = engines.docker(node, "ps", "--filter", "health=healthy", "--format", "{{.Image}}").split()
        except Failed:
            return False
        if len(images) != 1 or (image and images != [image]):
            return False
    return True


def publish(models: Path, version: int) -> None:
    """A version as an atomic rename brings it; all are the same network."""
    source = models.parent / "trained" / "lenet"
    partial = models / "lenet" / f".{version}"
    shutil.copytree(next(source.glob("[0-9]*")), partial)
    partial.rename(models / "lenet" / str(version))


def train(folder: Path) -> None:
    """LeNet on the sample, into `folder/trained`."""
    command = [sys.executable, "-m", "covey_export", "all", "lenet", "--dataset", "sample", "--epochs", "3"]
    command += ["--no-report", "--models", str(folder / "trained"), "--checkpoints", str(folder / "checkpoints")]
    subprocess.run(command, check=True, capture_output=True)


def deploy(engines: Engines, node: int, models: Path, files: Sequence[str], settings: Mapping[str, str]) -> None:
    """Deploys the stack from these files of deploy/swarm, or what has changed of it; waits for nothing."""
    command = ["stack", "deploy", "--resolve-image", "never"]
    for file in files:
        command += ["--compose-file", str(SWARM / file)]
    engines.docker(node, *command, "covey", settings={"COVEY_IMAGE": _FIRST, "COVEY_MODELS": str(models), **settings})


@contextmanager
def swarm(folder: Path, image: str) -> Iterator[Engines]:
    """The engines with the stack deployed, and taken away afterwards."""
    engines = Engines(folder)
    try:
        engines.load(image, _FIRST, _NEXT)
        deploy(engines, 1, folder / "models", ("stack.yml",), {})
        yield engines
    finally:
        engines.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all steps; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.swarm", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--image", default="covey-server:test", help="of this machine's engine (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=8, help="callers (default: %(default)s)")
    parser.add_argument("--only", choices=("plain", "secrets"), help="a part of the steps (default: both)")
    options = parser.parse_args(arguments)
    if why := missing():
        print(f"test-swarm: {why}", file=sys.stderr)
        return 2
    with resources.files("covey_export.datasets").joinpath("sample.npz").open("rb") as file, np.load(file) as arrays:
        images = arrays["test_images"][:200]
    with tempfile.TemporaryDirectory(prefix="covey-swarm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        say("training a model")
        train(folder)
        (folder / "models" / "lenet").mkdir(parents=True)
        publish(folder / "models", 1)
        say("starting three engines")
        try:
            with swarm(folder, options.image) as engines:
                return run(Campaign(engines, folder / "models"), images, options.threads, options.only)
        except Failed as error:
            print(f"test-swarm: {error}", file=sys.stderr)
            return 1


def run(campaign: Campaign, images: NDArray[np.uint8], threads: int, only: str | None) -> int:
    """All steps, or `only` a part; 1 where a call failed or was wrong."""
    up_s = wait_until(lambda: are_up(campaign.engines), "each node has a healthy server", _READY_S)
    say(f"each node has a healthy server after {up_s:.0f} s")
    code = 0
    if only != "secrets":
        with covey.Client(TARGETS, deadline_ms=DEADLINE_MS) as client:
            code = run_steps(campaign, STEPS, client, images, threads)
    if only != "plain":
        say("deploying tokens and TLS")
        secrets = campaign.begin_secrets()
        with covey.Client(TARGETS, deadline_ms=DEADLINE_MS, tls=secrets.tls, token=KEPT_TOKEN) as client:
            code |= run_steps(campaign, SECRET_STEPS, client, images, threads)
    return code


def run_steps(
    campaign: Campaign,
    steps: Mapping[str, Callable[[Campaign], None]],
    client: covey.Client,
    images: NDArray[np.uint8],
    threads: int,
) -> int:
    """These steps under load, with a line for each; 1 where a call failed or was wrong."""
    classes = [each.index for each in client.classify_many(images)]
    with Callers(client, images, classes, threads) as callers:
        for name, step in steps.items():
            before, began_s = callers.answered, time.monotonic()
            callers.take_slowest_ms()
            step(campaign)
            time.sleep(_AFTER_S)
            say(
                f"{name}: {callers.answered - before:,} calls in {time.monotonic() - began_s:.0f} s, "
                f"{sum(callers.failures.values())} failed so far, the slowest took {callers.take_slowest_ms():,.0f} ms"
            )
    for text, count in callers.failures.most_common():
        print(f"  {count} times: {text}")
    print(f"{callers.answered:,} calls answered, {sum(callers.failures.values())} failed, {callers.wrong} wrong")
    return int(bool(callers.failures or callers.wrong))


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
