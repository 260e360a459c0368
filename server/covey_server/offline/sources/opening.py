"""What the arguments SOURCE name: a folder, tar files or Parquet files, on this machine or in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from covey_proto.image_formats import Format
from covey_server.offline import errors
from covey_server.offline.errors import BadSource
from covey_server.offline.sources import bucket_files, tar_files
from covey_server.offline.sources.bucket_files import File
from covey_server.offline.sources.bucket_folder import BucketFolder
from covey_server.offline.sources.folder import Folder
from covey_server.offline.sources.source import Source
from covey_server.offline.sources.tar_files import TarFiles

_PARQUET = (".parquet",)
_ARCHIVES = tar_files.SUFFIXES + _PARQUET
_EXPECTED = "expected a folder of images, tar files or Parquet files"


def open_source(
    arguments: Sequence[str],
    formats: Collection[Format],
    image_column: str,
    key_column: str,
    max_image_bytes: int,
    watch: Callable[[], None],
) -> Source:
    """The source that the arguments SOURCE name. `watch` is called now and then while somebody waits for a bucket; an
    exception that it raises ends the waiting. Raises InvalidConfiguration."""
    for argument in arguments:
        if not _is_url(argument) and not Path(argument).exists():
            raise BadSource(f"{argument}: there is no such file or folder; {_EXPECTED}")
    if any(map(_is_folder, arguments)):
        if len(arguments) > 1:
            raise BadSource(f"a folder beside {len(arguments) - 1:,} others; expected one folder, or files of one kind")
        if _is_url(arguments[0]):
            return BucketFolder(arguments[0], formats, max_image_bytes, watch)
        return Folder(Path(arguments[0]), formats)
    paths = [path for argument in arguments for path in _files(argument, watch)]
    if _all(paths, tar_files.SUFFIXES):
        return TarFiles(paths, formats, max_image_bytes)
    if _all(paths, _PARQUET):
        try:
            from covey_server.offline.sources.parquet_files import ParquetFiles
        except ModuleNotFoundError:
            raise errors.no_pyarrow(f"reading {paths[0]}") from None
        return ParquetFiles(paths, image_column, key_column, max_image_bytes)
    if _all(paths[:1], _ARCHIVES):
        raise BadSource(f"{paths[0]} beside other files: expected files of one kind; {_EXPECTED}")
    raise BadSource(f"{paths[0]}: {_EXPECTED} ({', '.join(_ARCHIVES)}); one image: covey classify")


def _is_url(argument: str) -> bool:
    return "://" in argument


def _is_folder(argument: str) -> bool:
    """Whether a folder is meant; of a URL its suffix tells."""
    return not argument.lower().endswith(_ARCHIVES) if _is_url(argument) else Path(argument).is_dir()


def _files(argument: str, watch: Callable[[], None]) -> Sequence[File]:
    return bucket_files.find(argument, watch) if _is_url(argument) else [Path(argument)]


def _all(paths: Sequence[File], suffixes: tuple[str, ...]) -> bool:
    return all(path.name.lower().endswith(suffixes) for path in paths)
