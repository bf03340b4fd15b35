from __future__ import annotations

import math
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from waystation.costs import costs, measured_rate
from waystation.errors import InputError
from waystation.plan import Plan, pieces, plan
from waystation.steps.records import EncodeStep, EvaluateStep, TrainStep, step_id
from waystation.store import Store
from waystation.study import Study

TAGGED = "Ana B-PER\nlives O\nin O\nLima B-LOC\n\nBo B-PER\nleft O\n"
TEXTS = "text\tlabel\ngood day\tyes\nbad night\tno\n"


def tagging(languages: list[str]) -> dict[str, Any]:
    return {
        "format": "tagging", "labels": ["PER", "LOC"], "reader": {"kind": "conll"},
        "train": {"en": "train.txt"}, "test": {code: f"{code}.txt" for code in languages},
    }  # fmt: skip


def question(**changes: Any) -> dict[str, Any]:
    """Two intermediates in two groups, one target in three languages, two seeds; all tasks our own."""
    return {
        "study": "s",
        "backbone": "bundled",
        "intermediate": {"general": ["one"], "medical": ["two"]},
        "target": "goal",
        "languages": ["de", "sw"],
        "seeds": 2,
        "recipe": {"updates": 5, "batch": 4},
        "tasks": {
            "one": {**tagging([]), "path": "one"},
            "two": {**tagging([]), "path": "two"},
            "goal": {**tagging(["en", "de", "sw"]), "path": "goal"},
            "other-goal": {
                "format": "classification", "labels": ["yes", "no"], "path": "other",
                "reader": {"kind": "table", "text": "text", "label": "label"},
                "train": {"en": "train.tsv"}, "test": {"de": "test.tsv"},
            },
        },
        **changes,
    }  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the data of ``question``."""
    for name in ("one", "two", "goal", "other"):
        (tmp_path / "here" / name).mkdir(parents=True)
    for name in ("one/train", "two/train", "goal/train", "goal/en", "goal/de", "goal/sw"):
        (tmp_path / "here" / f"{name}.txt").write_text(TAGGED)
    for name in ("train", "test"):
        (tmp_path / "here" / "other" / f"{name}.tsv").write_text(TEXTS)
    return tmp_path / "here"


def made(home: Path, data: Path | None = None, **changes: Any) -> Plan:
    path = home / "s.yaml"
    path.write_text(yaml.safe_dump(question(**changes), sort_keys=False))
    return plan(Study.load(path), data)


def kinds(of: Plan) -> Counter[str]:
    return Counter(node.step.kind for node in of.nodes.values())


def ids(of: Plan) -> set[str]:
    return set(of.nodes)


def labels(of: Plan, keys: set[str]) -> list[str]:
    return sorted(of.nodes[key].label for key in keys)


# --- equal steps are one step


def test_a_plan_holds_every_step_once(home: Path) -> None:
    found = made(home)
    # per seed: the baseline, two intermediates, a target after each; encodings are shared by all
    assert kinds(found) == {"encode": 6, "train": 2 * (1 + 2 + 2), "evaluate": 2 * 3}
    assert sorted(chain.name for chain in found.chains) == sorted(
        f"{name}+goal.s{seed}" for name in ("none", "one", "two") for seed in (0, 1)
    )


def test_an_intermediate_is_trained_once_for_all_targets_and_a_target_once_for_each_parent(home: Path) -> None:
    found = made(home, target=["goal", "other-goal"], seeds=1, languages="all")
    trained = [node.step for node in found.nodes.values() if isinstance(node.step, TrainStep)]
    assert Counter((step.phase, step.task) for step in trained) == {
        ("intermediate", "one"): 1, ("intermediate", "two"): 1, ("target", "goal"): 3, ("target", "other-goal"): 3,
    }  # fmt: skip
    parents = {step.parent for step in trained if step.phase == "target"}
    assert len(parents) == 3 and None in parents


def test_the_baseline_is_the_same_chain_without_a_parent(home: Path) -> None:
    found = made(home, seeds=1)
    steps = {chain.intermediate: found.nodes[chain.train].step for chain in found.chains}
    base, after = steps["none"], steps["one"]
    assert isinstance(base, TrainStep) and isinstance(after, TrainStep)
    assert base.parent is None and after.parent is not None
    assert after.model_copy(update={"parent": None}) == base


def test_one_task_under_two_names_with_one_recipe_is_one_training(home: Path) -> None:
    found = made(home, intermediate={"a": ["one", {"task": "one", "name": "again"}]}, seeds=1)
    assert kinds(found)["train"] == 1 + 1 + 1
    assert len(found.chains) == 3
    assert len({chain.evaluate for chain in found.chains}) == 2


def test_nodes_are_named_by_their_identity_and_come_after_what_they_read(home: Path) -> None:
    found = made(home, target=["goal", "other-goal"], languages="all")
    seen: set[str] = set()
    for key, node in found.nodes.items():
        assert key == node.id == step_id(node.step)
        assert set(node.needs) <= seen
        seen.add(key)
    for chain in found.chains:
        assert isinstance(found.nodes[chain.train].step, TrainStep)
        assert isinstance(found.nodes[chain.evaluate].step, EvaluateStep)
        assert chain.train in found.nodes[chain.evaluate].needs


def test_chain_names_and_labels_are_safe_for_a_shell(home: Path) -> None:
    found = made(home, intermediate={"my group": [{"task": "one", "name": "A.b_c-1"}]}, target=["goal", "other-goal"])
    assert len({chain.name for chain in found.chains}) == len(found.chains)
    for chain in found.chains:
        assert re.fullmatch(r"[A-Za-z0-9._+-]+", chain.name)
    assert "train A.b_c-1+goal.s0" in {node.label for node in found.nodes.values()}


def test_a_chain_and_its_baseline_share_the_seed_at_every_step(home: Path) -> None:
    found = made(home, seeds=[3, 11])
    for chain in found.chains:
        step = found.nodes[chain.train].step
        assert isinstance(step, TrainStep) and step.seed == chain.seed
        if step.parent is not None:
            parent = found.nodes[step.parent].step
            assert isinstance(parent, TrainStep) and parent.seed == chain.seed


def test_a_seed_means_the_same_in_every_study(home: Path) -> None:
    assert ids(made(home, seeds=[1])) < ids(made(home, seeds=[0, 1, 2]))


# --- growing a study


@pytest.mark.parametrize(
    ("changes", "new"),
    [
        ({"seeds": 3}, {"train": 5, "evaluate": 3}),
        (
            {"intermediate": {"general": ["one"], "m": ["two", {"task": "two", "recipe": {"rate": 1}, "name": "x"}]}},
            {"train": 4, "evaluate": 2},
        ),
        ({"target": ["goal", "other-goal"], "languages": ["de", "sw"]}, {"encode": 2, "train": 6, "evaluate": 6}),
        ({"languages": ["de", "sw"]}, {}),
        ({"languages": ["sw", "de", "en"]}, {}),
    ],
)  # fmt: skip
def test_what_is_added_brings_new_steps_and_touches_no_other(
    home: Path, changes: dict[str, Any], new: dict[str, int]
) -> None:
    before = made(home)
    after = made(home, **changes)
    assert ids(before) <= ids(after)
    assert Counter(after.nodes[key].step.kind for key in ids(after) - ids(before)) == new


def test_another_language_evaluates_again_and_trains_nothing(home: Path) -> None:
    before, after = made(home, languages=["de"]), made(home)
    gone, new = ids(before) - ids(after), ids(after) - ids(before)
    assert {before.nodes[key].step.kind for key in gone} == {"evaluate"}
    assert Counter(after.nodes[key].step.kind for key in new) == {"encode": 1, "evaluate": 6}


# --- what changes an identity, and what does not


def own(home_tasks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The tasks of ``question`` with some fields of ``goal`` changed."""
    return {**home_tasks, "goal": {**home_tasks["goal"], **changes}}


