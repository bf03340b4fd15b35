import json
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.tasks import checks, known, sources
from waystation.tasks.examples import SpanExample
from waystation.tasks.reading.readers import read_file
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.squad import NEAR
from waystation.tasks.reading.tags import Names
from waystation.tasks.task import Reader, Task

DATA = Path(os.environ.get("WAYSTATION_DATA") or Path(__file__).parents[4] / "shared" / "data")
CONTEXT = "Anna moved from Genf to York in 1920."


def document(answers: Any = None, **changes: Any) -> dict[str, Any]:
    """Two articles; ``answers`` are those of the first question, ``changes`` are to its fields."""
    first = {
        "id": "q-1",
        "question": "Where to?",
        "answers": [{"text": "York", "answer_start": 24}] if answers is None else answers,
        **changes,
    }
    second = {"id": "q-2", "question": "When?", "answers": [{"text": "1920", "answer_start": 32}]}
    third = {"id": 3, "question": "Who?", "answers": [{"text": "Li", "answer_start": 0}] * 2}
    return {
        "version": "1.1",
        "data": [
            {"title": "Anna", "paragraphs": [{"context": CONTEXT, "qas": [first, second]}]},
            {"title": "Li", "paragraphs": [{"context": "Li sings.", "qas": [third]}, {"context": CONTEXT, "qas": []}]},
        ],
    }


def read(folder: Path, content: Any, tally: Tally | None = None, **fields: Any) -> list[SpanExample]:
    path = folder / "f.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    reader = Reader.model_validate({"kind": "squad", **fields})
    return list(read_file(path, reader, "span", Names(()), prefix="test/en/", tally=tally))  # type: ignore[arg-type]


def test_questions_with_their_texts(tmp_path: Path) -> None:
    one, two, three = read(tmp_path, document())
    assert (one.id, one.context, one.question, one.answers) == ("test/en/1", CONTEXT, "Where to?", (("York", 24),))
    assert (two.id, two.answers) == ("test/en/2", (("1920", 32),))
    assert three.answers == (("Li", 0), ("Li", 0))
    assert [example.cluster for example in (one, two, three)] == ["1", "1", "2"]


def test_ids_of_the_file(tmp_path: Path) -> None:
    assert [example.id for example in read(tmp_path, document(), id="id")] == ["q-1", "q-2", "3"]
    again = document()
    again["data"][1]["paragraphs"][0]["qas"][0]["id"] = "q-1"
    with pytest.raises(InputError) as caught:
        read(tmp_path, again, id="id")
    assert str(caught.value) == (
        f"{tmp_path}/f.json: data[1].paragraphs[0].qas[0]: id 'q-1' occurs twice: make ids unique, or drop id from the "
        "reader to number the rows"
    )
    assert len(read(tmp_path, again)) == 3


def test_clusters_are_texts_or_articles(tmp_path: Path) -> None:
    same = document()
    same["data"][1]["paragraphs"][0]["context"] = CONTEXT.replace("Anna", "Li  ")
    assert [example.cluster for example in read(tmp_path, same, cluster="context")] == ["1", "1", "2"]
    same["data"][1]["paragraphs"][0]["qas"] = document()["data"][0]["paragraphs"][0]["qas"][1:]
    same["data"][1]["paragraphs"][0]["context"] = CONTEXT
    assert [example.cluster for example in read(tmp_path, same, cluster="context")] == ["1", "1", "1"]
    assert [example.cluster for example in read(tmp_path, same, cluster="title")] == ["1", "1", "2"]
    same["data"][1]["title"] = "Anna"
    assert [example.cluster for example in read(tmp_path, same, cluster="title")] == ["1", "1", "1"]
    with pytest.raises(InputError, match="reader squad has no cluster 'id': write context or title"):
        read(tmp_path, same, cluster="id")


