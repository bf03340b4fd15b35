from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from finished import CODES, Build, Finished
from rich.console import Console

from waystation.costs import Cost, costs
from waystation.engines.local import Event
from waystation.report import tables
from waystation.report.terminal import Progress, duration, matrix, plan_lines, print_gains


def printed(show: Callable[[Console], None], width: int = 100, terminal: bool = False) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width, force_terminal=terminal, color_system="truecolor" if terminal else None))
    return stream.getvalue()


def gains_text(made: Finished, width: int = 100, terminal: bool = False) -> str:
    return printed(lambda console: print_gains(console, made.study, made.found), width, terminal)


def test_the_matrix_shows_every_gain(build: Build) -> None:
    made = build(targets=["topics", "clinical"])
    text = gains_text(made)
    for target in ("topics", "clinical"):
        block = text[text.index(f"{target}, accuracy") :]
        head = next(line for line in block.splitlines() if line.split()[:2] == ["average", "en*"])
        assert head.split() == ["average", "en*", "de", "eu", "sw"]
        for name in ("alpha", "beta", "gamma"):
            line = next(line for line in block.splitlines() if line.startswith(f"  {name}"))
            rows = {row.language: row for row in made.found.rows
                    if (row.intermediate, row.target, row.metric) == (name, target, "accuracy")}  # fmt: skip
            assert [float(cell) for cell in line.split()[2:]] == [
                pytest.approx(rows[code].gain, abs=0.051) for code in ("en", "de", "eu", "sw")
            ]
    assert "baseline score" in text and "zero-shot languages, 3: de, eu, sw" in text
    assert "not computed yet" in text


def test_plain_output_is_ascii_and_aligned(build: Build) -> None:
    made = build(groups={"général": ["alpha"], "[red]medical[/red]": ["gamma"]}, question="Où δ?")
    text = gains_text(made)
    assert text.isascii() and "\x1b" not in text and "[red]medical[/red]" in text
    lines = [line for line in text.splitlines() if re.search(r"[+-]\d+\.\d", line)]
    assert len({len(line) for line in lines}) == 1


def test_a_terminal_gets_colour_and_the_same_numbers(build: Build) -> None:
    made = build()
    coloured = gains_text(made, terminal=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured).split() == gains_text(made).split()


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_forty_seven_languages_wrap(build: Build, width: int) -> None:
    made = build(languages=CODES, seeds=1, groups={"general": ["alpha"]}, examples=10)
    text = gains_text(made, width)
    assert max(map(len, text.splitlines())) <= width
    heads = [line.split() for line in text.splitlines() if re.match(r"\s{10,}\S", line)]
    assert len(heads) > 2 or width == 160
    assert [name for head in heads for name in head] == ["average", "en*", *sorted(CODES[1:])]
    assert text.count("  alpha") == len(heads) == text.count("baseline score")


def test_marks_become_footnotes(build: Build) -> None:
    made = build(missing=["gamma+topics.s1"], demonstration=True)
    text = gains_text(made)
    assert re.search(r"^  gamma \[a\]", text, re.MULTILINE) and "[a] 1 of 2 seeds: " in text
    assert tables.DEMONSTRATION in text and "Missing: 1 chain (gamma+topics.s1)" in text
    assert "mean over 1 to 2 seeds" in text


def test_a_mark_of_one_number_stands_beside_it(build: Build) -> None:
    import dataclasses

    made = build()
    at = next(i for i, row in enumerate(made.found.rows) if (row.intermediate, row.language) == ("beta", "sw"))
    row = made.found.rows[at]
    made.found.rows[at] = dataclasses.replace(row, marks=(*row.marks, "overlap"))
    text = gains_text(made)
    line = next(line for line in text.splitlines() if line.startswith("  beta"))
    assert line.endswith("a") and "[a] overlap" in text


def test_no_gains_yet(build: Build) -> None:
    made = build(missing=["none+topics.s0", "none+topics.s1"])
    text = gains_text(made)
    assert "No gains yet" in text and "Missing: 2 chains" in text
    assert printed(lambda console: console.print(matrix(made.study, made.found))).strip() == ""


def test_the_plan_as_lines(build: Build) -> None:
    made = build(missing=["gamma+topics.s1"])
    lines = plan_lines(made.made, made.store, costs(made.made, made.store))
    assert lines[0].endswith("23 steps, 22 in the store, 1 to do") or "1 to do" in lines[0]
    assert [line for line in lines if line.startswith("to do") and "evaluate gamma+topics.s1" in line]
    assert max(map(len, lines)) <= 100
    unknown = {key: Cost(0.0, 0.0, 0.0, None) for key in made.made.nodes}
    assert "unknown" in plan_lines(made.made, made.store, unknown)[-1]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1 s"), (12.4, "12 s"), (59.6, "1 min"), (240, "4 min"), (5400, "1 h 30 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def play(made: Finished, progress: Progress, clock: Clock, speed: float = 2.0) -> None:
    """The events of a run in which every step takes ``speed`` times what was expected (10 s)."""
    for node in made.made.nodes.values():
        progress(Event("start", node))
        clock.now += 5 * speed
        progress(Event("progress", node, "loss 0.500", 0.5))
        clock.now += 5 * speed
        progress(Event("done", node, "loss 0.410, 12.3 s"))


