"""The grpcio front: grpcio's asyncio server, with the standard health and reflection services.

Serves alone (`--front grpcio`), or on a Unix socket behind the native front what that lacks. Runs one event loop on one
thread: with several loops in a process grpcio has problems (grpc/grpc#25364).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from covey_server.calls.call import Call, Metadata
from covey_server.calls.service import Handler, Services
from covey_server.calls.status import Status
from covey_server.errors import PortUnavailable
from covey_server.fronts import CALL_BYTES, LIVE, Front, sockets
from covey_server.fronts.grpcio_options import server_options
from covey_server.fronts.grpcio_security import Caller, TokenCheck, server_credentials
from covey_server.fronts.security import Security
from covey_server.fronts.security.tokens import Tokens
from covey_server.fronts.streams import CODES, Streams
from covey_server.system import threads

Result = TypeVar("Result")
_LAST_STEP_S = 0.5
_HANG_UP_S = 0.25  # for callers to close their connections once they are told that the server stops
_LOOK_S = 0.01
_THREADS = 12  # of grpcio and the loop; grpcio crashes if it gets none


class GrpcioCall(Call):
    """A call whose handler waits on the event loop for the answer."""

    __slots__ = ("_answer", "_caller", "_loop", "_written", "answer_bytes")
    holds_answer = True

    def __init__(
        self,
        payload: bytes,
        peer: str,
        arrived_ns: int,
        deadline_ns: int | None,
        caller: Caller,
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[bytes | Status],
        written: Callable[[int, str], None],
    ) -> None:
        super().__init__(payload, peer, arrived_ns, deadline_ns)
        self._caller = caller
        self._written = written
        self.answer_bytes = 0  # of the answer, until it is written
        self._loop = loop
        self._answer = answer

    @property
    def metadata(self) -> Metadata:
        return self._caller.metadata

    @property
    def principal(self) -> str:
        return self._caller.principal

    def reply(self, payload: bytes) -> None:
        self._answer_with(payload)
        if self.record is not None:
            self.record.end(None, len(payload))

    def fail(self, status: Status) -> None:
        self._answer_with(status)
        if self.record is not None:
            self.record.end(status, 0)

    def _answer_with(self, answer: bytes | Status) -> None:
        self.forget_request()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the front has stopped, nobody is there
            self._loop.call_soon_threadsafe(self._settle, answer)

    def _settle(self, answer: bytes | Status) -> None:
        if isinstance(answer, bytes):
            self.answer_bytes = len(answer)
        if not self._answer.done():
            self._answer.set_result(answer)
        else:  # the caller went away
            self.end()

    def end(self) -> None:
        """To be called when the answer is written, or nobody is there to take it."""
        if self.answer_bytes:
            self._written(self.answer_bytes, self.peer)
            self.answer_bytes = 0


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a path.

    Registered as a generic handler and without serializers: bytes in, bytes out. (For registered methods grpcio
    1.84 and newer waits on one future per method at every call; grpc/grpc#43461.)
    """

    def __init__(
        self,
        services: Services,
        streams: Streams,
        tokens: Tokens | None,
        handed: dict[str, int],
        open_calls: set[asyncio.Task[Any]],
    ) -> None:
        self._methods: dict[str, Any] = {}
        for service in services.all:
            for path, handler in service.paths.items():
                serve_unary = _asynchronous(handler, services, tokens, handed, open_calls)
                self._methods[path] = grpc.unary_unary_rpc_method_handler(serve_unary)
            for path, stream in service.stream_paths.items():
                serve: Any = streams.handler(stream, services)
                self._methods[path] = grpc.stream_stream_rpc_method_handler(serve)

    def service(self, details: grpc.HandlerCallDetails) -> Any:  # noqa: ANN401 - the stubs' own type is generic
        return self._methods.get(details.method)


