"""Records: frozen, closed pydantic models whose every field says whether it can change a result.

A field is marked ``IDENTITY`` (it enters the hash of the step) or ``EXECUTION`` (device, workers, names for people:
it never does). ``tests/test_records.py`` fails on an unmarked field.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Mark:
    """A marker inside ``Annotated[...]``; see ``IDENTITY`` and ``EXECUTION``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


IDENTITY = Mark("IDENTITY")
EXECUTION = Mark("EXECUTION")


class Record(BaseModel):
    """Base of all records: unknown fields are refused, values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def mark_of(record: type[Record], field: str) -> Mark | None:
    """The mark of one field, or None where it carries none."""
    marks = [m for m in record.model_fields[field].metadata if isinstance(m, Mark)]
    return marks[0] if marks else None


@functools.cache
def _identity_fields(record: type[Record]) -> tuple[str, ...]:
    return tuple(name for name in record.model_fields if mark_of(record, name) is not EXECUTION)


def identity(value: Any) -> Any:
    """Plain JSON of everything in ``value`` that can change a result: execution-only fields are left out."""
    if isinstance(value, Record):
        return {name: identity(getattr(value, name)) for name in _identity_fields(type(value))}
    if isinstance(value, dict):
        return {str(key): identity(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [identity(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical form")


def canonical(value: Any) -> bytes:
    """Canonical JSON (sorted keys, no spaces, UTF-8, no NaN) of ``identity(value)``."""
    return json.dumps(
        identity(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value)).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's content, read now."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: draws for one purpose never shift those for another."""
    return int(digest([seed, *purpose])[:16], 16) >> 1
