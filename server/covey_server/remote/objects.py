"""Reads S3 buckets: what they hold, page by page, and the content of many objects at once, each as it was listed.

By the client that s3fs makes: fsspec's own interface has whole listings in memory, and does not tell of which state of
an object the bytes are that it read.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, NamedTuple, TypeVar

from covey_server.remote.address import Address, redact
from covey_server.remote.store import StoreFailed, open_filesystem

CONNECTIONS = 64  # at most, so as many objects are read at once
_FIRST_TRIES = 3  # of the first request: a wrong address is to be reported soon
_TRIES = 8  # of each later one, in half a minute to a minute
_FIRST_DELAY_S, _MAX_DELAY_S = 0.5, 30.0
_POLL_S = 0.2
_TRANSIENT = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"})
_CREDENTIALS = (
    "expected credentials in the environment, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, that may "
    "list the bucket (s3:ListBucket) and read its objects (s3:GetObject)"
)
_CHECK_ENDPOINT = "check AWS_ENDPOINT_URL, and whether a proxy answers in place of the store"
T = TypeVar("T")


class StoreAway(StoreFailed):
    """The store is not reached, or fails; later it may answer."""


class ObjectFailed(StoreFailed):
    """One object cannot be read as it was listed; others can."""


class Listed(NamedTuple):
    """An object as a listing showed it. `etag` "": the store tells none."""

    bucket: str
    key: str
    size_bytes: int
    etag: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class Objects:
    """The objects that the credentials and the address in the environment (AWS's variables) lead to."""

    def __init__(self, address: Address, watch: Callable[[], None] = lambda: None) -> None:
        """`address` is any of its URLs; connects to nothing yet. `watch` is called now and then while a caller waits;
        an exception that it raises ends the waiting. Raises InvalidConfiguration where a package is missing."""
        self._watch = watch
        retries = {"max_attempts": 0}  # tried again here: botocore does not where a body breaks off
        self._filesystem, _ = open_filesystem(address, "", max_pool_connections=CONNECTIONS, retries=retries)

    def listed(self, bucket: str, prefix: str) -> Iterator[Listed]:
        """The objects whose keys begin with `prefix`, in the store's order, which S3 says is that of the keys' UTF-8
        bytes. A page of them is in memory. Raises StoreFailed."""
        token: str | None = None
        while True:
            page = self._start(bucket, partial(self._page, bucket, prefix, token), _TRIES if token else _FIRST_TRIES)
            answer = self.wait_for(page)
            if "IsTruncated" not in answer:  # nor anything else that a listing has
                raise StoreFailed(f"what came is no listing of a bucket; {_CHECK_ENDPOINT}")
            for each in answer.get("Contents", ()):
                yield Listed(bucket, each["Key"], int(each["Size"]), _etag(each))
            if not answer["IsTruncated"]:
                return
            if (following := answer.get("NextContinuationToken")) in (None, "", token):
                raise StoreFailed(
                    "the store says that its listing goes on, but not from where: expected a NextContinuationToken, "
                    "as ListObjectsV2 gives one. Use a store that has ListObjectsV2, or copy the files first"
                )
            token = following

    def read(self, listed: Listed, start: int = 0, stop: int | None = None) -> Future[bytes]:
        """Begins to read an object's bytes from `start` to `stop`, by default to its end. The result raises
        StoreFailed; ObjectFailed also where the object is no longer what was listed."""
        stop = listed.size_bytes if stop is None else stop
        return self._start(listed.bucket, partial(self._content, listed, start, stop), _TRIES)

    def wait_for(self, future: Future[T]) -> T:
        """The result of what was begun here."""
        while not future.done():
            self._watch()
            wait([future], _POLL_S)
        return future.result()

    def _start(self, bucket: str, attempt: Callable[[], Awaitable[T]], tries: int) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(self._tried(bucket, attempt, tries), self._filesystem.loop)

    async def _tried(self, bucket: str, attempt: Callable[[], Awaitable[T]], tries: int) -> T:
        for failures in range(1, tries + 1):
            try:
                return await attempt()
            except Exception as error:
                failed = error if isinstance(error, StoreFailed) else _failure(error, bucket)
                if not isinstance(failed, StoreAway) or failures == tries:
                    raise failed from error
            await asyncio.sleep(_delay_s(failures))
        raise AssertionError("the last try raises")

    async def _page(self, bucket: str, prefix: str, token: str | None) -> dict[str, Any]:
        client = await self._filesystem.set_session()
        options = {"ContinuationToken": token} if token else {}
        answer: dict[str, Any] = await client.list_objects_v2(Bucket=bucket, Prefix=prefix, **options)
        return answer

    async def _content(self, listed: Listed, start: int, stop: int) -> bytes:
        client = await self._filesystem.set_session()
        is_part = (start, stop) != (0, listed.size_bytes)
        options = {"Range": f"bytes={start}-{stop - 1}"} if is_part else {}
        answer = await client.get_object(Bucket=listed.bucket, Key=listed.key, **options)
        async with answer["Body"] as body:
            etag = _etag(answer)
            if listed.etag and etag and etag != listed.etag:  # before its content, which may be of any size
                raise ObjectFailed(f"it has changed since it was listed (ETag {listed.etag} then, {etag} now)")
            content: bytes = await body.read()
        if len(content) != stop - start:
            raise StoreAway(f"{len(content):,} bytes came, expected {stop - start:,}")
        return content


def _delay_s(failures: int) -> float:
    """How long to wait after so many failures; not the same for all, so that they do not come back at once."""
    return min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)


