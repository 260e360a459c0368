"""The fast way: calls that came together and say the same are handled together.

A caller that classifies one image after another sends the same bytes again and again, but for the pixels. What one such
message said is therefore kept, by its length and all its other bytes (a `Form`). A message of the same form needs
neither parsing nor checking: only its pixels are read. That is exact. The same bytes before and after the pixels, which
hold all keys and lengths, mean the same fields.

All calls of a form in a burst then share everything but their pixels: one admission, one entry in the queue, the time
stamps, the part of the answers that tells them, the metrics. This is no second engine. Admission, batcher and workers
are the same, and whatever may need a decision for single calls (no room, no time, a failed run, an answer that is not
finite) is left to the ordinary way, which decides it: a form makes the same requests that the service would have made.
`tests/server/protocols/test_fast_way.py` holds that both ways answer the same bytes.

Measured for `lenet`, 64 requests in flight: see docs/performance.md.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from covey_server.batching.limits import Limits
from covey_server.batching.output import Output
from covey_server.batching.request import Buffer, Group
from covey_server.calls.account import Account
from covey_server.calls.burst import Burst
from covey_server.calls.call import HTTP_PEER, Call
from covey_server.calls.service import Handler, handle
from covey_server.errors import Overloaded
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import Catalog
from covey_server.protocols.canaries import set_apart
from covey_server.protocols.forms import Form, Forms
from covey_server.protocols.pipeline import Pipeline, PipelineRequest
from covey_server.protocols.wire_format import cut_out

_SAME_NS = 1_000_000  # between two deadlines, up to which they are one to a queue
_MAX_MESSAGE_BYTES = 65_536  # larger ones are read without copying their pixels, which costs more to save than this


class FastWay:
    """Handles the bursts of one method, and keeps the forms of its messages. Safe from any thread."""

    def __init__(
        self,
        pipeline: Pipeline,
        pixels: Sequence[int],
        handler: Handler,
        reader: Callable[[Call], tuple[Form, Catalog] | None],
    ) -> None:
        """`pixels` is the field that holds them, as in `cut_out`. `handler` handles a call in the ordinary way.
        `reader` does the same, and returns what the message says beside its pixels, checked against the models of a
        catalog; None where calls of its kind share too little."""
        self._pipeline = pipeline
        self._pixels = pixels
        self._handler = handler
        self._reader = reader
        # The catalog that the forms are checked against, and the forms: one value, since several threads replace it.
        self._known: tuple[Callable[[], Catalog | None], Forms] = (lambda: None, Forms())

    def handle(self, burst: Burst, at_once: bool) -> None:
        """Answers or queues all calls of a burst: those whose form is known together, the others one by one."""
        catalog = self._pipeline.repository.catalog
        forms = self._forms_of(catalog)
        payloads = burst.payloads
        form = forms.find(payloads[0])
        if len(payloads) == 1 or forms.are_alike(payloads, form):
            self._handle_alike(form, burst, catalog, at_once=at_once)
            return
        places: dict[Form | None, list[int]] = {}
        for place, payload in enumerate(payloads):
            places.setdefault(forms.find(payload), []).append(place)
        for each, some in places.items():
            self._handle_alike(each, _part(burst, some), catalog)

    def _handle_alike(self, form: Form | None, burst: Burst, catalog: Catalog, *, at_once: bool = False) -> None:
        """Handles calls of one form, or of none that is known."""
        pipeline = self._pipeline
        if form is None:
            for call in burst.calls():
                handle(self._learn, call)
            return
        if catalog.canaries and not form.version and (canary := catalog.canaries.get(form.name)) is not None:
            left, calls = set_apart(burst, canary)
            for call in calls:
                handle(self._handler, call)
            if left is None:
                return
            burst, at_once = left, at_once and left is burst
        callers = burst.by_peer
        size_bytes = len(burst.payloads[0])
        accounts = None if pipeline.limits is None else pipeline.limits.enter_together(burst.principals, form.count)
        if not self._enter(callers, size_bytes, accounts, form.count):
            self._handle_apart(form, burst, catalog)
            return
        model = catalog.find(form.name, form.version)
        if pipeline.batcher.may_group(model, form.count * len(burst.payloads)):
            group = FormGroup(pipeline, form, burst, callers, size_bytes, model, accounts)
            if at_once and pipeline.workers.run_at_once(group):
                return
            if pipeline.batcher.put_group(group):
                return
        self._put_one_by_one(form, burst, model, accounts)

    def _handle_apart(self, form: Form, burst: Burst, catalog: Catalog) -> None:
        """Handles calls of one form that are not let in together. What a principal has no room for holds up no other
        one's calls: those are answered, or queued, before it is refused."""
        limits = self._pipeline.limits
        if limits is not None:
            *with_room, without = limits.sort_out(burst.principals, form.count)
            groups = [places for places in with_room if places]
            if without or len(groups) > 1:
                for places in groups:
                    self._handle_alike(form, burst.select(places), catalog)
                    self._pipeline.workers.dispatch()
                if without:
                    self._handle_limited(form, _part(burst, without), catalog, limits)
                return
        for call in burst.calls():
            handle(self._handler, call)

    def _handle_limited(self, form: Form, burst: Burst, catalog: Catalog, limits: Limits) -> None:
        """Handles calls of principals that have no room for all of them. One refusal does for all calls of a principal
        that come behind it: each would ask for the same."""
        refused: dict[str, tuple[Overloaded, list[Call]]] = {}
        for call in burst.calls():
            known = refused.get(call.principal)
            if known is None:
                error = limits.refusal(call.principal, form.count)
                if error is None:
                    handle(self._handler, call)
                    continue
                known = refused[call.principal] = error, []
            known[1].append(call)
        for error, calls in refused.values():
            model = catalog.find(form.name, form.version) if error.refused_for == "images_per_s" else None
            self._pipeline.turn_away(calls, error, model)

    def _enter(
        self, callers: Mapping[str, int], size_bytes: int, accounts: Sequence[Account] | None, images: int
    ) -> bool:
        """Lets calls in that their principals' limits have let in. False, and none is in, if either has no room."""
        limits, admission = self._pipeline.limits, self._pipeline.admission
        if limits is None:
            return admission.enter_together(callers, size_bytes)
        if accounts is None:
            return False
        if admission.enter_together(callers, size_bytes):
            return True
        for account in accounts:
            limits.give_back(account, images)
        return False

    def _put_one_by_one(self, form: Form, burst: Burst, model: ServedModel, accounts: Sequence[Account] | None) -> None:
        """Queues calls that were let in, in their order. In overload most are refused, and one refusal does for all
        calls of one caller whose deadlines are next to each other."""
        pipeline = self._pipeline
        refused: dict[str, tuple[int, list[Call], Overloaded]] = {}  # by caller: a deadline that cannot be met
        for call in _calls(burst, form, accounts):
            deadline_ns = pipeline.deadline_of(call) or 0
            known = refused.get(call.peer)
            if known is not None and abs(deadline_ns - known[0]) < _SAME_NS:
                known[1].append(call)
                continue
            request = form.request(pipeline, call, model, call.payload[form.start : form.stop])
            call.payload = b""
            try:
                pipeline.batcher.put(request)
            except Overloaded as error:
                if known is not None:
                    pipeline.refuse(*known[1:], model)
                refused[call.peer] = deadline_ns, [call], error
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller is answered
                pipeline.fail(call, model, error)
        for _, calls, reason in refused.values():
            pipeline.refuse(calls, reason, model)

    def _learn(self, call: Call) -> None:
        payload = call.payload
        read = self._reader(call)
        if read is None or len(payload) > _MAX_MESSAGE_BYTES:
            return
        form, catalog = read
        if (cut := cut_out(payload, self._pixels)) is not None:
            _, form.start, form.stop = cut
            self._forms_of(catalog).add(payload, form)

    def _forms_of(self, catalog: Catalog) -> Forms:
        known = self._known
        if known[0]() is not catalog:
            known = self._known = weakref.ref(catalog), Forms()
        return known[1]


