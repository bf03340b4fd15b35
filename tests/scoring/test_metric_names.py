"""Which metrics a study may ask of a task of each kind, and that what it may ask for can be scored."""

from __future__ import annotations

import pytest

from waystation.scoring import metrics
from waystation.study_checks import metric_problems
from waystation.tasks.task import Task, usual_metrics

OF_ENTITIES = ("entity_f1", "entity_f1:A", "entity_f1_strict", "entity_f1_strict:A")
OF_POS = ("pos_f1_xtreme", "pos_f1_xtreme_0.0.12")


def task(format: str, **reader: str) -> Task:
    split = {"test": {"files": {"sw": ["f"]}}}
    kinds = {"span": "squad", "tagging": "conll", "retrieval": "parallel"}
    labels = ["A", "B"] if format in ("tagging", "classification") else []
    record = {"kind": kinds.get(format, "table"), **reader}
    names = list(usual_metrics(format))
    return Task.model_validate(
        {
            "id": "t",
            "title": "t",
            "format": format,
            "labels": labels,
            "metrics": names,
            "reader": record,
            "splits": split,
        }
    )


@pytest.mark.parametrize(
    ("asked", "fits", "other"),
    [
        (task("tagging"), (*OF_ENTITIES, "token_accuracy"), OF_POS),
        (task("tagging", scheme="plain"), (*OF_POS, "token_accuracy"), OF_ENTITIES),
        (task("classification"), ("accuracy", "macro_f1", "macro_f1_all", "f1:A"), ("micro_f1", "avna")),
        (task("span"), metrics.OF_ANSWERS, ("accuracy",)),
    ],
    ids=["entities", "plain tags", "labels", "answers"],
)
def test_a_study_may_ask_for_what_fits(asked: Task, fits: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert metric_problems(fits, asked, asked.labels) == []
    assert len(metric_problems(other, asked, asked.labels)) == len(other)
    gold = {"span": ["x"], "classification": "A"}.get(asked.format, ["B-A"] if "entity_f1" in fits else ["NOUN"])
    pred = "x" if asked.format == "span" else gold
    scores = metrics.score(fits, [gold], [pred], "zh", ["A"])
    assert scores == dict.fromkeys(fits, 100.0)


def test_mined_pairs_have_two_thresholds() -> None:
    mined, looked_up = (task("retrieval", kind=kind) for kind in ("mining", "parallel"))
    assert metric_problems(("mining_f1", "mining_f1_halves"), mined, ()) == []
    ((_, said),) = metric_problems(("mining_f1_halves",), looked_up, ())
    assert said == "metric 'mining_f1_halves' does not fit 't' (retrieval); use retrieval_accuracy"


def test_plain_tags_have_xtremes_f1_beside_their_accuracy() -> None:
    assert usual_metrics("tagging", plain=True) == ("token_accuracy", "pos_f1_xtreme")