def _etag(answer: dict[str, Any]) -> str:
    """An object's ETag without quotes; also without the W/ of a proxy that may have packed the object."""
    return str(answer.get("ETag", "")).removeprefix("W/").strip('"')


def _failure(error: Exception, bucket: str) -> StoreFailed:
    """What an exception of aiobotocore's or aiohttp's means."""
    from aiohttp import ClientError as ConnectionFailed
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    text = redact(str(error) or type(error).__name__)[:500]
    if isinstance(error, exceptions.ClientError):
        return _refusal(error.response, bucket, text)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return StoreFailed(f"there are no credentials ({text.rstrip('.')}); {_CREDENTIALS}")
    if isinstance(error, exceptions.ParamValidationError):
        return StoreFailed(
            f"{bucket!r} cannot be a bucket's name; expected letters, digits, dots, hyphens and underscores: "
            f"s3://BUCKET/PREFIX"
        )
    away = (
        exceptions.HTTPClientError,
        exceptions.ConnectionError,
        exceptions.IncompleteReadError,
        ResponseParserError,  # what a proxy says in place of the store
        ConnectionFailed,
        TimeoutError,
        OSError,
    )
    if isinstance(error, away):
        return StoreAway(f"{text}. Check AWS_ENDPOINT_URL and the network")
    return StoreFailed(text)


def _refusal(answer: dict[str, Any], bucket: str, text: str) -> StoreFailed:
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return StoreFailed(
            f"there is no bucket {bucket}; check its name and, of stores that are not Amazon's, AWS_ENDPOINT_URL"
        )
    if code == "InvalidObjectState":
        return ObjectFailed("it is archived; restore it in the store first")
    if code == "InvalidRange":
        return ObjectFailed("it has changed since it was listed: it has fewer bytes now")
    if code == "NoSuchKey":
        return ObjectFailed("it is not in the bucket any more")
    if status in (401, 403):
        return StoreFailed(f"access is denied ({text.rstrip('.')}); {_CREDENTIALS}")
    if status >= 500 or status == 429 or code in _TRANSIENT:
        return StoreAway(text)
    return StoreFailed(f"{text.rstrip('.')}. Check the bucket's name, AWS_ENDPOINT_URL and AWS_DEFAULT_REGION")
