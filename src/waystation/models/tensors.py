"""Tensors of a .safetensors file, whole or some rows, read without mapping the file into memory.

A mapped file counts as memory of the process for every page that was touched, and the kernel maps pages around a
touched one: a few thousand scattered rows bring most of a table in. Positioned reads bring in the rows alone.
The format: 8 bytes with the length of the header (little-endian), the header as JSON, then the tensors
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import numpy as np
import torch

from waystation.errors import InputError
from waystation.models.vocabulary import Rows

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def tensor_shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of a tensor, from the header alone."""
    with FileIO(path) as file:
        return _entry(file, name)[2]


def read_tensor(path: Path, name: str, rows: Rows | None = None) -> torch.Tensor:
    """Tensor ``name`` as float32: the whole of it, or the given rows of its first dimension, in their order.

    Neighbouring rows are one read. Raises IndexError for a row that is not there, InputError where the file is cut off
    or the tensor holds no floats.
    """
    with FileIO(path) as file:
        start, kind, shape = _entry(file, name)
        if kind not in DTYPES:
            raise InputError(f"{path}: tensor '{name}' is of type {kind}; save the checkpoint in float32")
        if rows is not None:
            if len(rows) and not 0 <= rows.min() <= rows.max() < shape[0]:
                raise IndexError(f"{path}: tensor '{name}' has {shape[0]} rows")
            shape = (len(rows), *shape[1:])
        found = torch.empty(shape, dtype=DTYPES[kind])
        content = found.reshape(-1).view(torch.uint8).numpy().data
        width = len(content) // len(rows) if rows is not None and len(rows) else 0
        runs = [(0, len(content), 0)] if rows is None else _runs(rows, width)
        for first, last, offset in runs:
            file.seek(start + offset)
            if not _fill(file, content[first:last]):
                raise InputError(f"{path} is cut off inside tensor '{name}'; fetch or save it again")
    return found.to(torch.float32)


def _entry(file: FileIO, name: str) -> tuple[int, str, tuple[int, ...]]:
    """Where the tensor's bytes begin in the file, its type and its shape."""
    size = int.from_bytes(file.read(8), "little")
    entry = json.loads(file.read(size))[name]
    return 8 + size + entry["data_offsets"][0], entry["dtype"], tuple(entry["shape"])


def _runs(rows: Rows, width: int) -> Iterator[tuple[int, int, int]]:
    """Stretches of consecutive rows: (begin, end) in bytes of what is read, begin in bytes of the tensor."""
    cuts = (np.flatnonzero(np.diff(rows) != 1) + 1).tolist()
    for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        if first < last:
            yield first * width, last * width, int(rows[first]) * width


def _fill(file: FileIO, view: memoryview) -> bool:
    """Read until ``view`` is full (one read gives 2 GB at most); False at the end of the file."""
    while view:
        count = file.readinto(view)
        if not count:
            return False
        view = view[count:]
    return True
