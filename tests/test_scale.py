"""Studies of thousands of steps: what planning, running again and reading the gains take grows with the steps alone."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from waystation import records
from waystation.analysis.table import gains
from waystation.backbones import Backbone
from waystation.costs import costs, measured_rate
from waystation.engines import local
from waystation.plan import Plan, plan
from waystation.report.terminal import plan_lines
from waystation.steps.context import Context
from waystation.store import Store
from waystation.study import Study
from waystation.tasks import sources


def study(home: Path, targets: int, intermediates: int, seeds: int, **changes: Any) -> Study:
    """Own tagging tasks, all on one tiny file; a fifth of the uses have a recipe of their own."""
    task = {"format": "tagging", "labels": ["PER"], "reader": {"kind": "conll"}, "train": {"en": "a.txt"}}
    tested = {**task, "test": {code: "a.txt" for code in ("en", "de", "sw")}}
    befores = {f"i{n}": task for n in range(intermediates)}
    goals = {f"t{n}": tested for n in range(targets)}
    recipe = {"updates": 9, "rate": 1e-5}
    (home / "a.txt").write_text("Ana B-PER\nlives O\n\nBo B-PER\n")
    content = {
        "study": "large",
        "backbone": "bundled",
        "intermediate": {"all": [{"task": name, "recipe": recipe if name[-1] in "37" else {}} for name in befores]},
        "target": [{"task": name, "recipe": recipe if name[-1] in "37" else {}} for name in goals],
        "seeds": seeds,
        "tasks": befores | goals,
        **changes,
    }  # fmt: skip
    (home / "s.yaml").write_text(yaml.safe_dump(content))
    return Study.load(home / "s.yaml")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often some functions are called."""
    counted: Counter[str] = Counter()
    for owner, name in [
        (sys.modules["waystation.plan"], "step_id"), (sources, "fingerprint"), (Study, "recipe_of"),
        (Store, "manifest"), (Store, "has"), (records, "mark_of"),
    ]:  # fmt: skip
        original = getattr(owner, name)

        def count(*arguments: Any, original: Any = original, name: str = name, **more: Any) -> Any:
            counted[name] += 1
            return original(*arguments, **more)

        monkeypatch.setattr(owner, name, count)
    return counted


def test_what_chains_share_is_planned_once(tmp_path: Path, calls: Counter[str]) -> None:
    large = study(tmp_path, targets=4, intermediates=5, seeds=6)
    calls.clear()
    made = plan(large)
    assert len(made.nodes) == 5 + 4 * 4 + 6 * (5 + 2 * 4 * 6)
    assert calls["step_id"] == len(made.nodes), "each step is hashed once"
    assert calls["fingerprint"] == 5 + 4 * 4, "each file is read once"
    assert calls["recipe_of"] == 5 + 4
    assert calls["mark_of"] <= 200, "marks of fields are looked up once for each kind of record"


@pytest.mark.slow
def test_ten_thousand_steps_are_planned_in_two_seconds(tmp_path: Path) -> None:
    large = study(tmp_path, targets=10, intermediates=16, seeds=30)
    store = Store(tmp_path / "store")
    seconds = []
    for _ in range(3):
        started = time.process_time()
        made = plan(large)
        lines = plan_lines(made, store, costs(made, store))
        seconds.append(time.process_time() - started)
    assert len(made.nodes) > 10_000 and len(lines) > 10_000
    assert min(seconds) < 4, "2 s on an idle machine; a busy one gets leave"


def fill(made: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> local.Summary:
    """Artifacts of every step, as small as they can be."""
    counts, gold = pa.array([[1, 1, 1, 2, 2]], pa.list_(pa.int32())), pa.array([["B-PER", "O"]])
    table = pa.table({"counts": counts, "gold": gold})

    def perform(step: Any, folder: Path, context: Context) -> dict[str, Any]:
        details: dict[str, Any] = {"numerics": {"torch": "2"}, "seconds": 1.0, "flops": 1e9, "selected_on": None}
        if step.kind == "evaluate":
            for code in step.encodings:
                pq.write_table(table, folder / f"language={code}.parquet")
            details["languages"] = {code: {"n": 1} for code in step.encodings}
        return details | {"stats": {"examples": 2, "words": 3, "tokens": 9}}

    monkeypatch.setattr(local, "_perform", perform)
    return local.run(made, Context(store, Path("unused"), Backbone(id="bundled")))


def test_a_finished_study_costs_in_proportion_to_its_steps(
    tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks at the disk per step (of running again, planning, reading gains) are as many in a study twice as large."""
    found: dict[str, list[float]] = {}
    for seeds in (4, 8):
        made = plan(study(tmp_path, 2, 3, seeds))
        store = Store(tmp_path / f"store{seeds}")
        assert fill(made, store, monkeypatch).ok
        for name, act in {
            "again": lambda made=made, store=store: fill(made, store, monkeypatch),
            "plan": lambda made=made, store=store: plan_lines(made, store, costs(made, store)),
            "gains": lambda made=made, store=store: gains(made.study, store.root, made=made),
        }.items():
            calls.clear()
            act()
            found.setdefault(name, []).append((calls["has"] + calls["manifest"]) / len(made.nodes))
    for name, (small, large) in found.items():
        assert large <= small * 1.1, name
        assert large < 6, name


def test_the_rate_of_a_large_store_is_estimated_from_a_sample(
    tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, store = plan(study(tmp_path, 2, 3, 6)), Store(tmp_path / "store")
    fill(made, store, monkeypatch)
    calls.clear()
    assert measured_rate(store, enough=10) == 1e9
    assert 10 <= calls["manifest"] < len(made.nodes) / 2
