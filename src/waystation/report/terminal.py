"""Gains, plan and progress of a run in the terminal: coloured where someone watches, plain ASCII elsewhere."""

from __future__ import annotations

import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from waystation.analysis.table import Gains
from waystation.costs import Cost
from waystation.plan import Node, Plan
from waystation.report.figures import points, signed
from waystation.report.tables import (
    DEMONSTRATION,
    NOT_YET,
    ZERO_SHOT,
    Arm,
    TargetTable,
    by_group,
    count_of,
    explain,
    intervals,
    letters,
    target_tables,
)
from waystation.study import BASELINE, Study

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from waystation.engines.local import Event

LABEL = 30
"""Longest name that is shown in full beside the numbers."""


def matrix(study: Study, found: Gains, width: int = 100, plain: bool = False) -> RenderableType:
    """Gains of every target's main metric: a row for each intermediate, a column for each language.

    Columns that do not fit into ``width`` go on in another block. ``plain`` leaves out colour and keeps to ASCII.
    """
    from rich.console import Group

    tables = [table for table in target_tables(study, found) if table.main and table.rows]
    known = letters(mark for table in tables for mark in _marks(table))
    parts: list[Text] = []
    for table in tables:
        parts += [*_target(table, known, width), _text("")]
    for mark, letter in known.items():
        parts += _wrapped(f"[{letter}] {mark}: {explain(mark)}", width, "dim")
    shown = [_plain(part) for part in parts] if plain else parts
    return Group(*shown)


def print_gains(console: Console, study: Study, found: Gains) -> None:
    """Print the gain matrix with all that must stand beside it."""
    plain, width = not console.is_terminal, console.width
    lines = _wrapped(f"{study.study}: {study.question}" if study.question else study.study, width, "bold")
    if found.demonstration:
        lines += _wrapped(DEMONSTRATION, width, "yellow")
    for line in [*lines, _text("")]:
        console.print(_plain(line) if plain else line, soft_wrap=True)
    if found.rows:
        console.print(matrix(study, found, width, plain), soft_wrap=True)
        lines = [line for text in (*intervals(found), NOT_YET) for line in _wrapped(text, width, "dim")]
    else:
        lines = _wrapped("No gains yet: a gain needs a chain and its baseline of the same seed.", width)
    if found.missing:
        names = ", ".join(found.missing[:6]) + (", ..." if len(found.missing) > 6 else "")
        lines += _wrapped(f"Missing: {count_of(len(found.missing), 'chain')} ({names})", width, "yellow")
    for line in lines:
        console.print(_plain(line) if plain else line, soft_wrap=True)


def _marks(table: TargetTable) -> Iterator[str]:
    for arm in table.arms:
        yield from table.marks(arm)
        for code in table.languages:
            yield from table.own_marks(arm, code)


