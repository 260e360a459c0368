"""Parquet files with a column of encoded images: of bytes, or of structs with `bytes` as the data sets of Hugging Face
have them. Imports pyarrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from covey_server.offline.errors import BadSource
from covey_server.offline.sources.bucket_files import File, state_of
from covey_server.offline.sources.source import Entry, Missing, too_large

_BATCH_BYTES = 4 << 20  # of images that are taken from a file at once
_MAX_BATCH = 1024
_BUFFER_BYTES = 1 << 20  # 0 would read whole columns of a row group


class ParquetFiles:
    """See Source. The key of an image is `FILE:ROW`, from 0, or the value in the column of keys."""

    def __init__(self, files: Sequence[File], image_column: str, key_column: str, max_image_bytes: int) -> None:
        self.name = str(files[0]) if len(files) == 1 else f"{len(files):,} Parquet files"
        self.total: int | None = None
        self.left_out: Counter[str] = Counter()
        self._files = files
        self._image_column = image_column
        self._key_column = key_column
        self._max_image_bytes = max_image_bytes
        self._rows: list[int] = []

    def survey(self, folder: Path) -> dict[str, Any]:
        del folder
        states = []
        self._rows.clear()
        for file in self._files:
            states.append(state_of(file))
            with self._opened(file) as parquet:
                self._require_columns(file, parquet.schema_arrow)
                self._rows.append(parquet.metadata.num_rows)
        self.total = sum(self._rows)
        if not self.total:
            raise BadSource(f"{self.name}: expected rows with images, found none")
        return {"kind": "parquet", "files": states, "image_column": self._image_column, "key_column": self._key_column}

    def entries(self, start: int) -> Iterator[Entry]:
        for file, rows in zip(self._files, self._rows, strict=True):
            if start < rows:
                yield from self._of_file(file, start)
            start = max(0, start - rows)

    def fraction(self) -> float | None:
        return None

    def _of_file(self, file: File, start: int) -> Iterator[Entry]:
        columns = [self._image_column] + ([self._key_column] if self._key_column else [])
        with self._opened(file) as parquet:
            row = 0
            for group in range(parquet.num_row_groups):
                row_group = parquet.metadata.row_group(group)
                if row + row_group.num_rows <= start:
                    row += row_group.num_rows
                    continue
                image_bytes = max(1, row_group.total_byte_size // max(1, row_group.num_rows))
                size = max(1, min(_MAX_BATCH, _BATCH_BYTES // image_bytes))
                try:
                    for batch in parquet.iter_batches(size, row_groups=[group], columns=columns):
                        skipped = min(batch.num_rows, max(0, start - row))
                        yield from self._of_batch(file, batch.slice(skipped), row + skipped)
                        row += batch.num_rows
                except (pa.ArrowException, OSError) as error:
                    raise BadSource(f"{file}: cannot be read from row {row:,} on: {_first_line(error)}") from error

    def _of_batch(self, file: File, batch: pa.RecordBatch, row: int) -> Iterator[Entry]:
        images = batch.column(0)
        if pa.types.is_struct(images.type):
            images = images.flatten()[images.type.get_field_index("bytes")]  # null where the struct is
        keys = batch.column(1).to_pylist() if self._key_column else None
        for offset, value in enumerate(images):
            key = f"{file.name}:{row + offset}" if keys is None else str(keys[offset])
            data = value.as_buffer()
            if data is None:
                yield Entry(key, Missing(f"row {row + offset:,} of {file.name} has no image (null)"))
            elif data.size > self._max_image_bytes:
                yield Entry(key, too_large(data.size, self._max_image_bytes))
            else:
                yield Entry(key, data.to_pybytes())

    @contextmanager
    def _opened(self, file: File) -> Iterator[pq.ParquetFile]:
        with nullcontext(file) if isinstance(file, Path) else file.open() as opened:
            try:
                parquet = pq.ParquetFile(opened, buffer_size=_BUFFER_BYTES)
            except (pa.ArrowException, OSError) as error:
                reason = _first_line(error)
                raise BadSource(f"{file}: no whole Parquet file: {reason}. Fetch or write it again") from error
            with parquet:
                yield parquet

    def _require_columns(self, file: File, schema: pa.Schema) -> None:
        described = ", ".join(f"{field.name}: {field.type}" for field in schema)
        image = self._image_column
        for option, name in (("--image-column", image), ("--key-column", self._key_column)):
            if name and name not in schema.names:
                raise BadSource(f"{file}: no column {name!r}; it has {described}. Name one of these: {option} NAME")
        kind = image_type = schema.field(image).type
        if pa.types.is_struct(kind) and "bytes" in {field.name for field in kind}:
            kind = kind.field("bytes").type
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise BadSource(
                f"{file}: column {image!r} is of {image_type}; expected encoded images, as binary or as struct<bytes: "
                f"binary>. It has {described}. Name one of these: --image-column NAME"
            )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
