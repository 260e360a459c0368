"""Builds all objects of a server, starts them and stops them. The only module that knows them all."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from covey_server import resources
from covey_server.batching.admission import Admission
from covey_server.batching.batcher import Batcher
from covey_server.batching.worker import Workers
from covey_server.calls.service import Services
from covey_server.config import Config
from covey_server.errors import RefusalReason
from covey_server.explaining.explainer import Explainer
from covey_server.explaining.serving_time import ServingTime
from covey_server.fronts import CLOSE_REASONS
from covey_server.fronts.opening import guard_connections, open_front, open_http
from covey_server.fronts.security import Security
from covey_server.images import decode_budget, image_formats
from covey_server.images.decode_pool import DecodePool
from covey_server.inference import devices
from covey_server.models.watch import Watch
from covey_server.observability.health import Health
from covey_server.observability.metrics import Metrics
from covey_server.observability.metrics_server import open_metrics
from covey_server.observability.observers import Observers
from covey_server.observability.server_figures import ServerFigures
from covey_server.protocols.classifier.choose import ChooseMethod
from covey_server.protocols.classifier.explain import ExplainMethod
from covey_server.protocols.classifier.service import Classifier
from covey_server.protocols.management import Management
from covey_server.protocols.open_inference.service import OpenInference
from covey_server.protocols.pipeline import Pipeline
from covey_server.protocols.rest import Rest

if TYPE_CHECKING:
    from covey_server.processes.siblings import Siblings

log = logging.getLogger(__name__)

_TAKEN_S = 0.005  # between two looks at what callers have taken, while stopping
_FLUSH_S = 5.0  # at the end: for answers to reach the network, and for models that are being loaded
_END_S = 0.1  # for a thread that has nothing left to do; one that has is given up
_SECURITY_INTERVAL_S = 1.0  # between two looks at the files of tokens and certificates


class App:
    """One server. `start`, then `stop`; several can live in one process."""

    def __init__(self, config: Config, siblings: Siblings | None = None) -> None:
        """Loads and checks the models and binds the ports. `siblings`: the other processes of the same server. Raises
        StartupError."""
        self.config = config
        self._siblings = siblings
        self.registry = CollectorRegistry()
        self._metrics = Metrics(self.registry, config.drift_window)
        self._health = Health()
        # After `stop`: whether a batch still runs, and what else does. Then the process cannot end normally.
        self.hangs = False
        self.work_left: tuple[str, ...] = ()
        self._security = Security.of(config)  # first: wrong files are reported before models are loaded
        self._observers = Observers(config, self._metrics, lambda: self.repository, siblings)
        formats = image_formats.chosen(config.image_formats)
        self.device, self.repository, self._mirror = resources.open_repository(config, self._metrics)
        config = self.config = resources.within_memory(config)  # after the models are loaded: calls get what is left
        cores = max(1, devices.usable_cores() // config.processes)
        workers, reserves = devices.share_cores(cores, config.workers)
        log.info("%d cores, %d workers and %d in reserve, %d threads each", cores, workers, reserves, config.threads)

        self._batcher = Batcher(workers, reserves, config.max_delay_us * 1000)
        self._admission = Admission(
            config.max_calls, config.max_bytes, config.max_message_bytes, config.max_decodes, config.max_answer_bytes
        )
        self._workers = Workers(
            self._batcher,
            workers,
            self._observers.batches,
            reserves=reserves,
            inline_us=config.inline_us,
            timeout_s=config.engine_timeout_s,
            on_stuck=self._on_stuck,
            on_held_up=self._on_held_up,
        )
        decode_room = decode_budget.limit(config.max_decode_bytes, config.processes)
        log.info("images are decoded with at most %.0f MiB: %s", decode_room.free_bytes / 2**20, decode_room.source)
        self._decoders = DecodePool(cores, config.max_image_pixels, decode_room.free_bytes, formats)
        self._metrics.show(self._figures)
        pipeline = Pipeline(
            self.repository,
            self._admission,
            self._batcher,
            self._workers,
            self._decoders,
            self._metrics,
            config.default_deadline_ms,
            self._security.principal_limits,
        )
        self._management = Management() if config.allow_management else None
        self._explainer = Explainer(self._batcher.backlog_ms, ServingTime(cores)) if config.explain else None
        threads = workers + reserves
        services = Services(
            (
                Classifier(
                    pipeline,
                    ExplainMethod(pipeline, self._explainer, self._metrics),
                    ChooseMethod(pipeline, self._management),
                    self._observers.canaries,
                    workers=threads,
                ).service,
                OpenInference(pipeline, self._health, self._metrics, self._management, workers=threads).service,
            ),
            begin=self._workers.dispatch,
            written=self._admission.written,
            recorder=self._observers.recording,
        )
        self.front = open_front(config, services, self._security)
        self._guard = guard_connections(
            config, self.front, self._admission, lambda: self._decoders.budget.reserved_bytes
        )
        shown = self.registry if siblings is None else siblings.registry
        self._rest = Rest(
            services, self._health, shown, self._metrics, self.repository, self._admission, self.front.port,
            config.max_bytes // 4, page=config.page,
        )  # fmt: skip
        self.http = None
        try:
            self.http = open_http(config, self._rest.routes, services, self._security)
            self._metrics_server = None if siblings else open_metrics(config, self.registry, self._health)
        except BaseException:
            self.front.stop(flush_s=0)
            if self.http is not None:
                self.http.stop(flush_s=0)
            raise
        self.metrics_port = 0
        if self._metrics_server is not None:
            self._metrics_server.start()
            self.metrics_port = self._metrics_server.port
        if siblings is not None:
            self.metrics_port = siblings.metrics_port
            self._health.others_ready = False  # until the parent says so
            siblings.join(self.registry, self._show_others, self._observers.canaries.follow)
        self._watch = Watch(self.repository.refresh, config.reload_interval_s)
        # A thread of its own: a revoked token must not stay valid for as long as a model takes to load.
        interval_s = _SECURITY_INTERVAL_S if self._security.followed else 0
        self._security_watch = Watch(self._refresh_security, interval_s, "security")

    def start(self) -> None:
        """Serves from now on: the models are loaded, checked and warm."""
        self._workers.start()
        self._observers.start()
        if self._management is not None:
            self._management.work.start()
        self.front.start()
        if self.http is not None:
            self.http.start()
        if self._guard is not None:
            self._guard.start()
        self._health.serving = True
        self._tell_health()
        self._watch.start()
        self._security_watch.start()
        address = self.config.address
        log.info(
            "ready: %d model(s) on %s; gRPC on %s (%s front), HTTP %s, metrics on http://%s/metrics",
            len(self.repository.catalog.served), self.device.name, address(self.front.port), self.front.name,
            "off" if self.http is None else f"on {self.http.scheme}://{address(self.http.port)}",
            self.config.metrics_address(self.metrics_port),
        )  # fmt: skip
        if self.http is not None and self.config.page:
            log.info("open %s", self.config.url(self.http.scheme, self.http.port))

    def stop(self) -> bool:
        """Becomes not ready, refuses new calls, answers those that were accepted, and closes. Returns False if time ran
        out before all were answered."""
        self._health.serving = False
        self._tell_health()
        if self.config.drain_delay_s:
            log.info("not ready; new calls are still taken for %g s", self.config.drain_delay_s)
            time.sleep(self.config.drain_delay_s)  # a second signal ends the process
        began = time.monotonic()
        log.info("stopping: %d calls to answer first", self._admission.calls)
        if self.http is not None:
            self.http.drain()
            self._rest.drain(self.config.drain_timeout_s)
        self._watch.stop(0)  # does not wait for a model that is being loaded
        if self._mirror is not None:
            self._mirror.stop(0)
        if self._management is not None:
            self._management.close()
        if self._explainer is not None:
            self._explainer.close()
        self._admission.close()
        if self._security.principal_limits is not None:
            self._security.principal_limits.late_refusals.close()
        drained = self._admission.wait_until_empty(max(0.0, began + self.config.drain_timeout_s - time.monotonic()))
        if not drained:
            log.error("%d calls are unanswered after %g s", self._admission.calls, self.config.drain_timeout_s)
        give_up = time.monotonic() + _FLUSH_S  # waiting for models that are being loaded
        self._batcher.close()
        self._observers.close()
        self._decoders.close()
        flush_s = _FLUSH_S if drained and not self._workers.stuck else 0
        self._wait_until_answers_are_taken(flush_s)
        self.front.stop(flush_s)
        if self.http is not None:
            self.http.stop(flush_s)
        self._rest.close()
        self.hangs = not self._workers.join(flush_s)
        if self._siblings is not None:
            self._siblings.tell_last_figures()
        if self._metrics_server is not None:
            self._metrics_server.stop()
        if self._guard is not None:
            self._guard.stop()
        self.work_left = self._join_background(give_up)
        self._security_watch.stop()
        log.info("stopped after %.0f ms", (time.monotonic() - began) * 1e3)
        return drained

    def _wait_until_answers_are_taken(self, timeout_s: float) -> None:
        """So that slow callers, too, get what they were answered."""
        give_up = time.monotonic() + timeout_s
        while self._admission.answer_bytes and time.monotonic() < give_up:
            self._admission.settle()
            time.sleep(_TAKEN_S)

    def _join_background(self, give_up: float) -> tuple[str, ...]:
        """Waits for the threads of the background; names what is still at work then, for the log."""

        def left_s() -> float:
            return max(_END_S, give_up - time.monotonic())

        ended = {
            "loading a model": self._watch.stop(left_s()),
            "loading a model that a call asked for": self._management is None or self._management.work.join(left_s()),
            "explaining": self._explainer is None or self._explainer.join(left_s()),
            "running a model in the shadow": self._observers.join(left_s()),
            "reading the store of models": self._mirror is None or self._mirror.stop(left_s()),
        }
        return tuple(work for work, has_ended in ended.items() if not has_ended)

    def abandon(self) -> None:
        """Removes the files of a server whose process ends without `stop`, or during it."""
        self.front.remove_files()

    def _figures(self) -> ServerFigures:
        """For the metrics."""
        guard, http, tokens, certificates = self._guard, self.http, self._security.tokens, self._security.certificates
        closings = [each.closed for each in (guard, http) if each is not None]
        refused: dict[RefusalReason, int] = {} if http is None else dict(http.refused)
        if tokens is not None:
            refused["token"] = tokens.refused + self.front.refused_tokens
        if guard is not None:
            guard.look()  # so that answers which are written are not shown any more
        return ServerFigures(
            waiting_images=self._batcher.waiting_images(),
            refused=refused,
            principals=frozenset(() if (limits := self._security.principal_limits) is None else limits.names),
            closed_connections={reason: sum(each[reason] for each in closings) for reason in CLOSE_REASONS},
            certificate_expiry_timestamp_seconds=certificates.identity.expires_s if certificates is not None else None,
            usable_cores=devices.available_cores(),
            calls_in_flight=self._admission.calls,
            bytes_in_flight=self._admission.bytes,
            answer_bytes=self._admission.answer_bytes,
            connections_open=sum(each.open for each in (guard, http) if each is not None),
            unfinished_bytes=sum(each.unfinished_bytes for each in (guard, http) if each is not None),
            streams_open=self.front.streams.count,
            stream_bytes=self.front.streams.held.bytes,
            decodes_in_flight=self._admission.decodes,
            decode_bytes=self._decoders.budget.reserved_bytes,
            decodes_waiting=self._decoders.budget.waiting,
            sync=None if self._mirror is None else self._mirror.figures(),
            models_refused=sum(not each.by_call for each in self.repository.catalog.refusals),
            models_held_back=self.repository.held_back,
            device_fallback=bool(self.device.fallback),
            engine_stuck=self._workers.stuck,
            ready=self._health.ready,
        )

    def _refresh_security(self) -> None:
        self._security.refresh()
        self.front.renew()

    def _on_held_up(self, thread: int) -> None:
        self.front.take_over(thread)
        if self.http is not None:
            self.http.take_over(thread)

    def _on_stuck(self, stuck: bool) -> None:
        self._health.works = not stuck
        if stuck:
            log.error("a batch does not end; not ready and not alive until it does: restarting the server helps")
        else:
            log.warning("the batch that did not end has ended")
        self._tell_health()

    def _show_others(self, live: bool, ready: bool) -> None:
        self._health.others_live, self._health.others_ready = live, ready
        self._show_health()

    def _tell_health(self) -> None:
        self._show_health()
        if self._siblings is not None:
            self._siblings.tell(self._health)

    def _show_health(self) -> None:
        with self._health.showing:
            # In this order, so that nobody ever sees a process that is ready and not live.
            if not self._health.ready:
                self.front.set_ready(False)
            self.front.set_live(self._health.live)
            if self._health.ready:
                self.front.set_ready(True)
