"""`covey batch s3://...`: what it does of a folder or of files, it does of the same in a real S3 server."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.offline.helpers import (
    BROKEN,
    COUNT,
    SMALL,
    batch,
    images,
    png,
    read,
    require_right,
    write_folder,
    write_parquet,
    write_tar,
)
from tests.server.offline.test_resuming import run_until_signal
from tests.server.remote import s3

from covey_proto import image_formats
from covey_server.offline.errors import BadSource, Stopped
from covey_server.offline.sources import bucket_files, bucket_folder
from covey_server.offline.sources.bucket_folder import BucketFolder
from covey_server.offline.sources.parquet_files import ParquetFiles
from covey_server.offline.sources.source import Missing
from covey_server.offline.sources.tar_files import TarFiles
from covey_server.remote import objects
from covey_server.remote import store as store_module

URL = f"s3://{s3.BUCKET}/images"


@pytest.fixture
def store(bucket: s3.Bucket) -> s3.Bucket:
    """What lies at URL."""
    return s3.Bucket(bucket.filesystem, "images")


@pytest.fixture
def model(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    return write_echo_model(tmp_path / "models")


def put(store: s3.Bucket, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        store.put(name, data)


def surveyed(folder: Path, url: str = URL) -> BucketFolder:
    source = BucketFolder(url, image_formats.DEFAULT, 1 << 20)
    source.survey(folder)
    return source


def call_once_listed(monkeypatch: pytest.MonkeyPatch, function: Callable[[], object]) -> None:
    """Calls it between the listing of a folder and the reading of its first image."""
    survey = BucketFolder.survey

    def survey_and_call(self: BucketFolder, folder: Path) -> dict[str, object]:
        identity = survey(self, folder)
        function()
        return identity

    monkeypatch.setattr(BucketFolder, "survey", survey_and_call)


def test_a_folder_has_the_rows_and_the_order_of_a_local_one(
    store: s3.Bucket, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a.png", "a-b.png", "a/z.png", "a/b/c.png", "ä.png", "B C+%.png", "b.png", "large.png"]
    files = {name: png(number, 150 + number) for number, name in enumerate(names)}
    files |= {"b.png": BROKEN, "empty.png": b"", "large.png": png(1) + bytes(2000)}
    files |= {"notes.txt": b"x", ".hidden.png": b"x", "a/.x/y.png": b"x", "__MACOSX/z.png": b"x"}
    put(store, files)
    bare = s3.Bucket(store.filesystem, "imagesets")  # whose keys begin with the same letters
    bare.put("other.png", png(1))
    store.put("marker/", b"")  # as consoles make a folder
    options = ("--model", model, "--max-image-bytes", 1000)
    assert batch(write_folder(tmp_path / "images", files), *options, "--to", tmp_path / "local.csv") == 0
    local = capsys.readouterr().out
    assert batch(f"{URL}/", *options, "--to", tmp_path / "bucket.csv") == 0
    rows, expected = read(tmp_path / "bucket.csv"), read(tmp_path / "local.csv")
    assert [row["key"] for row in rows][:4] == ["B C+%.png", "a/b/c.png", "a/z.png", "a-b.png"]
    for each in (*rows, *expected):  # the two say it in words of their own
        each["error"] = each["error"] and each["error"].replace(" (--max-image-bytes)", "").replace(";", ",")
    assert rows == expected
    left_out = "left out, as they are no images by their names: 1 .txt"
    assert left_out in local
    assert left_out in capsys.readouterr().out
    assert not (tmp_path / "bucket.csv.parts").exists()


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "parquet"])
def test_archives_by_name_and_by_pattern_have_the_rows_of_local_ones(
    kind: str, store: s3.Bucket, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_files, "BLOCK_BYTES", 1000)
    files = list(images(COUNT).items())
    paths = []
    for number, part in enumerate((dict(files[:15]), dict(files[15:]))):
        path = tmp_path / f"{number}.{kind}"
        paths.append(write_parquet(path, part) if kind == "parquet" else write_tar(path, part))
        store.put(f"shards/{path.name}", path.read_bytes())
        store.put(f"shards/more/{path.name}", b"not meant")
    store.put(f"shards/.{kind}", b"not meant")
    options = ("--model", model, "--key-column", "name")
    assert batch(paths[0], *options, "--to", tmp_path / "local-one.csv") == 0
    assert batch(f"{URL}/shards/0.{kind}", *options, "--to", tmp_path / "one.csv") == 0
    assert read(tmp_path / "one.csv") == read(tmp_path / "local-one.csv")
    assert batch(*paths, *options, "--to", tmp_path / "local.csv") == 0
    for number, pattern in enumerate((f"shards/*.{kind}", f"sh*/[01].{kind}")):
        out = tmp_path / f"pattern-{number}.csv"
        assert batch(f"{URL}/{pattern}", *options, "--to", out) == 0
        assert read(out) == read(tmp_path / "local.csv")
    assert batch(f"{URL}/shards/0.{kind}", paths[1], *options, "--to", tmp_path / "mixed.csv") == 0
    assert read(tmp_path / "mixed.csv") == read(tmp_path / "local.csv")


@pytest.mark.parametrize("kind", ["folder", "tar", "parquet"])
def test_after_kill_9_the_same_command_goes_on(
    kind: str, store: s3.Bucket, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, url = images(COUNT), URL
    if kind == "folder":
        put(store, files)
    else:
        path = tmp_path / f"images.{kind}"
        store.put(path.name, (write_tar if kind == "tar" else write_parquet)(path, files).read_bytes())
        url = f"{URL}/{path.name}"
    arguments = (url, "--model", model, "--to", tmp_path / "out.csv", "--key-column", "name")
    assert run_until_signal("after", 5, signal.SIGKILL, *arguments).returncode == -signal.SIGKILL
    assert batch(*arguments, *SMALL) == 0
    require_right(read(tmp_path / "out.csv"), COUNT)
    assert "16 images had been done before" in capsys.readouterr().out


def test_a_changed_listing_is_refused(
    store: s3.Bucket, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, images(COUNT))
    arguments = (URL, "--model", model, "--to", tmp_path / "out.csv")
    assert run_until_signal("after", 5, signal.SIGKILL, *arguments).returncode == -signal.SIGKILL
    store.put("0040.png", png(1))
    assert batch(*arguments, *SMALL) == 2
    assert "the source has changed, or is another one (40 images then, 41 images now)" in capsys.readouterr().err
    store.delete("0040.png")
    store.put("0001.png", png(2, 101))
    assert batch(*arguments, *SMALL) == 2
    assert "the source has changed, or is another one (40 images then, 40 images now)" in capsys.readouterr().err
    store.put("0001.png", images(COUNT)["0001.png"])  # the same bytes are no change
    assert batch(*arguments, *SMALL) == 0
    require_right(read(tmp_path / "out.csv"), COUNT)


def test_an_image_that_went_or_changed_after_the_listing_has_a_row_that_says_so(
    store: s3.Bucket, tmp_path: Path
) -> None:
    put(store, {"a.png": png(1), "b.png": png(2), "c.png": png(3)})
    source = surveyed(tmp_path)
    store.delete("a.png")
    store.put("b.png", png(4))
    gone, changed, whole = (entry.image for entry in source.entries(0))
    assert gone == Missing("it is not in the bucket any more")
    assert isinstance(changed, Missing)
    assert changed.message.startswith("it has changed since it was listed (ETag ")
    assert whole == png(3)


def test_an_archive_that_went_or_changed_after_the_listing_ends_the_batch(
    store: s3.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_tar(tmp_path / "a.tar", images(5)).read_bytes()
    put(store, {"a.tar": content, "b.tar": content})
    source = TarFiles(bucket_files.find(f"{URL}/*.tar"), image_formats.DEFAULT, 1 << 20)
    source.survey(tmp_path)
    store.put("a.tar", write_tar(tmp_path / "other.tar", images(6)).read_bytes())
    with pytest.raises(BadSource, match=r"images/a\.tar: it has changed since it was listed"):
        list(source.entries(0))
    monkeypatch.setattr(bucket_files, "BLOCK_BYTES", 1000)
    store.put("a.tar", b"short")
    with source._files[0].open() as file:
        file.seek(5000)
        with pytest.raises(BadSource, match=r"a\.tar: it has changed .*fewer bytes now"):
            file.read(1)
    store.put("a.tar", content)
    store.delete("b.tar")
    with pytest.raises(BadSource, match=r"images/b\.tar: it is not in the bucket any more"):
        list(source.entries(0))
    store.put("a.parquet", write_parquet(tmp_path / "a.parquet", images(5)).read_bytes())
    table = ParquetFiles(bucket_files.find(f"{URL}/a.parquet"), "image", "", 1 << 20)
    table.survey(tmp_path)
    store.put("a.parquet", write_parquet(tmp_path / "other.parquet", images(6)).read_bytes())
    with pytest.raises(BadSource, match=r"images/a\.parquet: it has changed since it was listed"):
        list(table.entries(0))


def test_what_cannot_be_used_is_said(
    store: s3.Bucket, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {"a.txt": b"x", "b.tar": b"no tar file at all" * 100, "c.parquet": b"no Parquet" * 100})
    options = ("--model", model, "--to", tmp_path / "out.csv")

    def refused(url: str, text: str) -> None:
        assert batch(url, *options) == 2
        output = capsys.readouterr()
        assert text in output.err
        assert len(output.err.splitlines()) == 1
        assert not (tmp_path / "out.csv.parts").exists()

    refused(URL, f"found 1 .parquet, 1 .tar, 1 .txt; to classify what they hold, name them: {URL}/*.tar")
    refused("s3://my bucket/x", "'my bucket' cannot be a bucket's name; expected letters")
    refused("s3://[ab]/x.tar", "s3://[ab]/x.tar: expected the name of a bucket")
    refused(f"{URL}/nowhere", "found no file; name a folder of images")
    refused(f"{URL}/nowhere.tar", f"{URL}/nowhere.tar: there is no such object")
    refused(f"{URL}/x*.tar", f"{URL}/x*.tar: there is no such object")
    refused(f"{URL}/b.tar", "Expected a whole tar file")
    refused(f"{URL}/c.parquet", f"{URL}/c.parquet: no whole Parquet file")
    for url in ("s3://no-such-bucket/images", "s3://no-such-bucket/a.tar"):
        refused(url, f"{url}: there is no bucket no-such-bucket; check its name")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    refused(URL, "there are no credentials (Unable to locate credentials); expected credentials in the environment")


@contextmanager
def unknown_keys_denied(port: int) -> Iterator[None]:
    def set_free_calls(count: str) -> None:
        url, headers = f"http://127.0.0.1:{port}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, count.encode(), headers)).close()

    set_free_calls("0")
    try:
        yield
    finally:
        set_free_calls("inf")


def test_access_that_is_denied_is_said(
    store: s3.Bucket, s3_port: int, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, images(5))
    arguments = (URL, "--model", model, "--to", tmp_path / "out.csv")
    with unknown_keys_denied(s3_port):
        assert batch(*arguments) == 2
    message = capsys.readouterr().err
    assert f"{URL}: access is denied (" in message
    assert "InvalidAccessKeyId" in message
    assert "that may list the bucket (s3:ListBucket) and read its objects (s3:GetObject)" in message
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{s3.BUCKET}/images/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    store.filesystem.call_s3("put_bucket_policy", Bucket=s3.BUCKET, Policy=policy)
    try:
        assert batch(*arguments) == 2
    finally:
        store.filesystem.call_s3("delete_bucket_policy", Bucket=s3.BUCKET)
    assert f"{URL}/0000.png: access is denied (" in capsys.readouterr().err
    assert batch(*arguments) == 0
    require_right(read(tmp_path / "out.csv"), 5)


LISTING = b"""<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>%b
<Contents><Key>images/a.png</Key><ETag>&quot;e&quot;</ETag><Size>1</Size></Contents></ListBucketResult>"""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<html><body>Please sign in</body></html>", "what came is no listing of a bucket; check AWS_ENDPOINT_URL"),
        (b"", "what came is no listing of a bucket; check AWS_ENDPOINT_URL"),
        (LISTING % b"<NextMarker>images/a.png</NextMarker>", "listing goes on, but not from where"),
        (LISTING % b"<NextContinuationToken>t</NextContinuationToken>", "listing goes on, but not from where"),
    ],
    ids=["page", "empty", "first version of the listing", "always the same token"],
)
def test_a_listing_that_is_none_or_is_not_whole_is_refused(
    body: bytes,
    text: str,
    proxy: s3.Proxy,
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        assert batch(URL, "--model", model, "--to", tmp_path / "out.csv") == 2
        assert text in capsys.readouterr().err
        server.shutdown()


@pytest.mark.parametrize("moment", ["listing", "reading"])
def test_a_signal_ends_the_waiting_for_a_store_that_is_silent(
    moment: str,
    store: s3.Bucket,
    proxy: s3.Proxy,
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(store, images(COUNT))
    if moment == "listing":
        proxy.open.clear()
    else:
        call_once_listed(monkeypatch, proxy.open.clear)
    monkeypatch.setattr(store_module, "_READ_S", 600)

    def interrupt() -> None:
        proxy.held.wait(60)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    began_s = time.monotonic()
    assert batch(URL, "--model", model, "--to", tmp_path / "out.csv") == 130
    assert time.monotonic() - began_s < 300
    assert "stopped. No part was finished yet" in capsys.readouterr().err


def test_an_etag_that_a_proxy_made_weak_is_the_same() -> None:
    assert objects._etag({"ETag": 'W/"abc"'}) == objects._etag({"ETag": '"abc"'}) == "abc"


def test_a_broken_answer_is_asked_for_again(
    store: s3.Bucket, proxy: s3.Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = png(1) + bytes(300_000)
    put(store, {"a.png": content, "a.tar": write_tar(tmp_path / "a.tar", {"b.png": content}).read_bytes()})
    failures = []

    def heal(count: int) -> float:
        failures.append(count)
        proxy.budget_bytes = None
        return 0.0

    monkeypatch.setattr(objects, "_delay_s", heal)
    folder = surveyed(tmp_path)
    archive = TarFiles(bucket_files.find(f"{URL}/a.tar"), image_formats.DEFAULT, 1 << 20)
    archive.survey(tmp_path)
    for source in (folder, archive):
        failures.clear()
        proxy.budget_bytes = 100_000  # of an answer with 300,000
        assert [entry.image for entry in source.entries(0)] == [content]
        assert failures == [1]


def test_a_store_that_stays_away_ends_the_batch_and_the_same_command_goes_on(
    store: s3.Bucket,
    proxy: s3.Proxy,
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(store, images(COUNT))
    failures: Counter[int] = Counter()

    def count(number: int) -> float:
        failures[number] += 1
        return 0.0

    def go_away() -> None:
        proxy.refuse = True
        proxy.drop_all()

    monkeypatch.setattr(objects, "_delay_s", count)
    source = surveyed(tmp_path)
    go_away()
    with pytest.raises(Stopped, match=r"images/0000\.png: .*Check AWS_ENDPOINT_URL and the network"):
        next(source.entries(0))
    assert failures[objects._TRIES - 1] >= 1
    failures.clear()
    arguments = (URL, "--model", model, "--to", tmp_path / "out.csv")
    assert batch(*arguments) == 2  # it was never reached
    assert f"{URL}: " in capsys.readouterr().err
    assert failures == {1: 1, 2: 1}
    proxy.refuse = False
    with monkeypatch.context() as patch:
        call_once_listed(patch, go_away)
        assert batch(*arguments) == 6
    assert "No part was finished yet" in capsys.readouterr().err
    proxy.refuse = False
    assert batch(*arguments) == 0
    require_right(read(tmp_path / "out.csv"), COUNT)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is read from now on, each once it is begun."""
    sizes: list[int] = []
    begin: Callable[..., object] = objects.Objects.read

    def read_and_count(
        self: objects.Objects, listed: objects.Listed, start: int = 0, stop: int | None = None
    ) -> object:
        sizes.append((listed.size_bytes if stop is None else stop) - start)
        return begin(self, listed, start, stop)

    monkeypatch.setattr(objects.Objects, "read", read_and_count)
    return sizes


