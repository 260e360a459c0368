"""The limits of principals: requests and images per second, and calls in flight.

Rates are held by the generic cell rate algorithm (ITU-T I.371), which keeps one number for each: the moment until which
what was let in is paid for. It may be a second ahead of now, so a second's worth may come at once. A call that costs
more than that by itself is let in where nothing is owed.

A call that is refused counts for no rate, whatever it was refused for.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from covey_server.calls.account import Account, Allowance
from covey_server.calls.call import Call
from covey_server.calls.late_refusals import LateRefusals
from covey_server.errors import Overloaded

OTHER = "other"  # the name of accounts of principals that have no table
_BURST_NS = 1e9 + 1e3  # how far ahead may be paid; a microsecond more, since sums are rounded
_MAX_REMEMBERED = 1024  # accounts of other principals, before those that owe nothing are dropped


@dataclass(frozen=True)
class Allowances:
    """What a file says: the allowances by the name of their table, the table of each principal that has one, and what
    each other principal may."""

    tables: Mapping[str, Allowance] = field(default_factory=dict)
    table_of: Mapping[str, str] = field(default_factory=dict)
    default: Allowance = field(default_factory=Allowance)


class Limits:
    """The accounts of all principals. Safe from any thread."""

    def __init__(
        self, allowances: Allowances, processes: int = 1, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Each of `processes` lets in its share of every limit."""
        self._allowances = allowances
        self._processes = processes
        self._clock_ns = clock_ns
        self._accounts: dict[str, Account] = {}  # by table
        self._others: dict[str, Account] = {}  # by principal
        self._max_others = _MAX_REMEMBERED
        self.late_refusals = LateRefusals()
        self._lock = threading.Lock()

    @property
    def names(self) -> frozenset[str]:
        """All names that accounts may have now."""
        return frozenset((*self._allowances.tables, OTHER))

    def replace(self, allowances: Allowances) -> None:
        """Takes the allowances of a file that has changed. Calls in flight still count; what an account has used counts
        if its allowance is the same."""
        with self._lock:
            self._allowances = allowances
            self._accounts = {name: each for name, each in self._accounts.items() if name in allowances.tables}
            for name, account in self._accounts.items():
                _allow(account, allowances.tables[name])
            for account in self._others.values():
                _allow(account, allowances.default)

    def enter(self, call: Call) -> None:
        """Lets a call in, and sets its account. Raises Overloaded; then it is not in."""
        with self._lock:
            account, now_ns = self._find(call.principal), self._clock_ns()
            if (refusal := self._refuse_call(account, now_ns)) is not None:
                raise refusal
            account.in_flight += 1
            self._pay(account, 1, 0, now_ns)
        call.account, call.charged_images = account, 0

    def charge(self, call: Call, images: int) -> None:
        """Counts images of a call that is in. Raises Overloaded; then they are not counted."""
        account = call.account
        with self._lock:
            now_ns = self._clock_ns()
            if (refusal := self._refuse_images(account, images, now_ns)) is not None:
                raise refusal
            self._pay(account, 0, images, now_ns)
        call.charged_images += images

    def enter_together(self, principals: Sequence[str], images: int) -> Sequence[Account] | None:
        """Lets in calls of so many images each; returns their accounts. None, and none is in, unless all have room and
        the same priority: then it has to be decided for one after the other."""
        with self._lock:
            now_ns = self._clock_ns()
            accounts = [self._find(principal) for principal in principals]
            counts = Counter(accounts)
            if len({account.is_batch for account in counts}) > 1 or not all(
                self._have_room(account, calls, calls * images, now_ns) for account, calls in counts.items()
            ):
                return None
            for account, calls in counts.items():
                account.in_flight += calls
                self._pay(account, calls, calls * images, now_ns)
        return accounts

    def refusal(self, principal: str, images: int) -> Overloaded | None:
        """Why a call of so many images would be refused now; None: it would be let in. Counts nothing."""
        with self._lock:
            account, now_ns = self._find(principal), self._clock_ns()
            return self._refuse_call(account, now_ns) or self._refuse_images(account, images, now_ns)

    def sort_out(self, principals: Sequence[str], images: int) -> tuple[list[int], list[int], list[int]]:
        """The places of calls of so many images each, in the order in which they are to be handled: those of principals
        with room for all of their calls, interactive ones first, then those of priority batch; and the others."""
        places: tuple[list[int], list[int], list[int]] = [], [], []
        with self._lock:
            now_ns = self._clock_ns()
            accounts = [self._find(principal) for principal in principals]
            groups = {
                account: int(account.is_batch) if self._have_room(account, calls, calls * images, now_ns) else 2
                for account, calls in Counter(accounts).items()
            }
        for place, account in enumerate(accounts):
            places[groups[account]].append(place)
        return places

    def leave(self, accounts: Sequence[Account]) -> None:
        """Counts out calls that are answered, by the account of each."""
        with self._lock:
            for account in accounts:
                account.in_flight -= 1

    def give_back(self, account: Account, images: int) -> None:
        """Counts out a call that was refused after all, and its images; neither counts for a rate."""
        with self._lock:
            account.in_flight -= 1
            self._pay(account, -1, -images, self._clock_ns())

    def _refuse_call(self, account: Account, now_ns: int) -> Overloaded | None:
        max_calls, rate = account.allowance.in_flight, account.allowance.requests_per_s
        if max_calls is not None and account.in_flight >= self._share(max_calls):
            return Overloaded(
                f"{account.in_flight:,} calls of {_who(account)} are unanswered, as many as it may have at once"
                f"{self._divided}; wait for answers before sending more",
                refused_for="in_flight",
                principal=account.name,
                fail_late=self.late_refusals.fail,
            )
        if rate is not None and (wait_ns := self._wait_ns(account.requests_until_ns, 1, rate, now_ns)) > 0:
            return Overloaded(
                f"{_who(account)} may send {rate:g} requests per second{self._divided} and has sent them; "
                f"try again in {_ms(wait_ns):,} ms",
                _ms(wait_ns),
                refused_for="requests_per_s",
                principal=account.name,
                fail_late=self.late_refusals.fail,
            )
        return None

    def _refuse_images(self, account: Account, images: int, now_ns: int) -> Overloaded | None:
        rate = account.allowance.images_per_s
        if rate is not None and (wait_ns := self._wait_ns(account.images_until_ns, images, rate, now_ns)) > 0:
            return Overloaded(
                f"{_who(account)} may send {rate:g} images per second{self._divided}, and {images:,} more "
                f"would pass that; try again in {_ms(wait_ns):,} ms",
                _ms(wait_ns),
                refused_for="images_per_s",
                principal=account.name,
                fail_late=self.late_refusals.fail,
            )
        return None

    def _find(self, principal: str) -> Account:
        allowances = self._allowances
        table = allowances.table_of.get(principal)
        found = self._others.get(principal) if table is None else self._accounts.get(table)
        if found is not None:
            return found
        if table is not None:
            account = self._accounts[table] = Account(table, allowances.tables[table])
            return account
        if len(self._others) >= self._max_others:
            self._forget_idle()
        account = self._others[principal] = Account(OTHER, allowances.default)
        return account

    def _forget_idle(self) -> None:
        now_ns = self._clock_ns()
        self._others = {
            principal: each
            for principal, each in self._others.items()
            if each.in_flight or each.requests_until_ns > now_ns or each.images_until_ns > now_ns
        }
        self._max_others = max(_MAX_REMEMBERED, 2 * len(self._others))

    def _have_room(self, account: Account, calls: int, images: int, now_ns: int) -> bool:
        """Whether so many calls would be let in one after the other."""
        max_calls = account.allowance.in_flight
        if max_calls is not None and account.in_flight + calls > self._share(max_calls):
            return False
        rate = account.allowance.requests_per_s
        if rate is not None and self._wait_ns(account.requests_until_ns, calls, rate, now_ns, calls) > 0:
            return False
        rate = account.allowance.images_per_s
        return rate is None or self._wait_ns(account.images_until_ns, images, rate, now_ns, calls) <= 0

    def _wait_ns(self, until_ns: float, count: int, rate: float, now_ns: int, calls: int = 1) -> float:
        """How long `count` of something in so many calls have to wait; not above 0: they are let in now."""
        cost_ns = count * self._each_ns(rate)
        if calls == 1 and cost_ns > _BURST_NS:
            return until_ns - now_ns
        return max(until_ns - now_ns, 0.0) + cost_ns - _BURST_NS

    def _pay(self, account: Account, calls: int, images: int, now_ns: int) -> None:
        if calls and (rate := account.allowance.requests_per_s) is not None:
            account.requests_until_ns = max(account.requests_until_ns, now_ns) + calls * self._each_ns(rate)
        if images and (rate := account.allowance.images_per_s) is not None:
            account.images_until_ns = max(account.images_until_ns, now_ns) + images * self._each_ns(rate)

    def _each_ns(self, rate: float) -> float:
        """What one costs."""
        return 1e9 * self._processes / rate

    def _share(self, in_flight: int) -> int:
        return -(-in_flight // self._processes)

    @property
    def _divided(self) -> str:
        return "" if self._processes == 1 else f" (divided by {self._processes} processes)"


def _allow(account: Account, allowance: Allowance) -> None:
    if account.allowance != allowance:
        account.allowance = allowance
        account.requests_until_ns = account.images_until_ns = 0.0


def _who(account: Account) -> str:
    return "this caller" if account.name == OTHER else repr(account.name)


def _ms(wait_ns: float) -> int:
    return max(1, math.ceil(wait_ns / 1e6))
