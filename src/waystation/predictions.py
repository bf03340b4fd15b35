"""One language's predictions on disk, as evaluations and imports write them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Columns = Mapping[str, Any]
"""One language's predictions: ``id``, ``cluster``, ``gold``, ``pred``, ``counts``, one entry per example."""


def write(path: Path, columns: Columns) -> None:
    """One language's predictions: id, cluster, gold, pred, counts, and more of some formats. The only text: answers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"cluster": pa.string(), "counts": pa.list_(pa.int32())}
    lists = [name for name, column in columns.items() if name != "counts" and isinstance(next(iter(column), 0), list)]
    kinds |= dict.fromkeys(lists, pa.list_(pa.string()))  # which cannot be seen where all of them are empty
    table = pa.table({name: pa.array(column, kinds.get(name)) for name, column in columns.items()})
    temporary = path.with_suffix(".part")
    pq.write_table(table, temporary, compression="zstd")
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