def test_a_byte_order_mark_and_other_fields_do_not_matter(tmp_path: Path) -> None:
    content = document(plausible_answers=[], is_impossible=False)
    assert len(read(tmp_path, b"\xef\xbb\xbf" + json.dumps(content, indent=1).replace("\n", "\r\n").encode())) == 3


def test_questions_without_an_answer(tmp_path: Path) -> None:
    marked = document([], is_impossible=True, plausible_answers=[{"text": "Genf", "answer_start": 16}])
    one, two, _ = read(tmp_path, marked, unanswerable=True)
    assert (one.answers, two.answers) == ((), (("1920", 32),))
    assert read(tmp_path, document([]), unanswerable=True)[0].answers == ()
    with pytest.raises(InputError, match="marked is_impossible: it has answers"):
        read(tmp_path, document(is_impossible=True), unanswerable=True)


@given(
    before=st.text(" ab\u00a0日", max_size=12),
    answer=st.text("ab日 ", min_size=1, max_size=5).filter(str.strip),
    after=st.text(" ab日", max_size=12),
    off=st.integers(-NEAR, NEAR),
)
def test_answers_that_are_off_by_little_are_found(
    tmp_path_factory: pytest.TempPathFactory, before: str, answer: str, after: str, off: int
) -> None:
    context, tally = before + answer + after, Tally()
    content = document([{"text": answer, "answer_start": len(before) + off}])
    content["data"][0]["paragraphs"] = [
        {"context": context, "qas": content["data"][0]["paragraphs"][0]["qas"][:1]},
    ]
    ((text, start),) = read(tmp_path_factory.mktemp("squad"), content, tally)[0].answers
    assert text == answer.strip() and context.startswith(text, start)
    said = len(before) + off + len(answer) - len(answer.lstrip())
    stood = said >= 0 and context.startswith(text, said)  # blanks around an answer do not count
    assert start == said if stood else tally.notes["moved"] == 1
    if off == 0:
        assert tally.notes["moved"] == 0


def test_the_nearest_place_is_taken(tmp_path: Path) -> None:
    content, tally = document([{"text": "o", "answer_start": 12}]), Tally()  # o stands at 6 and at 13
    assert read(tmp_path, content, tally)[0].answers == (("o", 13),)
    assert tally.notes == {"moved": 1}


