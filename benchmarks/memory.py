"""Peak memory of model, optimizer and three steps, each side in a process of its own, one after the other, three times.

Counted from what the process holds after its imports to its high-water mark: the kernel's VmRSS and VmHWM.
"""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import HEAVY, Figure, Result, Settings, Spread
from benchmarks.peers import Way, ours, trainer
from benchmarks.training import SHIPPED, pairs_for, questions_for
from benchmarks.workloads import Workload, tagging, xlmr_base

STEPS, ROUNDS = 3, 3


def resident(field: str) -> int:
    """A figure of this process in bytes; Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel reports no {field}")


class _Enough(Exception):
    """The steps are done."""


def _measured(body: Callable[..., None], work: Workload, imports: Sequence[str], connection: Any) -> None:
    for name in imports:
        importlib.import_module(name)
    before, left = resident("VmRSS"), STEPS

    def gate(work: float) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise _Enough

    try:
        body(gate, work, Way())
    except _Enough:
        connection.send((before, resident("VmHWM")))


def peak(body: Callable[..., None], work: Workload, imports: Sequence[str] = HEAVY) -> tuple[int, int]:
    """(bytes after the imports, high-water mark) of a fresh process that takes the steps."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=_measured, args=(body, work, imports, its))
    process.start()
    its.close()
    try:
        found: tuple[int, int] = mine.recv()
    except EOFError:
        raise RuntimeError(f"the process of {body.__name__} ended; its own message stands above") from None
    finally:
        process.join()
    return found


def memory(name: str, make: Callable[[Settings], Workload], settings: Settings) -> Result:
    """Peak memory that each side adds to its imports."""
    work = make(settings)
    found = [(peak(ours, work), peak(trainer, work)) for _ in range(1 if settings.quick else ROUNDS)]
    added = [(high - base, their_high - their_base) for (base, high), (their_base, their_high) in found]
    mine, its = (int(statistics.median(side)) for side in zip(*added, strict=True))
    (our_base, _), (their_base, _) = found[0]
    figure = Figure(
        SHIPPED,
        len(found),
        {"memory": Spread.of([theirs / own for own, theirs in added])},
        {"memory": mine, "imports": our_base},
        {"memory": its, "imports": their_base},
        target=3.0,
    )
    note = (
        f"{work.note}; {mine / 1e6:.0f} MB above {our_base / 1e6:.0f} of imports, "
        f"Trainer {its / 1e6:.0f} MB above {their_base / 1e6:.0f}"
    )
    return Result(name, [figure], note)


MADE: dict[str, Callable[[Settings], Workload]] = {
    "memory-tagging-8": lambda settings: tagging(8),
    "memory-pairs-32": pairs_for,
    "memory-span-16": questions_for,
    "memory-xlmr-base": lambda settings: xlmr_base(),
}
ROWS = {name: partial(memory, name, make) for name, make in MADE.items()}
