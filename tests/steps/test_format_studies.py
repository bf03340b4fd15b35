"""Studies of texts with many labels, of choices, and of questions without an answer: own tables through ``run``."""

import json
import random
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import pyarrow.parquet as pq  # noqa: E402
from questions import questions, squad_json  # noqa: E402
from small import PLACES, WORDS, sentences, write_tagged  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.costs import costs  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.plan import check_data  # noqa: E402
from waystation.report.tables import explain  # noqa: E402
from waystation.scoring import metrics  # noqa: E402
from waystation.scoring.labels import Ranked  # noqa: E402
from waystation.store import Store  # noqa: E402

OF_LABELS = ["micro_f1", "macro_f1", "micro_f1_none", "r_precision@2", "ndcg@10", "f1:place"]
TOPICS = {"person": ("Anna", "Smith"), "place": ("Geneva", "London"), "drug": ("aspirin", "Tabletten")}
OTHERS = ("The", "was", "from", "with")
LONGER = {"updates": 200, "batch": 16, "dropout": 0.0, "validation": {"every": 100}}
FILES = {"train.en": (60, 1), "test.en": (12, 2), "test.de": (9, 3)}


def topics(number, seed):
    """A label is a group of words: a text has one word of each of its labels, and others."""
    drawn, rows = random.Random(seed), []
    for n in range(number):
        labels = [label for at, label in enumerate(TOPICS) if (n + n // 8) >> at & 1]
        words = [drawn.choice(TOPICS[label]) for label in labels] + drawn.choices(OTHERS, k=2)
        rows.append({"text": " ".join(drawn.sample(words, k=len(words))), "labels": labels})
    return rows


def quiz(number, seed):
    """The right option names a place, the others do not; two to four of them."""
    drawn, rows = random.Random(seed), []
    for n, words in enumerate(sentences(number, seed)):
        options = drawn.sample(sorted(set(WORDS) - PLACES), k=2 + n % 3)
        options[n % 2] = drawn.choice(sorted(PLACES))
        rows.append({"text": " ".join(words), "question": "Genf ?", "options": options, "label": n % 2})
    return rows


def asked(number, seed):
    """Every third text lost its answer; the rest of it stays."""
    given = []
    for n, one in enumerate(questions(number, seed, 12)):
        if n % 3 == 2:
            (answer, start), *_ = one.answers
            context = one.context[:start] + "patient" + one.context[start + len(answer) :]
            given.append(type(one)(one.id, context, one.question, ()))
        else:
            given.append(one)
    content = squad_json(given)
    for passage in content["data"][0]["paragraphs"]:
        passage["qas"][0]["is_impossible"] = not passage["qas"][0]["answers"]
    return content


def write_study(folder: Path, backbone: Path, **changes) -> Path:
    for name, (number, seed) in FILES.items():
        for task, make in (("topics", topics), ("quiz", quiz)):
            path = folder / task / f"{name}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in make(number, seed))
            path.write_text("".join(rows), encoding="utf-8")
        (folder / "towns").mkdir(exist_ok=True)
        text = json.dumps(asked(number, seed), ensure_ascii=False)
        (folder / "towns" / f"{name}.json").write_text(text, encoding="utf-8")
    write_tagged(folder / "names" / "train.tsv", 30, 5)

    def files(ending, task, **more):
        test = {"en": f"test.en.{ending}", "de": f"test.de.{ending}"}
        return {**more, "path": task, "train": {"en": f"train.en.{ending}"}, "test": test}

    rows = {"kind": "jsonl", "text": "text"}
    choice = {**rows, "question": "question", "options": "options", "label": "label"}
    content = {
        "study": "formats",
        "backbone": str(backbone),
        "intermediate": {"names": ["names"], "same": [{"task": "quiz", "name": "quiz-1"}]},
        "target": [{"task": "topics", "metrics": OF_LABELS, "recipe": LONGER}, "quiz", "towns"],
        "seeds": 1,
        "match": {"by": "words", "amount": 150},
        "recipe": {
            "batch": 8,
            "max_length": 48,
            "stride": 8,
            "rate": 3e-3,
            "head_rate": 1e-2,
            "intermediate": {"updates": 3},
            "target": {"updates": 60, "validation": {"fraction": 0.25, "every": 30, "select": "best"}},
        },
        "tasks": {
            "topics": files(
                "jsonl",
                "topics",
                format="multilabel",
                labels=list(TOPICS),
                reader={**rows, "label": "labels"},
            ),
            "quiz": files("jsonl", "quiz", format="choice", reader=choice),
            "towns": files("json", "towns", format="span", reader={"kind": "squad", "id": "id", "unanswerable": True}),
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


def chain_of(made, name):
    (chain,) = (chain for chain in made.chains if chain.name == name)
    return chain


def predictions(made, store, name, language):
    return pq.read_table(store.folder(chain_of(made, name).evaluate) / f"language={language}.parquet").to_pydict()


def test_predicted_labels_are_ranked(finished):
    _, made, store = finished
    assert store.verify() == []
    for language, number, seed in (("en", 12, 2), ("de", 9, 3)):
        found = predictions(made, store, "none+topics.s0", language)
        assert found["gold"] == [row["labels"] for row in topics(number, seed)]
        assert all(sorted(ranking) == sorted(TOPICS) for ranking in found["ranking"])
        pairs = list(zip(found["pred"], found["ranking"], strict=True))
        assert all(pred == ranking[: len(pred)] for pred, ranking in pairs)
        assert found["counts"] == metrics.counts_of(found["gold"], [Ranked(*pair) for pair in pairs]).tolist()


def test_predicted_options_are_numbers(finished):
    _, made, store = finished
    for language, number, seed in (("en", 12, 2), ("de", 9, 3)):
        found = predictions(made, store, "none+quiz.s0", language)
        assert found["gold"] == [str(row["label"]) for row in quiz(number, seed)]
        assert all(
            0 <= int(pred) < len(row["options"]) for pred, row in zip(found["pred"], quiz(number, seed), strict=True)
        )
        assert found["counts"] == [[int(gold == pred)] for gold, pred in zip(found["gold"], found["pred"], strict=True)]
        assert "ranking" not in found


def test_a_question_may_have_no_answer(finished):
    _, made, store = finished
    found = predictions(made, store, "none+towns.s0", "en")
    assert [not gold for gold in found["gold"]] == [n % 3 == 2 for n in range(12)]
    assert "" in found["pred"] and any(found["pred"])
    for gold, pred, counted in zip(found["gold"], found["pred"], found["counts"], strict=True):
        assert counted == metrics.counts(gold, pred) and (gold or counted[0] == (not pred))


def test_they_learn(finished):
    """Each rule is easy, and so is found: in English, and of the same words in the other files."""
    study, made, store = finished
    scores = {(row.chain, row.metric, row.language): row.score for row in gains(study, store.root).scores}
    for language in ("en", "de"):
        assert scores["none+topics.s0", "micro_f1", language] > 80
        assert scores["none+quiz.s0", "accuracy", language] > 80
        assert scores["none+towns.s0", "answer_f1", language] > 50
    for target, validated in (("topics", [100, 200]), ("quiz", [30, 60]), ("towns", [30, 60])):
        log = json.loads((store.folder(chain_of(made, f"none+{target}.s0").train) / "training.json").read_bytes())
        assert [update for update, _ in log["validation"]] == validated and log["losses"][-1] < log["losses"][0] / 2


def test_the_cutoff_is_chosen_on_held_out_english_and_stands_beside_the_score(finished):
    study, made, store = finished
    for target, chosen in (("topics", True), ("quiz", False), ("towns", True)):
        chain = chain_of(made, f"none+{target}.s0")
        trained, evaluated = store.manifest(chain.train), store.manifest(chain.evaluate)
        assert trained["cutoff_on"] == ("en" if chosen else None) and (trained["cutoff"] is None) != chosen
        assert {name: trained[name] for name in ("cutoff", "cutoff_on", "selected_on")} == {
            name: evaluated[name] for name in ("cutoff", "cutoff_on", "selected_on")
        }
        marks = {mark for row in gains(study, store.root).rows if row.target == target for mark in row.marks}
        assert ("cutoff chosen on en" in marks) == chosen and "checkpoint selected on en" in marks
        assert all(explain(mark) for mark in marks)
    (intermediate,) = (node for node in made.nodes.values() if node.label == "train quiz-1.s0")
    assert store.manifest(intermediate.id)["cutoff"] is None


def test_the_cutoff_decides_what_is_predicted(finished, backbone, tmp_path):
    """Without validation labels are predicted at 0.5; with it at the cutoff that the model carries."""
    study, made, store = finished
    target = {"rate": 1e-4, "head_rate": 1e-4}
    change = {"target": "topics", "match": None}
    study = Study.load(write_study(tmp_path, backbone, **change, recipe={"updates": 5, "target": target}))
    summary = run(study, tmp_path / "store")
    assert summary.ok, summary
    made, store = plan(study), Store(tmp_path / "store")
    assert store.manifest(chain_of(made, "none+topics.s0").evaluate)["cutoff"] is None
    assert not any("cutoff chosen on en" in row.marks for row in gains(study, tmp_path / "store").rows)
    recipe = {"updates": 5, "target": {**target, "validation": {"fraction": 0.25}}}
    tuned = Study.load(write_study(tmp_path, backbone, **change, recipe=recipe))
    assert run(tuned, tmp_path / "store").ok
    cutoff = store.manifest(chain_of(plan(tuned), "none+topics.s0").evaluate)["cutoff"]
    assert cutoff != 0.5, "nothing was learned, so all probabilities lie near one another"
    plain, chosen = (predictions(plan(one), store, "none+topics.s0", "de")["pred"] for one in (study, tuned))
    assert sum(map(len, plain)) != sum(map(len, chosen))


def test_gains_are_those_of_the_predictions(finished):
    study, made, store = finished
    found = gains(study, store.root)
    assert found.missing == []
    targets = {"topics": OF_LABELS, "quiz": ["accuracy"], "towns": ["answer_f1", "exact_match"]}
    assert {(row.intermediate, row.target, row.language, row.metric) for row in found.rows} == {
        (intermediate, target, language, metric)
        for intermediate in ("names", "quiz-1")
        for target, names in targets.items()
        for language in ("en", "de")
        for metric in names
    }
    table = predictions(made, store, "names+topics.s0", "de")
    preds = [Ranked(*pair) for pair in zip(table["pred"], table["ranking"], strict=True)]
    expected = metrics.score(OF_LABELS, table["gold"], preds, labels=list(TOPICS))
    rows = [row for row in found.rows if (row.intermediate, row.target, row.language) == ("names", "topics", "de")]
    assert {row.metric: row.score for row in rows} == pytest.approx(expected)


def test_frozen_blocks_and_subsets_by_examples(backbone, tmp_path):
    """Through stored states, and without them, scores are the same."""
    found = []
    for name, gigabytes in (("stored", 4.0), ("run", 0.0)):
        recipe = {"batch": 8, "max_length": 48, "stride": 8, "updates": 4, "frozen": 1, "trunk_gigabytes": gigabytes}
        folder = tmp_path / name
        folder.mkdir()
        change = {"target": [{"task": "topics", "metrics": OF_LABELS}, "quiz", "towns"]}
        path = write_study(folder, backbone, **change, recipe=recipe, match={"by": "examples", "amount": 20})
        study = Study.load(path)
        summary = run(study, folder / "store")
        assert summary.ok, summary
        made, store = plan(study), Store(folder / "store")
        for label in ("train names.s0", "train quiz-1.s0"):
            assert store.manifest(next(k for k, n in made.nodes.items() if n.label == label))["examples"] == 20
        rows = gains(study, folder / "store").rows
        found.append({(row.intermediate, row.target, row.metric, row.language): row.score for row in rows})
    assert found[0] == pytest.approx(found[1], abs=1e-6) and len(found[0]) == 2 * 2 * (len(OF_LABELS) + 1 + 2)


def test_labels_can_be_joined_and_left_out(backbone, tmp_path):
    use = {"task": "topics", "labels": {"person": "who-or-where", "place": "who-or-where", "drug": None}}
    tasks = yaml.safe_load(write_study(tmp_path, backbone).read_text(encoding="utf-8"))["tasks"]
    tasks["topics"]["labels"] = [*TOPICS, "who-or-where"]
    path = write_study(tmp_path, backbone, target=[use], tasks=tasks, recipe={"updates": 2})
    study = Study.load(path)
    assert study.labels_of(study.target[0]) == ("who-or-where",)
    summary = run(study, tmp_path / "store")
    assert summary.ok, summary
    found = predictions(plan(study), Store(tmp_path / "store"), "none+topics.s0", "en")
    assert found["gold"] == [
        ["who-or-where"] if {"person", "place"} & set(row["labels"]) else [] for row in topics(12, 2)
    ]


def test_the_cost_is_guessed_near_what_it_becomes(finished, tmp_path):
    _, made, store = finished
    assert check_data(made) == 3 * (60 + 12 + 9) + 30
    known, guessed = costs(made, store), costs(made, Store(tmp_path))
    for node in made.nodes.values():
        if node.label.startswith("encode ") and "names" not in node.label:
            assert 0.3 < guessed[node.id].tokens / known[node.id].tokens < 1.5, node.label


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target": [{"task": "topics", "metrics": ["accuracy"]}]}, "does not fit 'topics' (multilabel); use micro_f1"),
        ({"target": [{"task": "topics", "metrics": ["ndcg@50"]}]}, "write ndcg@1 to ndcg@10"),
        ({"target": [{"task": "topics", "metrics": ["f1:plaec"]}]}, "did you mean 'place'"),
        ({"target": [{"task": "quiz", "metrics": ["macro_f1"]}]}, "does not fit 'quiz' (choice); use accuracy"),
        ({"target": [{"task": "quiz", "labels": {"x": None}}]}, "task 'quiz' has no label 'x'; it has: none"),
        ({"target": [{"task": "quiz", "train": {"task": "names"}}]}, "task 'names' is tagging, the target is choice"),
        ({"target": [{"task": "topics", "retrieval": {"layer": 1}}]}, "`retrieval` has no meaning there"),
        ({"intermediate": {"same": [{"task": "topics", "labels": {"plac": None}}]}}, "did you mean 'place'"),
    ],
)
def test_what_does_not_fit_is_told(backbone, tmp_path, change, says):
    with pytest.raises(InputError) as caught:
        Study.load(write_study(tmp_path, backbone, **change))
    assert says in str(caught.value)


def test_own_tasks_have_the_usual_metrics(backbone, tmp_path):
    study = Study.load(write_study(tmp_path, backbone))
    assert study.find("topics").metrics == ("micro_f1", "macro_f1") and study.find("quiz").metrics == ("accuracy",)