def _target(table: TargetTable, known: Mapping[str, str], width: int) -> list[Text]:
    """The blocks of one target, with a heading and the members of its average."""
    seeds = sorted({row.seeds for row in table.rows.values()})
    over = count_of(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    lines = _wrapped(
        f"{table.target}, {table.metric}: gain over the baseline in points, mean over {over}", width, "bold"
    )
    names = {arm: _label(arm, table, known) for arm in table.arms}
    first = max(len("baseline score"), *(2 + len(name) for name in names.values()))
    members = table.members(ZERO_SHOT)
    codes = sorted(table.languages, key=lambda code: (not table.is_source(code), code))
    columns = (["average"] if members else []) + codes
    cells = {name: _column(table, name, known) for name in columns}
    wide = {name: 2 + max(len(text) for text in [_head(table, name), *cells[name].values()]) for name in columns}
    for block in _blocks(columns, wide, max(12, width - first)):
        lines.append(_text(""))
        lines.append(_row("", first, [(_head(table, name), "bold") for name in block], [wide[name] for name in block]))
        base = [(cells[name][BASELINE], "dim") for name in block]
        lines.append(_row("baseline score", first, base, [wide[name] for name in block], "dim"))
        for group, arms in by_group(table.arms):
            lines.append(_text(group, "bold"))
            for arm in arms:
                texts = [(cells[name][arm.name], _style(cells[name][arm.name])) for name in block]
                lines.append(_row("  " + names[arm], first, texts, [wide[name] for name in block]))
    lines.append(_text(""))
    if members:
        lines += _wrapped(f"average: zero-shot languages, {len(members)}: {', '.join(members)}", width, "dim")
    if any(table.is_source(code) for code in table.languages):
        lines += _wrapped("*: source language, not part of the average", width, "dim")
    return lines


def _column(table: TargetTable, name: str, known: Mapping[str, str]) -> dict[str, str]:
    """Texts of one column: the baseline's score, then the gain of every intermediate."""
    average = name == "average"
    texts = {BASELINE: (table.average_baseline() if average else table.baseline(name)).replace(" to ", "-")}
    for arm in table.arms:
        item = table.average(arm) if average else table.row(arm, name)
        notes = "" if average or item is None else "".join(known[mark] for mark in table.own_marks(arm, name))
        texts[arm.name] = "-" if item is None else signed(item.gain, minus="-") + notes
    return texts


def _blocks(columns: list[str], wide: Mapping[str, int], room: int) -> Iterator[list[str]]:
    block: list[str] = []
    for name in columns:
        if block and sum(wide[other] for other in block) + wide[name] > room:
            yield block
            block = []
        block.append(name)
    yield block


def _head(table: TargetTable, name: str) -> str:
    return f"{name}*" if table.is_source(name) else name


def _label(arm: Arm, table: TargetTable, known: Mapping[str, str]) -> str:
    name = arm.name if len(arm.name) <= LABEL else arm.name[: LABEL - 3] + "..."
    notes = ",".join(known[mark] for mark in table.marks(arm))
    return f"{name} [{notes}]" if notes else name


def _style(text: str) -> str:
    return "dodger_blue2" if text.startswith("+") else "dark_orange3" if text.startswith("-") and len(text) > 1 else ""


def _row(label: str, first: int, cells: list[tuple[str, str]], wide: list[int], style: str = "") -> Text:
    line = _text(label.ljust(first), style)
    for (text, look), size in zip(cells, wide, strict=True):
        line.append(text.rjust(size), look or None)
    return line


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style, no_wrap=True)


def _wrapped(text: str, width: int, style: str = "") -> list[Text]:
    return [_text(line, style) for line in textwrap.wrap(text, max(20, width), break_on_hyphens=False)]


def _plain(line: Text) -> Text:
    """Without style, in ASCII: what cannot be written in it (a group's name, a question) is spelled out."""
    return _text(line.plain.encode("ascii", "backslashreplace").decode().rstrip())


def plan_lines(made: Plan, store: Any, costs: Mapping[str, Cost]) -> list[str]:
    """The plan as plain lines: what is stored, what is to do, and what that is expected to take."""
    states = step_states(made, store)
    waiting = {key for key, state in states.items() if state in ("missing", "again")}
    held, pruned = (sum(state == name for state in states.values()) for name in ("stored", "pruned"))
    lines = [
        f"{made.study.study}: {count_of(len(made.chains), 'chain')}, {count_of(len(made.nodes), 'step')}, "
        f"{held} in the store, {f'{pruned} pruned, ' if pruned else ''}{len(waiting)} to do",
        *redone([made.nodes[key] for key, state in states.items() if state == "again"]),
        "",
        f"{'':<8}  {'tokens':>8}  {'FLOPs':>8}  {'time':>9}  {'on disk':>8}  step",
    ]
    encodings = [node for node in made.nodes.values() if node.step.kind == "encode"]
    pending = [node.id for node in encodings if node.id in waiting]
    if encodings:
        lines.append(_plan_line("to do" if pending else "stored", [costs[key] for key in pending],
                                f"encode {count_of(len(encodings), 'split')} ({len(pending)} to do)"))  # fmt: skip
    for node in made.nodes.values():
        if node.step.kind != "encode":
            state = {"missing": "to do", "not needed": "not used"}.get(states[node.id], states[node.id])
            lines.append(_plan_line(state, [costs[node.id]] if node.id in waiting else [], node.label))
    return [*lines, "", _plan_line("to do", [costs[key] for key in waiting], "in all")]