class FormGroup(Group):
    """Calls of one form, in the queue."""

    __slots__ = ("_accounts", "_burst", "_callers", "_form", "_pipeline", "_size_bytes")

    def __init__(
        self,
        pipeline: Pipeline,
        form: Form,
        burst: Burst,
        callers: Mapping[str, int],
        size_bytes: int,
        model: ServedModel,
        accounts: Sequence[Account] | None,
    ) -> None:
        """`accounts` are those of the calls, of one priority, if principals have limits."""
        payloads = burst.payloads
        start, stop, calls = form.start, form.stop, len(payloads)
        if calls == 1:
            rows = payloads[0][start:stop]
        else:
            messages = np.frombuffer(b"".join(payloads), np.uint8).reshape(calls, size_bytes)
            rows = messages[:, start:stop].tobytes()
        deadline_ns = burst.deadline_ns
        if default_ns := pipeline.default_deadline_ns:  # of those calls that have none
            latest_ns = burst.arrived_ns + default_ns
            deadline_ns = latest_ns if deadline_ns is None else min(deadline_ns, latest_ns)
        # Its turn is nobody's; of a caller only the protocol is counted.
        caller = HTTP_PEER if burst.peers[0].startswith(HTTP_PEER) else ""
        Group.__init__(self, model, rows, calls * form.count, burst.arrived_ns, deadline_ns, caller)
        if accounts is not None:
            self.gives_way = accounts[0].is_batch
        self.calls = calls
        self._accounts = accounts
        self._pipeline = pipeline
        self._form = form
        self._burst = burst
        self._callers = callers
        self._size_bytes = size_bytes

    @property
    def cancelled(self) -> bool:
        return self._burst.cancelled

    def make_requests(self) -> Sequence[PipelineRequest]:
        row_bytes = len(self.rows) // self.calls
        rows = memoryview(self.rows)
        return [
            self._form.request(self._pipeline, call, self.model, rows[place * row_bytes : (place + 1) * row_bytes])
            for place, call in enumerate(_calls(self._burst, self._form, self._accounts))
        ]

    def answer(self, output: Output, first: int) -> None:
        try:
            answers = self._form.write(self, output, first)
        except Exception as error:  # noqa: BLE001 - the callers are answered, whatever it is
            self.fail(error)
            return
        burst, callers = self._burst, self._callers
        held: Counter[str] | dict[str, int] = {}
        if burst.holds_answer:
            sizes = set(map(len, answers))
            if len(sizes) == 1:
                size_bytes = sizes.pop()
                held = {caller: calls * size_bytes for caller, calls in callers.items()}
            else:
                held = Counter()
                for caller, answer in zip(burst.peers, answers, strict=True):
                    held[caller] += len(answer)
        # Before the replies, as in Pipeline.succeed.
        self._pipeline.admission.leave_together(callers, self._size_bytes, held)
        if self._accounts is not None and self._pipeline.limits is not None:
            self._pipeline.limits.leave(self._accounts)
        burst.reply(answers)

    def fail(self, error: Exception) -> None:
        for request in self.make_requests():
            request.fail(error)

    def write_rows(self, output: Output, first: int, count: int) -> Sequence[Buffer]:
        raise AssertionError("a group is not split; this is a bug")

    def succeed(self, rows: Sequence[Buffer]) -> None:
        raise AssertionError("a group answers by itself; this is a bug")


def _part(burst: Burst, places: Sequence[int]) -> Burst:
    """The calls at these places, in their order; the burst itself where that is all of them."""
    return burst if len(places) == len(burst.payloads) else burst.select(places)


def _calls(burst: Burst, form: Form, accounts: Sequence[Account] | None) -> list[Call]:
    """The calls of a burst that was let in as a whole."""
    calls = burst.calls()
    for call, account in zip(calls, accounts or (), strict=False):
        call.account, call.charged_images = account, form.count
    return calls
