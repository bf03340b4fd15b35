"""Retrieval targets in studies and plans: what may be written, what it becomes, and what changes an identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from waystation import backbones
from waystation.analysis.marks import marks_of
from waystation.backbones import Backbone
from waystation.costs import costs
from waystation.errors import InputError
from waystation.plan import Plan, check_data, plan
from waystation.steps.records import EncodeStep, EvaluateStep, Reading, SweepStep, Swept, TrainStep
from waystation.study import Study


def swept(on: Any = ("de",), **more: Any) -> list[Any]:
    return [{"task": "pairs", "retrieval": {"sweep": {"on": list(on), **more}}}, "mined"]


TAGGED = "Ana B-PER\nlives O\nin O\nLima B-LOC\n"


def question(**changes: Any) -> dict[str, Any]:
    own = {"format": "retrieval", "path": "here"}
    return {
        "study": "s",
        "backbone": "bundled",
        "intermediate": {"general": ["names"]},
        "target": [{"task": "pairs"}, {"task": "mined"}],
        "seeds": 2,
        "recipe": {"updates": 5, "batch": 4},
        "tasks": {
            "names": {
                "format": "tagging", "labels": ["PER", "LOC"], "path": "here", "reader": {"kind": "conll"},
                "train": {"en": "names.txt"}, "test": {"de": "names.txt"},
            },
            "pairs": {
                **own, "reader": {"kind": "parallel"},
                "test": {code: [f"{code}.txt", "en.txt"] for code in ("de", "sw")},
            },
            "mined": {
                **own, "reader": {"kind": "mining"}, "test": {"de": ["de.tsv", "en.tsv", "gold.tsv"]},
            },
        },
        **changes,
    }  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    files = {
        "names.txt": TAGGED, "de.txt": "eins\nzwei\n", "sw.txt": "moja\nmbili\n", "en.txt": "one\ntwo\n",
        "de.tsv": "d1\teins\nd2\tdrei\n", "en.tsv": "e1\tone\ne2\ttwo\n", "gold.tsv": "d1\te1\n",
    }  # fmt: skip
    (tmp_path / "here").mkdir()
    for name, text in files.items():
        (tmp_path / "here" / name).write_text(text)
    return tmp_path


def load(home: Path, **changes: Any) -> Study:
    path = home / "s.yaml"
    path.write_text(yaml.safe_dump(question(**changes), sort_keys=False))
    return Study.load(path)


def made(home: Path, **changes: Any) -> Plan:
    return plan(load(home, **changes))


def evaluations(of: Plan, task: str = "pairs") -> dict[str, EvaluateStep]:
    steps = {chain.name: of.nodes[chain.evaluate].step for chain in of.chains if chain.target == task}
    assert all(isinstance(step, EvaluateStep) for step in steps.values())
    return steps  # type: ignore[return-value]


def test_a_chain_ends_with_what_came_before_the_target(home: Path) -> None:
    of = made(home)
    assert [chain.name for chain in of.chains if chain.target == "pairs"] == [
        "none+pairs.s0", "names+pairs.s0", "none+pairs.s1", "names+pairs.s1",
    ]  # fmt: skip
    trained = [node.id for node in of.nodes.values() if isinstance(node.step, TrainStep)]
    assert [of.nodes[key].label for key in trained] == ["train names.s0", "train names.s1"], "and no target training"
    for chain in of.chains:
        step = of.nodes[chain.evaluate].step
        assert isinstance(step, EvaluateStep)
        assert step.model == chain.train
        if chain.intermediate == "none":
            assert chain.train is None and step.backbone == backbones.fingerprint(of.study.backbone)
            assert of.trainings(chain) == []
        else:
            assert chain.train == trained[chain.seed] and step.backbone is None
            assert [key for key, _ in of.trainings(chain)] == [chain.train]
        assert set(step.encodings) == ({"de", "sw"} if chain.target == "pairs" else {"de"})
        assert set(of.nodes[chain.evaluate].needs) == {*step.encodings.values(), *filter(None, [chain.train])}


def test_the_baseline_of_every_seed_is_one_step(home: Path) -> None:
    of = made(home)
    ends = {chain.name: chain.evaluate for chain in of.chains}
    assert ends["none+pairs.s0"] == ends["none+pairs.s1"]
    assert ends["names+pairs.s0"] != ends["names+pairs.s1"]
    assert sum(isinstance(node.step, EvaluateStep) for node in of.nodes.values()) == 2 * 3


def test_a_tagging_target_beside_it_is_trained_as_ever(home: Path) -> None:
    of = made(home, target=["pairs", "names"])
    (chain,) = [chain for chain in of.chains if chain.name == "names+names.s0"]
    assert [step.phase for _, step in of.trainings(chain)] == ["intermediate", "target"]


def test_defaults_come_from_the_backbone(home: Path) -> None:
    for step in evaluations(made(home)).values():
        assert step.retrieval == Reading(layer=-1, pooling="mean", prefix="query: ", direction="from-english")
    for step in evaluations(made(home), "mined").values():
        assert step.retrieval is not None and step.retrieval.direction == "mining"
    asked = {"layer": 6, "pooling": "first", "prefix": "", "direction": "to-english"}
    study = load(home, target=[{"task": "pairs", "retrieval": asked}])
    assert study.retrieval_of(study.target[0]) == Reading.model_validate(asked)


@pytest.mark.parametrize(
    ("name", "layers", "expected"),
    [
        ("bundled", None, -1), ("bundled", 6, -1), ("FacebookAI/xlm-roberta-large", None, 14),
        ("FacebookAI/xlm-roberta-large", 12, 7), ("FacebookAI/xlm-roberta-large", 16, 14),
        ("FacebookAI/xlm-roberta-base", None, 7), ("google-bert/bert-base-multilingual-cased", 5, 2),
        ("somebody/encoder", None, None), ("somebody/encoder", 24, 14),
    ],
)  # fmt: skip
def test_the_layer_that_is_read(name: str, layers: int | None, expected: int | None, monkeypatch: Any) -> None:
    monkeypatch.setattr(backbones, "hub_cache", lambda: Path("/nowhere"))
    read = backbones.reading(Backbone(id=name, layers=layers))
    assert read.get("layer") == expected
    assert read["pooling"] == "mean" and read["prefix"] == ("query: " if name == "bundled" else "")


def test_a_folder_is_read_at_seven_twelfths(tmp_path: Path) -> None:
    sizes = '"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2'
    (tmp_path / "config.json").write_text(f'{{"num_hidden_layers": 24, {sizes}}}')
    assert backbones.reading(Backbone(id=str(tmp_path)))["layer"] == 14
    assert backbones.reading(Backbone(id=str(tmp_path), layers=12))["layer"] == 7


@pytest.mark.parametrize(
    ("variant", "task", "depth", "layers", "expected"),
    [
        ("jiant", "pairs", 24, None, (14, "mean")), ("jiant", "mined", 24, None, (14, "mean")),
        ("jiant", "mined", 12, None, (7, "mean")), ("jiant", "pairs", 6, None, (3, "mean")),
        ("xtreme", "pairs", 24, None, (14, "mean")), ("xtreme", "mined", 24, None, (20, "first")),
        ("xtreme", "pairs", 12, None, (8, "mean")), ("xtreme", "mined", 12, None, (8, "first")),
        ("xtreme", "mined", 6, None, (5, "first")), ("xtreme", "pairs", 1, None, (1, "mean")),
        ("jiant", "pairs", 24, 16, (14, "mean")), ("xtreme", "mined", 24, 20, (20, "first")),  # cut above it
        ("jiant", "pairs", 24, 6, (3, "mean")), ("xtreme", "mined", 24, 18, (15, "first")),  # and below
    ],
)  # fmt: skip
def test_published_variants_by_name(
    home: Path, variant: str, task: str, depth: int, layers: int | None, expected: tuple[int, str]
) -> None:
    (home / "encoder").mkdir()
    sizes = '"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2'
    (home / "encoder" / "config.json").write_text(f'{{"num_hidden_layers": {depth}, {sizes}}}')
    backbone = {"id": "encoder", "layers": layers}
    study = load(home, backbone=backbone, target=[{"task": task, "retrieval": {"variant": variant}}])
    asked = study.retrieval_of(study.target[0])
    assert asked is not None and (asked.layer, asked.pooling, asked.prefix) == (*expected, "")
    assert asked.direction == ("mining" if task == "mined" else "from-english")


def test_what_is_named_beside_a_variant_wins(home: Path) -> None:
    changes = {"layer": -2, "prefix": "query: ", "direction": "to-english"}
    study = load(home, target=[{"task": "pairs", "retrieval": {"variant": "xtreme", **changes}}])
    assert study.retrieval_of(study.target[0]) == Reading(pooling="mean", **changes)  # type: ignore[arg-type]


def test_a_variant_is_what_it_stands_for(home: Path) -> None:
    """The bundled backbone has 12 blocks. Only resolved values are identity; no variant is none."""
    spelt = {"layer": 8, "pooling": "first", "prefix": ""}
    ends = [
        made(home, target=["pairs", {"task": "mined", "retrieval": how}]).nodes.keys()
        for how in ({"variant": "xtreme"}, spelt, {"variant": "jiant"}, {"variant": None}, {})
    ]
    assert ends[0] == ends[1] != ends[2] and ends[3] == ends[4] != ends[2]


@pytest.mark.parametrize(
    ("name", "layer"),
    [("FacebookAI/xlm-roberta-large", 20), ("FacebookAI/xlm-roberta-base", 8),
     ("google-bert/bert-base-multilingual-cased", 8), ("somebody/encoder", None)],
)  # fmt: skip
def test_variants_of_backbones_that_are_not_fetched(home: Path, name: str, layer: int | None, monkeypatch: Any) -> None:
    monkeypatch.setattr(backbones, "hub_cache", lambda: Path("/nowhere"))
    target = [{"task": "mined", "retrieval": {"variant": "xtreme"}}]
    if layer is None:
        with pytest.raises(InputError, match=r"field 'retrieval\.layer' is missing: add it"):
            load(home, backbone=name, target=target)
        return
    study = load(home, backbone=name, target=target)
    asked = study.retrieval_of(study.target[0])
    assert asked is not None and (asked.layer, asked.pooling) == (layer, "first")


@pytest.mark.parametrize(
    ("depth", "layer", "blocks"), [(12, 7, 7), (12, 12, 12), (12, -1, 12), (12, -12, 1), (6, -2, 5)]
)
def test_blocks_below_a_layer(depth: int, layer: int, blocks: int) -> None:
    asked = Reading(layer=layer, pooling="mean", prefix="", direction="mining")
    assert asked.blocks(depth) == blocks
    for wrong in (0, depth + 1, -depth - 1):
        with pytest.raises(InputError, match=f"layer {wrong}: the encoder has 1 to {depth}"):
            asked.model_copy(update={"layer": wrong}).blocks(depth)


IDENTITY = [{"layer": 6}, {"pooling": "first"}, {"prefix": "x "}, {"direction": "to-english"}]


@pytest.mark.parametrize("change", IDENTITY, ids=lambda change: next(iter(change)))
def test_layer_pooling_prefix_and_direction_are_identity(home: Path, change: dict[str, Any]) -> None:
    before, after = made(home), made(home, target=[{"task": "pairs", "retrieval": change}, "mined"])
    ends = [{chain.name: chain.evaluate for chain in of.chains} for of in (before, after)]
    assert all((ends[0][name] != ends[1][name]) == ("+pairs" in name) for name in ends[0])
    encodings = [{name: step.encodings for name, step in evaluations(of).items()} for of in (before, after)]
    assert (encodings[0] == encodings[1]) == ("prefix" not in change), "only the prefix changes what is encoded"
    trained = [{key for key, node in of.nodes.items() if isinstance(node.step, TrainStep)} for of in (before, after)]
    assert trained[0] == trained[1]


def test_what_belongs_to_training_does_not_change_it(home: Path) -> None:
    same = made(home, recipe={"updates": 5, "batch": 4, "target": {"updates": 9, "rate": 1e-5, "stride": 8}})
    assert set(same.nodes) == set(made(home).nodes)
    longer = made(home, recipe={"updates": 5, "batch": 4, "target": {"max_length": 64}})
    assert {chain.evaluate for chain in longer.chains}.isdisjoint({chain.evaluate for chain in same.chains})


def test_deeper_layers_cost_more(home: Path) -> None:
    spent = []
    for layer in (3, 6, -1):
        of = made(home, target=[{"task": "pairs", "retrieval": {"layer": layer}}])
        spent.append(costs(of, None)[of.chains[0].evaluate].flops)
    assert spent[1] == pytest.approx(2 * spent[0], rel=0.01) and spent[2] == pytest.approx(4 * spent[0], rel=0.01)


def sweeps(of: Plan) -> list[str]:
    return [key for key, node in of.nodes.items() if isinstance(node.step, SweepStep)]


def test_one_sweep_with_the_backbone_for_all_arms_and_seeds(home: Path) -> None:
    of = made(home, target=swept())
    (key,) = sweeps(of)
    step = of.nodes[key].step
    assert isinstance(step, SweepStep) and step.model is None
    assert step.backbone == backbones.fingerprint(of.study.backbone)
    assert step.sweep.blocks(12) == list(range(1, 13)) and step.sweep.poolings == ("mean", "first")
    for evaluated in evaluations(of).values():
        assert isinstance(evaluated.retrieval, Swept) and evaluated.retrieval.sweep == key
        assert (evaluated.retrieval.prefix, evaluated.retrieval.direction) == ("query: ", "from-english")
        assert set(evaluated.encodings) == {"de", "sw"}, "what chooses is shown too"
        assert step.encodings == {"de": evaluated.encodings["de"]}, "and encoded once"
    assert all(isinstance(one.retrieval, Reading) for one in evaluations(of, "mined").values())


def test_a_new_arm_or_seed_does_not_choose_anew(home: Path) -> None:
    before = made(home, target=swept())
    after = made(home, target=swept(), seeds=3, intermediate={"general": ["names"], "g": [{"task": "names", "name": "b",
                 "recipe": {"rate": 1e-3}}]})  # fmt: skip
    assert sweeps(before) == sweeps(after)
    ends = [{chain.name: chain.evaluate for chain in of.chains} for of in (before, after)]
    assert ends[0].items() < ends[1].items()


def test_what_is_tried_is_part_of_the_evaluation_and_how_it_is_written_is_not(home: Path) -> None:
    def end(**more: Any) -> str:
        return made(home, target=swept(**more)).chains[0].evaluate

    assert end() == end(layers="all") == end(layers=None) == end(on=["German"])
    assert end(layers=[3, 6]) == end(layers=[3, 6], poolings=["mean", "first"])
    ends = [end(), end(layers=[3, 6]), end(layers=[3]), end(poolings=["mean"]), end(on=["sw"])]
    ends.append(made(home, target=["pairs"]).chains[0].evaluate)
    assert len(set(ends)) == len(ends)


def test_a_language_may_choose_without_being_tested(home: Path) -> None:
    target = [{**swept()[0], "languages": ["sw"]}]
    of = made(home, target=target)
    assert all(set(step.encodings) == {"sw"} for step in evaluations(of).values())
    (key,) = sweeps(of)
    assert set(of.nodes[key].step.encodings) == {"de"}  # type: ignore[union-attr]
    assert check_data(of) == 1 + 2 * 4, "and is read"


def test_a_language_is_left_to_report(home: Path) -> None:
    for on in (["de", "sw"], ["all"], ["sw", "German"]):
        with pytest.raises(InputError, match="target 'pairs': no language is left to report, all its languages stand"):
            made(home, target=swept(on))


def test_a_sweep_costs_its_highest_layer_once(home: Path) -> None:
    fixed = made(home, target=[{"task": "pairs", "retrieval": {"layer": 6}, "languages": ["de"]}])
    of = made(home, target=swept(layers=[2, 6]))
    (key,), expected = sweeps(of), costs(of, None)
    assert expected[key].flops == pytest.approx(costs(fixed, None)[fixed.chains[0].evaluate].flops)
    both = made(home, target=[{"task": "pairs", "retrieval": {"layer": 6}}])
    assert expected[of.chains[0].evaluate] == costs(both, None)[both.chains[0].evaluate], "at most"


def test_a_backbone_of_unknown_depth_needs_no_layer_for_a_sweep(home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(backbones, "hub_cache", lambda: Path("/nowhere"))
    study = load(home, backbone="somebody/encoder", target=swept()[:1])
    asked = study.retrieval_of(study.target[0])
    assert asked is not None and not isinstance(asked, Reading) and asked.prefix == ""


def test_check_reads_all_of_it(home: Path) -> None:
    assert check_data(made(home)) == 1 + 2 * 4 + 4
    (home / "here" / "sw.txt").write_text("moja\n")
    with pytest.raises(InputError, match=r"en\.txt:2: sw\.txt has no such line"):
        check_data(made(home))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"intermediate": {"g": ["pairs"]}}, "s.yaml:5: task 'pairs' is retrieval: it teaches nothing and can only be"),
        ({"target": [{"task": "pairs", "retrieval": {"layer": 13}}]},
         "layer 13: the encoder has 1 to 12, or from the end -1 to -12"),
        ({"backbone": {"id": "bundled", "layers": 6}, "target": [{"task": "pairs", "retrieval": {"layer": 7}}]},
         "layer 7: the encoder has 1 to 6"),
        ({"target": [{"task": "pairs", "retrieval": {"layers": 3}}]},
         "unknown field 'retrieval.layers' (did you mean 'layer'?); fields here: prefix, direction, index, layer"),
        ({"target": [{"task": "pairs", "retrieval": {"varient": "jiant"}}]},
         "unknown field 'retrieval.varient' (did you mean 'variant'?)"),
        ({"target": [{"task": "pairs", "retrieval": {"variant": "giant"}}]},
         "unknown variant 'giant' (did you mean 'jiant'?); use jiant or xtreme"),
        ({"target": [{"task": "pairs", "retrieval": {"variant": ["jiant"]}}]}, "unknown variant '['jiant']'"),
        ({"target": [{"task": "pairs", "retrieval": {"pooling": "max"}}]},
         "field 'retrieval.pooling': Input should be 'mean' or 'first' (given: 'max')"),
        ({"target": [{"task": "pairs", "retrieval": {"direction": "both"}}]},
         "field 'retrieval.direction': Input should be 'from-english', 'to-english' or 'mining'"),
        ({"target": [{"task": "pairs", "retrieval": {"direction": "mining"}}]},
         "direction 'mining' does not fit 'pairs'; use from-english or to-english"),
        ({"target": [{"task": "mined", "retrieval": {"direction": "to-english"}}]},
         "direction 'to-english' does not fit 'mined'; use mining"),
        ({"target": swept(layers=[3, 13])},
         "s.yaml:12: layer 13: the encoder has 1 to 12, or from the end -1 to -12"),
        ({"target": swept(layers=["three"])}, "field 'retrieval.sweep.layers.0': Input should be a whole number"),
        ({"target": swept(layers=[])}, "field 'retrieval.sweep.layers': Tuple should have at least 1 item"),
        ({"target": swept(poolings=["max"])},
         "field 'retrieval.sweep.poolings.0': Input should be 'mean' or 'first' (given: 'max')"),
        ({"target": swept(layer=3)},
         "unknown field 'retrieval.sweep.layer' (did you mean 'layers'?); fields here: layers, poolings, on"),
        ({"target": [{"task": "pairs", "retrieval": {"sweep": {}}}]}, "field 'retrieval.sweep.on' is missing: add it"),
        ({"target": [{"task": "pairs", "retrieval": {"sweep": ["de"]}}]},
         "field 'retrieval.sweep': Input should be a mapping"),
        ({"target": swept(on=["Germn"])}, "s.yaml:11: unknown language or group 'Germn'"),
        ({"target": swept(on=["fr"])}, "task 'pairs' has no test data in 'fr' (it has: de, sw)"),
        *(({"target": [{"task": "pairs", "retrieval": {"sweep": {"on": ["de"]}, **fixed}}]},
           f"the sweep chooses layer and pooling; leave `{next(iter(fixed))}` out, or the sweep")
          for fixed in ({"layer": 3}, {"pooling": "mean"}, {"variant": "jiant"})),
        ({"target": [{"task": "pairs", "train": {"task": "names"}}]},
         "target 'pairs' is retrieval and is not trained; leave `train` out"),
        ({"target": [{"task": "names", "retrieval": {"layer": 3}}]},
         "task 'names' is tagging; `retrieval` has no meaning there"),
        ({"target": [{"task": "pairs", "labels": {"A": "B"}}]}, "task 'pairs' has no label 'A'; it has: none"),
        ({"target": [{"task": "pairs", "metrics": ["accuracy"]}]},
         "metric 'accuracy' does not fit 'pairs' (retrieval); use retrieval_accuracy"),
        ({"target": [{"task": "mined", "metrics": ["retrieval_accuracy"]}]},
         "metric 'retrieval_accuracy' does not fit 'mined' (retrieval); use mining_f1"),
        ({"target": [{"task": "names", "metrics": ["mining_f1"]}]}, "metric 'mining_f1' does not fit 'names'"),
        ({"target": [{"task": "pairs", "languages": ["en"]}]}, "target 'pairs' has none of the languages asked for"),
        ({"backbone": "somebody/encoder", "target": ["pairs"]}, "field 'retrieval.layer' is missing: add it"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(home: Path, changes: dict[str, Any], says: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(backbones, "hub_cache", lambda: Path("/nowhere"))
    with pytest.raises(InputError) as caught:
        load(home, **changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{home}/s.yaml:")


def test_cells_that_the_backbone_has_seen_are_marked(home: Path) -> None:
    """A backbone that learned from translations has learned to find any: own tasks are marked like the known ones."""

    def marks(**changes: Any) -> tuple[str, ...]:
        study = load(home, **changes)
        ((_, arm),) = study.uses()
        return marks_of(study, arm, study.target[0], {}, False, 2)

    seen = "seen by this backbone"
    assert seen in marks() and seen in marks(target=["tatoeba"]) and seen in marks(target=["bucc2018"])
    assert seen not in marks(target=["names"])
    other = {"id": "FacebookAI/xlm-roberta-base"}
    assert seen not in marks(backbone=other) and seen not in marks(backbone=other, target=["tatoeba"])
    taught = {**other, "seen": [{"task": "opus", "how": "parallel"}]}
    assert seen in marks(backbone=taught) and seen not in marks(backbone=taught, target=["names"])


def test_the_encode_step_knows_the_prefix_of_retrieval_alone(home: Path) -> None:
    of = made(home, target=["pairs", "names"])
    prefixes = {
        (node.step.task.id, node.step.prefix, node.step.stride)
        for node in of.nodes.values()
        if isinstance(node.step, EncodeStep)
    }
    assert prefixes == {("pairs", "query: ", 0), ("names", "", 32)}
