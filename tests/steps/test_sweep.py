"""Sweeps over layers and poolings through ``waystation.run``, against targets that are read at one layer each."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import pyarrow.parquet as pq  # noqa: E402
from retrieved import write  # noqa: E402
from small import write_study  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.analysis import sweep as sweeps  # noqa: E402
from waystation.analysis.table import Gains  # noqa: E402
from waystation.cli import main  # noqa: E402
from waystation.errors import InputError, Stopped  # noqa: E402
from waystation.plan import Plan  # noqa: E402
from waystation.report import page  # noqa: E402
from waystation.report.tables import explain, target_tables  # noqa: E402
from waystation.steps import retrieve, sweep  # noqa: E402
from waystation.steps.records import SweepStep, Swept  # noqa: E402
from waystation.store import Store  # noqa: E402

LAYERS, POOLINGS, ON = (1, 2, 3), ("mean", "first"), ("de", "sw")
Finished = tuple[Study, Plan, Store, Gains]


def target(task: str, **asked: Any) -> dict[str, Any]:
    return {"task": task, "retrieval": asked}


def at(task: str, layer: int, pooling: str) -> dict[str, Any]:
    """The same target, read at one layer."""
    return {**target(task, layer=layer, pooling=pooling), "name": f"{task}-{layer}-{pooling}"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("study")
    backbone = tiny_checkpoint(folder / "backbone", layers=3, spread=0.15)
    path = write_study(
        folder, backbone, seeds=2, intermediate={"g": [{"task": "mood", "recipe": {"rate": 1e-2}}]},
        target=[
            target("pairs", sweep={"on": list(ON)}),
            target("mined", sweep={"layers": [-1, 1], "poolings": ["mean"], "on": ["de"]}),
            *(at("pairs", layer, pooling) for layer in LAYERS for pooling in POOLINGS),
            *(at("mined", layer, "mean") for layer in (1, 3)),
        ],
    )  # fmt: skip
    content = yaml.safe_load(path.read_text("utf-8"))
    content["tasks"] |= write(folder / "sentences", ("de", "sw", "fr", "eu"), ("de", "fr"))
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    study = Study.load(path)
    summary = run(study, folder / "store")
    assert summary.ok, summary
    store = Store(folder / "store")
    return study, plan(study), store, gains(study, store.root)


def points(finished: Finished, chain: str, language: str) -> float:
    return next(one.score for one in finished[3].scores if (one.chain, one.language) == (chain, language))


def test_every_cell_is_the_score_of_a_target_that_is_read_there(finished: Finished) -> None:
    _, made, store, _ = finished
    for task, chain, layers, poolings, on in (
        ("pairs", "none+pairs.s0", LAYERS, POOLINGS, ON),
        ("mined", "none+mined.s0", (1, 3), ("mean",), ("de",)),
    ):
        found = sweeps.read(sweeps.ending(made, task), store)
        assert found.chain == chain
        assert [(row["layer"], row["pooling"]) for row in found.rows] == [(a, b) for a in layers for b in poolings]
        for row in found.rows:
            name = f"none+{task}-{row['layer']}-{row['pooling']}.s0"
            assert row["scores"] == {code: pytest.approx(points(finished, name, code)) for code in on}
            assert row["mean"] == pytest.approx(statistics.fmean(row["scores"].values()))
        best = max(row["mean"] for row in found.rows)
        assert found.best == found.read == next(row for row in found.rows if row["mean"] == best)
        assert found.metric == ("mining_f1" if task == "mined" else "retrieval_accuracy")


def test_all_arms_are_read_as_the_baseline_chose(finished: Finished) -> None:
    _, made, store, _ = finished
    chosen = sweeps.read(sweeps.ending(made, "pairs"), store).best
    ends = {chain.name: store.folder(chain.evaluate) for chain in made.chains}
    for arm in ("none+pairs{}.s0", "mood+pairs{}.s0", "mood+pairs{}.s1"):
        swept, fixed = ends[arm.format("")], ends[arm.format(f"-{chosen['layer']}-{chosen['pooling']}")]
        for code in (*ON, "fr", "eu"):
            name = f"language={code}.parquet"
            assert pq.read_table(swept / name).equals(pq.read_table(fixed / name)), "all languages, those of on too"
    steps = [node.step for node in made.nodes.values() if isinstance(node.step, SweepStep)]
    assert [step.model for step in steps] == [None, None], "one sweep for each target, with the backbone"


def test_languages_that_chose_are_marked_and_in_no_average(finished: Finished) -> None:
    study, made, store, found = finished
    chosen = sweeps.read(sweeps.ending(made, "pairs"), store).best
    general = f"layer {chosen['layer']}, {chosen['pooling']} pooling, chosen on de, sw"
    rows = {row.language: row for row in found.rows if row.target == "pairs"}
    assert set(rows) == {*ON, "fr", "eu"}
    for code, row in rows.items():
        assert ("chosen on this language" in row.marks) == (code in ON) and general in row.marks
    (average,) = (item for item in found.averages if item.target == "pairs")
    assert average.members == ("eu", "fr")
    assert average.gain == pytest.approx(statistics.fmean(rows[code].gain for code in ("fr", "eu")))
    others = [item for item in found.averages if item.target == "pairs-1-mean"]
    assert [set(item.members) for item in others] == [{"de", "sw", "fr", "eu"}]
    assert not any("chosen" in mark for row in found.rows if row.target == "pairs-1-mean" for mark in row.marks)
    shown = target_tables(study, found)[0]
    (arm,) = shown.arms
    assert general in shown.marks(arm) and shown.own_marks(arm, "de") == ("chosen on this language",)
    assert all(explain(mark) for mark in rows["de"].marks)
    assert general in page.render(study, found, store, made)


def test_of_equal_ones_the_lowest_layer(finished: Finished, tmp_path: Path, monkeypatch: Any) -> None:
    study, made, _, _ = finished
    scores = {"de": [5.0, 40.0, 70.0, 60.0, 60.0, 70.0], "sw": [5.0, 80.0, 50.0, 60.0, 60.0, 50.0]}

    def given(step: Any, encoder: Any, rows: Any, readings: Any, encoded: Any, context: Any) -> list[float]:
        return scores["de" if "test/de/1" in encoded.ids else "sw"]

    monkeypatch.setattr(sweep, "_points", given)
    ending = sweeps.ending(made, "pairs")
    assert run(study, tmp_path / "store", made=ending).ok
    best = sweeps.read(ending, Store(tmp_path / "store")).best
    assert (best["layer"], best["pooling"], best["mean"]) == (1, "first", 60.0)


def test_finished_languages_survive_an_interruption(finished: Finished, tmp_path: Path, monkeypatch: Any) -> None:
    study, made, store, _ = finished
    looked: list[int] = []
    original = retrieve.look_up

    def interrupted(*given: Any) -> Any:
        looked.append(1)
        if len(looked) == 8:
            raise Stopped("stopped during evaluation; run again to go on")
        return original(*given)

    monkeypatch.setattr(retrieve, "look_up", interrupted)
    ending = sweeps.ending(made, "pairs")
    assert run(study, tmp_path / "store", made=ending).stopped is not None
    assert run(study, tmp_path / "store", made=ending).ok
    assert len(looked) == 8 + 6, "the first language's six readings are not done again"
    again, (chain,) = Store(tmp_path / "store"), ending.chains
    assert again.manifest(chain.evaluate)["files"] == store.manifest(chain.evaluate)["files"]
    assert run(study, tmp_path / "store", made=ending).done == []


def test_what_a_chain_of_its_own_would_have_chosen(finished: Finished, monkeypatch: Any, capsys: Any) -> None:
    """The command for another chain: its own table, with the reading of the study beside its own best."""
    study, _, store, _ = finished

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["waystation", "sweep", str(study.path), *words, "--store", str(store.root)])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        assert not end.value.code, told.err
        return str(told.out)

    base = json.loads(call("pairs", "--json"))
    assert base["target"] == "pairs" and base["best"] == base["read"]
    own = json.loads(call("pairs", "--chain", "mood+pairs.s1", "--json"))
    assert own["chain"] == "mood+pairs.s1" and own["rows"] != base["rows"]
    for row in own["rows"]:
        name = f"mood+pairs-{row['layer']}-{row['pooling']}.s1"
        assert row["scores"] == {code: pytest.approx(points(finished, name, code)) for code in ON}
    assert own["best"]["mean"] == max(row["mean"] for row in own["rows"])
    assert all(own["read"][name] == base["best"][name] for name in ("layer", "pooling"))
    assert own["read"] in own["rows"]
    text = call("pairs", "--chain", "mood+pairs.s1")
    lines = text.splitlines()
    assert lines[0].startswith("mood+pairs.s1: retrieval_accuracy") and lines[2].split()[3:] == list(ON)
    best, read = (next(line for line in lines if word in line).split()[:2] for word in ("best of this", "read in"))
    assert best == [str(own["best"]["layer"]), own["best"]["pooling"]]
    assert read == [str(own["read"]["layer"]), own["read"]["pooling"]]


def test_what_cannot_be_shown(finished: Finished) -> None:
    made = finished[1]
    for given, says in (
        (("pears",), "has no target 'pears' .did you mean 'pairs'.."),
        (("pairs-1-mean",), "asks for no sweep; give it `retrieval: {sweep: {on:"),
        (("pairs", "none+pears.s0"), "has no chain 'none.pears.s0'"),
        (("pairs", "none+mined.s0"), "chain 'none.mined.s0' is of another target"),
    ):
        with pytest.raises(InputError, match=says):
            sweeps.ending(made, *given)


def test_an_evaluation_waits_for_its_sweep(finished: Finished) -> None:
    _, made, _, _ = finished
    order = list(made.nodes)
    for chain in made.chains:
        asked = made.nodes[chain.evaluate].step.retrieval  # type: ignore[union-attr]
        assert isinstance(asked, Swept) == (chain.target in ("pairs", "mined"))
        if isinstance(asked, Swept):
            assert asked.sweep in made.nodes[chain.evaluate].needs
            assert order.index(asked.sweep) < order.index(chain.evaluate)
