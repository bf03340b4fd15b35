"""Rows of a Parquet file, in batches; numbers of the columns that a data set declares as ClassLabel become names.

The declaration is the ``huggingface`` key of the schema's metadata, as the ``datasets`` library writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from waystation.errors import InputError, suggest
from waystation.tasks.reading.fields import NO_GOLD
from waystation.tasks.reading.rows import Row, shown
from waystation.tasks.task import Reader

BATCH = 1024  # rows in memory at once, of the wanted columns


def parquet(path: Path, reader: Reader, wanted: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield the wanted columns of each row. Where the file names a label's numbers, ``reader.names`` must agree."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = list(dict.fromkeys(_column(name, schema.names, path) for name in wanted))
            declared = _declared(schema.metadata)
            _agree(path, reader, declared)
            for batch in file.iter_batches(BATCH, columns=columns, use_threads=False):
                for record in batch.to_pylist():
                    row += 1
                    place = f"{path}: row {row}"
                    for name in columns:
                        if name in declared:
                            record[name] = _spelled(record[name], declared[name], f"{place}: field '{name}'")
                    yield place, record
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        what = (str(error).splitlines() or ["unknown"])[0][:120]
        place = f"{path}: after row {row}" if row else str(path)
        raise InputError(f"{place}: cannot be read as Parquet ({what}): fetch the file again") from None


def _column(path_of: str, columns: Sequence[str], path: Path) -> str:
    """The column that a dotted path begins in."""
    if path_of in columns:
        return path_of
    name = path_of.split(".")[0]
    if name not in columns:
        shown = ", ".join(columns[:20])
        raise InputError(f"{path}: no column '{name}'{suggest(name, columns)}; the file has {shown}")
    return name


def _declared(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """Column → the names of its numbers (a tuple), or field → names where it holds objects; other columns are not in.

    Lists are passed through: what holds for a column's items is told of the column.
    """
    try:
        found = _names(json.loads((metadata or {})[b"huggingface"])["info"]["features"])
    except (KeyError, TypeError, ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}


def _names(feature: Any) -> Any:
    if isinstance(feature, list):
        return _names(feature[0])
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "ClassLabel":
        return tuple(map(str, feature["names"]))
    if "_type" in feature:
        return _names(feature.get("feature"))
    return {name: names for name, inner in feature.items() if (names := _names(inner))}


def _spelled(value: Any, names: Any, place: str) -> Any:
    """A value with names for its numbers."""
    if isinstance(value, list):
        return [_spelled(item, names, place) for item in value]
    if isinstance(names, dict):
        if not isinstance(value, dict):
            return value
        return {name: _spelled(item, names[name], place) if name in names else item for name, item in value.items()}
    if value is None or value == NO_GOLD:
        return None if value is None else str(NO_GOLD)
    if type(value) is not int or not 0 <= value < len(names):
        raise InputError(f"{place} is {shown(value)}, but the file names {len(names)} labels: fetch the file again")
    return names[value]


def _agree(path: Path, reader: Reader, declared: dict[str, Any]) -> None:
    """Refuse ``names`` that are not the file's own."""
    for name in (reader.label, reader.tag):
        if not reader.names or not isinstance(name, str):
            continue
        own: Any = declared
        for step in [name] if name in declared else name.split("."):
            own = own.get(step) if isinstance(own, dict) else None
        if isinstance(own, tuple) and own != reader.names:
            raise InputError(
                f"{path}: column '{name}' has the names {', '.join(own)}, the reader says {', '.join(reader.names)}: "
                f"correct names, or leave it out"
            )
