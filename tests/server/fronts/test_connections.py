"""What connections take that no call accounts for, through real servers on both fronts: places, half-sent messages,
answers that nobody reads."""

from __future__ import annotations

import re
import resource
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest
from bench.processes import fetch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import WriteModel, echo_model
from tests.server.conftest import Server, StartServer
from tests.server.fronts.stream_calls import metric, responses, stream
from tests.server.test_process import Process
from tests.waiting import wait_until

from covey_load.wire import frames
from covey_proto.inference import open_inference_pb2 as oi
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.app import App
from covey_server.batching.admission import Admission
from covey_server.calls.service import Services
from covey_server.config import Config
from covey_server.fronts import connections
from covey_server.fronts.connection_table import Connection
from covey_server.fronts.connections import Limits
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.fronts.security import Security

SETTINGS = frames.frame(frames.SETTINGS, 0, 0)
CLASSIFY, INFER = "/covey.v1.Classifier/Classify", "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/covey.v1.Classifier/ClassifyStream"


@pytest.fixture
def callers() -> Iterator[ExitStack]:
    """Closes what is put into it."""
    with ExitStack() as stack:
        yield stack


def connect(server: Server, *, preface: bytes = frames.PREFACE + SETTINGS) -> socket.socket:
    host, _, port = server.target.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(preface)
    return connection


def head(stream_id: int, path: str) -> bytes:
    """The headers of a call."""
    block = frames.header_block(
        ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"),
         ("content-type", "application/grpc"))
    )  # fmt: skip
    return frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block)


def call(stream_id: int, path: str, message: bytes) -> bytes:
    """A whole call of a small message."""
    body = frames.length_prefixed(message)
    return head(stream_id, path) + frames.frame(frames.DATA, frames.END_STREAM, stream_id, body)


