"""Parquet as the hub has it: numbers with names in the schema, nested columns, and files that are none."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from waystation.errors import InputError
from waystation.tasks.reading.parquet import BATCH
from waystation.tasks.reading.readers import read_file
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.tags import Names
from waystation.tasks.task import FormatName, Reader

NLI = ["entailment", "neutral", "contradiction"]
LABEL = {"names": NLI, "_type": "ClassLabel"}
STRING = {"dtype": "string", "_type": "Value"}


def write(folder: Path, rows: list[dict[str, Any]], features: dict[str, Any] | None = None, **options: Any) -> Path:
    table = pa.Table.from_pylist(rows)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path = folder / "0000.parquet"
    pq.write_table(table, path, **options)
    return path


def read(path: Path, format: FormatName, under: Names, tally: Tally | None = None, **fields: Any) -> list[Any]:
    used = Reader.model_validate({"kind": "parquet", **fields})
    return list(read_file(path, used, format, under, tally=tally))


PAIRS = {"text": "premise", "pair": "hypothesis", "label": "label"}


def pair(label: Any, number: int = 0) -> dict[str, Any]:
    return {"premise": f"p{number}", "hypothesis": "h", "label": label, "unused": [b"\xff"]}


def test_names_come_from_the_schema(tmp_path: Path) -> None:
    features = {"premise": STRING, "hypothesis": STRING, "label": LABEL}
    path = write(tmp_path, [pair(2), pair(0), pair(-1), pair(1)], features)
    tally = Tally()
    names = Names(("contradiction", "entailment", "neutral"), {"-1": None})
    found = read(path, "classification", names, tally, **PAIRS, names=NLI)
    assert [example.label for example in found] == ["contradiction", "entailment", "neutral"]
    assert [example.id for example in found] == ["1", "2", "4"]
    assert tally.notes == {"left out": 1}
    assert found == read(path, "classification", names, **PAIRS)
    chosen = read(path, "classification", names, **PAIRS, where={"label": ["neutral", "contradiction"]})
    assert [example.label for example in chosen] == ["contradiction", "neutral"]


def test_names_come_from_the_reader_where_the_schema_has_none(tmp_path: Path) -> None:
    (example,) = read(write(tmp_path, [pair(1)]), "classification", Names(tuple(NLI)), **PAIRS, names=NLI)
    assert example.label == "neutral"


@pytest.mark.parametrize("around", [lambda one: {"feature": one, "_type": "List"}, lambda one: [one],
                                    lambda one: {"feature": one, "length": -1, "_type": "Sequence"}])  # fmt: skip
def test_names_inside_lists(tmp_path: Path, around: Any) -> None:
    tags = {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"}
    path = write(tmp_path, [{"tokens": ["Anna", "Li", "ran"], "ner": [1, 2, 0]}],
                 {"tokens": around(STRING), "ner": around(tags)})  # fmt: skip
    (example,) = read(path, "tagging", Names(("PER",)), token="tokens", tag="ner")
    assert example.tags == ("B-PER", "I-PER", "O")
    with pytest.raises(InputError, match="column 'ner' has the names O, B-PER, I-PER, the reader says O, I-PER, B-PER"):
        read(path, "tagging", Names(("PER",)), token="tokens", tag="ner", names=["O", "I-PER", "B-PER"])


@pytest.mark.parametrize(
    ("stored", "feature"),
    [
        ({"kind": [2, 0], "n": [1, 2]}, {"feature": {"kind": LABEL, "n": STRING}, "_type": "Sequence"}),
        ([{"kind": 2, "n": 1}, {"kind": 0, "n": 2}], {"feature": {"kind": LABEL, "n": STRING}, "_type": "List"}),
        ([{"kind": 2, "n": 1}, {"kind": 0, "n": 2}], [{"kind": LABEL, "n": STRING}]),
    ],
)
def test_names_inside_objects(tmp_path: Path, stored: Any, feature: Any) -> None:
    path = write(tmp_path, [{"text": "a", "info": stored}], {"text": STRING, "info": feature})
    (example,) = read(path, "multilabel", Names(tuple(NLI)), text="text", label="info.kind", names=NLI)
    assert example.labels == ("entailment", "contradiction")
    with pytest.raises(InputError, match=r"column 'info.kind' has the names entailment, neutral, contradiction, the"):
        read(path, "multilabel", Names(tuple(NLI)), text="text", label="info.kind", names=NLI[::-1])


def test_questions_and_choices(tmp_path: Path) -> None:
    row = {"context": "Anna at York.", "question": "Where?", "answers": {"text": ["York"], "answer_start": [8]}}
    (example,) = read(write(tmp_path, [row]), "span", Names(()), text="context", question="question", answers="answers")
    assert example.answers == (("York", 8),)
    keyed = {"q": "?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "cop": 1, "options": {"A": "x", "B": None}}
    path = write(tmp_path, [keyed, {**keyed, "options": {"A": None, "B": "y"}}],
                 {"q": STRING, "cop": {"names": ["A", "B"], "_type": "ClassLabel"}})  # fmt: skip
    found = read(path, "choice", Names(()), text="q", options="choices.text", keys="choices.label", label="cop")
    assert [example.answer for example in found] == [1, 1]
    with pytest.raises(InputError, match="row 1: the right option, 1 counted from 0, is empty"):
        read(path, "choice", Names(()), text="q", options="options", label="cop")


def test_row_groups_are_read_in_turn(tmp_path: Path) -> None:
    count = 2 * BATCH + 17
    path = write(tmp_path, [pair(number % 3, number) for number in range(count)], {"label": LABEL}, row_group_size=900)
    found = read(path, "classification", Names(tuple(NLI)), **PAIRS)
    assert [example.text for example in found] == [f"p{number}" for number in range(count)]
    assert [example.label for example in found] == [NLI[number % 3] for number in range(count)]


def test_other_metadata_is_passed_over(tmp_path: Path) -> None:
    for declared in (
        b"{",
        b"[]",
        b'{"info": null}',
        b'{"info": {"features": []}}',
        b'{"info": {"features": {"label": []}}}',
    ):
        table = pa.Table.from_pylist([pair("neutral")]).replace_schema_metadata({"huggingface": declared})
        path = tmp_path / "0000.parquet"
        pq.write_table(table, path)
        assert read(path, "classification", Names(tuple(NLI)), **PAIRS)[0].label == "neutral"


@pytest.mark.parametrize(
    ("rows", "features", "fields", "says"),
    [
        ([pair(3)], {"label": LABEL}, PAIRS, ": row 1: field 'label' is 3, but the file names 3 labels: fetch"),
        ([pair(0), pair(-2)], {"label": LABEL}, PAIRS, ": row 2: field 'label' is -2, but the file names 3 labels"),
        ([pair("neutral")], {"label": LABEL}, PAIRS, ": row 1: field 'label' is \"neutral\", but the file names 3"),
        ([pair(0), pair(None)], {"label": LABEL}, PAIRS, ": row 2: field 'label' is null, not a string"),
        ([pair("nuetral")], None, PAIRS, ": row 1: 'nuetral' is neither a label"),
        ([pair(0.5)], None, PAIRS, ": row 1: field 'label' is 0.5, not a string"),
        ([pair(b"neutral")], None, PAIRS, ": row 1: field 'label' is \"b'neutral'\", not a string"),
        ([pair(0)], {"label": LABEL}, {**PAIRS, "names": NLI[::-1]},
         ": column 'label' has the names entailment, neutral, contradiction, the reader says contradiction, neutral"),
        ([pair(0)], None, {**PAIRS, "text": "premis"},
         ": no column 'premis' (did you mean 'premise'?); the file has premise, hypothesis, label, unused"),
        ([pair(0)], None, {**PAIRS, "text": "premise.x"}, ": row 1: no 'x' in 'premise', which is \"p0\""),
    ],
)  # fmt: skip
def test_malformed_rows(tmp_path: Path, rows: Any, features: Any, fields: dict[str, Any], says: str) -> None:
    path = write(tmp_path, rows, features)
    with pytest.raises(InputError) as caught:
        read(path, "classification", Names(tuple(NLI)), **fields)
    assert str(caught.value).startswith(f"{path}{says}")
    assert "\n" not in str(caught.value)


def test_malformed_files(tmp_path: Path) -> None:
    good = write(tmp_path, [pair(number % 3, number) for number in range(3000)], row_group_size=1000).read_bytes()
    path = tmp_path / "bad.parquet"
    for content in (b"", b"PAR1", b"text\tlabel\n", good[:-9], good[: len(good) // 2], good[:40] + good[60:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"cannot be read as Parquet .*: fetch the file again") as caught:
            read(path, "classification", Names(("0", "1", "2")), **PAIRS)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"none\.parquet: cannot be read as Parquet"):
        read(tmp_path / "none.parquet", "classification", Names(()), **PAIRS)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    table = pa.table({"premise": pa.array([b"caf\xe9"]).cast(pa.binary()).view(pa.string()), "hypothesis": ["h"],
                      "label": ["neutral"]})  # fmt: skip
    path = tmp_path / "latin.parquet"
    pq.write_table(table, path)
    with pytest.raises(InputError, match=r"latin\.parquet: cannot be read as Parquet .*utf-8"):
        read(path, "classification", Names(tuple(NLI)), **PAIRS)
