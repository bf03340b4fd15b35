"""Interleaved pairs: every variant once per round, ratios inside the round, the median over rounds.

Other processes share the cores and change speed from minute to minute; variants that run seconds apart share the
same weather, so the ratio of two of them inside one round says more than any time does.
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from typing import Any, Self

ROUNDS, QUICK_ROUNDS = 20, 2
QUICK_SECONDS = 5.0
"""A quick run of a row goes on for so long, where it has not ``ROUNDS`` before."""
HEAVY = ["torch", "transformers.trainer", "transformers.models.bert.modeling_bert", "accelerate"]


@dataclass(frozen=True)
class Cost:
    """What some work cost: CPU seconds (user and system, all threads), wall seconds, and how much work it was.

    ``work`` is 1 where every call does the same; else any unit (real tokens), and costs are compared per unit.
    """

    cpu: float
    wall: float
    work: float = 1.0

    def __sub__(self, other: Self) -> Cost:
        return Cost(self.cpu - other.cpu, self.wall - other.wall)


def now() -> Cost:
    """The two clocks of this process."""
    return Cost(time.process_time(), time.perf_counter())


@dataclass(frozen=True)
class Settings:
    """How long to measure, after a round to warm up. ``rounds`` asked for by hand win over both kinds."""

    quick: bool = False
    rounds: int | None = None

    def enough(self, rounds: int, seconds: float) -> bool:
        """Whether ``rounds`` measured in ``seconds`` will do."""
        if self.rounds is not None:
            return rounds >= self.rounds
        if self.quick:
            return rounds >= ROUNDS or (rounds >= QUICK_ROUNDS and seconds >= QUICK_SECONDS)
        return rounds >= ROUNDS


@dataclass(frozen=True)
class Case:
    """One row to time. A variant is called once a round; it returns anything, or its own Cost (see ``child``).

    ``target``: the ratio theirs/ours to reach, against the fastest of ``theirs``; or one for each name, where names
    left out are shown only. ``check`` gets the results of the warm-up round by name ("ours" and those of
    ``theirs``) and raises AssertionError where they do not do the same work. ``note`` says what was measured on what.
    """

    name: str
    target: float | Mapping[str, float] | None
    ours: Callable[[], Any]
    theirs: Mapping[str, Callable[[], Any]]
    check: Callable[[Mapping[str, Any]], None] | None = None
    note: str = ""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Figure:
    """One opponent: ratios theirs/ours by unit ("cpu", "wall" or "memory"), what each side took, the verdict.

    ``ours`` and ``theirs`` are medians, in seconds per unit of work or in bytes.
    """

    opponent: str
    rounds: int
    ratios: Mapping[str, Spread]
    ours: Mapping[str, float]
    theirs: Mapping[str, float]
    target: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether every ratio reaches the target; None without one."""
        return None if self.target is None else all(ratio.median >= self.target for ratio in self.ratios.values())


@dataclass(frozen=True)
class Result:
    """A measured row of the table."""

    name: str
    figures: list[Figure]
    note: str = ""
    load: list[float] = field(default_factory=list)


def measure(case: Case, settings: Settings, clock: Callable[[], Cost] = now) -> Result:
    """Run the rounds of a case. The order of the variants moves on by one from round to round."""
    variants = {"ours": case.ours, **case.theirs}
    names = list(variants)
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    begin = 0.0
    for turn in count():
        if turn == 1:
            begin = clock().wall
        if turn > 1 and settings.enough(turn - 1, clock().wall - begin):
            break
        found = {}
        for at in range(len(names)):
            name = names[(at + turn) % len(names)]
            start = clock()
            found[name] = variants[name]()
            spent = clock() - start
            if isinstance(found[name], Cost):
                spent = found[name]
            if turn:
                costs[name].append(spent)
        if not turn and case.check is not None:
            case.check(found)
    figures = [_figure(name, costs["ours"], costs[name]) for name in case.theirs]
    return Result(case.name, aimed(figures, case.target), case.note)