def is_closed_within(connection: socket.socket, timeout_s: float) -> bool:
    """Whether the server hangs up; what it sends until then is read."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        connection.settimeout(max(0.001, give_up - time.monotonic()))
        try:
            if not connection.recv(1 << 16):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def requests(server: Server, code: str) -> float:
    """How many calls ended so."""
    found = re.findall(
        rf'^covey_requests_total{{code="{code}",[^}}]*}} (\S+)$', fetch(server.metrics_url), re.MULTILINE
    )
    return sum(map(float, found))


def answers(server: Server, image_bytes: int = 16) -> bool:
    return len(server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(image_bytes)))).results) == 1


@pytest.fixture
def started(tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel) -> Server:
    write_echo_model(tmp_path)
    return start_server(tmp_path, max_bytes=32 << 20, max_message_bytes=8 << 20)


@pytest.mark.parametrize("preface", [b"", frames.PREFACE[:10], frames.PREFACE])
def test_who_does_not_begin_to_speak_is_closed(
    started: Server, callers: ExitStack, monkeypatch: pytest.MonkeyPatch, preface: bytes
) -> None:
    monkeypatch.setattr(connections, "PREFACE_S", 1.0)
    silent = callers.enter_context(connect(started, preface=preface))
    spoken = callers.enter_context(connect(started))
    assert is_closed_within(silent, 20)
    assert not is_closed_within(spoken, 0.5)
    assert metric(started, 'covey_connections_closed_total{reason="preface"}') >= 1
    assert answers(started)


def test_idle_connections_are_closed_where_a_time_is_set_and_used_ones_are_not(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, callers: ExitStack
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, idle_timeout_s=3)
    idle = callers.enter_context(connect(server))
    idle.sendall(call(1, CLASSIFY, pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString()))
    health = health_pb2_grpc.HealthStub(server.channel)
    began = time.monotonic()
    while not is_closed_within(idle, 0.2):
        health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert time.monotonic() < began + 30
    assert time.monotonic() > began + 2
    assert metric(server, 'covey_connections_closed_total{reason="idle"}') == 1


def test_beyond_the_limit_the_silent_ones_go_and_the_used_one_stays(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, callers: ExitStack
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_connections=5)
    assert answers(server)
    silent = [callers.enter_context(connect(server)) for _ in range(20)]
    wait_until(lambda: metric(server, "covey_connections_open") <= 5)
    assert all(is_closed_within(each, 5) for each in silent[:10]), "the oldest go first"
    assert metric(server, 'covey_connections_closed_total{reason="places"}') >= 16
    assert answers(server)


def test_silent_connections_without_number_keep_nobody_out(
    front: str, tmp_path: Path, write_echo_model: WriteModel, callers: ExitStack
) -> None:
    """Where neither more files nor more time is to be had: the hard limit is 256."""
    write_echo_model(tmp_path)
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); "
        "runpy.run_module('covey_server', run_name='__main__')"
    )
    process = Process("--front", front, "--models", str(tmp_path), command=("-c", limited))
    callers.callback(process.popen.communicate)
    callers.callback(process.popen.kill)
    target = process.target()
    host, _, port = target.rpartition(":")
    for _ in range(300):
        callers.enter_context(socket.create_connection((host, int(port)), timeout=20))
    with grpc.insecure_channel(target) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        status = check(health_pb2.HealthCheckRequest(), timeout=20, wait_for_ready=True).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_the_soft_limit_of_open_files_is_raised(front: str, tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("the hard limit is too low here")
    limited = (
        f"import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, {hard})); "
        "runpy.run_module('covey_server', run_name='__main__')"
    )
    process = Process("--front", front, "--models", str(tmp_path), command=("-c", limited))
    try:
        process.target()
        soft, _ = resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE)
    finally:
        process.popen.kill()
        process.popen.communicate()
    assert soft == min(hard, 65_536)


class Upload:
    """The body of one call, sent as the server's windows allow."""

    def __init__(self, server: Server, path: str) -> None:
        self.connection = connect(server)
        self.connection.sendall(head(1, path))
        self._windows = {0: frames.DEFAULT_WINDOW_BYTES, 1: frames.DEFAULT_WINDOW_BYTES}
        self._initial = frames.DEFAULT_WINDOW_BYTES
        self._received = b""
        self.max_window_bytes = 0  # the most that the server has let the call send at once

    def send(self, body: bytes, *, end: bool = False) -> None:
        """Raises OSError where the server hangs up, TimeoutError where it takes no more."""
        place = 0
        while place < len(body):
            size = min(16_384, len(body) - place, *self._windows.values())
            if size <= 0:
                self._read()
                continue
            last = end and place + size == len(body)
            piece = body[place : place + size]
            self.connection.sendall(frames.frame(frames.DATA, frames.END_STREAM if last else 0, 1, piece))
            place += size
            for each in self._windows:
                self._windows[each] -= size

    def _read(self) -> None:
        data = self.connection.recv(1 << 16)
        if not data:
            raise ConnectionError
        self._received += data
        while len(self._received) >= frames.FRAME_HEADER_BYTES:
            word, flags, stream = frames.frame_header.unpack_from(self._received)
            end = frames.FRAME_HEADER_BYTES + (word >> 8)
            if len(self._received) < end:
                return
            payload, self._received = self._received[frames.FRAME_HEADER_BYTES : end], self._received[end:]
            if word & 0xFF == frames.WINDOW_UPDATE:
                self._windows[stream] += frames.word.unpack(payload)[0]
                self.max_window_bytes = max(self.max_window_bytes, self._windows[1])
            elif word & 0xFF == frames.SETTINGS and not flags & frames.ACK:
                for name, value in frames.setting.iter_unpack(payload):
                    if name == frames.INITIAL_WINDOW_SIZE:
                        self._windows[1] += value - self._initial
                        self._initial = value
                self.connection.sendall(frames.frame(frames.SETTINGS, frames.ACK, 0))
            elif word & 0xFF == frames.PING and not flags & frames.ACK:  # grpcio measures by them what it may ask for
                self.connection.sendall(frames.frame(frames.PING, frames.ACK, 0, payload))


def send_halves(server: Server, callers: ExitStack, count: int, size: int, path: str, length: int) -> None:
    """On connections of their own sends so much of messages that are announced with `length` bytes, or as much as the
    server takes of each."""
    body = struct.pack(">BI", 0, length) + bytes(size)
    for _ in range(count):
        upload = Upload(server, path)
        callers.enter_context(upload.connection)
        upload.connection.settimeout(2)
        with suppress(OSError):  # closed for it, or refused
            upload.send(body)


