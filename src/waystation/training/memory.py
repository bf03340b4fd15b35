"""Running out of memory: a micro-batch that does not fit is done in halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from waystation.errors import InputError
from waystation.training.batches import Indices

Found = TypeVar("Found")


def in_halves(windows: Indices, run: Callable[[Indices], Found]) -> Iterator[tuple[Indices, Found]]:
    """``run`` of windows that need not stay together, and of their halves where memory runs out.

    Raises InputError where a single window does not fit.
    """
    try:
        found = run(windows)
    except torch.OutOfMemoryError:
        if len(windows) == 1:
            raise InputError("memory ran out with a single window; lower max_length") from None
    else:
        yield windows, found
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(windows) // 2
    yield from in_halves(windows[:half], run)
    yield from in_halves(windows[half:], run)
