"""The general records: XTREME's languages and sizes, rows as the hub has them, real files; the page of all tasks."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from waystation import languages
from waystation.errors import InputError
from waystation.scoring import metrics
from waystation.tasks import checks, known, reference, sources
from waystation.tasks.fetching import upstream
from waystation.tasks.labels import names_of
from waystation.tasks.reading.readers import read_file
from waystation.tasks.reading.rows import Tally
from waystation.tasks.task import Task

DATA = Path(os.environ.get("WAYSTATION_DATA") or Path(__file__).parents[3] / "shared" / "data")
INTERMEDIATE = ["anli_plus", "mnli", "qqp", "squad_v1", "squad_v2", "hellaswag", "ccg", "cosmos_qa", "commonsense_qa"]
OTHERS = [
    "anli", "snli", "sick", "mrpc", "social_iqa", "race", "copa", "wnut17", "gum", "wikigold", "squad_subset",
    "udpos_r", "udpos_xtreme", "ud_pud", "ud_gum", "masakhaner2", "masakhaner1_amh", "masakhapos",
    "masakhanews", "americas_nli", "xcopa", "belebele", "sib200", "xstory_cloze",
]  # fmt: skip

# Hu et al. 2020, Table 1 and the languages of the released code; the five of BUCC and 37 of Tatoeba count English.
FORTY = (
    "af ar bg bn de el en es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw ta te th tl tr ur vi "
    "yo zh"
)
XTREME = {
    "xnli": "ar bg de el en es fr hi ru sw th tr ur vi zh",
    "pawsx": "de en es fr ja ko zh",
    "udpos": "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko mr nl pt ru ta te th tl tr ur vi yo zh",
    "panx": FORTY,
    "xquad": "ar de el en es hi ru th tr vi zh",
    "mlqa": "ar de en es hi vi zh",
    "tydiqa_goldp": "ar bn en fi id ko ru sw te",
    "bucc2018": "de fr ru zh",
    "tatoeba": " ".join(code for code in FORTY.split() if code not in ("en", "ms", "my", "yo")),
}
COUNTS = {
    "xnli": 15, "pawsx": 7, "udpos": 33, "panx": 40, "xquad": 11, "mlqa": 7, "tydiqa_goldp": 9, "bucc2018": 4,
    "tatoeba": 36,
}  # fmt: skip
ADDED = {  # by XTREME-R
    "xquad": "ro", "panx": "az gu lt pa pl qu ro uk", "udpos_r": "lt pl ro uk wo", "tatoeba": "az lt pl ro uk",
    "xcopa": "et ht id it qu sw ta th tr vi zh",
}  # fmt: skip
GENERAL = [*INTERMEDIATE, *OTHERS, *XTREME]


def whole(name: str, split: str = "test") -> Any:
    """What a task has upstream of a split."""
    return upstream.splits(known.find(name))[split]  # type: ignore[index]


@pytest.mark.parametrize("name", GENERAL)
def test_records_say_where_the_whole_is_to_be_had(name: str) -> None:
    task = known.find(name)
    assert task.domain == "general" and task.licence != "unknown" and task.citation and task.url
    for metric in task.metrics:
        metrics.check(metric, task.labels)
    assert {known.find(other).id for other in task.same_source} == set(task.same_source)
    for split in task.all_splits():
        assert all(languages.resolve(code).code == code for code in task.languages(split))
    if name in ("ccg", "squad_subset") or task.parts:
        assert task.upstream is None
        return
    assert task.upstream is not None and task.upstream.verified != "never"
    for part in upstream.splits(task).values():
        assert not part.sample
        assert all(upstream.reader(task, part, code) is not None for code in part.paths())
        assert set(part.rows if isinstance(part.rows, dict) else ()) <= set(part.paths())


def test_languages_of_xtreme() -> None:
    assert {name: len(codes.split()) for name, codes in XTREME.items()} == COUNTS
    for name, codes in XTREME.items():
        found = set(whole(name).paths())
        expected = set(codes.split()) | set(ADDED.get(name, "").split())
        assert found == expected or (name == "tatoeba" and found > expected), name  # Tatoeba: 28 more than the papers
    for name, codes in ADDED.items():
        assert set(codes.split()) <= set(whole(name).paths()), name
    assert set(whole("udpos_r").paths()) == set(whole("udpos").paths()) | set(ADDED["udpos_r"].split())
    assert set(FORTY.split()) == {one.code for one in languages.table().values() if one.xtreme == "xtreme"}
    assert "en" in known.find("tydiqa_goldp").languages("train")


def test_sizes_of_xtreme() -> None:
    rows = {name: whole(name).rows for name in XTREME}
    assert (rows["xnli"], rows["pawsx"], rows["xquad"]) == (5010, 2000, 1190)
    assert whole("xnli", "validation").rows == 2490
    assert whole("pawsx", "train").rows == 49_401
    assert whole("panx", "train").rows == 20_000
    assert (whole("udpos", "train").rows, whole("udpos", "validation").rows) == (21_253, 3974)
    assert whole("tydiqa_goldp", "train").rows == 3696
    assert Counter(rows["panx"].values()) == {10_000: 25, 1000: 12, 100: 3}
    assert {code for code, count in rows["panx"].items() if count == 100} == {"jv", "my", "yo"}
    assert {code: rows["tatoeba"][code] for code in ("jv", "ka", "kk", "ml", "sw", "ta", "te", "th")} == {
        "jv": 205, "ka": 746, "kk": 575, "ml": 687, "sw": 390, "ta": 307, "te": 234, "th": 548,
    }  # fmt: skip
    assert Counter(rows["tatoeba"].values())[1000] == 28
    assert rows["mlqa"] == {"ar": 5335, "de": 4517, "en": 11590, "es": 5253, "hi": 4918, "vi": 5495, "zh": 5137}
    assert (min(rows["udpos"].values()), rows["udpos"]["en"], rows["udpos"]["yo"]) == (47, 5440, 100)
    assert set(XTREME["udpos"].split()) - set(rows["udpos"]) == {"de", "fr", "ru", "zh"}  # mixed in the hub's copy


def test_sizes_of_the_intermediate_tasks() -> None:
    sizes = {name: whole(name, "train").rows for name in [*INTERMEDIATE, "anli", "snli"] if known.find(name).upstream}
    assert sizes == {
        "anli": 16_946 + 45_460 + 100_459, "mnli": 392_702, "snli": 550_152, "qqp": 363_846, "squad_v1": 87_599,
        "squad_v2": 130_319, "hellaswag": 39_905, "cosmos_qa": 25_262, "commonsense_qa": 9741,
    }  # fmt: skip
    together = known.find("anli_plus")
    assert together.parts == ("anli", "mnli", "snli") and together.all_splits() == ("train", "validation")
    assert together.main_reader() == known.find("anli").main_reader()
    ccg = known.find("ccg")
    assert ccg.source == "manual" and "LDC2005T13" in (ccg.manual or "") and ccg.open_labels


@pytest.mark.parametrize("name", INTERMEDIATE)
def test_hidden_labels_are_not_declared(name: str) -> None:
    assert ("test" in known.find(name).all_splits()) == (name == "ccg")


@pytest.mark.parametrize("name", ["belebele", "sib200"])
def test_codes_of_flores(name: str) -> None:
    """Three letters of the language or of its main member, and the script that the table knows."""
    for code, spelt in whole(name).languages.items():
        letters, script = spelt.split("_")
        assert code == ("qu" if letters == "quy" else languages.resolve(letters).code)
        assert script == {"Kore": "Hang"}.get(languages.resolve(code).script, languages.resolve(code).script)


def test_treebanks_are_of_their_language() -> None:
    for name, letters in (("udpos", "en_ewt-ud-test"), ("udpos_r", "tr_boun-ud-test"), ("ud_pud", "th_pud-ud-test")):
        files = whole(name).paths()
        assert any(letters in path for paths in files.values() for path in paths)
        for code, paths in files.items():
            assert all(path.startswith("UD_") and path.split("/")[1].startswith(f"{code}_") for path in paths)
            assert all(path.split("/")[0].split("-")[1].lower() in path.split("/")[1] for path in paths)


NLI = ("entailment", "neutral", "contradiction")
PAIR = {"premise": "p", "hypothesis": "h", "label": 2}
QUESTION = {"id": "q", "title": "t", "context": "so it is", "question": "?"}
ANSWERS = {"text": ["it"], "answer_start": [3]}
# A row with the columns and types that the card documents, names of numbered columns, and what is made of it.
ROWS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    *[(name, PAIR, {"label": NLI}, {"text": "p", "pair": "h", "label": "contradiction"})
      for name in ("anli", "mnli", "snli", "xnli", "americas_nli")],
    ("qqp", {"question1": "a", "question2": "b", "label": 1}, {"label": ("not_duplicate", "duplicate")},
     {"text": "a", "pair": "b", "label": "duplicate"}),
    ("pawsx", {"id": 7, "sentence1": "a", "sentence2": "b", "label": 1}, {"label": ("0", "1")},
     {"id": "7", "label": "paraphrase"}),
    ("sib200", {"index_id": 7, "category": "science/technology", "text": "a"}, {}, {"label": "science/technology"}),
    ("panx", {"tokens": ["a", "b"], "ner_tags": [3, 4], "langs": ["en", "en"]},
     {"ner_tags": ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")}, {"tags": ("B-ORG", "I-ORG")}),
    ("squad_v1", {**QUESTION, "answers": ANSWERS}, {}, {"id": "q", "cluster": "t", "answers": (("it", 3),)}),
    ("squad_v2", {**QUESTION, "answers": {"text": [], "answer_start": []}}, {}, {"id": "q", "answers": ()}),
    ("hellaswag", {"ctx": "a b", "endings": ["w", "x", "y", "z"], "source_id": "s", "label": "3"}, {},
     {"text": "a b", "options": ("w", "x", "y", "z"), "answer": 3, "cluster": "s"}),
    ("commonsense_qa", {"id": "i", "question": "q", "choices": {"label": ["A", "B"], "text": ["x", "y"]},
     "answerKey": "B"}, {}, {"options": ("x", "y"), "answer": 1, "id": "i"}),
    ("social_iqa", {"context": "c", "question": "q", "answerA": "x", "answerB": "y", "answerC": "z", "label": "3"}, {},
     {"answer": 2, "question": "q"}),
    ("copa", {"premise": "p", "choice1": "x", "choice2": "y", "question": "cause", "idx": 4, "label": 1},
     {"label": ("choice1", "choice2")}, {"id": "4", "answer": 1, "question": "What was the cause?"}),
    ("race", {"article": "a", "question": "q", "options": ["w", "x", "y", "z"], "answer": "C"}, {}, {"answer": 2}),
    ("xstory_cloze", {**{f"input_sentence_{place}": str(place) for place in range(1, 5)}, "sentence_quiz1": "x",
     "sentence_quiz2": "y", "answer_right_ending": 2}, {}, {"text": "1 2 3 4", "options": ("x", "y"), "answer": 1}),
    ("belebele", {"link": "l", "question_number": 1, "flores_passage": "f", "question": "q", "correct_answer_num": "4",
     **{f"mc_answer{place}": str(place) for place in range(1, 5)}}, {}, {"text": "f", "answer": 3, "cluster": "l"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "classes", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_rows_as_upstream_has_them(
    tmp_path: Path, name: str, row: dict[str, Any], classes: dict[str, Any], expected: dict[str, Any]
) -> None:
    task = known.find(name)
    assert task.upstream is not None and task.upstream.reader is not None
    path = tmp_path / "rows"
    if task.upstream.reader.kind == "jsonl":
        path.write_text(json.dumps(row) + "\n")
    else:
        table = pa.Table.from_pylist([row])
        features = {column: {"_type": "ClassLabel", "names": names} for column, names in classes.items()}
        pq.write_table(
            table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path
        )
    (example,) = read_file(path, task.upstream.reader, task.format, names_of(task))
    assert {field: getattr(example, field) for field in expected} == expected


def test_pairs_without_a_gold_label_are_left_out(tmp_path: Path) -> None:
    task = known.find("snli")
    features = {"label": {"_type": "ClassLabel", "names": NLI}}
    table = pa.Table.from_pylist([PAIR | {"label": -1}, PAIR]).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(table, tmp_path / "rows")
    tally = Tally()
    assert task.upstream is not None and task.upstream.reader is not None
    found = list(read_file(tmp_path / "rows", task.upstream.reader, task.format, names_of(task), tally=tally))
    assert len(found) == 1 and tally.notes == {"left out": 1}


def at_hand(name: str) -> Task:
    task = known.find(name)
    try:
        sources.folder(task, DATA)
    except InputError as problem:
        pytest.skip(f"no real data: {problem}")
    return task


MASAKHA = ["bm", "bbj", "ee", "fon", "ha", "ig", "luo", "mos", "ny", "pcm", "sn", "sw", "tn", "tw", "wo", "xh", "yo"]
SIZES: list[tuple[str, str, dict[str, int], bool]] = [
    ("cosmos_qa", "train", {"en": 1500}, True),
    ("commonsense_qa", "train", {"en": 1221}, True),
    ("copa", "train", {"en": 400}, False),
    ("copa", "validation", {"en": 100}, False),
    ("xcopa", "validation", dict.fromkeys(ADDED["xcopa"].split(), 100), False),
    ("xcopa", "test", dict.fromkeys(ADDED["xcopa"].split(), 500), False),
    ("mrpc", "train", {"en": 3576}, False),
    ("mrpc", "validation", {"en": 500}, False),
    ("mrpc", "test", {"en": 1725}, False),
    ("pawsx", "test", dict.fromkeys(XTREME["pawsx"].split(), 1000), True),
    ("masakhaner2", "test", dict.fromkeys(MASAKHA, 600), True),
    ("masakhaner1_amh", "validation", {"am": 250}, False),
    ("masakhaner1_amh", "test", {"am": 500}, False),
    ("masakhapos", "test", dict.fromkeys(MASAKHA, 400), True),
    ("wikigold", "train", {"en": 1696}, False),
    ("udpos_xtreme", "train", {"en": 8000}, True),
    ("udpos_xtreme", "validation", {"en": 600}, True),
    ("ud_pud", "train", {"en": 600}, True),
    ("ud_pud", "test", dict.fromkeys(["de", "en", "hi", "th", "tr", "zh"], 300), True),
    ("ud_gum", "train", {"en": 600}, True),
]


@pytest.mark.data
@pytest.mark.parametrize(("name", "split", "sizes", "sample"), SIZES, ids=[f"{one[0]}-{one[1]}" for one in SIZES])
def test_sizes_of_real_files(name: str, split: str, sizes: dict[str, int], sample: bool) -> None:
    rows = [row for row in checks.check(at_hand(name), DATA) if row["split"] == split]
    assert {row["language"]: row["examples"] for row in rows} == sizes
    assert {row["sample"] for row in rows} == {sample}
    assert len(rows) == 1 or not known.find(name).labels or all(any(row["labels"].values()) for row in rows)


@pytest.mark.data
def test_sizes_of_real_files_that_differ_by_language() -> None:
    rows = {row["language"]: row for row in checks.check(at_hand("udpos_xtreme"), DATA) if row["split"] == "test"}
    assert set(rows) == set(XTREME["udpos"].split()) - {"de"}
    few = {"mr": 47, "te": 146, "tl": 222, "yo": 318}
    assert {code: rows[code]["examples"] for code in few} == few
    assert max(row["examples"] for row in rows.values()) == 500
    every = checks.check(at_hand("udpos_xtreme"), DATA)
    assert sum(row["words"] for row in every) == 401_676
    found = {row["language"]: (row["examples"], row["sample"]) for row in checks.check(at_hand("ud_gum"), DATA)}
    assert found == {"en": (600, True), "eu": (600, True), "ta": (120, False), "te": (146, False)}
    stray = sum(row["stray"] for row in checks.check(at_hand("masakhaner2"), DATA))
    words = sum(row["words"] for row in checks.check(at_hand("masakhaner2"), DATA))
    assert (stray, words) == (2, 253_880)


@pytest.mark.data
def test_parallel_treebanks_share_their_ids() -> None:
    task = at_hand("ud_pud")
    ids = {code: [one.id for one in sources.read(task, "test", code, DATA)] for code in task.splits["test"].paths()}
    assert len({tuple(found) for found in ids.values()}) == 1


def test_the_page_of_tasks_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "tasks.md"
    found = reference.markdown(known.catalog().values())
    assert page.read_text(encoding="utf-8") == found, "waystation tasks --markdown > docs/reference/tasks.md"
    assert all(f"\n### {task.id}\n" in found for task in known.catalog().values() if task.source != "mini")
    assert "mini-ner" not in found
