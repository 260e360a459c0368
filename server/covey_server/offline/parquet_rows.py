"""Writes rows as a Parquet file. Imports pyarrow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from covey_server.offline.rows import Block, Layout

METADATA_KEY = b"covey"
_TYPES = {
    "index": pa.int32(),
    "probability": pa.float32(),
    "known": pa.bool_(),
    "probabilities": pa.list_(pa.float32()),
}


class ParquetRows:
    """See RowFormat."""

    def write(self, blocks: Sequence[Block], file: IO[bytes], layout: Layout) -> None:
        schema = _schema(layout)
        with pq.ParquetWriter(file, schema) as writer:
            writer.write_table(pa.concat_tables([_table(block, layout, schema) for block in blocks]))

    def merge(self, parts: Sequence[Path], file: IO[bytes], layout: Layout, metadata: Mapping[str, Any]) -> None:
        schema = _schema(layout).with_metadata({METADATA_KEY: json.dumps(metadata).encode()})
        with pq.ParquetWriter(file, schema) as writer:
            for part in parts:
                with part.open("rb") as source:
                    writer.write_table(pq.read_table(source).replace_schema_metadata(schema.metadata))


def _schema(layout: Layout) -> pa.Schema:
    return pa.schema([(name, _TYPES.get(name.partition("_")[0], pa.string())) for name in layout.names])


def _table(block: Block, layout: Layout, schema: pa.Schema) -> pa.Table:
    columns = layout.columns(block)
    arrays = [
        _distributions(block) if name == "probabilities" else pa.array(columns[name], schema.field(name).type)
        for name in layout.names
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _distributions(block: Block) -> pa.ListArray:
    """The column of distributions, made without a Python object for each number: there may be a thousand in a row."""
    answers = block[1]
    assert answers.distributions is not None
    count, classes = answers.distributions.shape
    missing = np.zeros(count, np.bool_)
    missing[list(answers.failures)] = True
    offsets = pa.array(np.arange(count + 1) * classes, pa.int32())
    values = pa.array(answers.distributions.ravel(), pa.float32())
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array(missing))