QUESTION = "data[0].paragraphs[0].qas[0]"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"data": [}', ":1: not JSON (Expecting value at column 11): correct it"),
        (b'{"data":\n "\xff"}', ":2: not UTF-8 (byte 0xff at column 3)"),
        (b"[" * 200_000, ": not JSON (nested too deep)"),
        (b'{"data": ' + b"1" * 5000 + b"}", ": not JSON (Exceeds the limit"),
        ([], ": the file: a JSON list, not an object: give one object with the field data"),
        ({"date": []}, ": the file: no field 'data' (did you mean 'date'?): there is date"),
        ({"data": {}}, ": the file: field 'data' is no list"),
        ({"data": [1]}, ": the file: data[0] is a JSON int, not an object"),
        ({"data": []}, ": no examples (it is empty): check the file and the task's reader"),
        ({"data": [{"title": "x"}]}, ": data[0]: no field 'paragraphs': there is title"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, ": data[0].paragraphs[0]: no field 'context': there is qas"),
        ({"data": [{"paragraphs": [{"context": " "}]}]}, ": data[0].paragraphs[0]: the context is empty: fill it in"),
        ({"data": [{"paragraphs": [{"context": "\ud800"}]}]}, "paragraphs[0]: field 'context' holds half a surrogate"),
        ({"data": [{"paragraphs": [{"context": "x"}]}]}, ": data[0].paragraphs[0]: no field 'qas': there is context"),
        (document(question="\n"), f": {QUESTION}: the question is empty: fill it in"),
        (document(question=7), f": {QUESTION}: field 'question' is 7, not a string"),
        (document(answers=[], is_impossible=True), f": {QUESTION}: the question is marked is_impossible: set unanswer"),
        (document(is_impossible=True), f": {QUESTION}: the question is marked is_impossible: it has answers: correct"),
        (document(answers=[]), f": {QUESTION}: the question has no answers: add one, or remove the question"),
        (document(answers="York"), f": {QUESTION}: field 'answers' is no list"),
        (document([{"text": "", "answer_start": 0}]), f": {QUESTION}: answers[0] is empty: fill it in, or remove"),
        (document([{"text": None}]), f": {QUESTION}: answers[0]: field 'text' is null, not a string"),
        (document([{"text": "York"}]), f": {QUESTION}: answers[0]: answer_start is null, not a whole number"),
        (document([{"text": "York", "answer_start": "24"}]), 'answer_start is "24", not a whole number: count'),
        (document([{"text": "York", "answer_start": True}]), "answer_start is true, not a whole number"),
        (
            document([{"text": "York", "answer_start": 24}, {"text": "York", "answer_start": 24 - NEAR - 1}]),
            f": {QUESTION}: answers[1] does not stand at character 15 of the context, nor 8 around: correct",
        ),
        (document([{"text": "York", "answer_start": -900}]), "does not stand at character -900 of the context"),
        (document([{"text": "york", "answer_start": 24}]), "answers[0] does not stand at character 24"),
    ],
)
def test_malformed_files(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "f.json"))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_readers_and_formats_go_together(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(document()))
    with pytest.raises(InputError, match="reader 'squad' makes no tagging examples: use conll, conllu"):
        list(read_file(path, Reader(kind="squad"), "tagging", Names(("X",))))
    with pytest.raises(InputError, match="reader 'table' makes no span examples: use squad, jsonl, json, parquet"):
        list(read_file(path, Reader(kind="table"), "span", Names(())))


def task(**changes: Any) -> Task:
    record = {
        "id": "towns", "title": "Towns", "format": "span", "metrics": ["answer_f1"], "reader": {"kind": "squad"},
        "splits": {"train": {"files": {"en": ["a.json", "b.json"]}}},
    }  # fmt: skip
    return Task.model_validate({**record, **changes})


def test_a_task_has_no_labels() -> None:
    assert task().labels == ()
    for more in ({"labels": ["X"]}, {"rename": {"X": None}}):
        with pytest.raises(ValueError, match="span has no labels: leave labels and rename out"):
            task(**more)


def test_files_in_turn_and_what_is_counted(tmp_path: Path) -> None:
    home = tmp_path / "towns"
    home.mkdir()
    other = deepcopy(document([{"text": "York", "answer_start": 25}]))
    for name, content in (("a.json", document()), ("b.json", other)):
        (home / name).write_text(json.dumps(content))
    found = list(sources.read(task(), "train", "en", tmp_path))
    assert [example.id for example in found] == [f"train/en/{number}" for number in range(1, 7)]
    assert [example.cluster for example in found] == ["1", "1", "2"] * 2
    (row,) = checks.check(task(), tmp_path)
    assert (row["examples"], row["labels"], row["clusters"]) == (6, {"answers": 8}, 2)
    assert row["words"] == 2 * (8 + 2 + 8 + 1 + 2 + 1)
    assert row["notes"] == {"moved": 1}
    before = sources.fingerprint(task(), "train", "en", tmp_path)
    assert before != sources.fingerprint(task(reader={"kind": "squad", "cluster": "title"}), "train", "en", tmp_path)


@pytest.mark.data
def test_xquad_is_parallel_and_its_clusters_are_too() -> None:
    xquad = known.find("xquad")
    try:
        sources.folder(xquad, DATA)
    except InputError as problem:
        pytest.skip(f"no real data: {problem}")
    facts = [
        [(example.id, example.cluster) for example in sources.read(xquad, "test", language, DATA)]
        for language in xquad.languages("test")
    ]
    assert len(facts) == 12 and all(rows == facts[0] for rows in facts)