@pytest.mark.parametrize(("path", "length"), [(CLASSIFY, 8_000_000), (INFER, 2**32 - 1)])
def test_half_sent_messages_take_no_more_memory_than_they_may(
    front: str, tmp_path: Path, write_echo_model: WriteModel, callers: ExitStack, path: str, length: int
) -> None:
    """80 of 7.5 MB each would take 600 MB; 32 MB are allowed, as --max-bytes says, and what comes between
    two looks. grpcio gives little back of what it holds in small pieces."""
    write_echo_model(tmp_path)
    process = Process(
        "--front", front, "--models", str(tmp_path), "--max-bytes", str(32 << 20), "--max-message-bytes", str(8 << 20)
    )
    callers.callback(process.popen.communicate)
    callers.callback(process.popen.kill)
    target = process.target()
    server = Remote(target, process.metrics_url)
    before = metric(server, "process_resident_memory_bytes")
    send_halves(server, callers, 80, 7_500_000, path, length)
    assert metric(server, "process_resident_memory_bytes") < before + (112 if front == "native" else 256) * 2**20
    wait_until(lambda: metric(server, "covey_unfinished_bytes") <= 32 << 20)
    if front == "native" or length == 8_000_000:  # grpcio refuses a message by its announced length
        assert metric(server, 'covey_connections_closed_total{reason="unfinished"}') >= 30
    with grpc.insecure_channel(target) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
        pixels = pb.Pixels(data=bytes(16 * 100_000))  # an honest large one
        message = pb.ClassifyRequest(pixels=pixels, top_k=1).SerializeToString()
        assert len(pb.ClassifyResponse.FromString(classify(message, timeout=60)).results) == 100_000


class Remote(Server):
    """A server of another process."""

    def __init__(self, target: str, metrics_url: str) -> None:
        self.target, self.metrics_url = target, metrics_url


def test_messages_that_announce_gigabytes_do_not_use_up_the_address_space(
    started: Server, callers: ExitStack, front: str
) -> None:
    """Each call of a few bytes reserves 4 GB on the native front; at 128 TB the process would end."""
    connection = callers.enter_context(connect(started))
    start = struct.pack(">BI", 0, 2**32 - 1)
    with suppress(OSError):  # closed for it
        for number in range(1, 2 * 900, 2):
            connection.sendall(head(number, CLASSIFY) + frames.frame(frames.DATA, 0, number, start))
    if front == "native":
        wait_until(lambda: metric(started, 'covey_connections_closed_total{reason="unfinished"}') > 0)
    wait_until(lambda: metric(started, "process_virtual_memory_bytes") < 2**40)
    assert answers(started)


def test_address_space_that_is_reserved_slowly_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It once was taken for the process's own where it grew by less than the limit between two looks."""
    services = Services((), begin=lambda inline: None, written=lambda count, caller: None)
    front = GrpcioFront("127.0.0.1:0", services, 1 << 20, 1 << 20, Security())
    limits = Limits(max_bytes=1 << 30, min_unfinished_bytes=1 << 30, look_bytes=1 << 20, max_connections=10)
    guard = connections.ConnectionGuard(front.port, front, Admission(10, 1 << 20, 1 << 20), limits, lambda: 0)
    with ExitStack() as stack:
        stack.callback(front.stop, 0)
        stack.callback(guard.stop)
        closed: list[object] = []
        monkeypatch.setattr(guard, "_close", lambda connection, reason: closed.append(connection))
        host, port = "127.0.0.1", front.port
        front.start()
        connection = stack.enter_context(socket.create_connection((host, port), timeout=20))
        connection.sendall(frames.PREFACE + SETTINGS)
        wait_until(lambda: guard._tick(time.monotonic() + 5) or guard.unfinished_bytes > 0)
        memory_bytes, reserved_bytes = guard._memory.look()
        for step in range(1, 4):
            reserved = reserved_bytes + step * (600 << 30)
            monkeypatch.setattr(guard._memory, "look", lambda reserved=reserved: (memory_bytes, reserved))
            guard._tick(time.monotonic() + 10 * step)
    assert closed


def test_where_a_call_could_end_the_process_the_log_says_so(
    front: str, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)); "
        "runpy.run_module('covey_server', run_name='__main__')"
    )
    process = Process("--front", front, "--models", str(tmp_path), command=("-c", limited))
    process.target()
    process.popen.terminate()
    code, log = process.end()
    assert code == 0
    assert ("4 GB of address space cannot be reserved here" in log) == (front == "native")


def test_slow_but_honest_uploads_are_left_alone(started: Server, callers: ExitStack) -> None:
    message = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 200_000)), top_k=1).SerializeToString()
    body = frames.length_prefixed(message)
    uploads = [Upload(started, CLASSIFY) for _ in range(3)]
    for upload in uploads:
        callers.enter_context(upload.connection)
    for start in range(0, len(body), 200_000):
        for upload in uploads:
            upload.send(body[start : start + 200_000], end=start + 200_000 >= len(body))
        assert metric(started, "covey_unfinished_bytes") < 3.3 * len(body)
    wait_until(lambda: metric(started, 'covey_images_total{model="echo",version="1"}') >= 3 * 200_000)
    assert metric(started, "covey_unfinished_bytes") < 100_000
    assert metric(started, 'covey_connections_closed_total{reason="unfinished"}') == 0


