"""Text without labels: from plain lines, paragraphs, and fields of rows; declared in a study."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from waystation.errors import InputError
from waystation.study_file import own_task
from waystation.tasks import checks, known, sources
from waystation.tasks.examples import TextExample
from waystation.tasks.reading.readers import read_file
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.tags import Names
from waystation.tasks.shown import shown
from waystation.tasks.task import Reader, Task

CONTENT = "\ufeffOne line.\r\n\n  Two\u2028lines,  \nthree.\n \nFour"


def read(path: Path, content: str = CONTENT, tally: Tally | None = None, **fields: Any) -> list[tuple[str, str]]:
    path.write_bytes(content.encode())
    reader = Reader.model_validate({"kind": "lines", **fields})
    found = list(read_file(path, reader, "mlm", Names(()), prefix="train/eu/", tally=tally))
    assert all(isinstance(example, TextExample) and example.cluster is None for example in found)
    return [(example.id, example.text) for example in found]


def test_a_text_per_line(tmp_path: Path) -> None:
    texts = ["One line.", "Two\u2028lines,", "three.", "Four"]
    assert read(tmp_path / "a.txt") == [(f"train/eu/{n}", text) for n, text in enumerate(texts, 1)]


def test_a_text_per_paragraph(tmp_path: Path) -> None:
    texts = ["One line.", "Two\u2028lines, three.", "Four"]
    assert [text for _, text in read(tmp_path / "a.txt", paragraphs=True)] == texts
    assert [text for _, text in read(tmp_path / "a.txt", CONTENT + "\n\n\n", paragraphs=True)] == texts


def test_ids_run_on_over_files(tmp_path: Path) -> None:
    tally = Tally()
    assert read(tmp_path / "a.txt", "a\nb\n", tally)[-1][0] == "train/eu/2"
    assert read(tmp_path / "b.txt", "c\n", tally) == [("train/eu/3", "c")]


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "it is empty.: check"), ("\n \n", "it is empty"), ("a\nb\udce9", "not UTF-8")],
)
def test_files_without_text(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=says):
        list(read_file(path, Reader(kind="lines"), "mlm", Names(())))


def test_rows_give_text_too(tmp_path: Path) -> None:
    rows = '{"n": 7, "title": "A", "body": "b c", "source": "x"}\n{"n": 8, "title": "D", "body": "e", "source": "x"}\n'
    found = read(tmp_path / "a.jsonl", rows, kind="jsonl", text=["title", "body"], id="n")
    assert found == [("7", "A b c"), ("8", "D e")]
    assert read(tmp_path / "a.tsv", "text\tlabel\na\tb\n", kind="table", text="text")[0][1] == "a"
    with pytest.raises(InputError, match="reader jsonl for mlm needs text: name the fields"):
        read(tmp_path / "a.jsonl", rows, kind="jsonl")
    with pytest.raises(InputError, match=r"reader 'conll' makes no mlm examples: use table, jsonl, json, .*lines"):
        read(tmp_path / "a.jsonl", rows, kind="conll")


def own(folder: Path, **changes: Any) -> Task:
    table = {"format": "mlm", "reader": {"kind": "lines"}, "train": {"eu": "text.txt"}, **changes}
    return Task.model_validate(own_task("my-text", table, folder / "study.yaml"))


def test_a_users_own_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Kaixo, mundua!\nAgur.\n", encoding="utf-8")
    task = own(tmp_path)
    assert (task.metrics, task.labels) == ((), ())
    (row,) = checks.check(task, None)
    assert (row["examples"], row["words"], row["labels"]) == (2, 3, {})
    first, _ = sources.read(task, "train", "eu", None)
    assert shown(first) == "train/eu/1\n  Kaixo, mundua!"
    assert shown(first, sensitive=True) == "train/eu/1\n  (14 characters)"
    assert sources.fingerprint(task, "train", "eu", None) != sources.fingerprint(
        own(tmp_path, reader={"kind": "lines", "paragraphs": True}), "train", "eu", None
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"metrics": ["accuracy"]}, "a task needs metrics; text alone"),
        ({"labels": ["a"]}, "mlm has no labels"),
        ({"format": "choice", "metrics": []}, "a task needs metrics"),
    ],
)
def test_what_text_does_not_have(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        own(tmp_path, **changes)


def test_a_readers_new_field_changes_no_older_identity() -> None:
    assert "paragraphs" not in sources._spelt_out(Reader(kind="conll"))
    assert known.find("mini-text").languages("train") == ("en", "de", "es", "fr", "ru", "sw")