def step_states(made: Plan, store: Any) -> dict[str, str]:
    """Every step's state: stored, pruned (a model of which the head is left), missing, again (both), or not needed."""
    waiting = {node.id for node in made.pending(store.has)}
    found = {}
    for key in made.nodes:
        if store.has(key):
            found[key] = "stored"
        elif store.known(key):
            found[key] = "again" if key in waiting else "pruned"
        else:
            found[key] = "missing" if key in waiting else "not needed"
    return found


def redone(nodes: Sequence[Node]) -> list[str]:
    """One line where steps are done once more."""
    if not nodes:
        return []
    return [f"{count_of(len(nodes), 'step')} to do again: the result was pruned (keep: heads), and others now need it"]


def _plan_line(state: str, costs: list[Cost], label: str) -> str:
    seconds = [cost.seconds for cost in costs]
    known = [value for value in seconds if value is not None]
    took = "" if not costs else duration(sum(known)) if len(known) == len(seconds) else "unknown"
    tokens = _amount(sum(cost.tokens for cost in costs)) if costs else ""
    size = _amount(sum(cost.bytes for cost in costs)) + "B" if costs else ""
    flops = _amount(sum(cost.flops for cost in costs)) if costs else ""
    return f"{state:<8}  {tokens:>8}  {flops:>8}  {took:>9}  {size:>8}  {label}"


def _amount(value: float) -> str:
    for unit in ("", " k", " M", " G", " T"):
        if value < 999.5:
            return f"{value:.0f}{unit}" if unit == "" or value >= 99.5 else f"{value:.1f}{unit}"
        value /= 1000
    return f"{points(value)} P"


