"""Processes that are forked off while a client is in use: they are answered, or told at once why not. None hangs. Over
HTTP all are answered."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import covey

from .conftest import ScriptedServer, fake_server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

_BEGIN = """
import asyncio, multiprocessing, os, signal, sys, threading, time
import covey

TARGET, DEADLINE_MS = sys.argv[1], 3_000
client = covey.Client(TARGET, deadline_ms=DEADLINE_MS)

def answered(made=None):
    return (made or client).classify(b"cat").label

def child(work):
    # What `work` gives or raises in a process that is forked off here, or HANGS.
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writes, str(said).encode())
        os._exit(0)
    os.close(writes)
    killer = threading.Timer(10, os.kill, (pid, signal.SIGKILL))
    killer.start()
    said = b"".join(iter(lambda: os.read(reads, 4096), b"")).decode()
    os.waitpid(pid, 0)
    killer.cancel()
    os.close(reads)
    return said or "HANGS"
"""

_BUSY = """
ended, failures, calls = threading.Event(), [], [0] * 4

def calling(number):
    while not ended.is_set():
        try:
            answered()
            calls[number] += 1
        except Exception as error:
            failures.append(error)

threads = [threading.Thread(target=calling, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
while min(calls) < 10:
    time.sleep(0.01)
"""

_QUIET = """
ended.set()
for thread in threads:
    thread.join()
print(failures)
"""


def _run(target: str, program: str, **environment: str) -> list[str]:
    """The lines that `program` prints after _BEGIN, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _BEGIN + program, target],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}, **environment},
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == "", run.stdout
    return run.stdout.splitlines()


@pytest.fixture
def target(transport: str) -> Iterator[str]:
    with fake_server(transport) as server:
        yield server.target


@pytest.mark.parametrize("made", ["client", "covey.Client(TARGET, deadline_ms=DEADLINE_MS)"], ids=["same", "new"])
@pytest.mark.parametrize("coalesce", ["", "client = covey.Client(TARGET, deadline_ms=DEADLINE_MS, coalesce=True)"])
def test_children_of_a_busy_process_are_answered(target: str, made: str, coalesce: str) -> None:
    forks = f"for _ in range(6): print(child(lambda: [answered({made}) for _ in range(3)]))"
    *said, failures = _run(target, coalesce + _BUSY + forks + _QUIET)
    assert said == ["['cat', 'cat', 'cat']"] * 6
    assert failures == "[]"


def test_a_client_that_was_made_but_not_used_is_used_by_many_children(target: str) -> None:
    """As by a server that forks its workers once the program is loaded."""
    assert _run(target, "for _ in range(5): print(child(answered))") == ["cat"] * 5


@pytest.mark.parametrize("support", ["", "1"])
def test_children_of_a_process_that_is_idle_again(target: str, support: str) -> None:
    program = """
def fork():
    for _ in range(3):
        print(child(lambda: answered(covey.Client(TARGET, deadline_ms=DEADLINE_MS))))
    print(answered(covey.Client(TARGET)))

answered()
fork()
list(client.classify_many([b"a"] * 99))
fork()
with client:
    answered()
fork()
"""
    environment = {"GRPC_ENABLE_FORK_SUPPORT": support} if support else {}
    assert _run(target, program, **environment) == ["cat"] * 12


def test_a_pool_of_forked_workers_answers(target: str) -> None:
    program = """
def work(number):
    return answered()

answered()
with multiprocessing.get_context("fork").Pool(3) as pool:
    print(*pool.map(work, range(30), chunksize=1))
print(answered())
"""
    assert _run(target, program) == [" ".join(["cat"] * 30), "cat"]


def test_all_of_the_sdk_works_in_a_child(target: str) -> None:
    program = """
answered()
print(child(lambda: [each.label for each in client.classify_many([b"a", b"b"])]))
print(child(lambda: sorted(key for key, _ in client.classify_stream(enumerate([b"a", b"b"])))))
print(child(lambda: client.model().name))
print(child(lambda: client.wait_until_ready()))
print(child(lambda: child(answered)))
"""
    assert _run(target, program) == ["['cat', 'cat']", "[0, 1]", "fake", "None", "cat"]


def test_a_child_exits_in_good_order(target: str) -> None:
    program = (
        _BUSY
        + """
for _ in range(3):
    pid = os.fork()
    if not pid:
        answered()
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # else the next child prints it too
"""
        + _QUIET
    )
    assert _run(target, program) == ["7"] * 3 + ["[]"]


def test_a_child_that_is_forked_off_during_a_stream_is_told_so(target: str, transport: str) -> None:
    program = """
more = threading.Event()

def pairs():
    yield 1, b"a"
    more.wait()
    yield 2, b"b"

answers = client.classify_stream(pairs())
print(next(answers)[0])
began_s = time.monotonic()
print(child(answered))
print(child(lambda: covey.Client(TARGET).model()))
print(child(lambda: next(answers)))
print(child(lambda: answers.close()))
print(child(lambda: asyncio.run(covey.AsyncClient(TARGET).models())))
print(time.monotonic() - began_s < 3)
more.set()
print(next(answers)[0])
"""
    first, called, made, went_on, closed, waited, quick, second = _run(target, program)
    assert (first, quick, second) == ("1", "True", "2")
    if transport == "http":
        assert called == "cat"
        assert "name='fake'" in made
        assert "name='fake'" in waited
    for said in (called, made, waited) if transport == "grpc" else ():
        assert said.startswith("ForkedProcess: covey cannot be used in this forked process: calls or streams")
        assert "spawn" in said
    assert "belongs to the parent process" in went_on
    assert closed == "None"