def _figure(name: str, ours: list[Cost], theirs: list[Cost]) -> Figure:
    def each(unit: str, costs: list[Cost]) -> list[float]:
        return [getattr(cost, unit) / cost.work for cost in costs]

    units = ("cpu", "wall")
    return Figure(
        name,
        len(ours),
        {unit: Spread.of([b / a for a, b in zip(each(unit, ours), each(unit, theirs), strict=True)]) for unit in units},
        {unit: statistics.median(each(unit, ours)) for unit in units},
        {unit: statistics.median(each(unit, theirs)) for unit in units},
    )


def aimed(figures: list[Figure], target: float | Mapping[str, float] | None) -> list[Figure]:
    """The figures with their targets; a single number is for the strongest opponent."""
    if target is None:
        return figures
    if not isinstance(target, Mapping):
        target = {min(figures, key=lambda figure: figure.ratios["cpu"].median).opponent: target}
    return [replace(figure, target=target.get(figure.opponent)) for figure in figures]


# Variants that live in a process of their own

GO = "go"


class Gate:
    """The child's side: ``wait`` until a unit of work is due, do it, say ``done``. Calling the gate does both.

    Loops that were never made to be timed are timed whole by calling it in a callback at the end of each step: all
    that lies between two calls belongs to the unit.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._spent = self._start = Cost(0.0, 0.0)

    def wait(self) -> None:
        """Report what the last unit cost (the first time: that the child is ready) and wait for the next to be due."""
        self._connection.send(self._spent)
        if self._connection.recv() != GO:
            raise SystemExit(0)
        self._start = now()

    def done(self, work: float = 1.0) -> None:
        """The unit has ended; ``work`` is how much it was."""
        spent = now() - self._start
        self._spent = Cost(spent.cpu, spent.wall, work)

    def __call__(self, work: float = 1.0) -> None:
        self.done(work)
        self.wait()


@contextmanager
def child(body: Callable[..., None], *args: Any) -> Iterator[Callable[[], Cost]]:
    """A function that lets ``body(gate, *args)`` do one unit of work in its own process and returns the cost there.

    Such variants share neither allocator nor thread pool nor peak memory, and wait without using the processor. The
    process is forked from one that has imported torch and transformers and has done nothing else. It gets ready while
    the caller goes on; the first unit waits for that.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    mine, its = context.Pipe()
    process = context.Process(target=_body, args=(body, its, args), daemon=True)
    process.start()
    its.close()
    ready = False

    def receive() -> Cost:
        try:
            answer: Cost = mine.recv()
        except EOFError:
            raise RuntimeError(f"the process of {body.__name__} ended; its own message stands above") from None
        return answer

    def unit() -> Cost:
        nonlocal ready
        ready = ready or receive() is not None
        mine.send(GO)
        return receive()

    try:
        yield unit
    finally:
        mine.close()
        process.join(1)
        process.terminate()  # where it is still getting ready
        process.join()


def _body(body: Callable[..., None], connection: Any, args: tuple[Any, ...]) -> None:
    try:
        body(Gate(connection), *args)
    except (EOFError, OSError):  # the parent needs no more units
        raise SystemExit(0) from None


# Output


def table(results: list[Result]) -> str:
    """What was aimed at, what was got, whether that is enough: one line for each opponent."""
    lines: list[tuple[str, ...]] = [("row", "against", "rounds", "cpu", "wall", "memory", "target", "")]
    for result in results:
        for figure in result.figures:
            shown = [_spread(figure.ratios.get(unit)) for unit in ("cpu", "wall", "memory")]
            verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
            target = "" if figure.target is None else f"≥ {figure.target:g}"
            lines.append((result.name, figure.opponent, str(figure.rounds), *shown, target, verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _spread(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def stored(results: list[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    """The run as JSON content: ``about`` it, then every row."""
    rows = []
    for result in results:
        row = asdict(result)
        for figure, kept in zip(result.figures, row["figures"], strict=True):
            kept["met"] = figure.met
        rows.append(row)
    assert all(math.isfinite(s.median) for r in results for f in r.figures for s in f.ratios.values())
    return {**about, "rows": rows}
