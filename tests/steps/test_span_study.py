"""A question answering study through ``waystation.run``, on a tiny checkpoint and own data."""

import json
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import pyarrow.parquet as pq  # noqa: E402
from questions import questions, write_squad  # noqa: E402
from small import write_tagged  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.costs import costs  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.plan import check_data  # noqa: E402
from waystation.scoring import metrics  # noqa: E402
from waystation.store import Store  # noqa: E402

METRICS = ["answer_f1", "exact_match", "answer_f1_mlqa"]


def write_study(folder: Path, backbone: Path, **changes) -> Path:
    """Span and tagging before span: ``trivia`` and ``names``, then ``towns`` in two languages."""
    for name, number, seed in [("train.json", 40, 1), ("test.en.json", 12, 2), ("test.de.json", 9, 3)]:
        write_squad(folder / "towns" / name, number, seed)
    write_squad(folder / "trivia" / "train.json", 30, 4)
    write_tagged(folder / "names" / "train.tsv", 30, 5)
    span = {"format": "span", "reader": {"kind": "squad", "id": "id"}}
    tests = {"en": "test.en.json", "de": "test.de.json"}
    content = {
        "study": "answers",
        "backbone": str(backbone),
        "intermediate": {"questions": ["trivia"], "names": ["names"]},
        "target": [{"task": "towns", "metrics": METRICS}],
        "seeds": 1,
        "match": {"by": "words", "amount": 200},
        "recipe": {
            "batch": 8,
            "max_length": 48,
            "stride": 8,
            "rate": 3e-3,
            "head_rate": 1e-2,
            "intermediate": {"updates": 3},
            "target": {"updates": 60, "validation": {"fraction": 0.2, "every": 20, "select": "best"}},
        },
        "tasks": {
            "towns": {**span, "path": "towns", "train": {"en": "train.json"}, "test": tests},
            "trivia": {**span, "path": "trivia", "train": {"en": "train.json"}},
            "names": {
                "format": "tagging",
                "labels": ["PER", "LOC"],
                "reader": {"kind": "conll", "separator": "\t"},
                "path": "names",
                "train": {"en": "train.tsv"},
            },
        },
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def finished(backbone, tmp_path_factory):
    """(study, plan, store) of a study that ran to its end."""
    folder = tmp_path_factory.mktemp("study")
    study = Study.load(write_study(folder, backbone))
    summary = run(study, folder / "store")
    assert summary.ok, summary
    return study, plan(study), Store(folder / "store")


def predictions(made, store, name, language):
    (chain,) = (chain for chain in made.chains if chain.name == name)
    return pq.read_table(store.folder(chain.evaluate) / f"language={language}.parquet")


def test_predictions_are_answers_with_their_counts(finished):
    _, made, store = finished
    assert store.verify() == []
    for language, number, seed in (("en", 12, 2), ("de", 9, 3)):
        table = predictions(made, store, "none+towns.s0", language)
        asked = questions(number, seed)
        assert table["id"].to_pylist() == [one.id for one in asked]
        assert table["gold"].to_pylist() == [[text for text, _ in one.answers] for one in asked]
        assert all(pred and pred in one.context for pred, one in zip(table["pred"].to_pylist(), asked, strict=True))
        pairs = zip(table["gold"].to_pylist(), table["pred"].to_pylist(), strict=True)
        assert table["counts"].to_pylist() == [metrics.counts(gold, pred) for gold, pred in pairs]


def test_it_learns_where_the_answer_stands(finished):
    """The place among other words is easy: the target phase finds most of them, and chose its weights by F1."""
    study, made, store = finished
    (chain,) = (chain for chain in made.chains if chain.name == "none+towns.s0")
    scores = {(row.chain, row.metric, row.language): row.score for row in gains(study, store.root).scores}
    assert scores["none+towns.s0", "answer_f1", "en"] > 50
    log = json.loads((store.folder(chain.train) / "training.json").read_bytes())
    assert [update for update, _ in log["validation"]] == [20, 40, 60]
    assert max(score for _, score in log["validation"]) > 50
    assert log["losses"][-1] < log["losses"][0] / 2


def test_gains_of_both_intermediates(finished):
    study, _, store = finished
    found = gains(study, store.root)
    assert found.missing == []
    assert {(row.intermediate, row.language, row.metric) for row in found.rows} == {
        (intermediate, language, metric)
        for intermediate in ("trivia", "names")
        for language in ("en", "de")
        for metric in METRICS
    }
    for row in found.rows:
        assert row.gain == pytest.approx(row.score - row.baseline) and row.n == (12 if row.language == "en" else 9)
    table = predictions(plan(study), store, "trivia+towns.s0", "de")
    golds, preds = table["gold"].to_pylist(), table["pred"].to_pylist()
    expected = metrics.score(METRICS, golds, preds, "de")
    assert {row.metric: row.score for row in found.rows if (row.intermediate, row.language) == ("trivia", "de")} == (
        pytest.approx(expected)
    )


def test_the_cost_is_guessed_near_what_it_becomes(finished, tmp_path):
    _, made, store = finished
    assert check_data(made) == 40 + 12 + 9 + 30 + 30
    known, guessed = costs(made, store), costs(made, Store(tmp_path))
    for node in made.nodes.values():
        if node.label.startswith("encode t"):
            assert 0.3 < guessed[node.id].tokens / known[node.id].tokens < 1.5, node.label


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"target": [{"task": "towns", "metrics": ["entity_f1"]}]},
            "does not fit 'towns' (span); use answer_f1, ",
        ),
        (
            {"target": [{"task": "towns", "metrics": ["answer_f"]}]},
            "unknown metric 'answer_f' (did you mean 'ans",
        ),
        ({"target": [{"task": "towns", "labels": {"x": None}}]}, "task 'towns' has no label 'x'; it has: none"),
        ({"target": [{"task": "towns", "train": {"task": "names"}}]}, "task 'names' is tagging, the target is span"),
        ({"target": "trivia"}, "target 'trivia' has none of the languages asked for"),
    ],
)
def test_what_does_not_fit_is_told(backbone, tmp_path, change, says):
    with pytest.raises(InputError) as caught:
        Study.load(write_study(tmp_path, backbone, **change))
    assert says in str(caught.value)


def test_own_tasks_are_scored_by_f1_and_exact_match(finished, backbone, tmp_path):
    study = Study.load(write_study(tmp_path, backbone, target="towns"))
    assert study.find("towns").metrics == ("answer_f1", "exact_match") and study.labels_of(study.target[0]) == ()