def test_a_child_that_is_forked_off_during_a_long_call_is_told_so(server: ScriptedServer, transport: str) -> None:
    program = """
calling = threading.Thread(target=lambda: print(client.classify(b"cat", deadline_ms=30_000).label))
calling.start()
sys.stdin.readline()
print(child(lambda: client.classify(b"cat", deadline_ms=300)))
print("released", flush=True)
calling.join()
"""
    server.hold()
    with subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _BEGIN + program, server.target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        server.wait_until_held()
        run.stdin.write("\n")
        run.stdin.flush()
        said = [run.stdout.readline() for _ in range(2)]
        server.release()
        said.append(run.stdout.readline())
    if transport == "http":
        assert said[0].startswith("DeadlineExceeded: no answer")  # the server answers nobody meanwhile
    else:
        assert said[0].startswith("ForkedProcess: covey cannot be used in this forked process: calls or streams")
    assert said[1:] == ["released\n", "cat\n"]


def test_an_iteration_of_the_parent_is_not_continued_by_a_child(target: str) -> None:
    program = """
answers = client.classify_many(b"%d" % number for number in range(2_000))
print(next(answers).label)
print(child(lambda: [next(answers) for _ in range(500)]))
print(child(lambda: answers.close()))
print(len(list(answers)))
"""
    first, went_on, closed, others = _run(target, program)
    assert (first, closed, others) == ("cat", "None", "1999")
    assert went_on.startswith("ForkedProcess")


def test_an_async_client_says_at_once_that_it_does_not_survive_a_fork(target: str, transport: str) -> None:
    program = """
async def call(made):
    return (await made.classify(b"cat")).label

async def models(made):
    return [pair async for pair in made.classify_stream([(1, b"a")])]

async def main():
    print(await call(asynchronous))
    print(child(answered))
    print(await call(asynchronous))

asynchronous = covey.AsyncClient(TARGET)
print(child(lambda: asyncio.run(call(asynchronous))))
asyncio.run(main())
for made in "asynchronous", "covey.AsyncClient(TARGET)", "covey.AsyncClient(TARGET, coalesce=True)":
    print(child(lambda: asyncio.run(call(eval(made)))))
print(child(lambda: asyncio.run(models(covey.AsyncClient(TARGET)))))
"""
    before, *alone, again_1, again_2, again_3, again_4 = _run(target, program)
    assert before == "cat"  # it was not used before
    assert alone == ["cat", "cat", "cat"]
    if transport == "http":
        assert [again_1, again_2, again_3] == ["cat"] * 3
        assert again_4.startswith("[(1, Classification(")
    for said in (again_1, again_2, again_3, again_4) if transport == "grpc" else ():
        assert said.startswith("ForkedProcess: an AsyncClient cannot be used in this forked process")


def test_where_grpc_is_told_not_to_support_forks_the_child_says_so(target: str, transport: str) -> None:
    program = "answered()\nprint(child(answered))\nprint(answered())"
    said, parent = _run(target, program, GRPC_ENABLE_FORK_SUPPORT="0")
    if transport == "http":
        assert said == "cat"
        return
    assert said.startswith("ForkedProcess")
    assert "GRPC_ENABLE_FORK_SUPPORT=0" in said
    assert parent == "cat"


def test_a_client_travels_to_spawned_processes(target: str, tmp_path: Path) -> None:
    """As DataLoader workers of "spawn" or "forkserver" get their data set."""
    (tmp_path / "program.py").write_text(
        f"""
import multiprocessing, covey

def work(client):
    return client.classify(b"cat").label

if __name__ == "__main__":
    client = covey.Client({target!r})
    print(work(client))
    for method in "spawn", "forkserver":
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(*pool.map(work, [client] * 3))
"""
    )
    command = [sys.executable, str(tmp_path / "program.py")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (run.stdout, run.stderr) == ("cat\ncat cat cat\ncat cat cat\n", "")


@pytest.mark.parametrize("kind", [covey.Client, covey.AsyncClient])
def test_a_pickled_client_has_the_same_settings(kind: type[covey.Client | covey.AsyncClient]) -> None:
    tls = covey.TLS(server_name="covey")
    client = kind(["a:1", "b:2"], deadline_ms=5, retries=1, coalesce=True, tls=tls, token=covey.TokenFile("token"))
    made = pickle.loads(pickle.dumps(client))
    assert type(made) is kind
    assert repr(made) == repr(client)
    assert {**made._settings(), "token": ""} == {**client._settings(), "token": ""}
    assert repr(made._settings()["token"]) == repr(client._settings()["token"])