CLOSED_WINDOW = frames.frame(frames.SETTINGS, 0, 0, frames.setting.pack(frames.INITIAL_WINDOW_SIZE, 0))


@pytest.fixture
def wide(tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel) -> Server:
    """Of many classes: an answer with all of them has 170 kB."""
    path = write_echo_model(tmp_path, shape=(20, 20, 1), classes=CLASSES)
    path.write_bytes(echo_model((20, 20, 1), [f"{n} " + 400 * "x" for n in range(CLASSES)]).SerializeToString())
    return start_server(tmp_path, max_bytes=4 << 20)


def test_a_stream_of_more_than_may_be_half_sent_is_left_alone(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    """Behind the native front nothing tells by which connection a stream came."""
    write_echo_model(tmp_path, shape=(100, 100, 1))
    server = start_server(tmp_path, max_bytes=32 << 20, max_message_bytes=8 << 20)
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(200 * 10_000)), top_k=1)
    message = pb.ClassifyStreamRequest(request=request).SerializeToString()
    assert sum(1 for _ in responses(stream(server, iter([message] * 30)))) == 30  # 60 MB
    assert metric(server, "covey_unfinished_bytes") < 4 << 20
    assert metric(server, 'covey_connections_closed_total{reason="unfinished"}') == 0


def test_a_stream_is_not_asked_for_more_than_a_server_may_hold_of_it(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, callers: ExitStack
) -> None:
    """What a front lets a caller send before it is read is held, and could be taken for a half-sent message."""
    write_echo_model(tmp_path, shape=(1000, 1000, 1))
    server = start_server(tmp_path, max_bytes=32 << 20, max_message_bytes=8 << 20)
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(2 * 1_000_000)), top_k=1)
    body = frames.length_prefixed(pb.ClassifyStreamRequest(request=request).SerializeToString())
    upload = Upload(server, STREAM)
    callers.enter_context(upload.connection)
    for _ in range(30):
        upload.send(body)
    assert upload.max_window_bytes <= 6 << 20


CLASSES = 400
BLACK = pb.Pixels(data=bytes(CLASSES))  # small enough for a hundred to fit into the windows that connections begin with


def test_answers_that_nobody_reads_are_counted_and_bounded_and_others_are_served(
    wide: Server, callers: ExitStack
) -> None:
    greedy = callers.enter_context(connect(wide, preface=frames.PREFACE + CLOSED_WINDOW))
    message = pb.ClassifyRequest(pixels=BLACK, top_k=CLASSES).SerializeToString()
    for number in range(100):
        greedy.sendall(call(2 * number + 1, CLASSIFY, message))
    wait_until(lambda: requests(wide, "RESOURCE_EXHAUSTED") >= 80)
    held = metric(wide, "covey_answer_bytes")
    assert 1 << 20 < held <= 2.2 * 2**20, "one connection gets half"
    assert metric(wide, "covey_bytes_in_flight") == held
    assert answers(wide, CLASSES)
    greedy.close()
    wait_until(lambda: metric(wide, "covey_answer_bytes") == 0)
    assert metric(wide, "covey_bytes_in_flight") == 0


@pytest.mark.parametrize(
    ("path", "message"),
    [("/covey.v1.Classifier/GetModel", b""), ("/covey.v1.Classifier/ListModels", b"")],
)
def test_so_are_answers_that_need_no_model(wide: Server, callers: ExitStack, path: str, message: bytes) -> None:
    greedy = callers.enter_context(connect(wide, preface=frames.PREFACE + CLOSED_WINDOW))
    for number in range(200):
        greedy.sendall(call(2 * number + 1, path, message))
    wait_until(lambda: metric(wide, 'covey_refused_total{reason="share"}') >= 50)
    assert metric(wide, "covey_answer_bytes") <= 2.3 * 2**20
    assert answers(wide, CLASSES)


