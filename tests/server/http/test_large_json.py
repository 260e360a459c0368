"""Large JSON: what is done of it before it is refused, and that it is read with room for other threads."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from covey_server.errors import InvalidRequest
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.json_text import MAX_JSON_MEMBERS, MAX_JSON_VALUES, read_object
from covey_server.system import threads


class Counted(bytes):
    """A body that counts the bytes of it that are looked at."""

    looked_at = 0

    def count(self, sub: object, start: int = 0, stop: int = sys.maxsize) -> int:  # type: ignore[override]
        self.looked_at += min(stop, len(self)) - start
        return bytes.count(self, sub, start, stop)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"images": [' + b"1," * (3 << 20) + b"1]}", f"more than {MAX_JSON_VALUES:,} values"),
        (b'{"images": ' + b"[" * (6 << 20), f"more than {MAX_JSON_VALUES:,} values"),
        (b'{"a":' * (1 << 20), f"more than {MAX_JSON_MEMBERS:,} members|more than {MAX_JSON_VALUES:,} values"),
    ],
    ids=["numbers", "arrays", "members"],
)
def test_of_too_much_only_the_beginning_is_looked_at(body: bytes, text: str) -> None:
    counted = Counted(body)
    with pytest.raises(InvalidRequest, match=text):
        read_object(counted)
    assert counted.looked_at < 3 * len(body) // 2  # by three characters each, so that is less than half of it


def test_the_limits_are_the_same_wherever_they_are_passed() -> None:
    values = b'{"a": [' + b"1," * (MAX_JSON_VALUES - 3) + b"1]}"  # with the bracket and the brace
    assert len(read_object(values)["a"]) == MAX_JSON_VALUES - 2
    with pytest.raises(InvalidRequest, match="values"):
        read_object(values.replace(b"[1,", b"[1,1,1,1,", 1))
    members = b"{" + b",".join(b'"%d":1' % number for number in range(MAX_JSON_MEMBERS)) + b"}"
    assert len(read_object(members)) == MAX_JSON_MEMBERS
    with pytest.raises(InvalidRequest, match="members"):
        read_object(members[:-1] + b',"one more":1}')


def test_many_fractions_are_read_in_steps_of_python() -> None:
    """Between which other threads may run: the parser's own would take 75 ms in one go."""
    calls = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code is json_text._fraction.__code__

    sys.setprofile(note)
    try:
        found = read_object(b'{"a": [' + b"0.5,-1e3," * 10_000 + b"0.1]}")
    finally:
        sys.setprofile(None)
    assert found["a"] == [0.5, -1000.0] * 10_000 + [0.1]
    assert calls == 20_001


def test_long_work_pauses_after_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []
    seen: list[int] = []
    monkeypatch.setattr(threads, "pause", lambda: pauses.append(len(seen)))
    monkeypatch.setattr(threads, "STEP_NS", -1)
    for each in threads.with_pauses(range(3)):
        seen.append(each)
    assert (seen, pauses) == ([0, 1, 2], [1, 2, 3])
    monkeypatch.setattr(threads, "STEP_NS", 10**12)
    assert list(threads.with_pauses("ab")) == ["a", "b"]
    assert len(pauses) == 3
