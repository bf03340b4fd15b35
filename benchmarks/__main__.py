"""Run rows of the table by name: ``python -m benchmarks [NAME…] [--quick] [--rounds N] [--json FILE]``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import Result, Settings, stored, table
from benchmarks.machine import describe, load
from benchmarks.training import DROPOUT

MODULES = ("training", "frozen", "memory", "evaluation", "encoding", "scores", "mining")


def rows() -> dict[str, Callable[[Settings], Result]]:
    """Every row by name, in the order of the table; each module of this package lists its own as ``ROWS``."""
    found: dict[str, Callable[[Settings], Result]] = {}
    for name in MODULES:
        found |= importlib.import_module(f"benchmarks.{name}").ROWS
    return found


def in_quick(name: str) -> bool:
    """Whether a quick run has this row without being asked: not where another differs from it in one setting only."""
    return name != "frozen-32" and not (name.startswith("grid-") and name.endswith(DROPOUT))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Waystation against named peers")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows, or what their names begin with; none: all")
    parser.add_argument("--quick", action="store_true", help="few rounds of smaller batches, five minutes in all")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of every row (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    asked = parser.parse_args()
    # As every run of Waystation sets it, and for both sides: threads that spin while they wait count as work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    every = rows()
    chosen = [
        name for name in every if any(name == part if part in every else name.startswith(part) for part in asked.names)
    ]
    if not asked.names:
        chosen = [name for name in every if in_quick(name) or not asked.quick]
    if not chosen:
        parser.error(f"no row begins with {' or '.join(asked.names)}; rows: {', '.join(every)}")
    if asked.list:
        print("\n".join(chosen))
        return 0
    warnings.filterwarnings("ignore")
    settings = Settings(quick=asked.quick, rounds=asked.rounds)
    about = describe(shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]), settings)
    print("\n".join(f"{key}: {value}" for key, value in about.items()), flush=True)
    target = asked.json or Path(".waystation/benchmarks") / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    results: list[Result] = []
    failed: list[str] = []
    for name in chosen:
        before, started = load(), time.monotonic()
        try:
            result = every[name](settings)
        except Exception:  # the other rows are worth having all the same
            traceback.print_exc()
            failed.append(name)
            continue
        results.append(replace(result, load=[*before, *load()]))
        print(f"\n{table([result])}", flush=True)
        print(f"  {result.note} [{time.monotonic() - started:.0f} s, load {before[0]:.1f}]", flush=True)
        target.write_text(json.dumps(stored(results, about), indent=1) + "\n", encoding="utf-8")
    print(f"\n{table(results)}\n")
    kind = "; a quick run: few rounds, smaller batches, no evidence" if settings.quick else ""
    print(f"Ratios theirs/ours: median (quartiles) over rounds{kind}.")
    print(f"{len(results)} rows in {time.monotonic() - begin:.0f} s; figures in {target}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
