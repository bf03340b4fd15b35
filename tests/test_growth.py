"""The study that the benchmark of growth grows, and its arithmetic; the measuring itself is not tested here."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra 'torch'")

from benchmarks.growth import BASE, KINDS, Grown, as_table, study, write_data
from waystation import plan


@pytest.mark.parametrize(
    ("key", "new"),
    [
        ("targets", {"encode": 3, "train": 6, "evaluate": 6}),
        ("intermediates", {"encode": 1, "train": 6, "evaluate": 4}),
        ("seeds", {"encode": 0, "train": 8, "evaluate": 6}),
        ("languages", {"encode": 2, "train": 0, "evaluate": 12}),
    ],
)
def test_one_more_of_each_brings_new_steps_alone(tmp_path: Path, key: str, new: dict[str, int]) -> None:
    write_data(tmp_path, 3)
    before = plan(study(tmp_path, BASE, 2, 4)).nodes
    after = plan(study(tmp_path, BASE | {key: 3}, 2, 4)).nodes
    added = [after[name].step.kind for name in after.keys() - before.keys()]
    assert {kind: added.count(kind) for kind in KINDS} == new
    gone = {before[name].step.kind for name in before.keys() - after.keys()}
    assert gone == ({"evaluate"} if key == "languages" else set()), "a test of more languages replaces that of fewer"


def grown(name: str, cpu: float, size: int, **units: int) -> Grown:
    counts = {kind: units.get(kind, 0) for kind in KINDS}
    rates = {"encode": 1.0, "train": 4.0, "evaluate": 2.0}
    return Grown(name, 9, counts, counts, cpu, size, rates, {kind: 10 * rate for kind, rate in rates.items()})


def test_cost_is_held_against_the_same_steps_of_the_base() -> None:
    base = grown("base", 13.0, 130, encode=1, train=2, evaluate=2)
    assert base.against(base) == (1.0, 1.0)
    assert grown("more", 12.0, 30, train=1, evaluate=1).against(base) == (2.0, 0.5)
    assert grown("again", 0.1, 0).against(base) is None
    lines = as_table([base, grown("again", 0.1, 0)]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1].startswith("| again | 9 | 0, 0, 0 | 0.10 | 0.0 |")
