"""An S3 server, a bucket in it, and a proxy before it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
pytest.importorskip("moto.server", reason="moto and flask are not installed")

from tests.server.remote import s3


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    with s3.serving() as port:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        yield port


@pytest.fixture
def proxy(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Proxy]:
    """Where AWS's variables lead to."""
    proxy = s3.Proxy(s3_port)
    variables = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "s3cr3t", "DEFAULT_REGION": "us-east-1"}
    for name, value in (variables | {"ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    yield proxy
    proxy.close()


@pytest.fixture
def bucket(s3_port: int, proxy: s3.Proxy) -> Iterator[s3.Bucket]:
    """Empty."""
    import s3fs

    endpoint = f"http://127.0.0.1:{s3_port}"
    filesystem = s3fs.S3FileSystem(
        key="key", secret="s3cr3t", endpoint_url=endpoint, skip_instance_cache=True, use_listings_cache=False
    )
    if not filesystem.exists(s3.BUCKET):
        filesystem.mkdir(s3.BUCKET)
    bucket = s3.Bucket(filesystem)
    yield bucket
    bucket.clear()
