"""URLs, digests, listings, back-off; a web server as a store; packages that are missing."""

from __future__ import annotations

import functools
import http.server
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.server.remote.s3 import sums_of

from covey_server.errors import InvalidConfiguration, NoModels
from covey_server.protocols.rest.model_files import FILE_TYPES
from covey_server.remote import digests
from covey_server.remote.address import Address, redact
from covey_server.remote.cache import Cache
from covey_server.remote.listing import READ, Listing, Stamp
from covey_server.remote.mirror import MAX_DELAY_S, Backoff, Mirror
from covey_server.remote.store import _stamp, open_store
from covey_server.remote.sync import Result, Sync


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/models", "expected a folder, or a URL that begins with s3://"),
        ("s3:///models", "it names no bucket"),
        ("s3://key:hid/den@bucket/models", r"--models s3://\*\*\*: expected s3://BUCKET/PREFIX, without : in"),
        ("s3://[ab]/models", r"--models s3://\[ab\]/models: expected the name of a bucket"),
        ("s3://[ab/models", r"--models s3://\[ab/models: expected the name of a bucket"),
        ("s3://key:hidden@bucket/models", r"--models s3://\*\*\*@bucket/models: expected no credentials in the URL"),
        ("https://host/models?signature=hidden", "--models https://host/models: expected a URL without"),
    ],
)
def test_urls_that_are_not_taken(url: str, message: str) -> None:
    with pytest.raises(InvalidConfiguration, match=message) as caught:
        Address.parse(url)
    assert "hidden" not in str(caught.value)


def test_a_cache_folder_belongs_to_one_url(tmp_path: Path) -> None:
    first = Address.parse("https://user:hidden@host/a/models/")
    assert first.display_url == "https://***@host/a/models"
    folder = first.cache_folder("", {"XDG_CACHE_HOME": str(tmp_path)})
    assert folder.parent == tmp_path / "covey" / "models"
    assert folder.name.startswith("https-host-a-models-")
    assert Address.parse("https://host/a/models").cache_folder("", {"XDG_CACHE_HOME": str(tmp_path)}) == folder
    assert Address.parse("https://host/a-models").cache_folder(str(tmp_path), {}) != tmp_path / folder.name
    assert first.cache_folder("", {"XDG_CACHE_HOME": "relative"}).is_relative_to(Path.home() / ".cache")
    assert redact("GET https://u:p@h/x and hf://org/repo@main") == "GET https://***@h/x and hf://org/repo@main"


def test_digests_as_sha256sum_prints_them() -> None:
    first, second = "0a" * 32, "FF" * 32
    found = digests.parse(f"{first}  model.onnx\n\n{second} *./report file.html\n".encode())
    assert found == {"model.onnx": first, "report file.html": second.lower()}
    with pytest.raises(ValueError, match=r"line 2 is 'model.onnx': expected what `sha256sum FILE` prints"):
        digests.parse(f"{first}  x\nmodel.onnx".encode())


def test_only_names_of_models_are_listed() -> None:
    stamp = Stamp(1, "x")
    keys = ["m/2/model.onnx", "m/10/model.onnx", "m/10/report.html", "m/3/report.html", "m/01/model.onnx"]
    keys += ["../1/model.onnx", ".x/1/model.onnx", "m/../model.onnx", "m/1/../model.onnx", "m/10/a/model.onnx"]
    keys += ["m/default-version", "m/shadow-version", "m/canary-version", "default-version"]
    listing = Listing.of(dict.fromkeys(keys, stamp))
    assert list(listing.versions) == ["m/10", "m/2"], "the highest first; one without a model is none"
    assert set(listing.versions["m/10"]) == {"model.onnx", "report.html"}
    assert set(listing.choices) == {"m/default-version", "m/shadow-version", "m/canary-version"}
    assert set(FILE_TYPES) <= READ, "what a server shows is fetched"


def test_a_store_without_etags_is_known_by_its_times() -> None:
    """As with `rclone serve s3 --etag-hash ""`, whose listing tells milliseconds."""
    listed = datetime(2026, 11, 30, 13, 8, 54, 985_000, tzinfo=UTC)
    stamp = _stamp({"size": 1, "ETag": '""', "LastModified": listed})
    assert stamp == _stamp({"size": 1, "ETag": "", "LastModified": listed.replace(microsecond=0)})
    assert stamp != _stamp({"size": 1, "LastModified": listed + timedelta(seconds=1)})
    assert _stamp({"size": 1, "ETag": '"x"', "LastModified": listed}) == Stamp(1, "x")


def test_failures_are_followed_by_longer_and_longer_pauses_up_to_a_limit() -> None:
    backoff = Backoff(30)
    delays = [backoff.delay_s(Result.FAILED) or 0 for _ in range(40)]
    for number, delay_s in enumerate(delays):
        assert 0.5 * min(MAX_DELAY_S, 2**number) <= delay_s <= min(MAX_DELAY_S, 2**number)
    assert len(set(delays)) > 30, "servers do not come back together"
    assert (backoff.delay_s(Result.INCOMPLETE) or 0) <= 30, "others are followed in time"
    assert backoff.delay_s(Result.PENDING) == 1
    assert backoff.delay_s(Result.SETTLED) == 30
    assert (backoff.delay_s(Result.FAILED) or 0) <= 1
    assert Backoff(0).delay_s(Result.SETTLED) is None


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    mirror = Mirror(Address.parse("gs://bucket/models"), tmp_path / "cache", 1)
    with pytest.raises(InvalidConfiguration, match=r"pip install 'covey-serve\[remote\]' gcsfs"):
        mirror.start()
    assert mirror.stop()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server of `tmp_path`/web; its address, with a user."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://user:hidden@127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_web_server_is_listed_by_the_sums_at_its_root(
    tmp_path: Path, web: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"m/1/model.onnx": b"one", "m/default-version": b"1"}
    for path, content in files.items():
        (tmp_path / "web" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "web" / path).write_bytes(content)
    address = Address.parse(web)
    cache = Cache(tmp_path / "cache")
    sync = Sync(address.display_url, lambda: open_store(address), cache)
    assert sync.look() is Result.FAILED, "there are no sums yet"
    (tmp_path / "web" / "SHA256SUMS").write_bytes(sums_of(files))
    assert [sync.look(), sync.look(), sync.look()] == [Result.PENDING, Result.SETTLED, Result.SETTLED]
    assert {path: (tmp_path / "cache" / path).read_bytes() for path in files} == files
    assert sync.figures().fetched_bytes == 4
    (tmp_path / "web" / "m/1/model.onnx").write_bytes(b"changed, and the sums are old")
    assert sync.look() is Result.SETTLED
    files["m/1/model.onnx"] = b"two"
    (tmp_path / "web" / "SHA256SUMS").write_bytes(sums_of(files))
    assert [sync.look(), sync.look()] == [Result.PENDING, Result.SETTLED]
    assert "m/1 is refused: model.onnx has the SHA-256" in caplog.text
    assert (tmp_path / "cache/m/1/model.onnx").read_bytes() == b"one"
    cache.close()
    assert "hidden" not in caplog.text


def test_a_start_without_store_and_cache_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("covey_server.remote.mirror._FIRST_DELAY_S", 0.001)
    mirror = Mirror(Address.parse("http://user:hidden@127.0.0.1:9/models"), tmp_path / "cache", 1)
    with pytest.raises(NoModels, match=r"no model can be had from http://\*\*\*@127.0.0.1:9/models") as caught:
        mirror.start()
    assert "hidden" not in caplog.text + str(caught.value)
