"""XTREME's submissions: scores as the official script gives them, and what it does not say."""

from __future__ import annotations

import json
import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from typer.testing import CliRunner, Result

from waystation.cli import app
from waystation.errors import InputError, ManyProblems
from waystation.scoring.xtreme.check import check
from waystation.scoring.xtreme.layout import GROUPS, TASKS, Task
from waystation.scoring.xtreme.score import score

REPOSITORY = Path(__file__).resolve().parent.parent
ITEMS = 6


def told(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["xtreme", *map(str, arguments)])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def contents(task: Task, language: str, draw: random.Random) -> tuple[str, str]:
    """A file of references of one task and one of predictions, right in part."""
    if task.kind in ("labels", "numbers"):
        kinds = task.labels or [str(n) for n in range(ITEMS)]
        golds = [*kinds[:2], *(draw.choice(kinds) for _ in range(ITEMS - 2))]
        preds = [gold if draw.random() < 0.7 else draw.choice(kinds) for gold in golds]
        return "\n".join(golds) + "\n", "\n".join(preds) + "\n"
    if task.kind == "tags":
        sentences = [[draw.choice(task.labels) for _ in range(draw.randint(2, 7))] for _ in range(ITEMS)]
        others = [[tag if draw.random() < 0.7 else draw.choice(task.labels) for tag in tags] for tags in sentences]
        one, other = ("\n\n".join("\n".join(tags) for tags in corpus) + "\n" for corpus in (sentences, others))
        return one, other
    if task.kind == "pairs":
        wanted = [f"{language}-{n:09d}\ten-{n:09d}" for n in range(ITEMS)]
        found = [*wanted[: draw.randint(1, ITEMS)], f"{language}-000000077\ten-000000078"]
        return "\n".join(wanted) + "\n", "\n".join(found) + "\n"
    texts = ["a house", "北京市", "في البيت", "ที่บ้าน", "घर में", "בבית", "e\u0301te\u0301"]
    questions = [
        {"id": f"{language}{n}", "question": "?", "answers": [{"text": draw.choice(texts), "answer_start": 0}]}
        for n in range(ITEMS)
    ]
    article = {"title": "t", "paragraphs": [{"context": " ".join(texts), "qas": questions}]}
    given = {question["id"]: draw.choice([*texts, question["answers"][0]["text"]]) for question in questions}  # type: ignore[index]
    return json.dumps({"version": "1.1", "data": [article]}), json.dumps(given, ensure_ascii=False)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A whole submission and its references, of our own making."""
    predictions, labels, draw = tmp_path / "predictions", tmp_path / "labels", random.Random(5)
    for task in TASKS.values():
        for language in task.languages:
            gold, pred = contents(task, language, draw)
            write(task.file(labels, language), gold)
            write(task.file(predictions, language), pred)
    return predictions, labels


def test_the_tasks_are_xtremes() -> None:
    expected = {"xnli": 15, "pawsx": 7, "udpos": 33, "panx": 40, "xquad": 11, "mlqa": 7, "tydiqa": 9}
    assert {name: len(task.languages) for name, task in TASKS.items()} == expected | {"bucc2018": 4, "tatoeba": 36}
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(TASKS)
    assert len({code for task in TASKS.values() for code in task.languages}) == 40
    assert sum(size for _, size in TASKS["tydiqa"].sizes) == 5077
    assert TASKS["panx"].size("my") == 100 and TASKS["panx"].size("de") == 10000 and TASKS["udpos"].size("de") is None


def test_the_means(folders: tuple[Path, Path]) -> None:
    found = score(*folders)
    tasks, overall = found["tasks"], found["overall"]
    for name, scores in tasks.items():
        each = {metric: points for metric, points in scores.items() if isinstance(points, dict)}
        for metric, points in each.items():
            assert list(points) == list(TASKS[name].languages)
            assert scores[f"avg_{metric}"] == pytest.approx(fmean(points.values()))
            foreign = [value for code, value in points.items() if code != "en"]
            assert found["without_english"]["tasks"][name][f"avg_{metric}"] == pytest.approx(fmean(foreign))
    assert tasks["xquad"]["avg_metric"] == pytest.approx(
        (tasks["xquad"]["avg_exact_match"] + tasks["xquad"]["avg_f1"]) / 2
    )
    assert tasks["panx"]["avg_metric"] == tasks["panx"]["avg_f1"]
    main = {name: scores["avg_metric"] for name, scores in tasks.items()}
    assert overall["all_task"] == pytest.approx(fmean(main.values()))  # over tasks, not over groups
    for group, names in GROUPS.items():
        assert overall[group] == pytest.approx(fmean(main[name] for name in names))
    assert set(found["without_english"]["overall"]) == set(overall)
    assert found["missing"] == found["refused"] == found["ignored"] == [] and found["partial"] == {}


@pytest.mark.parametrize("name", ["udpos", "panx"])
def test_tags_are_scored_as_seqeval_does(folders: tuple[Path, Path], name: str) -> None:
    found, task = score(*folders), TASKS[name]
    for language in task.languages:
        preds, golds = (
            [block.split("\n") for block in task.file(folder, language).read_text().strip().split("\n\n")]
            for folder in folders
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = [100 * metric(golds, preds) for metric in (f1_score, precision_score, recall_score)]
        scores = [found["tasks"][name][metric][language] for metric in ("f1", "precision", "recall")]
        assert scores == pytest.approx(expected, abs=1e-9)
    beside = {"udpos": "pos_f1_xtreme_0.0.12", "panx": "entity_f1_strict"}[name]
    assert set(found["beside"][name]) == {beside, "token_accuracy", f"avg_{beside}", "avg_token_accuracy"}


def test_scores_by_hand(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    write(TASKS["xnli"].file(labels, "sw"), "neutral\nentailment\nneutral\ncontradiction\n")
    write(TASKS["xnli"].file(predictions, "sw"), "neutral\nneutral\nneutral\ncontradiction")
    write(TASKS["bucc2018"].file(labels, "de"), "de-1\ten-1\nde-2\ten-2\n")
    write(TASKS["bucc2018"].file(predictions, "de"), "de-1\ten-1\nde-1\ten-1\nde-2\ten-9\nde-3\ten-3\n")
    question = '{"id": "%s", "answers": [{"text": "%s", "answer_start": 0}, {"text": "柏林墙", "answer_start": 3}]}'
    both = ", ".join(question % pair for pair in (("q", "柏林"), ("q", "the"), ("r", "的")))  # an id may come twice
    squad = '{"data": [{"paragraphs": [{"context": "", "qas": [' + both + "]}]}]}"
    for name in ("mlqa", "xquad"):
        write(TASKS[name].file(labels, "zh"), squad)
        write(TASKS[name].file(predictions, "zh"), '{"q": "柏林墙的"}')
    found = score(predictions, labels)
    assert found["tasks"]["xnli"]["accuracy"]["sw"] == 75.0
    pairs = {metric: found["tasks"]["bucc2018"][metric]["de"] for metric in ("f1", "precision", "recall")}
    assert pairs == pytest.approx({"f1": 40.0, "precision": 100 / 3, "recall": 50.0})
    assert found["tasks"]["mlqa"]["f1"]["zh"] == pytest.approx(100 * (6 / 7 + 6 / 7 + 0) / 3)  # by character
    assert found["tasks"]["xquad"]["f1"]["zh"] == 0.0
    assert found["unanswered"] == {"mlqa": {"zh": 1}, "xquad": {"zh": 1}}


def test_what_is_missing_is_listed_and_there_is_no_overall(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    TASKS["xnli"].file(predictions, "sw").unlink()
    shutil.rmtree(labels / "tydiqa")
    found = score(predictions, labels)
    assert set(found["overall"]) == {"tagging", "retrieval"}
    assert {"task": "xnli", "language": "sw", "what": "predictions"} in found["missing"]
    assert [item["what"] for item in found["missing"] if item["task"] == "tydiqa"] == ["labels"] * 9
    xnli = found["tasks"]["xnli"]
    assert set(xnli) == {"accuracy"} and len(xnli["accuracy"]) == 14
    partial = found["partial"]["xnli"]
    assert partial["languages"] == list(xnli["accuracy"])
    assert partial["avg_accuracy"] == pytest.approx(fmean(xnli["accuracy"].values()))
    assert "xnli" not in found["without_english"]["tasks"]
    printed = told("score", predictions, labels)
    assert printed.exit_code == 0 and "missing: predictions of xnli: sw" in printed.output
    assert "missing: labels of tydiqa: ar bn en" in printed.output and "no overall score" in printed.output


@pytest.mark.parametrize(
    ("name", "references", "reason"),
    [
        ("xnli", "-1\n" * ITEMS, "every label is '-1'"),
        ("pawsx", "0\n" * 30, "all 30 labels are '0'"),
        ("panx", "O\n" * 30, "all 30 labels are 'O'"),
        ("udpos", "_\n_\n\n_\n", "every label is '_'"),
        ("tatoeba", "", "it is empty"),
        ("bucc2018", "", "it is empty"),
        ("mlqa", '{"data": [{"paragraphs": [{"qas": [{"id": "q", "answers": []}]}]}]}', "every label or answer is emp"),
    ],
)
def test_placeholders_are_not_scored(folders: tuple[Path, Path], name: str, references: str, reason: str) -> None:
    predictions, labels = folders
    hidden = TASKS[name].file(labels, "de")
    write(hidden, references)
    found = score(predictions, labels)
    (refused,) = found["refused"]
    assert (refused["task"], refused["language"]) == (name, "de")
    assert refused["reason"].startswith(f"{hidden}: {reason}")
    assert all("de" not in points for points in found["tasks"][name].values()) and "all_task" not in found["overall"]
    assert f"not scored: {hidden}" in told("score", predictions, labels).output


def test_nothing_but_placeholders_is_bad_input(tmp_path: Path) -> None:
    for folder in ("predictions", "labels"):
        write(TASKS["xnli"].file(tmp_path / folder, "sw"), "-1\n-1\n")
    printed = told("score", tmp_path / "predictions", tmp_path / "labels")
    assert isinstance(printed.exception, ManyProblems) and "every label is '-1'" in str(printed.exception)


def test_a_score_at_the_floor_is_flagged(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    write(TASKS["pawsx"].file(labels, "ja"), "0\n0\n1\n")
    write(TASKS["pawsx"].file(predictions, "ja"), "0\n0\n0\n")
    write(TASKS["pawsx"].file(labels, "ko"), "0\n0\n1\n")
    write(TASKS["pawsx"].file(predictions, "ko"), "0\n0\n1\n")
    flags = {(flag["task"], flag["language"]): flag for flag in score(predictions, labels)["flags"]}
    assert flags["pawsx", "ja"]["floor"] == flags["pawsx", "ja"]["score"] == pytest.approx(200 / 3)
    assert ("pawsx", "ko") not in flags


def test_tags_that_are_all_alike_are_flagged(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    write(TASKS["udpos"].file(labels, "yo"), "NOUN\nNOUN\nVERB\n\nVERB\n\nSYM\n")
    write(TASKS["udpos"].file(predictions, "yo"), "VERB\nVERB\nVERB\n\nVERB\n\nVERB\n")
    flags = {flag["metric"]: flag["floor"] for flag in score(*folders)["flags"] if flag["language"] == "yo"}
    assert flags["f1"] == pytest.approx(2 / 7 * 100)  # NOUN is as frequent, and never a sentence of its own
    assert flags["token_accuracy"] == pytest.approx(40)


def test_what_is_far_from_published_is_flagged(folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    for language in TASKS["pawsx"].languages:  # 87.5: near the published 86.4
        write(TASKS["pawsx"].file(labels, language), "0\n1\n" * 4)
        write(TASKS["pawsx"].file(predictions, language), "0\n1\n" * 3 + "0\n0\n")
    shutil.copy(TASKS["tatoeba"].file(labels, "jv"), TASKS["tatoeba"].file(predictions, "jv"))
    shutil.copytree(labels / "xnli", predictions / "xnli", dirs_exist_ok=True)  # 100: far
    TASKS["tatoeba"].file(predictions, "zh").unlink()

    def published(backbone: str | None) -> dict[tuple[str, str | None], Any]:
        flags = score(predictions, labels, backbone)["flags"]
        return {(flag["task"], flag["language"]): flag["published"] for flag in flags if "published" in flag}

    found = published("FacebookAI/xlm-roberta-large")
    assert found["xnli", None] == 79.2 and ("pawsx", None) not in found
    assert found["tatoeba", "jv"] == 10.2 and ("tatoeba", None) not in found  # no mean: by language
    assert ("pawsx", "ja") not in found
    write(TASKS["pawsx"].file(predictions, "en"), "0\n1\n" * 3 + "1\n1\n")
    write(TASKS["pawsx"].file(predictions, "ja"), "0\n1\n" * 4)  # the mean is near still
    again = published("FacebookAI/xlm-roberta-large")
    assert again["pawsx", "ja"] == 78.7 and ("pawsx", None) not in again
    shutil.copy(TASKS["pawsx"].file(labels, "en"), TASKS["pawsx"].file(predictions, "en"))
    found = published("FacebookAI/xlm-roberta-large")
    assert published("XLM-RoBERTa-large/") == found and published(None) == published("bert") == {}
    assert (
        "no published scores are known here of 'bert'"
        in told("score", predictions, labels, "--backbone", "bert").stderr
    )


Change = Callable[[Path, Path], None]


def put(name: str, language: str, text: str) -> Change:
    return lambda predictions, labels: write(TASKS[name].file(predictions, language), text)


def directory(name: str, language: str) -> Change:
    def change(predictions: Path, labels: Path) -> None:
        path = TASKS[name].file(predictions, language)
        path.unlink()
        path.mkdir()

    return change


BROKEN: list[tuple[Change, str]] = [
    (put("xnli", "sw", "neutral\n"), "test-sw.tsv: 1 lines, but"),
    (put("udpos", "th", "NOUN\n"), "test-th.tsv: 1 sentences, but"),
    (put("udpos", "th", "NOUN\n\n" * ITEMS), "tags in sentence 1, which has"),
    (put("panx", "yo", "B-PER\n" * 50), "test-yo.tsv: 1 sentences, but"),
    (put("xquad", "ar", '{"a": "x", "a": "y"}'), "test-ar.json: 'a' comes twice"),
    (put("xquad", "ar", '{"a": 1}'), "the answer to 'a' is 1, not a text"),
    (put("xquad", "ar", "[]"), "a JSON list, not an object"),
    (put("xquad", "ar", '{"a":\n'), "test-ar.json:2: not JSON"),
    (put("xquad", "ar", '{"a": 1' + "1" * 5000 + "}"), "test-ar.json: not JSON that can be read: Exceeds the limit"),
    (put("xquad", "ar", "[" * 100_000), "test-ar.json: not JSON that can be read: nested too deep"),
    (put("panx", "yo", "O\nper\n"), "predictions/panx/test-yo.tsv:2: tag 'per' is not O, B-... or I-..."),
    (put("udpos", "th", "บ้าน\tNOUN\n"), "test-th.tsv:1: several columns; write the label or the tag alone"),
    (directory("xnli", "sw"), "xnli/test-sw.tsv: cannot be read: Is a directory"),
]


@pytest.mark.parametrize(("change", "says"), BROKEN)
def test_what_is_malformed_is_told(folders: tuple[Path, Path], change: Change, says: str) -> None:
    change(*folders)
    put("tatoeba", "jv", "")(*folders)
    with pytest.raises(ManyProblems) as caught:
        score(*folders)
    assert len(caught.value.problems) == 2 and says in caught.value.problems[0]
    assert "test-jv.tsv: 0 lines, but" in caught.value.problems[1]  # all problems at once
    assert told("check", folders[0], "--labels", folders[1]).exit_code == 1


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ('{"id": "q"}', "a piece of it lacks 'answers'"),
        ('{"id": "q", "answers": [{"text": null}]}', "'text' is null, not a text"),
        ('{"id": "q", "answers": [{"text": 4}]}', "'text' is 4, not a text"),
        ('{"id": "q", "answers": {"text": ["a"]}}', "'answers' is {"),
        ('{"id": ["q"], "answers": []}', "'id' is [\"q\"], not a text"),
        ('{"id": 7, "answers": []}', "'id' is 7, not a text"),
        ('"q"', "\"q\" stands where an object with 'id' should"),
    ],
)
def test_references_that_are_not_squads(folders: tuple[Path, Path], question: str, says: str) -> None:
    write(TASKS["xquad"].file(folders[1], "ar"), f'{{"data": [{{"paragraphs": [{{"qas": [{question}]}}]}}]}}')
    with pytest.raises(InputError) as error:
        score(*folders)
    assert str(error.value).startswith(f"{TASKS['xquad'].file(folders[1], 'ar')}: not SQuAD's JSON: ")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_references_that_are_a_text(folders: tuple[Path, Path]) -> None:
    write(TASKS["xquad"].file(folders[1], "ar"), '"data"')
    with pytest.raises(InputError, match="\"data\" stands where an object with 'data' should"):
        score(*folders)


def test_references_as_released_have_their_labels_last(folders: tuple[Path, Path]) -> None:
    """Tokens beside the tags, sentences beside the label: they give the same scores."""
    predictions, labels = folders
    expected = score(predictions, labels)
    for name, before in (("udpos", "word\t"), ("panx", "word\t"), ("xnli", "one\ttwo\t"), ("pawsx", "one\ttwo\t")):
        path = TASKS[name].file(labels, "de")
        write(path, "".join(f"{before if line else ''}{line}\n" for line in path.read_text().splitlines()))
    assert score(predictions, labels) == expected
    assert check(predictions, labels)["problems"] == []


@pytest.mark.parametrize(
    ("name", "references", "says"),
    [
        ("udpos", "das\nHaus\n\ngeht\n", "udpos/test-de.tsv:1: the reference 'das' is none of ADJ ADP"),
        ("panx", "O\nHaus\n", "panx/test-de.tsv:2: the reference 'Haus' is none of O B-LOC"),
        ("xnli", "neutral\none\ttwo\n", "xnli/test-de.tsv:2: the reference 'two' is none of"),
        ("pawsx", "0\n1\n\n0\n", "pawsx/test-de.tsv:3: the reference '' is none of 0 1"),
        ("tatoeba", "0\nHaus\n", "tatoeba/test-de.tsv:2: the reference 'Haus' is no number"),
        ("bucc2018", "en-1\tde-1\n", "bucc2018/test-de.tsv:1: the reference 'en-1\tde-1' is no pair of ids"),
    ],
)
def test_references_of_another_form_are_refused(
    folders: tuple[Path, Path], name: str, references: str, says: str
) -> None:
    """They would score 0 whatever was predicted."""
    predictions, labels = folders
    write(TASKS[name].file(labels, "de"), references)
    with pytest.raises(InputError) as error:
        score(predictions, labels)
    assert str(error.value).startswith(str(labels)) and says in str(error.value)
    assert says in "\n".join(check(predictions, labels)["problems"])


def test_folders_must_be_there(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        score(tmp_path / "nowhere", folders[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: nothing to score; it needs files like .*xnli/test-sw.tsv"):
        score(tmp_path / "empty", folders[1])


def test_a_whole_submission_passes(folders: tuple[Path, Path]) -> None:
    found = check(*folders)
    assert len(found["files"]) == 162 and found["missing"] == found["problems"] == found["unchecked"] == []
    assert told("check", folders[0], "--labels", folders[1]).output == "162 files, 0 missing, 0 problems\n"


def test_without_references_the_official_sizes_count(folders: tuple[Path, Path]) -> None:
    found = check(folders[0])
    assert found["unchecked"] == [f"udpos/test-{code}.tsv" for code in ("de", "el", "fr", "ru", "zh")]
    problems = "\n".join(found["problems"])
    assert "udpos/test-yo.tsv: 6 sentences, the official test set has 100" in problems
    assert "xnli/test-sw.tsv: 6 lines, the official test set has 5010" in problems
    assert "tydiqa/test-bn.json: 6 answers, the official test set has 113" in problems
    assert "panx/test-my.tsv: 6 sentences, the official test set has 100" in problems


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("xnli", "sw", "neutrl\n" * ITEMS), "test-sw.tsv:1: 'neutrl' is none of contradiction entailment neutral"
         " (did you mean 'neutral'?) (and 5 more)"),
        (put("xnli", "sw", "neutral\n"), "test-sw.tsv: 1 lines, the references have 6"),
        (put("panx", "yo", "Ade\tB-PER\n"), "write the tag alone"),
        (put("udpos", "th", "NOUN\n\n" * ITEMS), "a sentence longer than the window keeps every line"),
        (put("tatoeba", "jv", "0\n1\n2\n3\n4\n205\n"), "test-jv.tsv:6: '205' is no number from 0 to 204"),
        (put("tatoeba", "jv", "0\n-1\n2\nx\n4\n5\n"), "test-jv.tsv:2: '-1' is no number from 0 to 204 (and 1 more)"),
        (put("bucc2018", "de", "en-1\tde-1\n"), "test-de.tsv:1: 'en-1\tde-1' is no pair"),
        (put("bucc2018", "de", "de-1\ten-1\nde-1\ten-1\n"), "the pair 'de-1\ten-1' comes twice"),
        (put("bucc2018", "de", ""), "test-de.tsv: no pairs"),
        (put("panx", "yo", "\nO\n\n\nO\n"), "test-yo.tsv:1: an empty line with no sentence above it (and 1 more)"),
        (directory("xnli", "sw"), "xnli/test-sw.tsv: cannot be read: Is a directory"),
        (put("mlqa", "vi", "[" * 100_000), "test-vi.json: not JSON that can be read: nested too deep"),
        (put("mlqa", "vi", '{"vi0": "x", "other": "y"}'), "no answer to question 'vi1' (and 4 more); it scores 0"),
        (put("mlqa", "vi", '{"vi0": "x", "other": "y"}'), "an answer to 'other', which is no question"),
        (lambda predictions, labels: write(predictions / "xnlu" / "test-sw.tsv", ""),
         "xnlu (did you mean 'xnli'?): belongs to no task"),
        (lambda predictions, labels: write(predictions / "xnli" / "test_sw.tsv", ""),
         "xnli/test_sw.tsv (did you mean 'xnli/test-sw.tsv'?): belongs to no task"),
        (lambda predictions, labels: TASKS["xnli"].file(predictions, "sw").write_bytes(b"\xff"), "not UTF-8 at byte 0"),
    ],
)  # fmt: skip
def test_check_says_what_is_wrong(folders: tuple[Path, Path], change: Change, says: str) -> None:
    change(*folders)
    found = check(*folders)
    assert says in "\n".join(found["problems"])
    printed = told("check", folders[0], "--labels", folders[1])
    assert printed.exit_code == 1 and says in printed.output


def test_an_incomplete_submission_is_not_in_order(folders: tuple[Path, Path]) -> None:
    TASKS["xnli"].file(folders[0], "sw").unlink()
    printed = told("check", folders[0], "--labels", folders[1], "--json")
    found = json.loads(printed.output)
    assert printed.exit_code == 1 and found["missing"] == ["xnli/test-sw.tsv"] and found["problems"] == []


@pytest.mark.data
def test_every_figure_of_the_official_script() -> None:
    """On the mock files that XTREME's authors test their own script with."""
    mock = Path(os.environ.get("WAYSTATION_DATA") or REPOSITORY.parent / "shared" / "data") / "xtreme_mock"
    if not mock.is_dir():
        pytest.skip(f"no {mock}")
    expected = json.loads((mock / "expected_scores.json").read_text())
    printed = told("score", mock / "predictions", mock / "labels", "--json")
    found = json.loads(printed.output)
    assert found["overall"]["all_task"] == pytest.approx(62.1932649076773, abs=1e-9)
    assert found["overall"] == pytest.approx(expected["overall"], abs=1e-9)
    assert found["tasks"].keys() == expected["tasks"].keys()
    for name, scores in expected["tasks"].items():
        assert found["tasks"][name].keys() == scores.keys()
        for metric, points in scores.items():
            assert found["tasks"][name][metric] == pytest.approx(points, abs=1e-9), (name, metric)
    assert found["missing"] == found["refused"] == []
    assert told("check", mock / "predictions", "--labels", mock / "labels").output.endswith("0 missing, 1 problems\n")