def test_images_are_read_ahead_up_to_a_number_and_a_size(
    store: s3.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {f"{number:03}.png": bytes(100) for number in range(80)})
    source = surveyed(tmp_path)
    begun = counted(monkeypatch)
    entries = source.entries(10)
    assert next(entries).key == "010.png"
    assert len(begun) == objects.CONNECTIONS
    assert next(entries).key == "011.png"
    assert len(begun) == objects.CONNECTIONS + 1
    assert [entry.key for entry in entries] == [f"{number:03}.png" for number in range(12, 80)]
    assert begun == [100] * 70
    begun.clear()
    monkeypatch.setattr(bucket_folder, "AHEAD_BYTES", 450)
    next(source.entries(0))
    assert len(begun) == 5


def test_an_archive_is_read_in_blocks_each_once(store: s3.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_files, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(bucket_files, "_BUFFER_BYTES", 64)
    content = bytes(number * 7 % 251 for number in range(20_500))
    store.put("x.tar", content)
    begun = counted(monkeypatch)
    with bucket_files.find(f"{URL}/x.tar")[0].open() as file:
        assert file.read(10) == content[:10]
        assert begun == [1000] * (1 + bucket_files.BLOCKS_AHEAD)
        assert file.read(7_000) == content[10:7_010]
        assert file.read() == content[7_010:]
        assert file.read(1) == b""
        assert sorted(begun) == [500] + [1000] * 20
        begun.clear()
        file.seek(-700, 2)
        assert file.read() == content[-700:]
        assert begun == []  # still held
        file.seek(2_900)
        assert file.read(300) == content[2_900:3_200]
        assert begun[0] == 1000
        assert file.tell() == 3_200
