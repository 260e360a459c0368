"""A store mirrored into a cache, look by look: real S3 requests, small files in place of models."""

from __future__ import annotations

import logging
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from tests.server.remote.s3 import URL, Bucket, Proxy, sums_of

from covey_server.remote import store as store_module
from covey_server.remote.address import Address
from covey_server.remote.cache import Cache
from covey_server.remote.store import ListedStore, open_store
from covey_server.remote.sync import Result, Sync

SETTLED, PENDING, INCOMPLETE, FAILED, FOLLOWS = (
    Result.SETTLED, Result.PENDING, Result.INCOMPLETE, Result.FAILED, Result.FOLLOWS,
)  # fmt: skip
MODEL = b"the model's bytes"
MakeSync = Callable[[], Sync]


@pytest.fixture
def make(tmp_path: Path, proxy: Proxy) -> Iterator[MakeSync]:
    """A process's sync on `tmp_path`/cache."""
    caches = []

    def made() -> Sync:
        caches.append(Cache(tmp_path / "cache"))
        return Sync(URL, lambda: open_store(Address.parse(URL)), caches[-1])

    yield made
    for each in caches:
        each.close()


@pytest.fixture
def sync(make: MakeSync) -> Sync:
    return make()


def shown(tmp_path: Path) -> dict[str, bytes]:
    """What a server finds in the cache."""
    cache = tmp_path / "cache"
    paths = [path.relative_to(cache) for path in cache.rglob("*") if path.is_file()]
    return {str(path): (cache / path).read_bytes() for path in paths if not path.parts[0].startswith(".")}


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if each.levelno == logging.ERROR]