def test_who_takes_nothing_of_his_answers_is_closed(
    wide: Server, callers: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNREAD_S", 1.5)
    greedy = callers.enter_context(connect(wide, preface=frames.PREFACE + CLOSED_WINDOW))
    message = pb.ClassifyRequest(pixels=BLACK, top_k=CLASSES).SerializeToString()
    greedy.sendall(call(1, CLASSIFY, message))
    assert is_closed_within(greedy, 20)
    assert metric(wide, 'covey_connections_closed_total{reason="unread"}') == 1
    wait_until(lambda: metric(wide, "covey_answer_bytes") == 0)


def test_who_is_slow_to_take_an_answer_gets_it_while_the_server_stops(
    front: str, tmp_path: Path, write_echo_model: WriteModel, callers: ExitStack
) -> None:
    path = write_echo_model(tmp_path, shape=(20, 20, 1), classes=CLASSES)
    path.write_bytes(echo_model((20, 20, 1), [f"{n} " + 400 * "x" for n in range(CLASSES)]).SerializeToString())
    wide = Server(App(Config(models=tmp_path, grpc_port=0, metrics_port=0, front=front)))
    callers.callback(wide.channel.close)
    wide.app.start()
    slow = callers.enter_context(connect(wide, preface=frames.PREFACE + CLOSED_WINDOW))
    slow.sendall(call(1, CLASSIFY, pb.ClassifyRequest(pixels=BLACK, top_k=CLASSES).SerializeToString()))
    wait_until(lambda: metric(wide, "covey_answer_bytes") > 100_000)
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(wide.app.stop)
        wait_until(lambda: metric(wide, "covey_ready") == 0)
        for stream_id in (0, 1):
            slow.sendall(frames.frame(frames.WINDOW_UPDATE, 0, stream_id, frames.word.pack(1 << 20)))
        received = 0
        with suppress(ConnectionError):  # how it ends makes no difference
            while piece := slow.recv(1 << 16):
                received += len(piece)
        assert stopping.result(timeout=60)
    assert received > 160_000


def test_answers_that_are_read_count_no_longer(wide: Server) -> None:
    for _ in range(60):  # three times what one caller may have unread
        assert len(wide.classify(pb.ClassifyRequest(pixels=BLACK, top_k=CLASSES)).results) == 1
    wait_until(lambda: metric(wide, "covey_answer_bytes") == 0)


def test_an_answer_larger_than_any_may_be_is_refused_before_it_is_made(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, shape=(100, 80, 1), classes=8_000)
    server = start_server(tmp_path, max_answer_bytes=1_000_000)
    code, text = server.error(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(8_000 * 10)), top_k=8_000))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "the answer would have up to" in text
    assert "at most 1,000,000 are given here; ask for fewer classes" in text
    infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(INFER)
    tensor = oi.ModelInferRequest.InferInputTensor(name="images", datatype="UINT8", shape=[40, 100, 80, 1])
    for outputs in ([], [classification(8_000)]):
        request = oi.ModelInferRequest(inputs=[tensor], outputs=outputs, raw_input_contents=[bytes(320_000)])
        with pytest.raises(grpc.RpcError) as caught:
            infer(request.SerializeToString(), timeout=20)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "the answer would have up to" in (caught.value.details() or "")
    assert metric(server, 'covey_refused_total{reason="answer_size"}') == 3
    assert metric(server, "covey_bytes_in_flight") == 0
    assert answers(server, 8_000)


def classification(k: int) -> oi.ModelInferRequest.InferRequestedOutputTensor:
    output = oi.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")
    output.parameters["classification"].int64_param = k
    return output


def test_memory_that_decoders_may_hold_is_not_taken_for_half_sent_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = 50 << 20
    services = Services((), begin=lambda inline: None, written=lambda count, caller: None)
    front = GrpcioFront("127.0.0.1:0", services, 1 << 20, 1 << 20, Security())
    limits = Limits(max_bytes=10 << 20, min_unfinished_bytes=1 << 20, look_bytes=1 << 20, max_connections=10, idle_s=0)
    guard = connections.ConnectionGuard(front.port, front, Admission(10, 1 << 20, 1 << 20), limits, lambda: decoding)
    closed: list[object] = []
    monkeypatch.setattr(guard, "_close", lambda connection, reason: closed.append(connection))
    one = Connection(1, 0.0)
    one.unfinished = 60 << 20
    guard._table.open["127.0.0.1", 5] = one
    guard._seen_bytes = guard._base_bytes + (60 << 20)
    guard._close_unfinished(0.0, 5 << 20)
    assert not closed
    assert one.unfinished == 60 << 20, "nor forgiven"
    decoding = 0
    guard._close_unfinished(0.0, 5 << 20)
    assert closed == [one]
    guard.stop()
    front.stop(0)


def test_a_connection_that_is_gone_already_does_not_count_as_closed(started: Server, callers: ExitStack) -> None:
    guard = started.app._guard
    assert guard is not None
    before = dict(guard.closed)
    gone = Connection(number=0, now_s=time.monotonic())  # 0 is standard input, no connection
    guard._close(gone, "idle")
    guard._close(gone, "idle")  # nor when it is closed again
    assert guard.closed == before