TASKS = question()["tasks"]


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "another-name", "question": "What?", "demonstration": True},
        {"primary": "medical - general", "delta": 2.0, "alpha": 0.1},
        {"profiles": {"toy": {"seeds": 1}}},
        {"recipe": {"updates": 5, "batch": 4, "checkpoint_seconds": 1, "tokens_per_micro_batch": 99}},
        {"recipe": {"intermediate": {"updates": 5, "batch": 4}, "target": {"updates": 5, "batch": 4}}},
        {"recipe": {"updates": 5, "batch": 4, "clip": 1}},
        {"backbone": {"id": "bundled", "seen": [{"task": "one", "how": "labels"}]}},
        {"intermediate": {"renamed": ["one"], "groups": ["two"]}},
        {"intermediate": {"general": [{"task": "one", "name": "uno"}], "medical": ["two"]}},
        {"target": [{"task": "goal", "metrics": ["token_accuracy"]}]},
        {"languages": ["swa", "German"]},
        {"tasks": own(TASKS, title="Other", licence="MIT", domain="law", notes="n", sensitive=True, citation="c")},
        {"tasks": own(TASKS, metrics=["token_accuracy"], same_source=["one"])},
        {"tasks": {**TASKS, "unused": {**tagging([]), "path": "nowhere"}}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_what_cannot_change_a_result_changes_no_identity(home: Path, changes: dict[str, Any]) -> None:
    assert ids(made(home, **changes)) == ids(made(home))


def test_moving_the_folder_changes_no_identity(home: Path) -> None:
    before = ids(made(home))
    moved = home.parent / "some where else"
    shutil.move(home, moved)
    assert ids(made(moved)) == before


def test_data_from_another_folder_with_the_same_content_is_the_same_data(home: Path) -> None:
    before = ids(made(home))
    data = home.parent / "data"
    for name in ("one", "two", "goal"):
        shutil.copytree(home / name, data / name)
        shutil.rmtree(home / name)
    assert ids(made(home, data)) == before
    with pytest.raises(InputError, match="no folder"):
        made(home)


def test_a_touched_file_is_the_same_file(home: Path) -> None:
    before = ids(made(home))
    (home / "one" / "train.txt").touch()
    (home / "one" / "unrelated.txt").write_text("x")
    assert ids(made(home)) == before


@pytest.mark.parametrize(
    ("file", "gone"),
    [
        ("one/train.txt", {"encode": 1, "train": 2 + 2, "evaluate": 2}),
        ("goal/train.txt", {"encode": 1, "train": 2 * 3, "evaluate": 2 * 3}),
        ("goal/sw.txt", {"encode": 1, "evaluate": 2 * 3}),
    ],
)
def test_other_data_changes_what_depends_on_it_and_nothing_else(home: Path, file: str, gone: dict[str, int]) -> None:
    before = made(home)
    (home / file).write_text(TAGGED + "\nEve B-PER\n")
    after = made(home)
    assert Counter(before.nodes[key].step.kind for key in ids(before) - ids(after)) == gone
    assert Counter(after.nodes[key].step.kind for key in ids(after) - ids(before)) == gone


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"recipe": {"updates": 5, "batch": 4, "target": {"updates": 6}}}, {"encode": 6, "train": 4}),
        (
            {"recipe": {"updates": 5, "batch": 4, "intermediate": {"rate": 1e-5}}},
            {"encode": 6, "train": 2, "evaluate": 2},
        ),
        ({"recipe": {"updates": 5, "batch": 4, "max_length": 64}}, {}),
        ({"match": {"by": "words", "amount": 3}}, {"encode": 6, "train": 2, "evaluate": 2}),
        ({"precision": "bf16"}, {"encode": 6}),
        ({"backbone": {"id": "bundled", "layers": 2}}, {"encode": 6}),
        (
            {"intermediate": {"g": [{"task": "one", "labels": {"LOC": None}}], "m": ["two"]}},
            {"encode": 5, "train": 2 + 2 + 2, "evaluate": 4},
        ),
        ({"target": [{"task": "goal", "labels": {"LOC": "PLACE"}}]}, {"encode": 2, "train": 4}),
        ({"target": [{"task": "goal", "train": {"task": "two"}}]}, {"encode": 5, "train": 4}),
        ({"tasks": own(TASKS, rename={"GPE": "LOC"})}, {"encode": 2, "train": 4}),
        ({"tasks": own(TASKS, labels=["LOC", "PER"])}, {"encode": 2, "train": 4}),
        ({"tasks": own(TASKS, reader={"kind": "conll", "scheme": "iob1"})}, {"encode": 2, "train": 4}),
        ({"seeds": [5, 6]}, {"encode": 6}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_can_change_a_result_changes_what_depends_on_it_and_nothing_else(
    home: Path, changes: dict[str, Any], kept: dict[str, int]
) -> None:
    before, after = made(home), made(home, **changes)
    assert Counter(after.nodes[key].step.kind for key in ids(before) & ids(after)) == kept


def test_match_applies_to_intermediates_only(home: Path) -> None:
    found = made(home, match={"by": "examples", "amount": 7})
    for node in found.nodes.values():
        if isinstance(node.step, TrainStep):
            assert (node.step.subset is not None) == (node.step.phase == "intermediate")


def test_labels_are_mapped_by_name_in_training_and_in_tests(home: Path) -> None:
    found = made(
        home,
        target=[{"task": "goal", "labels": {"LOC": "PLACE"}, "train": {"task": "two", "labels": {"LOC": "PLACE"}}}],
    )
    for node in found.nodes.values():
        step = node.step
        if isinstance(step, EncodeStep) and "goal" in node.label:
            assert (step.labels, step.rename) == (("PER", "PLACE"), {"LOC": "PLACE"})
        if isinstance(step, TrainStep) and step.phase == "target":
            source = found.nodes[step.encoding].step
            assert isinstance(source, EncodeStep) and source.task.id == "two" and source.labels == step.labels


# --- what is left to do


def test_everything_is_pending_in_an_empty_store_and_nothing_in_a_full_one(home: Path) -> None:
    found = made(home)
    assert found.pending(lambda key: False) == list(found.nodes.values())
    assert found.pending(lambda key: True) == []


def test_only_what_a_missing_score_needs_is_pending(home: Path) -> None:
    found = made(home, seeds=1)
    scored = {chain.evaluate for chain in found.chains}
    assert found.pending(scored.__contains__) == [], "scores are there: their trainings may have been pruned"
    missing = next(chain for chain in found.chains if chain.intermediate == "one")
    done = scored - {missing.evaluate}
    left = [node.label for node in found.pending(done.__contains__)]
    assert left == [
        "encode goal train en", "encode goal test en", "encode goal test de", "encode goal test sw",
        "encode one train en", "train one.s0", "train one+goal.s0", "evaluate one+goal.s0",
    ]  # fmt: skip
    assert [node.label for node in found.pending((done | {missing.train}).__contains__)] == [
        "encode goal test en", "encode goal test de", "encode goal test sw", "evaluate one+goal.s0",
    ]  # fmt: skip


# --- costs


def test_costs_are_finite_and_positive(home: Path, tmp_path: Path) -> None:
    found = made(home, target=["goal", "other-goal"])
    expected = costs(found, Store(tmp_path / "store"))
    assert set(expected) == ids(found)
    for key, cost in expected.items():
        for value in (cost.tokens, cost.bytes, cost.seconds):
            assert value is not None and math.isfinite(value) and value > 0, found.nodes[key].label
        assert math.isfinite(cost.flops) and (cost.flops > 0) == (found.nodes[key].step.kind != "encode")
    assert costs(found, None).keys() == expected.keys()


def test_more_updates_more_layers_and_longer_data_cost_more(home: Path) -> None:
    def flops(**changes: Any) -> float:
        found = made(home, **changes)
        return sum(cost.flops for cost in costs(found, None).values())

    base = flops()
    assert flops(recipe={"updates": 50, "batch": 4}) > 5 * base
    assert flops(backbone={"id": "bundled", "layers": 6}) == pytest.approx(base / 2, rel=0.01)
    for file in home.rglob("*.txt"):
        file.write_text(TAGGED.replace("left O\n", "left O\n" * 50))
    assert flops() > 3 * base


def test_costs_of_data_that_cannot_be_read_wait_for_the_step_to_say_so(home: Path) -> None:
    (home / "one" / "train.txt").write_text("broken line\n")
    found = made(home)
    assert all(math.isfinite(cost.tokens) for cost in costs(found, None).values())


def test_a_measured_rate_replaces_the_guess(home: Path, tmp_path: Path) -> None:
    found, store = made(home, seeds=1), Store(tmp_path / "store")
    assert measured_rate(store) is None and measured_rate(None) is None
    trained = [node for node in found.nodes.values() if node.step.kind == "train"]
    for node, flops in zip(trained, (1e9, 3e9, 2e9), strict=False):
        with store.building(node.id) as folder:
            store.commit(node.id, node.step, folder, {"seconds": 2.0, "flops": flops})
    assert measured_rate(store) == 1e9
    key = trained[0].id
    assert (costs(found, store)[key].seconds or 0) > (costs(found, None)[key].seconds or 0)


def test_stored_encodings_give_exact_lengths(home: Path, tmp_path: Path) -> None:
    found, store = made(home, seeds=1), Store(tmp_path / "store")
    node = next(node for node in found.nodes.values() if node.label == "encode one train en")
    with store.building(node.id) as folder:
        store.commit(node.id, node.step, folder, {"stats": {"examples": 10, "words": 70, "tokens": 1000}})
    train = next(node for node in found.nodes.values() if node.label == "train one.s0")
    expected = costs(found, store)
    assert expected[node.id].tokens == 1000
    assert expected[train.id].tokens == 5 * 4 * 100


# --- data that is not there


def test_missing_data_is_told_with_task_and_file(home: Path) -> None:
    (home / "goal" / "sw.txt").unlink()
    with pytest.raises(InputError, match=r"task 'goal', test sw: no file .*sw\.txt: put it there"):
        made(home)


def test_planning_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import waystation, waystation.plan, waystation.store, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_english_that_nobody_asked_for_is_tested_only_where_it_is_at_hand(home: Path) -> None:
    (home / "goal" / "en.txt").unlink()
    planned = made(home)
    evaluations = [node.step for node in planned.nodes.values() if isinstance(node.step, EvaluateStep)]
    assert {tuple(step.encodings) for step in evaluations} == {("de", "sw")}
    assert "note: goal is not tested in en, which nobody asked for and is not at hand" in pieces(planned)
    with pytest.raises(InputError, match=r"en\.txt"):
        made(home, languages=["en", "de"])
