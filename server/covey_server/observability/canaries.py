"""Watches canaries, judges them, and carries out what the rules say, by the files in the models folder.

One thread of the lowest priority does it. A canary is checked before it answers anybody: its answers must be of the
served version's kind, and it must pass the gate, if there is one. Then it gets its callers, and is judged by what both
versions have answered since, and by how far they agree on the canary's images.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable

from covey_server.inference.served_model import ServedModel
from covey_server.models import choice_files
from covey_server.models.canary import Canary, Outcome
from covey_server.models.repository import Repository
from covey_server.models.watch import Watch
from covey_server.observability.canary_rules import Compared, Figures, Reason, Rules, Verdict, percentile_s
from covey_server.observability.comparison import Comparison
from covey_server.observability.contracts import compare_contracts
from covey_server.observability.gate import Gate, UnusableGate
from covey_server.observability.metrics import Metrics
from covey_server.observability.tally import SECONDS, ModelTally
from covey_server.observability.trial import Decision, OnTrial, State, Telling, Trial

log = logging.getLogger(__name__)

_INTERVAL_S = 0.2  # between two looks
_ENDED: dict[Outcome, str] = {"promoted": "promoted", "rolled_back": "rolled back"}
_TIMED_RUNS = 200  # of both versions; then it is known how long they take


class Canaries:
    """All of a server's. `start`, then `stop`. Others may look at `trials` and `decisions` while they hold `lock`."""

    def __init__(
        self, metrics: Metrics, repository: Callable[[], Repository], rules: Rules, share: float,
        gate: Gate | None = None, max_loss: float = 0.01, clock_s: Callable[[], float] = time.monotonic,
        others: Telling | None = None,
    ) -> None:  # fmt: skip
        """`share` is that of the callers. `max_loss` is how much less accurate a canary may be at the gate. `others`
        are the other processes of the server."""
        self.lock = threading.Lock()
        self.trials: dict[str, Trial] = {}  # by model: the last one, also when it is over
        self.decisions: Counter[tuple[str, Reason]] = Counter()
        self._metrics = metrics
        self._repository = repository
        self._rules = rules
        self._share = share
        self._gate = gate
        self._max_loss = max_loss
        self._clock_s = clock_s
        self._others = others
        self._heard: dict[str, Decision] = {}  # by model: of canaries that other processes have decided about
        self._told: list[OnTrial] = []
        self._is_stopped = False
        self._watch = Watch(self.look, _INTERVAL_S, "canaries")

    def start(self) -> None:
        """Begins to watch."""
        self._watch.start()

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread. False if a model still runs on it after that time."""
        self._is_stopped = True
        return self._watch.stop(timeout_s)

    def state_of(self, model: ServedModel) -> tuple[State, str] | None:
        """How a version does as the canary, or did, and why that is over; None: it was none, or not the last one, or
        somebody has decided otherwise since."""
        catalog = self._repository().catalog
        canary = catalog.canaries.get(model.name)
        with self.lock:
            trial, heard = self.trials.get(model.name), self._heard.get(model.name)
        state: State
        if trial is not None and trial.canary.version == model.version:
            state, reason = trial.state, trial.reason
        elif canary is not None and canary.version == model.version and not canary.outcome:
            return "checking", ""
        elif heard is not None and heard.version == model.version and heard.outcome:
            state, reason = heard.outcome, heard.text
        else:
            return None
        is_default = catalog.is_default_version(model)
        is_about_to_be = canary is not None and canary.version == model.version  # until the folder is looked at
        is_overruled = is_default if state == "rolled_back" else not (is_default or is_about_to_be)
        return None if is_overruled and state in ("promoted", "rolled_back") else (state, reason)

    def count(self, canary: Canary, found: Comparison, canary_s: float | None = None) -> None:
        """Counts images that a canary answered and the served version ran again. `canary_s` is how long the canary took
        for them; None: it did not run them again, to be timed."""
        with self.lock:
            trial = self.trials.get(canary.name)
            if trial is None or trial.canary is not canary:
                return
            trial.compared.update(found.results)
            if canary_s is not None:
                trial.runs += 1
                trial.canary_s += canary_s
                trial.served_s += found.seconds

    def wants_times(self, canary: Canary) -> bool:
        """Whether it is worth the time to run a canary again, to know how long that takes."""
        trial = self.trials.get(canary.name)
        return trial is not None and trial.runs < _TIMED_RUNS

    def follow(self, decision: Decision) -> None:
        """Ends a canary here as another process has decided, also one whose trial has not begun here."""
        catalog, versions = self._repository().catalog, (decision.version, decision.served)
        canary, served = catalog.canaries.get(decision.name), catalog.default_version(decision.name)
        with self.lock:
            self._heard[decision.name] = decision
            trial = self.trials.get(decision.name)
            if trial is None or (trial.canary.version, trial.served_version) != versions:
                if canary is not None and served is not None and (canary.version, served.version) == versions:
                    canary.end(decision.outcome)
            elif trial.end(decision.outcome, decision.text):
                log.info(
                    "model %s: the canary, version %d, is %s here too, as another process decided: %s",
                    decision.name, decision.version, _ENDED[decision.outcome], decision.text,
                )  # fmt: skip

    def look(self) -> None:
        """Looks at all canaries once, and decides what can be decided."""
        catalog = self._repository().catalog
        if not catalog.canaries and not self.trials:
            return
        there = {canary.name: canary for canary in catalog.canaries.values()}
        with self.lock:
            for name in self.trials.keys() - there.keys():
                if not self.trials[name].is_over:  # it was taken away
                    del self.trials[name]
        for name, canary in there.items():
            served = catalog.default_version(name)
            if served is not None and not canary.outcome:
                self._look_at(canary, catalog.find(name, canary.version), served)
        self._tell_trials()

    def _look_at(self, canary: Canary, tested: ServedModel, served: ServedModel) -> None:
        trial = self.trials.get(canary.name)
        if trial is None or not trial.is_of(canary, tested, served):
            self._begin(canary, tested, served)
            return
        assert trial.before is not None
        now = self._metrics.read(tested, figures), self._metrics.read(served, figures)
        canary_now, served_now = (after.since(before) for after, before in zip(now, trial.before, strict=True))
        with self.lock:
            trial.images, trial.failed_calls, trial.late_calls = canary_now.images, canary_now.failed, canary_now.late
            agreed, differed = trial.compared["agrees"], trial.compared["differs"]
            compared = Compared(agreed, agreed + differed, trial.runs, trial.canary_s, trial.served_s)
        elapsed_s = self._clock_s() - trial.began_s
        verdict = self._rules.judge(canary_now, served_now, compared, elapsed_s, f"version {served.version}")
        if verdict is not None:
            seen = _seen(canary_now, served_now, compared, elapsed_s, served.version)
            self._decide(trial, verdict, f"; in {seen}")

    def _begin(self, canary: Canary, tested: ServedModel, served: ServedModel) -> None:
        canary.begin(0)
        trial = Trial(canary, tested, served)
        with self.lock:
            if canary.outcome:  # another process has decided
                return
            self.trials[canary.name] = trial
            self._heard.pop(canary.name, None)
        self._tell_trials()
        verdict = compare_contracts(tested, served) or self._pass_gate(tested, served)
        if self._is_stopped:
            return
        if verdict is not None:
            self._decide(trial, verdict, "; it has answered nobody")
            return
        trial.before = self._metrics.read(tested, figures), self._metrics.read(served, figures)
        trial.began_s = self._clock_s()
        with self.lock:
            if trial.is_over:  # another process has decided
                return
            trial.state = "trial"
        canary.begin(self._share)
        log.info(
            "model %s: version %d is the canary and gets %.3g%% of the callers that name no version, beside version %d",
            canary.name, canary.version, self._share * 100, served.version,
        )  # fmt: skip

    def _pass_gate(self, tested: ServedModel, served: ServedModel) -> Verdict | None:
        """None: it has passed, or there is no gate."""
        if self._gate is None:
            return None
        try:
            found = self._gate.test((tested, served), lambda: self._is_stopped)
        except UnusableGate as error:
            return Verdict("rolled_back", "gate", f"--canary-gate: {error}")
        except Exception as error:  # noqa: BLE001 - a version that fails is what this is to find out
            return Verdict("rolled_back", "errors", f"it or version {served.version} failed at the gate: {error}")
        if found is None:
            return None
        mine, others = found.right
        text = (
            f"of {found.of:,} images of --canary-gate it got {mine / found.of:.2%} right, version {served.version} "
            f"{others / found.of:.2%}"
        )
        if others - mine > self._max_loss * found.of:
            return Verdict("rolled_back", "accuracy", text)
        log.info("model %s: the canary, version %d, has passed: %s", tested.name, tested.version, text)
        return None

    def _decide(self, trial: Trial, verdict: Verdict, seen: str) -> None:
        """Ends a trial: here at once, and for all by the files."""
        canary, name, served = trial.canary, trial.canary.name, trial.served_version
        is_good = verdict.outcome == "promoted"
        by_hand = ""
        if not is_good:
            canary.end(verdict.outcome)
        folder = self._repository().folder
        change = choice_files.promote_canary if is_good else choice_files.roll_back_canary
        try:
            if not change(folder, name, canary.version, served):
                if not trial.is_overtaken:  # each look decides the same until the folder is looked at
                    trial.is_overtaken = True
                    log.info(
                        "model %s: the canary, version %d, was to be %s: %s; but canary-version does not name it any "
                        "more, and what others have decided is followed",
                        name, canary.version, _ENDED[verdict.outcome], verdict.text,
                    )  # fmt: skip
                return
        except OSError as error:
            wanted = canary.version if is_good else served
            by_hand = (
                f". The models folder cannot be written ({error.strerror or error}), so this holds in this server "
                f"only, and until canary-version changes. By hand: {choice_files.by_hand(folder, name, wanted)}"
            )
        with self.lock:  # who sees the state finds the decision counted and logged too
            if not trial.end(verdict.outcome, verdict.text):
                return  # another process was first
            self.decisions[name, verdict.reason] += 1
            log.log(
                logging.INFO if is_good else logging.WARNING,
                "model %s: the canary, version %d, is %s: %s%s%s",
                name, canary.version, _ENDED[verdict.outcome], verdict.text, seen, by_hand,
            )  # fmt: skip
        if self._others is not None:
            self._others.tell_decision(Decision(name, canary.version, served, verdict.outcome, verdict.text))

    def _tell_trials(self) -> None:
        if self._others is None:
            return
        folder = str(self._repository().folder)
        found = [
            OnTrial(folder, name, trial.canary.version, trial.served_version)
            for name, trial in self.trials.items()
            if not trial.is_over
        ]
        if found != self._told:
            self._told = found
            self._others.tell_trials(found)


def figures(tally: ModelTally) -> Figures:
    """What the rules look at."""
    codes: Counter[str] = Counter()
    for (code, _), count in tally.codes.items():
        codes[code] += count
    failed, times = codes["INTERNAL"] + tally.passed_on, tuple(tally.request.counts)
    return Figures(codes["OK"], failed, tally.late, tally.images, tally.invalid_outputs, times)


def _seen(canary: Figures, served: Figures, compared: Compared, elapsed_s: float, version: int) -> str:
    """The figures that a decision was made by, for the log."""
    agreed, of = compared[:2]
    agreement = f"{agreed / of:.2%} of {of:,} images agree" if of else "no images were compared"
    return f"{elapsed_s:.0f} s {_counts(canary)}, of version {version} {_counts(served)}; {agreement}"


def _counts(found: Figures) -> str:
    usual_s = percentile_s(found.times, found.late)
    times = f"up to {usual_s * 1e3:g} ms" if math.isfinite(usual_s) else f"not within {SECONDS[-1]:g} s"
    late = f"{found.late:,} late, " if found.late else ""
    return f"{found.ok + found.failed:,} calls, {found.failed:,} failed, {late}{found.images:,} images, 99% {times}"
