"""What a study costs as it grows: ``python -m benchmarks.growth [--layers N] [--updates N] [--json FILE]``.

From a base of two targets, two intermediates, two seeds and two test languages, one number is varied at a time, each in
a store of its own; then the finished base grows by one of each in its own store. The last two columns hold the cost
against what the same new steps cost in the base, kind by kind (an evaluation counts once for each language that it
tests): 1.00 is growth in proportion to the new steps alone.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import Settings
from benchmarks.machine import describe
from waystation import Study, plan, run
from waystation.engines.local import Event
from waystation.store import Store

CODES = ["en", "de", "es", "fr", "it", "pt", "nl", "sv"]
BASE = {"targets": 2, "intermediates": 2, "seeds": 2, "languages": 2}
OTHERS = (1, 4)
KINDS = ("encode", "train", "evaluate")
Sizes = dict[str, int]


@dataclass(frozen=True)
class Grown:
    """One run: what was planned, the new steps by kind, their units (tests of one language), CPU seconds and bytes.

    ``cpu_per_unit``, ``bytes_per_unit``: what a unit of each kind took, without what a run takes once.
    """

    name: str
    planned: int
    new: dict[str, int]
    units: dict[str, int]
    cpu: float
    bytes: int
    cpu_per_unit: dict[str, float]
    bytes_per_unit: dict[str, float]

    def against(self, base: Grown) -> tuple[float, float] | None:
        """(CPU, bytes) as multiples of what the base paid for steps of the same kinds; None where nothing was new."""
        if not any(self.new.values()):
            return None
        cpu = sum(count * base.cpu_per_unit[kind] for kind, count in self.units.items())
        size = sum(count * base.bytes_per_unit[kind] for kind, count in self.units.items())
        return self.cpu / cpu, self.bytes / size


def write_data(home: Path, most: int) -> None:
    """Random sentences in IOB2 for ``most`` targets in every language and as many intermediates."""
    drawn = random.Random(0)
    words = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in ("ran", "lit", "mos", "ten", "var")]
    files = [f"i{n}.en" for n in range(most)] + [f"t{n}.{code}" for n in range(most) for code in ["train", *CODES]]
    for name in files:
        lines = []
        for _ in range(60):
            for word in drawn.choices(words, k=drawn.randint(8, 24)):
                lines.append(f"{word}\t{'B-X' if word[0] in 'bd' else 'O'}")
            lines.append("")
        (home / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def study(home: Path, sizes: Sizes, layers: int, updates: int) -> Study:
    """The study of the given sizes; a larger one holds every step of a smaller one."""
    codes = CODES[: sizes["languages"]]
    task = {"format": "tagging", "labels": ["X"], "reader": {"kind": "conll", "separator": "\t"}}
    befores = {f"i{n}": {**task, "train": {"en": f"i{n}.en.txt"}} for n in range(sizes["intermediates"])}
    goals = {
        f"t{n}": {**task, "train": {"en": f"t{n}.train.txt"}, "test": {code: f"t{n}.{code}.txt" for code in CODES}}
        for n in range(sizes["targets"])
    }
    content = {
        "study": "growth",
        "backbone": {"id": "bundled", "layers": layers},
        "intermediate": {"all": list(befores)},
        "target": list(goals),
        "languages": codes,
        "seeds": sizes["seeds"],
        "recipe": {"updates": updates, "batch": 16, "max_length": 64, "stride": 16},
        "tasks": befores | goals,
    }
    (home / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return Study.load(home / "study.yaml")


def measure(name: str, asked: Study, store: Path) -> Grown:
    """Run a study and account for every new step. Raises RuntimeError where a step fails."""
    began: dict[str, float] = {}
    cpu: Counter[str] = Counter()
    new, units = Counter(dict.fromkeys(KINDS, 0)), Counter(dict.fromkeys(KINDS, 0))
    size: Counter[str] = Counter()

    def account(event: Event) -> None:
        if event.kind == "start":
            began[event.node.id] = time.process_time()
        elif event.kind == "done":
            kind = event.node.step.kind
            cpu[kind] += time.process_time() - began[event.node.id]
            new[kind] += 1
            units[kind] += len(asked.languages) if kind == "evaluate" else 1
            size[kind] += weigh(store / "artifacts" / event.node.id)

    before, started = weigh(store), time.process_time()
    summary = run(asked, store, on_event=account)
    spent = time.process_time() - started
    if not summary.ok:
        raise RuntimeError(f"{name}: {summary.failed}")
    made = plan(asked)
    assert Store(store).verify() == [] and len(summary.done) == sum(new.values())
    each = [{kind: of[kind] / max(1, units[kind]) for kind in KINDS} for of in (cpu, size)]
    return Grown(name, len(made.nodes), dict(new), dict(units), spent, weigh(store) - before, each[0], each[1])


def weigh(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure_all(home: Path, layers: int, updates: int) -> list[Grown]:
    """The base first, then the base again, varied, and grown."""
    most = max(*OTHERS, max(BASE.values()) + 1)
    write_data(home, most)

    def measured(name: str, sizes: Sizes, store: Path) -> Grown:
        found = measure(name, study(home, sizes, layers, updates), store)
        print(f"{name}: {sum(found.new.values())} steps, {found.cpu:.1f} s", file=sys.stderr, flush=True)
        return found

    measured("warm-up", dict.fromkeys(BASE, 1), home / "warm")
    found = [measured("base", BASE, home / "base"), measured("base, run again", BASE, home / "base")]
    for key in BASE:
        for size in OTHERS:
            found.append(measured(f"{size} {key}", BASE | {key: size}, home / "own"))
            shutil.rmtree(home / "own")
    for key, size in BASE.items():
        shutil.copytree(home / "base", home / "grown")
        found.append(measured(f"base + 1 of {key}", BASE | {key: size + 1}, home / "grown"))
        shutil.rmtree(home / "grown")
    return found


def as_table(found: list[Grown]) -> str:
    """Markdown."""
    lines = [
        "| study | steps planned | new: encode, train, evaluate | CPU s | MB added | CPU s per new step | "
        "MB per new step | CPU / base's | MB / base's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        steps = sum(row.new.values())
        ratios = row.against(found[0])
        cells: list[Any] = [row.name, row.planned, ", ".join(str(row.new[kind]) for kind in KINDS), f"{row.cpu:.2f}"]
        cells += [f"{row.bytes / 1e6:.1f}"]
        cells += [f"{row.cpu / steps:.2f}", f"{row.bytes / 1e6 / steps:.2f}"] if steps else ["", ""]
        cells += [f"{ratio:.2f}" for ratio in ratios] if ratios else ["", ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description="What a study costs as it grows")
    parser.add_argument("--layers", type=int, default=2, help="blocks of the bundled encoder")
    parser.add_argument("--updates", type=int, default=16, help="updates of every training")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    about = describe(shlex.join(["python", "-m", "benchmarks.growth", *sys.argv[1:]]), Settings())
    with tempfile.TemporaryDirectory() as home:
        found = measure_all(Path(home), asked.layers, asked.updates)
    print("\n".join(f"{key}: {value}" for key, value in about.items()) + "\n\n" + as_table(found))
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps({**about, "rows": [asdict(row) for row in found]}, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