def duration(seconds: float) -> str:
    """A length of time in the coarseness that people plan with."""
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Shows a run while it goes on: a live bar on a terminal, else one line for each step that ends.

    Called with the engine's events. ``costs`` weigh the steps; ``done`` tells which of them the store already holds and
    thus do not count. The time that is left comes from the estimates, corrected for each kind of step by what the
    steps that ended really took.
    """

    EVERY = 30.0
    """Seconds between lines about a long step, where nobody watches a bar."""

    TRUST = 20.0
    """Seconds for which the estimate made before the run is trusted."""

    def __init__(
        self,
        console: Console,
        made: Plan,
        costs: Mapping[str, Cost],
        quiet: bool = False,
        done: Callable[[str], bool] = lambda key: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._quiet, self._clock = console, quiet, clock
        self._left = {node.id: node for node in made.pending(done)}
        self._estimates = {key: costs[key].seconds if key in costs else None for key in self._left}
        known = [value for value in self._estimates.values() if value is not None]
        usual = sum(known) / len(known) if known else 1.0
        self._weights = {key: max(0.01, usual if value is None else value) for key, value in self._estimates.items()}
        self._steps, self._total = len(self._left), sum(self._weights.values())
        self._spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # kind → [expected, really]
        self._ahead: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # kind → [expected, unknown]
        for node in self._left.values():
            self._expect(node, 1)
        self._now: Node | None = None
        self._share, self._started, self._spoke = 0.0, 0.0, 0.0
        self._waited: set[str] = set()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet and self._steps and self._console.is_terminal:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (
                BarColumn(24, complete_style="dodger_blue2"),
                TextColumn("{task.percentage:>3.0f} % {task.fields[count]}"),
                TextColumn("{task.fields[left]}", markup=False, style="dim"),
                TextColumn("{task.description}", markup=False),
            )
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=self._total, count=f"0/{self._steps}", left="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, event: Event) -> None:
        """Show one event of the engine."""
        if event.kind == "start":
            self._now, self._share = event.node, 0.0
            self._started = self._spoke = self._clock()
        elif event.kind == "progress":
            self._share = min(1.0, max(0.0, event.share))
        elif event.kind in ("done", "failed", "skipped"):
            self._end(event)
        if not self._quiet:
            self._show(event)

    def _end(self, event: Event) -> None:
        node = event.node
        if event.kind == "done" and self._now is not None and self._now.id == node.id and node.id in self._weights:
            spent = self._spent[node.step.kind]
            spent[0] += self._weights[node.id]
            spent[1] += self._clock() - self._started
        if self._now is not None and self._now.id == node.id:
            self._now, self._share = None, 0.0
        if self._left.pop(node.id, None) is not None:
            self._expect(node, -1)

    def _expect(self, node: Node, sign: int) -> None:
        """Sums over the steps that are left are kept, not made at every event: there may be ten thousand steps."""
        ahead = self._ahead[node.step.kind]
        ahead[0] += sign * self._weights[node.id]
        ahead[1] += sign * (self._estimates[node.id] is None)

    def _show(self, event: Event) -> None:
        number = min(self._steps, self._steps - len(self._left) + (event.node.id in self._left))
        head = f"[{number}/{self._steps}] {event.node.label}"
        if self._bar is not None:
            share = f" {100 * self._share:.0f} %" if event.kind == "progress" else ""
            now = "" if event.kind in ("done", "failed", "skipped") else f"{event.node.label}{share} {event.text}"
            count, left = f"{number}/{self._steps}", self._remaining()
            self._bar.update(self._task, completed=self._reached(), description=now, count=count, left=left)
            if event.kind in ("failed", "skipped"):
                self._say(f"{head} {event.kind}: {event.text}")
            return
        left = self._remaining()
        tail = f" ({left})" if left else ""
        if event.kind == "done":
            self._say(f"{head} ... {event.text or 'done'}{tail if self._left else ''}")
        elif event.kind in ("failed", "skipped"):
            self._say(f"{head} {event.kind}: {event.text}")
        elif event.kind == "waiting" and event.node.id not in self._waited:
            self._waited.add(event.node.id)
            self._say(f"{head} waiting: {event.text}")
        elif event.kind == "progress" and self._clock() - self._spoke >= self.EVERY:
            self._spoke = self._clock()
            self._say(f"{head}: {100 * self._share:.0f} %, {event.text}{tail}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _reached(self) -> float:
        current = self._share * self._weights.get(self._now.id, 0.0) if self._now is not None else 0.0
        return self._total - sum(expected for expected, _ in self._ahead.values()) + current

    def _rate(self, kind: str) -> float | None:
        """Real seconds for each expected one, of steps that compute alike; None before anything was measured.

        Encoding says nothing of training, and a few seconds (loading libraries, say) say little at all: ``TRUST``
        seconds of the estimate count as if they had been measured.
        """
        alike = (kind,) if kind == "encode" else ("train", "evaluate")
        expected = sum(self._spent[name][0] for name in alike)
        really = sum(self._spent[name][1] for name in alike)
        return (really + self.TRUST) / (expected + self.TRUST) if expected else None

    def seconds_left(self) -> float | None:
        """Expected time until all steps are done, or None where nothing is known of it."""
        total = 0.0
        for kind, (expected, unknown) in self._ahead.items():
            rate = self._rate(kind)
            if rate is None and unknown:
                return None
            total += expected * (1.0 if rate is None else rate)
        if self._now is not None and self._now.id in self._left:
            expected = self._weights[self._now.id] * (self._rate(self._now.step.kind) or 1.0)
            spent = self._clock() - self._started
            # Early on the share says little: the estimate holds until a tenth of the step is done.
            really = spent * (1 / self._share - 1) if self._share > 0.1 else max(0.0, expected - spent)
            total += really - expected
        return max(0.0, total)

    def _remaining(self) -> str:
        seconds = self.seconds_left()
        return "" if seconds is None or not self._left else f"about {duration(seconds)} left"
