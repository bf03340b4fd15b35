"""`xtreme export`: a study's stored predictions as a submission that is well formed and scores as the study says."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import yaml  # noqa: E402
from every import write_jsonl  # noqa: E402
from questions import questions, squad_json  # noqa: E402
from small import examples, sentences, write_labelled, write_tagged  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from waystation import Study, chains, gains, plan, predict, rounds, run  # noqa: E402
from waystation.chains import find  # noqa: E402
from waystation.cli import app  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.exchange import checkpoint  # noqa: E402
from waystation.exchange.imported import add  # noqa: E402
from waystation.exchange.submission import export  # noqa: E402
from waystation.scoring.xtreme.check import check  # noqa: E402
from waystation.scoring.xtreme.score import score  # noqa: E402
from waystation.store import Store  # noqa: E402

TARGETS = ("pawsx", "panx", "xquad", "bucc2018", "tatoeba")


def write_study(folder, backbone, **changes):
    """Targets that are called as XTREME's tasks, and their references in XTREME's layout under ``labels``."""
    gold = folder / "labels"
    for target in TARGETS:
        (gold / target).mkdir(parents=True, exist_ok=True)
    files = {"train.en": (30, 1), "test.en": (6, 2), "test.de": (7, 3)}
    for name, (number, seed) in files.items():
        split, _, code = name.partition(".")
        write_tagged(folder / "panx" / f"{name}.tsv", number, seed, longest=40)  # longer than a window
        labelled = [(one.text, "1" if len(one.text) % 2 else "0") for one in examples("classification", number, seed)]
        rows = ({"text": text, "pair": text[::-1], "label": label} for text, label in labelled)
        write_jsonl(folder / "pawsx" / f"{name}.jsonl", rows)
        asked = json.dumps(squad_json(questions(number, seed, 12)), ensure_ascii=False)
        (folder / "xquad").mkdir(exist_ok=True)
        (folder / "xquad" / f"{name}.json").write_text(asked, encoding="utf-8")
        if split == "test":
            tags = (folder / "panx" / f"{name}.tsv").read_text(encoding="utf-8").split("\n")
            lines = "\n".join(line.rpartition("\t")[2] for line in tags)
            (gold / "panx" / f"test-{code}.tsv").write_text(lines, encoding="utf-8")
            (gold / "pawsx" / f"test-{code}.tsv").write_text("".join(f"{label}\n" for _, label in labelled))
            (gold / "xquad" / f"test-{code}.json").write_text(asked, encoding="utf-8")
    (folder / "pairs").mkdir(exist_ok=True)
    here, there = (list(dict.fromkeys(" ".join(words) for words in sentences(20, seed, 5)))[:12] for seed in (8, 9))
    for name, lines in (("de", here), ("en", there)):
        (folder / "pairs" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        rows = (f"{name}-{at:09}\t{line}\n" for at, line in enumerate(lines))
        (folder / "pairs" / f"{name}.tsv").write_text("".join(rows), encoding="utf-8")
    pairs = "".join(f"de-{at:09}\ten-{at:09}\n" for at in range(8))
    (folder / "pairs" / "gold.tsv").write_text(pairs)
    (gold / "bucc2018" / "test-de.tsv").write_text(pairs)
    (gold / "tatoeba" / "test-de.tsv").write_text("".join(f"{at}\n" for at in range(12)))
    write_tagged(folder / "names" / "train.tsv", 30, 5)
    write_labelled(folder / "mood" / "train.tsv", 20, 5)

    def parts(task, ending, **more):
        test = {code: f"test.{code}.{ending}" for code in ("en", "de")}
        return {**more, "path": task, "train": {"en": f"train.en.{ending}"}, "test": test}

    conll = {"kind": "conll", "separator": "\t"}
    pair = {"kind": "jsonl", "text": "text", "pair": "pair", "label": "label"}
    mood = {"kind": "table", "text": "text", "label": "label"}
    content = {
        "study": "whole",
        "backbone": str(backbone),
        "intermediate": {"any": ["names", "mood"]},
        "target": list(TARGETS),
        "seeds": 2,
        "recipe": {
            "batch": 8,
            "max_length": 32,
            "stride": 8,
            "rate": 3e-3,
            "head_rate": 1e-2,
            "intermediate": {"updates": 3},
            "target": {"updates": 12, "validation": {"fraction": 0.4, "every": 4}},
        },
        "tasks": {
            "panx": parts("panx", "tsv", format="tagging", labels=["PER", "LOC"], reader=conll),
            "pawsx": parts(
                "pawsx",
                "jsonl",
                format="classification",
                labels=["different", "paraphrase"],
                rename={"0": "different", "1": "paraphrase"},
                reader=pair,
            ),
            "xquad": parts("xquad", "json", format="span", reader={"kind": "squad", "id": "id"}),
            "tatoeba": {
                "format": "retrieval",
                "path": "pairs",
                "reader": {"kind": "parallel"},
                "test": {"de": ["de.txt", "en.txt"]},
            },
            "bucc2018": {
                "format": "retrieval",
                "path": "pairs",
                "reader": {"kind": "mining"},
                "test": {"de": ["de.tsv", "en.tsv", "gold.tsv"]},
            },
            "names": {
                "format": "tagging",
                "labels": ["PER", "LOC"],
                "reader": conll,
                "path": "names",
                "train": {"en": "train.tsv"},
            },
            "mood": {
                "format": "classification",
                "labels": ["good", "bad", "so-so"],
                "reader": mood,
                "path": "mood",
                "train": {"en": "train.tsv"},
            },
        },
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(backbone, tmp_path_factory):
    """(study, plan, store, folder)."""
    folder = tmp_path_factory.mktemp("whole")
    study = Study.load(write_study(folder, backbone))
    summary = run(study, folder / "store")
    assert summary.ok, summary
    return study, plan(study), Store(folder / "store"), folder


def points(made, found, name, choice):
    """Language → main score of the chosen chain, as `gains` computes it."""
    chain = f"{choice.intermediate}+{choice.target}.s{choice.seed}"
    metric = {"pawsx": "accuracy", "panx": "entity_f1", "xquad": "answer_f1"}.get(name)
    metric = metric or {"bucc2018": "mining_f1", "tatoeba": "retrieval_accuracy"}[name]
    return {item.language: item.score for item in found.scores if item.chain == chain and item.metric == metric}


@pytest.mark.parametrize("intermediate", [None, "none", "mood"])
def test_it_is_well_formed_and_scores_as_the_study_says(whole, tmp_path, intermediate):
    study, made, store, folder = whole
    chosen = export(study, tmp_path / "out", store.root, intermediate=intermediate, seed=1, made=made)
    assert set(chosen) == set(TARGETS) and {choice.seed for choice in chosen.values()} == {1}
    told = check(tmp_path / "out", folder / "labels")
    assert len(told["files"]) == 3 * 2 + 2
    assert told["problems"] == []
    scores = score(tmp_path / "out", folder / "labels")["tasks"]
    found = gains(study, store.root, made=made)
    for name, choice in chosen.items():
        metric = {"pawsx": "accuracy", "tatoeba": "accuracy"}.get(name, "f1")
        assert scores[name][metric] == pytest.approx(points(made, found, name, choice)), name
    if intermediate is not None:
        assert {choice.intermediate for choice in chosen.values()} == {intermediate}


def test_references_may_be_written_beside_it(whole, tmp_path):
    """A split of one's own, or a public one, can be scored without XTREME's own preparation of the labels."""
    study, made, store, folder = whole
    asked = {"store": store.root, "intermediate": "none", "made": made}
    export(study, tmp_path / "out", references=tmp_path / "gold", **asked)
    ours, theirs = (score(tmp_path / "out", gold) for gold in (tmp_path / "gold", folder / "labels"))
    assert ours == theirs
    assert len(ours["tasks"]) == len(TARGETS)
    with pytest.raises(InputError, match="is not empty: name a new folder"):
        export(study, tmp_path / "new", references=tmp_path / "gold", **asked)
    assert not (tmp_path / "new").exists()


def test_the_choice_is_made_on_held_out_english_and_written_down(whole, tmp_path):
    study, made, store, _ = whole
    chosen = export(study, tmp_path / "out", store.root, made=made)
    kept = json.loads((tmp_path / "out" / "choice.json").read_text())
    assert kept["study"] == "whole" and set(kept["tasks"]) == set(TARGETS)
    assert kept["backbone"]["id"] == study.backbone.id and kept["backbone"]["files"]
    for target, choice in kept["tasks"].items():
        tested = chains.tested(made, target)
        assert {code: data["content"] for code, data in choice["tests"].items()} == {
            code: step.content for code, step in tested.items() if code in choice["languages"]
        }
        assert choice["seeds"] == [0, 1] and choice["left_out"] == {}
        assert any("XTREME takes from the development set" in note for note in choice["notes"]) == (
            target == "bucc2018"
        )
    held = {}
    for target in ("pawsx", "panx", "xquad"):
        for arm in ("names", "mood"):
            trained = [find(made, f"{arm}+{target}.s{seed}").train for seed in (0, 1)]
            held[arm, target] = sum(store.manifest(key)["validation"][-1][1] for key in trained) / 2
        scores = chosen[target].scores
        assert scores == pytest.approx({arm: held[arm, target] for arm in ("names", "mood")})
        assert chosen[target].intermediate == max(scores, key=scores.get)
        assert "held out of the training data in en" in kept["tasks"][target]["why"]
    for target in ("bucc2018", "tatoeba"):
        means = {arm: sum(held[arm, other] for other in ("pawsx", "panx", "xquad")) / 3 for arm in ("names", "mood")}
        assert chosen[target].scores == pytest.approx(means)
        assert chosen[target].intermediate == max(means, key=means.get)


def test_what_the_tests_are_is_written_down(whole, tmp_path):
    _, _, store, folder = whole
    content = yaml.safe_load((folder / "study.yaml").read_text())
    test = content["tasks"]["pawsx"].pop("test")
    content["tasks"]["pawsx"]["splits"] = {
        "test": {"files": {code: [name] for code, name in test.items()}, "sample": True, "stands_for": "validation"}
    }
    (folder / "other.yaml").write_text(yaml.safe_dump(content))
    asked = {"store": store.root, "intermediate": "none"}
    choice = export(Study.load(folder / "other.yaml"), tmp_path / "out", **asked)["pawsx"]
    assert choice.tests["de"]["sample"] and choice.tests["de"]["stands_for"] == "validation"
    assert choice.notes == (
        "not the official test set but of its validation set: en de",
        "a piece of the official set: en de",
    )


def test_the_command_prints_what_must_be_said(whole, tmp_path):
    study, _, store, _ = whole
    words = ["xtreme", "export", study.path, tmp_path / "out", "--store", store.root, "--intermediate", "mood"]
    told = CliRunner().invoke(app, list(map(str, words)))
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("bucc2018: mood, seed 0, 1 files; as asked for"))
    assert lines[at + 1].startswith("  pairs above the threshold that is best on these very pairs")


def test_a_number_of_thousands_of_digits(whole, tmp_path):
    study, made, store, _ = whole
    path = tmp_path / "test-de.tsv"
    path.write_text("0\n" * 11 + "1" * 5000 + "\n")
    with pytest.raises(InputError, match=r"test-de.tsv:12: '1{40}' is no sentence: count from 0 to 11"):
        add(study, "far+tatoeba", tmp_path, store.root, made=made)


def test_a_folder_that_cannot_be_made(whole, tmp_path):
    study, made, store, _ = whole
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.*: cannot be written: Not a directory"):
        export(study, tmp_path / "file" / "out", store.root, intermediate="none", made=made)


def test_a_submission_comes_in_again_as_a_system(whole, tmp_path):
    """Exported predictions that are imported are the stored ones: both ways read and write the same layout."""
    study, made, store, _ = whole
    shutil.copytree(store.root, tmp_path / "store")
    export(study, tmp_path / "out", tmp_path / "store", intermediate="names", made=made)
    for target in TARGETS:
        add(study, f"again+{target}", tmp_path / "out", tmp_path / "store", made=made)
    found = gains(study, tmp_path / "store", made=made)
    for target in TARGETS:
        both = [
            {(item.language, item.metric): item.score for item in found.scores if item.chain == chain}
            for chain in (f"again+{target}", f"names+{target}.s0")
        ]
        assert both[0] and both[0] == both[1]
    marked = {(row.intermediate, row.target) for row in found.rows if "own threshold" in row.marks}
    assert marked == {("again", "bucc2018")}
    assert Store(tmp_path / "store").verify() == []


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"intermediate": "moods"}, "no arm of the study (did you mean 'mood'?): none, names, mood"),
        ({"seed": 7}, "--seed 7: the study's seeds are 0, 1"),
    ],
)
def test_options_that_do_not_fit(whole, tmp_path, asked, says):
    study, made, store, _ = whole
    with pytest.raises(InputError) as error:
        export(study, tmp_path / "out", store.root, made=made, **asked)
    assert says in str(error.value) and not (tmp_path / "out").exists()


def test_a_retrieval_chain_has_no_model_to_take_away(whole, tmp_path):
    study, made, store, _ = whole
    for arm in ("none", "names"):
        name = f"{arm}+tatoeba.s0"
        for take in (
            lambda name=name: checkpoint.export(study, name, tmp_path / "out", store.root, made=made),
            lambda name=name: predict(study, name, ["Anna"], store.root, made=made),
            lambda name=name: rounds.train(study, name, store.root, made=made),
        ):
            with pytest.raises(InputError, match="nothing is trained for 'tatoeba', which is retrieval"):
                take()


def test_what_is_not_there(whole, finished, tmp_path):
    study, made, store, _ = whole
    with pytest.raises(InputError, match="test scores must not choose"):
        export(study, tmp_path / "out", tmp_path / "empty", made=made)
    with pytest.raises(InputError, match=r"chain 'names\+pawsx.s0' has no predictions in"):
        export(study, tmp_path / "out", tmp_path / "empty", intermediate="names", made=made)
    with pytest.raises(InputError, match="has no target that is one of XTREME's tasks"):
        export(finished[0], tmp_path / "out", finished[2].root, made=finished[1])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(InputError, match="is not empty"):
        export(study, tmp_path / "full", store.root, made=made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


@pytest.mark.parametrize("first", [True, False])
def test_a_variant_under_a_name_of_its_own_is_not_the_task(whole, tmp_path, first):
    study, _, store, _ = whole
    (task,) = (use for use in study.target if use.task == "pawsx")
    variant = task.model_copy(update={"name": "pawsx-again"})
    targets = (variant, *study.target) if first else (*study.target, variant)
    more = study.model_copy(update={"target": targets})
    chosen = export(more, tmp_path / "out", store.root, intermediate="none", made=plan(more))
    assert chosen["pawsx"].target == "pawsx"