def test_a_version_is_fetched_once_two_looks_agree_and_then_no_more(
    tmp_path: Path, sync: Sync, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bucket.put_version("lenet/1", {"model.onnx": MODEL, "report.json": b"{}"})
    bucket.put("lenet/1/checkpoint.pt", b"not read by a server")
    bucket.put("lenet/default-version", b"1\n")
    bucket.put("notes.txt", b"")
    assert sync.look() is PENDING
    assert shown(tmp_path) == {}
    assert sync.figures().synced_s is None
    assert sync.look() is SETTLED
    first = {"lenet/1/model.onnx": MODEL, "lenet/1/report.json": b"{}", "lenet/default-version": b"1\n"}
    assert shown(tmp_path) == first
    assert f"{URL}/lenet/1 is fetched" in caplog.text
    assert "verified by SHA256SUMS" in caplog.text
    figures = sync.figures()
    assert figures.fetched_bytes == sum(map(len, first.values()))
    assert figures.synced_s is not None
    assert sync.look() is SETTLED
    assert sync.figures().fetched_bytes == figures.fetched_bytes

    bucket.put_version("lenet/2", {"model.onnx": b"another one"}, sums=False)
    bucket.delete("lenet/default-version")
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    del first["lenet/default-version"]
    assert shown(tmp_path) == first | {"lenet/2/model.onnx": b"another one"}

    for key in ("model.onnx", "report.json", "SHA256SUMS"):
        bucket.delete(f"lenet/1/{key}")
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    assert shown(tmp_path) == {"lenet/2/model.onnx": b"another one"}
    assert errors(caplog) == []


def test_of_a_changed_version_only_what_changed_is_fetched(tmp_path: Path, sync: Sync, bucket: Bucket) -> None:
    bucket.put_version("m/1", {"model.onnx": MODEL, "report.json": b"old"}, sums=False)
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    before = (tmp_path / "cache" / "m" / "1" / "model.onnx").stat()
    fetched_bytes = sync.figures().fetched_bytes
    bucket.put("m/1/report.json", b"newer")
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    assert shown(tmp_path) == {"m/1/model.onnx": MODEL, "m/1/report.json": b"newer"}
    assert sync.figures().fetched_bytes == fetched_bytes + len(b"newer")
    after = (tmp_path / "cache" / "m" / "1" / "model.onnx").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "a server would load it again"
    bucket.delete("m/1/report.json")
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    assert shown(tmp_path) == {"m/1/model.onnx": MODEL}


def test_an_upload_that_is_not_whole_waits(
    tmp_path: Path, sync: Sync, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put("m/1/report.json", b"{}")
    bucket.put("n/1/model.onnx", b"n")
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    assert shown(tmp_path) == {"n/1/model.onnx": b"n"}, "m/1 has no model yet"
    for size in (10, 20, 30):
        bucket.put("m/1/model.onnx", bytes(size))
        assert sync.look() is PENDING
    assert set(shown(tmp_path)) == {"n/1/model.onnx"}

    whole = {"model.onnx": bytes(40), "report.html": b"<html>", "report.json": b"{}"}
    bucket.put("m/1/model.onnx", bytes(40))
    bucket.put_version("m/1", {"model.onnx": bytes(40), "report.json": b"{}"}, sums=False)
    bucket.put("m/1/SHA256SUMS", sums_of(whole))
    assert [sync.look(), sync.look(), sync.look()] == [PENDING, PENDING, SETTLED]
    assert set(shown(tmp_path)) == {"n/1/model.onnx"}
    assert caplog.text.count("is not fetched yet: its SHA256SUMS names report.html, which the store lacks") == 1
    bucket.put("m/1/report.html", b"<html>")
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    assert shown(tmp_path) == {"n/1/model.onnx": b"n", **{f"m/1/{name}": content for name, content in whole.items()}}


def test_a_wrong_digest_is_refused_until_it_changes(
    tmp_path: Path, sync: Sync, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put_version("m/1", {"model.onnx": MODEL})
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    bucket.put("m/1/model.onnx", b"damaged")
    bucket.put_version("m/2", {"model.onnx": b"new"})
    bucket.put("m/2/SHA256SUMS", b"0" * 64 + b" *./model.onnx\n")
    bucket.put_version("m/3", {"model.onnx": b"good"})
    bucket.put_version("m/4", {"model.onnx": b"whose sums are no sums"})
    bucket.put("m/4/SHA256SUMS", b"<html>")
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    assert shown(tmp_path) == {"m/1/model.onnx": MODEL, "m/3/model.onnx": b"good"}
    said = "\n".join(errors(caplog))
    came = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"  # of b"new"
    assert f"{URL}/m/2 is refused: model.onnx has the SHA-256 {came}, expected {'0' * 64} by SHA256SUMS" in said
    assert f"{URL}/m/1 is refused" in said
    assert f"{URL}/m/4 its SHA256SUMS cannot be used: line 1 is '<html>'" in said
    assert sync.figures().failures == {"store": 0, "digest": 3, "disk": 0}
    fetched_bytes = sync.figures().fetched_bytes
    assert sync.look() is SETTLED
    assert sync.figures().fetched_bytes == fetched_bytes, "it is not fetched again"
    bucket.put_version("m/2", {"model.onnx": b"new"})
    bucket.put("m/1/model.onnx", MODEL)
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    assert shown(tmp_path) == {"m/1/model.onnx": MODEL, "m/2/model.onnx": b"new", "m/3/model.onnx": b"good"}


def test_a_store_that_is_away_or_empty_changes_nothing(
    tmp_path: Path, sync: Sync, bucket: Bucket, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put_version("m/1", {"model.onnx": MODEL})
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    synced_s = sync.figures().synced_s
    proxy.refuse = True
    proxy.drop_all()
    assert [sync.look(), sync.look()] == [FAILED, FAILED]
    assert shown(tmp_path) == {"m/1/model.onnx": MODEL}
    assert len(errors(caplog)) == 1, "said once"
    assert f"the models' store {URL} cannot be read: " in caplog.text
    assert "s3cr3t" not in caplog.text
    assert sync.figures().failures["store"] == 2
    assert sync.figures().synced_s == synced_s
    proxy.refuse = False
    assert sync.look() is SETTLED
    assert f"the models' store {URL} is back" in caplog.text

    bucket.clear()
    bucket.put("elsewhere/notes.txt", b"")
    assert [sync.look(), sync.look(), sync.look()] == [FAILED] * 3
    assert "it holds no NAME/VERSION/model.onnx; there are: elsewhere/notes.txt" in caplog.text
    assert shown(tmp_path) == {"m/1/model.onnx": MODEL}


def test_a_cut_fetch_goes_on_where_it_was_cut(
    tmp_path: Path, sync: Sync, bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    chunk = 1 << 16
    monkeypatch.setattr(store_module, "CHUNK_BYTES", chunk)
    content = bytes(range(256)) * 1024  # four chunks
    bucket.put_version("m/1", {"model.onnx": content})
    assert sync.look() is PENDING
    proxy.budget_bytes = 5 * chunk // 2  # so it is cut within the third chunk, and whenever it is tried again
    assert sync.look() is INCOMPLETE
    assert sync.figures().fetched_bytes == 2 * chunk
    assert shown(tmp_path) == {}
    assert sync.look() is FAILED
    assert "m/1 cannot be fetched: " in caplog.text
    proxy.budget_bytes = None
    assert sync.look() is SETTLED
    assert shown(tmp_path) == {"m/1/model.onnx": content}
    assert sync.figures().fetched_bytes == len(content), "nothing was fetched twice"


def test_a_disk_without_room_keeps_the_old_state(
    tmp_path: Path, sync: Sync, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put_version("m/1", {"model.onnx": MODEL})
    assert [sync.look(), sync.look()] == [PENDING, SETTLED]
    bucket.put_version("m/1", {"model.onnx": bytes(200_000)})
    assert sync.look() is PENDING
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert sync.look() is INCOMPLETE
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert shown(tmp_path) == {"m/1/model.onnx": MODEL}
    assert "m/1 cannot be put into the cache: [Errno 27] File too large. What was served stays" in caplog.text
    assert sync.figures().failures["disk"] == 1
    assert not any((tmp_path / "cache" / ".partial").rglob("*.*")), "what came takes no room"
    assert sync.look() is SETTLED
    assert shown(tmp_path) == {"m/1/model.onnx": bytes(200_000)}


def test_what_cannot_fit_is_not_begun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "store" / "m" / "1"
    folder.mkdir(parents=True)
    with (folder / "model.onnx").open("wb") as file:
        file.truncate(8 << 40)
    sync = Sync("file", lambda: ListedStore(LocalFileSystem(), str(tmp_path / "store")), Cache(tmp_path / "cache"))
    assert [sync.look(), sync.look()] == [PENDING, INCOMPLETE]
    assert "8,388,608 MiB are needed and " in caplog.text
    assert sync.figures().fetched_bytes == 0


def test_of_two_processes_one_fetches_and_the_other_takes_over(tmp_path: Path, make: MakeSync, bucket: Bucket) -> None:
    bucket.put_version("m/1", {"model.onnx": MODEL})
    first, second = make(), make()
    assert [first.look(), first.look()] == [PENDING, SETTLED]
    assert second.look() is FOLLOWS
    assert second.figures().synced_s == first.figures().synced_s
    first._cache.close()
    (tmp_path / "cache" / ".partial" / "half a file").write_bytes(b"left by a process that was killed")
    assert second.look() is SETTLED
    assert second.figures().fetched_bytes == 0, "what the first one fetched is known"
    assert not (tmp_path / "cache" / ".partial").exists()


def test_a_damaged_state_has_all_fetched_again(tmp_path: Path, make: MakeSync, bucket: Bucket) -> None:
    bucket.put_version("m/1", {"model.onnx": MODEL})
    first = make()
    assert [first.look(), first.look()] == [PENDING, SETTLED]
    first._cache.close()
    (tmp_path / "cache" / ".state.json").write_text('{"format": 1, "files": [')
    (tmp_path / "cache" / "m" / "9").mkdir()  # of a process that ended between two steps
    second = make()
    assert [second.look(), second.look()] == [PENDING, SETTLED]
    assert shown(tmp_path) == {"m/1/model.onnx": MODEL}
    assert second.figures().fetched_bytes == len(MODEL)
    assert not (tmp_path / "cache" / "m" / "9").exists()
