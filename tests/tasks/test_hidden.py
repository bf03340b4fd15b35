"""Test sets whose labels are hidden are refused wherever they are read; small, one-sided and filtered ones are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from waystation.errors import InputError
from waystation.plan import check_data, plan
from waystation.scoring.placeholders import ENOUGH
from waystation.study import Study
from waystation.tasks import checks, sources
from waystation.tasks.task import Task, usual_metrics

READERS: dict[str, dict[str, Any]] = {
    "tagging": {"kind": "conll"},
    "plain": {"kind": "conll", "scheme": "plain"},
    "classification": {"kind": "jsonl", "text": "text", "label": "label", "id": "id"},
    "multilabel": {"kind": "jsonl", "text": "text", "label": "label"},
    "choice": {"kind": "jsonl", "text": "text", "options": "options", "label": "label"},
    "span": {"kind": "squad", "unanswerable": True},
}
LABELS = {"choice": [], "span": [], "plain": ["NOUN", "VERB", "X"]}


def task(format: str, **changes: Any) -> Task:
    record = {
        "id": "notes", "title": "Notes", "format": "tagging" if format == "plain" else format,
        "labels": LABELS.get(format, ["a", "b"]), "reader": READERS[format],
        "metrics": list(usual_metrics(format, format == "plain")), "splits": {"test": {"files": {"sw": ["sw.test"]}}},
    }  # fmt: skip
    return Task.model_validate({**record, **changes})


def content(format: str, labels: list[Any]) -> str:
    """A file of examples with these labels; of tagged sentences, each has two words with its tag."""
    if format in ("tagging", "plain"):
        return "".join(f"maji {tag}\nmoto {tag}\n\n" for tag in labels)
    if format == "span":
        passages = [
            {"context": f"{answer} x", "qas": [{"question": "wapi", "answers": [{"text": answer, "answer_start": 0}]}]}
            if answer
            else {"context": "x", "qas": [{"question": "wapi", "answers": []}]}
            for answer in labels
        ]
        return json.dumps({"data": [{"paragraphs": passages}]})
    rows = (
        {"id": n, "text": f"maji {n}", "options": ["moto", "maji"], "label": label} for n, label in enumerate(labels)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(folder: Path, format: str, labels: list[Any]) -> Path:
    path = folder / "notes" / "sw.test"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content(format, labels), "utf-8")
    return path


def number(used: Task, folder: Path, **mapped: Any) -> int:
    return len(list(sources.read(used, "test", "sw", folder, **mapped)))


HIDDEN = [
    ("tagging", "O", "all 20 labels are 'O'"),
    ("plain", "X", "all 20 labels are 'X'"),
    ("classification", "a", "all 20 labels are 'a'"),
    ("multilabel", [], "every label or answer is empty"),
    ("multilabel", ["b"], "all 20 labels are 'b'"),
    ("choice", 0, "all 20 labels are '0'"),
    ("span", "", "every label or answer is empty"),
    ("span", "maji", "all 20 labels are 'maji'"),
]


@pytest.mark.parametrize(("format", "label", "reason"), HIDDEN)
def test_placeholders_are_refused(tmp_path: Path, format: str, label: Any, reason: str) -> None:
    path = write(tmp_path, format, [label] * ENOUGH)
    for read in (lambda: number(task(format), tmp_path), lambda: checks.check(task(format), tmp_path)):
        with pytest.raises(InputError) as caught:
            read()
        assert str(caught.value).startswith(f"{path}: {reason}: placeholders, the references of this test set are hid")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("format", "label", "reason"), HIDDEN)
def test_few_examples_are_not_judged(tmp_path: Path, format: str, label: Any, reason: str) -> None:
    write(tmp_path, format, [label] * (ENOUGH - 1))
    assert number(task(format), tmp_path) == ENOUGH - 1


OTHER = {
    "tagging": "B-a",
    "plain": "NOUN",
    "classification": "b",
    "multilabel": ["a", "b"],
    "choice": 1,
    "span": "moto",
}


@pytest.mark.parametrize(("format", "label", "reason"), HIDDEN)
def test_one_other_label_is_enough(tmp_path: Path, format: str, label: Any, reason: str) -> None:
    write(tmp_path, format, [*[label] * 50, OTHER[format]])
    assert number(task(format), tmp_path) == 51


@pytest.mark.parametrize("tag", ["B-a", "I-a"])
def test_names_that_fill_their_lines_are_no_placeholders(tmp_path: Path, tag: str) -> None:
    write(tmp_path, "tagging", [tag] * ENOUGH)
    assert number(task("tagging"), tmp_path) == ENOUGH


def test_only_tests_are_judged(tmp_path: Path) -> None:
    write(tmp_path, "classification", ["a"] * ENOUGH)
    used = task("classification", splits={"train": {"files": {"sw": ["sw.test"]}}})
    assert len(list(sources.read(used, "train", "sw", tmp_path))) == ENOUGH


@pytest.mark.parametrize(
    ("format", "other", "mapped"),
    [
        ("classification", "b", {"rename": {"b": None}, "labels": ["a"]}),
        ("classification", "b", {"rename": {"a": "x", "b": "x"}, "labels": ["x"]}),
        ("multilabel", ["b"], {"rename": {"b": None, "a": None}, "labels": ["x"]}),
        ("tagging", "B-b", {"rename": {"b": None, "a": None}, "labels": ["x"]}),
        ("plain", "VERB", {"rename": {"NOUN": "x", "VERB": "x", "X": "x"}, "labels": ["x"]}),
    ],
)
def test_what_a_study_makes_equal_is_not_hidden(tmp_path: Path, format: str, other: Any, mapped: Any) -> None:
    """The names in the file are judged; but where they are placeholders, no map makes labels of them."""
    same = {"tagging": "O", "plain": "X", "multilabel": ["a"]}.get(format, "a")
    write(tmp_path, format, [same, other] * ENOUGH)
    assert number(task(format), tmp_path, **mapped) >= ENOUGH
    write(tmp_path, format, [same] * ENOUGH)
    with pytest.raises(InputError, match=f"all {ENOUGH} labels are"):
        number(task(format), tmp_path, **mapped)


def test_rows_that_the_task_leaves_out_are_labels_too(tmp_path: Path) -> None:
    write(tmp_path, "classification", ["a", "c"] * ENOUGH)
    assert number(task("classification", rename={"c": None}), tmp_path) == ENOUGH


def test_a_subset_of_one_label_can_be_declared(tmp_path: Path) -> None:
    home = write(tmp_path, "classification", ["a"] * ENOUGH).parent
    (home / "ids").write_text("".join(f"{n}\n" for n in range(ENOUGH)))
    meant = [
        {"splits": {"test": {"files": {"sw": ["sw.test"]}, "only": "ids"}}},
        {"reader": {**READERS["classification"], "where": {"label": "a"}}},
        {"labels": ["a"]},
    ]
    for changes in meant:
        assert number(task("classification", **changes), tmp_path) == ENOUGH


@pytest.mark.parametrize(
    ("format", "label"), [("classification", "-1"), ("classification", "?"), ("tagging", "_"), ("choice", -1)]
)
def test_unknown_labels_that_look_hidden_are_told_so(tmp_path: Path, format: str, label: Any) -> None:
    path = write(tmp_path, format, [label])
    with pytest.raises(InputError, match=r"where every row has it, the labels of this set are hidden$") as caught:
        number(task(format), tmp_path)
    assert str(caught.value).startswith(f"{path}:1: ")


def test_a_study_tells_it_before_it_runs(tmp_path: Path) -> None:
    path = write(tmp_path, "classification", ["a"] * 30)
    (path.parent / "en.train").write_text(content("classification", ["a", "b"]), "utf-8")
    table = {
        "format": "classification", "labels": ["a", "b"], "path": "notes", "reader": READERS["classification"],
        "train": {"en": "en.train"}, "test": {"sw": "sw.test"},
    }  # fmt: skip
    asked = {"study": "s", "backbone": "bundled", "intermediate": {"g": ["mini-general-a"]}, "target": "notes"}
    study = tmp_path / "s.yaml"
    study.write_text(yaml.safe_dump({**asked, "tasks": {"notes": table}}), "utf-8")
    with pytest.raises(InputError, match=r"sw\.test: all 30 labels are 'a': placeholders"):
        check_data(plan(Study.load(study)))