def test_progress_in_a_file(build: Build) -> None:
    made, clock = build(), Clock()
    expected = {key: Cost(1.0, 1.0, 1.0, 10.0) for key in made.made.nodes}

    def show(console: Console) -> None:
        with Progress(console, made.made, expected, clock=clock) as progress:
            play(made, progress, clock)

    lines = printed(show).splitlines()
    total, labels = len(made.made.nodes), [node.label for node in made.made.nodes.values()]
    assert len(lines) == total
    head = re.escape(f"[1/{total}] {labels[0]} ... loss 0.410, 12.3 s (about ")
    assert re.fullmatch(head + r"\d+ min left\)", lines[0])
    assert lines[-1] == f"[{total}/{total}] {labels[-1]} ... loss 0.410, 12.3 s"


def test_progress_of_a_long_step_is_told_now_and_then(build: Build) -> None:
    made, clock = build(), Clock()

    def show(console: Console) -> None:
        with Progress(console, made.made, {}, clock=clock) as progress:
            play(made, progress, clock, speed=20)

    lines = printed(show).splitlines()
    assert len(lines) == 2 * len(made.made.nodes)
    # nothing was measured and nothing estimated: no time is promised
    assert re.fullmatch(r"\[1/\d+\] .*: 50 %, loss 0\.500", lines[0])


def test_stored_steps_do_not_count(build: Build) -> None:
    made, clock = build(missing=["gamma+topics.s1"]), Clock()
    node = next(node for node in made.made.nodes.values() if node.label == "evaluate gamma+topics.s1")

    def show(console: Console) -> None:
        with Progress(console, made.made, costs(made.made, made.store), done=made.store.has, clock=clock) as progress:
            progress(Event("start", node))
            progress(Event("done", node, ""))

    assert printed(show) == "[1/1] evaluate gamma+topics.s1 ... done\n"


def test_failures_and_waiting_are_told(build: Build) -> None:
    made, clock = build(), Clock()
    first, second = list(made.made.nodes.values())[:2]

    def show(console: Console) -> None:
        with Progress(console, made.made, {}, clock=clock) as progress:
            progress(Event("waiting", first, "another process is at work on it"))
            progress(Event("waiting", first, "another process is at work on it"))
            progress(Event("start", first))
            progress(Event("failed", first, "no [bold]memory[/bold]"))
            progress(Event("skipped", second, "a step that it needs failed"))

    lines = printed(show).splitlines()
    assert len(lines) == 3 and "waiting: another process" in lines[0]
    assert lines[1].endswith(f"{first.label} failed: no [bold]memory[/bold]")
    assert lines[2].startswith("[2/") and "skipped: a step that it needs failed" in lines[2]


def test_quiet_is_quiet(build: Build) -> None:
    made, clock = build(), Clock()

    def show(console: Console) -> None:
        with Progress(console, made.made, {}, quiet=True, clock=clock) as progress:
            play(made, progress, clock)

    assert printed(show) == printed(show, terminal=True) == ""


def test_a_terminal_gets_a_bar(build: Build) -> None:
    made, clock = build(), Clock()
    expected = {key: Cost(1.0, 1.0, 1.0, 10.0) for key in made.made.nodes}
    total = len(made.made.nodes)

    def show(console: Console) -> None:
        with Progress(console, made.made, expected, clock=clock) as progress:
            play(made, progress, clock)
            progress._bar.refresh()

    text = printed(show, terminal=True)
    assert "100 %" in text and f"{total}/{total}" in text


def test_the_time_left_follows_what_was_measured(build: Build) -> None:
    made, clock = build(), Clock()
    expected = {key: Cost(1.0, 1.0, 1.0, 10.0) for key in made.made.nodes}
    nodes = list(made.made.nodes.values())
    encoded = [node for node in nodes if node.step.kind == "encode"]
    computed = [node for node in nodes if node.step.kind != "encode"]
    progress = Progress(Console(file=io.StringIO()), made.made, expected, quiet=True, clock=clock)
    assert progress.seconds_left() == pytest.approx(10 * len(nodes))
    progress(Event("start", encoded[0]))
    clock.now += 1000
    progress(Event("done", encoded[0]))  # a slow encoding says nothing of training
    encoding_left = 10 * (1000 + 20) / (10 + 20) * (len(encoded) - 1)
    assert progress.seconds_left() == pytest.approx(10 * len(computed) + encoding_left)
    progress(Event("start", computed[0]))
    clock.now += 30
    progress(Event("done", computed[0]))  # 30 s for 10, softened by 20 s of trust in the estimate
    each = 10 * (30 + 20) / (10 + 20)
    assert progress.seconds_left() == pytest.approx(each * (len(computed) - 1) + encoding_left)
    progress(Event("start", computed[1]))
    clock.now += 4
    progress(Event("progress", computed[1], "", 0.2))
    assert progress.seconds_left() == pytest.approx(each * (len(computed) - 2) + encoding_left + 16)
