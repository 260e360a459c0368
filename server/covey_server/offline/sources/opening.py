"""What the arguments SOURCE name: a folder, tar files or Parquet files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from covey_proto.image_formats import Format
from covey_server.offline import errors
from covey_server.offline.errors import BadSource
from covey_server.offline.sources import tar_files
from covey_server.offline.sources.folder import Folder
from covey_server.offline.sources.source import Source
from covey_server.offline.sources.tar_files import TarFiles

_PARQUET = (".parquet",)
_EXPECTED = "expected a folder of images, tar files or Parquet files"


def open_source(
    arguments: Sequence[str], formats: Collection[Format], image_column: str, key_column: str, max_image_bytes: int
) -> Source:
    """The source that the arguments SOURCE name. Raises InvalidConfiguration."""
    for argument in arguments:
        if "://" in argument:
            raise BadSource(
                f"{argument}: buckets are not read; copy it first, or mount it (rclone mount), and name the folder"
            )
        if not Path(argument).exists():
            raise BadSource(f"{argument}: there is no such file or folder; {_EXPECTED}")
    paths = [Path(argument) for argument in arguments]
    if any(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise BadSource(f"a folder beside {len(paths) - 1:,} others; expected one folder, or files of one kind")
        return Folder(paths[0], formats)
    if _all(paths, tar_files.SUFFIXES):
        return TarFiles(paths, formats, max_image_bytes)
    if _all(paths, _PARQUET):
        try:
            from covey_server.offline.sources.parquet_files import ParquetFiles
        except ModuleNotFoundError:
            raise errors.no_pyarrow(f"reading {paths[0]}") from None
        return ParquetFiles(paths, image_column, key_column, max_image_bytes)
    if _all(paths[:1], tar_files.SUFFIXES + _PARQUET):
        raise BadSource(f"{paths[0]} beside other files: expected files of one kind; {_EXPECTED}")
    raise BadSource(f"{paths[0]}: {_EXPECTED} ({', '.join(tar_files.SUFFIXES + _PARQUET)}); one image: covey classify")


def _all(paths: Sequence[Path], suffixes: tuple[str, ...]) -> bool:
    return all(path.name.lower().endswith(suffixes) for path in paths)