def _asynchronous(
    handler: Handler,
    services: Services,
    tokens: Tokens | None,
    handed: dict[str, int],
    open_calls: set[asyncio.Task[Any]],
) -> Any:  # noqa: ANN401 - as above
    async def serve(payload: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        loop = asyncio.get_running_loop()
        arrived_ns = time.monotonic_ns()
        remaining_s = context.time_remaining()
        deadline_ns = None if remaining_s is None else arrived_ns + int(remaining_s * 1e9)
        answer: asyncio.Future[bytes | Status] = loop.create_future()
        peer = context.peer()
        handed[peer] = handed.get(peer, 0) + len(payload) + CALL_BYTES
        caller = Caller(context, tokens)
        call = GrpcioCall(payload, peer, arrived_ns, deadline_ns, caller, loop, answer, services.written)
        task = asyncio.current_task()
        assert task is not None, "grpcio runs each call in a task; this is a bug"
        open_calls.add(task)

        def end(task: asyncio.Task[Any]) -> None:  # once the answer is written, flow control included
            open_calls.discard(task)
            call.end()

        task.add_done_callback(end)
        del payload  # the handler drops it from the call once it is parsed; this frame lives until the answer
        # Calls come one by one here: run inline, each would be a batch of its own.
        services.serve(((handler, call),), inline=False)
        try:
            found = await answer
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        if isinstance(found, Status):
            await context.abort(CODES[found.code], found.message, found.trailing_metadata or ())
            raise AssertionError("abort returned; this is a bug")
        return found

    return serve


class _Health(health.aio.HealthServicer):
    """The standard servicer, except that its watches end when the server stops."""

    def __init__(self) -> None:
        super().__init__()
        self._stopping = asyncio.Event()

    def end_watches(self) -> None:
        self._stopping.set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802, ANN401
        watching = asyncio.ensure_future(super().Watch(request, context))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            stopping.cancel()


async def _finish_tasks() -> None:
    """Lets the tasks of ended calls finish."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        await asyncio.wait(tasks, timeout=_LAST_STEP_S)


class GrpcioFront(Front):
    """A grpcio server at an address: "host:port" or "unix:PATH"."""

    name = "grpcio"
    tells_written = True

    def __init__(
        self,
        address: str,
        services: Services,
        max_message_bytes: int,
        max_stream_bytes: int,
        security: Security,
        *,
        shares_port: bool = False,
    ) -> None:
        """While the streams hold `max_stream_bytes` together, none is read. `shares_port`: with other processes of this
        server, which listen there too.

        Raises PortUnavailable where the address cannot be bound.
        """
        threads.require(_THREADS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="grpcio-front", daemon=True)
        self._thread.start()
        self._ending = threading.Lock()  # nobody may wait for the loop while it ends
        self._ended = False
        self._shown = tuple(service.name for service in services.all)
        self.handed = {}
        self._open_calls: set[asyncio.Task[Any]] = set()  # unary ones, whose answers are not written
        self.streams = Streams(max_stream_bytes, security.tokens, self.handed)
        try:
            options = server_options(max_message_bytes, shares_port=shares_port)
            self._run(self._build(address, services, options, security))
        except BaseException:
            self._end_loop()
            raise

    def start(self) -> None:
        self._run(self._server.start())

    def set_ready(self, ready: bool) -> None:
        for name in ("", *self._shown):
            self._set_health(name, ready)

    def set_live(self, live: bool) -> None:
        self._set_health(LIVE, live)

    def _set_health(self, name: str, good: bool) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING if good else health_pb2.HealthCheckResponse.NOT_SERVING
        with self._ending:
            if not self._ended:  # else nobody can ask any more
                self._run(self._health.set(name, serving))

    def stop(self, flush_s: float) -> None:
        """Refuses new calls, waits at most `flush_s` for open ones, and ends streams and health watches.

        A call that arrives at this very moment, not yet handed over, is cancelled by grpcio instead of refused.
        """
        self._loop.call_soon_threadsafe(self._health.end_watches)
        self._loop.call_soon_threadsafe(self.streams.end)
        self._run(self._stop(flush_s))
        self._run(_finish_tasks())
        self._end_loop()
        # With TLS, gRPC's core waits 2 s at the end of a process that still has a server. The garbage collector would
        # not find it: App is frozen.
        del self._server

    async def _stop(self, flush_s: float) -> None:
        """Like grpcio's own stop, which waits up to `flush_s` for clients to close their connections; here they are
        closed as soon as no call is open. (A second, shorter `stop` can crash the process: grpcio 1.81.)"""
        stopping = asyncio.ensure_future(self._server.stop(flush_s))
        await asyncio.wait({stopping}, timeout=min(flush_s, _HANG_UP_S))
        while not stopping.done() and (self._open_calls or self.streams.count):
            await asyncio.wait({stopping}, timeout=_LOOK_S)
        if not stopping.done() and sockets.IS_AVAILABLE:
            seen = sockets.Sockets(self.port)
            for number in seen.look()[0]:
                seen.end(number)
        await stopping

    def _end_loop(self) -> None:
        with self._ending:
            self._ended = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _build(
        self, address: str, services: Services, options: list[tuple[str, int]], security: Security
    ) -> None:
        checks = [TokenCheck(security.tokens)] if security.tokens is not None else []
        self._server = grpc.aio.server(options=options, interceptors=checks)
        handlers = _Handlers(services, self.streams, security.tokens, self.handed, self._open_calls)
        self._server.add_generic_rpc_handlers((handlers,))
        self._health = _Health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if security.reflection:
            shown = (*self._shown, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(shown, self._server)
        try:
            if security.certificates is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, server_credentials(security.certificates))
        except RuntimeError as error:
            raise PortUnavailable(
                f"gRPC cannot listen on {address}: {error}; choose others with --host and --grpc-port"
            ) from error

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
