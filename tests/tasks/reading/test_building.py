"""Rows of tables and of JSON to examples of every format: what each field may hold, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.tasks.examples import ChoiceExample, MultilabelExample, SpanExample
from waystation.tasks.reading.readers import read_file
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.tags import Names
from waystation.tasks.task import FormatName, Reader

NER = Names(("PER", "LOC"), {"DATE": None})
TOPICS = Names(("law", "health", "sport"), {"-1": None, "other": None, "medicine": "health"})
NONE = Names(())


def jsonl(folder: Path, *rows: Any) -> Path:
    path = folder / "f.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, format: FormatName, under: Names = NONE, tally: Tally | None = None, **fields: Any) -> list[Any]:
    used = Reader.model_validate({"kind": "jsonl", **fields})
    return list(read_file(path, used, format, under, tally=tally))


# --- fields, filters, names


def test_dotted_paths(tmp_path: Path) -> None:
    row = {"a": {"b": ["x", {"c": "y"}]}, "a.b": "the field of this name comes first", "l": {"n": [{"s": "law"}]}}
    path = jsonl(tmp_path, row)
    assert read(path, "classification", TOPICS, text=["a.b.1.c", "a.b"], label="l.n.0.s")[0].text == "y " + row["a.b"]
    (example,) = read(path, "classification", TOPICS, text="a.b", pair="a.b.0", label="l.n.s")
    assert (example.pair, example.label) == ("x", "law")


def test_where_takes_the_beginning_of_a_field(tmp_path: Path) -> None:
    rows = [{"id": own, "text": own, "label": "law"} for own in ("swahili-1", "swahili", "english-1", "x-swahili-2")]
    path = jsonl(tmp_path, *rows)
    found = read(path, "classification", TOPICS, text="text", label="label", where={"id": "swahili-*"})
    assert [example.text for example in found] == ["swahili-1"]
    found = read(path, "classification", TOPICS, text="text", label="label", where={"id": ["english-*", "swahili"]})
    assert [example.text for example in found] == ["swahili", "english-1"]


def test_rows_without_a_text_are_left_out_where_the_reader_says_so(tmp_path: Path) -> None:
    rows = [{"a": "one", "b": "two", "label": "law"}, {"a": "one", "b": " ", "label": "law"}]
    path, tally = jsonl(tmp_path, *rows), Tally()
    fields = {"text": "a", "pair": "b", "label": "label"}
    assert len(read(path, "classification", TOPICS, tally=tally, skip_empty=True, **fields)) == 1
    assert tally.notes["empty"] == 1
    with pytest.raises(InputError, match="no text in b: fill it in, or remove the row"):
        read(path, "classification", TOPICS, **fields)


def test_where_selects_rows_and_numbers_those(tmp_path: Path) -> None:
    rows = [
        {"text": f"t{number}", "label": "law", "lang": lang, "ok": ok, "part": {"n": number}, "none": None}
        for number, (lang, ok) in enumerate([("sw", True), ("fr", True), ("sw", False), ("sw", True)])
    ]
    path = jsonl(tmp_path, *rows)
    tally = Tally()
    found = read(path, "classification", TOPICS, tally, text="text", label="label",
                 where={"lang": "sw", "ok": "true", "part.n": ["0", "1", "3"], "none": "null"})  # fmt: skip
    assert [(example.id, example.text) for example in found] == [("1", "t0"), ("2", "t3")]
    assert (tally.rows, tally.passed_over) == (2, 2)
    with pytest.raises(InputError, match=r"no examples \(no row has what where asks for\)"):
        read(path, "classification", TOPICS, text="text", label="label", where={"lang": "ha"})


@pytest.mark.parametrize("value", [2, "2", "sport"])
def test_numbers_have_names(tmp_path: Path, value: Any) -> None:
    path = jsonl(tmp_path, {"text": "a", "label": value}, {"text": "b", "label": 0}, {"text": "c", "label": -1})
    tally = Tally()
    found = read(path, "classification", TOPICS, tally, text="text", label="label",
                 names=["law", "medicine", "sport"])  # fmt: skip
    assert [example.label for example in found] == ["sport", "law"]
    assert tally.notes == {"left out": 1}


def test_names_that_are_numbers(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "a", "label": [0, 2, "3"]})
    (example,) = read(path, "multilabel", Names(("3", "2", "5")), text="text", label="label", names=["2", "3", "5"])
    assert example.labels == ("3", "2", "5")


def test_lists_of_texts_and_of_one_label(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"t": ["First.", " ", "Second."], "q": "And?", "label": ["law"]},
        {"t": ["x"], "q": "y", "label": ["law", "sport"]},
    )
    tally = Tally()
    (example,) = read(path, "classification", TOPICS, tally, text=["q", "t"], pair="t", label="label", cluster="t")
    assert (example.text, example.pair, example.cluster) == ("And? First. Second.", "First. Second.", "1")
    assert tally.notes == {"several answers": 1}


# --- json: one document


@pytest.mark.parametrize(
    ("content", "rows", "ids"),
    [
        ([{"text": "a", "label": "law"}], None, ["1"]),
        ({"d": {"rows": [{"text": "a", "label": "law"}]}}, "d.rows", ["1"]),
        ({"d": [{"rows": [{"text": "a", "label": "law"}]}]}, "d.0.rows", ["1"]),
        ({"17": {"text": "a", "label": "law"}, "9": {"text": "b", "label": "law"}}, None, ["17", "9"]),
    ],
)
def test_json(tmp_path: Path, content: Any, rows: str | None, ids: list[str]) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps(content, indent=1))
    own = "#" if ids != ["1"] else None
    found = read(path, "classification", TOPICS, kind="json", rows=rows, text="text", label="label", id=own)
    assert [example.id for example in found] == ids


@pytest.mark.parametrize(
    ("content", "rows", "says"),
    [
        ("[1]", None, ": [0]: a JSON int, not an object: set rows to the path to the objects"),
        ('"x"', None, ": the file: a JSON str, not a list or object of rows: set rows"),
        ('{"dat": []}', "data", ": data: no field 'data' (did you mean 'dat'?): the object has dat"),
        ('{"data": 3}', "data", ": data: a JSON int, not a list or object of rows"),
        ("[]", "data", ": data: no field 'data': the object has no fields"),
        ('{"data": [{"text": "a"}]}', "data", ": data[0]: no field 'label': the object has text"),
        ('{"k": {"text": "a", "label": "lwa"}}', None, ": [k]: 'lwa' is neither a label"),
        ('[{"text": "a",\n"label": }]', None, ":2: not JSON (Expecting value at column 10): correct it"),
        ("[]", None, ": no examples (it is empty)"),
    ],
)
def test_malformed_json(tmp_path: Path, content: str, rows: str | None, says: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read(path, "classification", TOPICS, kind="json", rows=rows, text="text", label="label")
    assert str(caught.value).startswith(f"{path}{says}")
    assert "\n" not in str(caught.value)


# --- multilabel


def test_multilabel(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "labels": ["sport", "law"]}, {"text": "b", "labels": []},
        {"text": "c", "labels": ["other", "medicine", "health"]}, {"text": "d", "labels": ["other"]},
    ]  # fmt: skip
    found = read(jsonl(tmp_path, *rows), "multilabel", TOPICS, text="text", label="labels", cluster="text")
    assert [example.labels for example in found] == [("law", "sport"), (), ("health",), ()]
    assert found[0] == MultilabelExample("1", "a", ("law", "sport"), None, "1")


def test_multilabel_from_one_text(tmp_path: Path) -> None:
    path = tmp_path / "f.tsv"
    path.write_text("text\tlabels\na\tsport| law\nb\t \n")
    found = read(path, "multilabel", TOPICS, kind="table", text="text", label="labels", split="|")
    assert [example.labels for example in found] == [("law", "sport"), ()]


def test_labels_of_another_task_are_in_its_order(tmp_path: Path) -> None:
    names = Names(("a", "b"), {}, Names(("Y", "X"), {"a": "X", "b": "Y"}))
    (example,) = read(jsonl(tmp_path, {"t": "x", "l": ["a", "b"]}), "multilabel", names, text="t", label="l")
    assert example.labels == ("Y", "X")


# --- choice


def choice(path: Path, tally: Tally | None = None, **fields: Any) -> list[ChoiceExample]:
    return read(path, "choice", NONE, tally, **{"text": "q", "options": "o", "label": "a", **fields})


@pytest.mark.parametrize(
    ("row", "fields", "options", "answer"),
    [
        ({"o": ["x", "y", "z"], "a": 2}, {}, ("x", "y", "z"), 2),
        ({"o": ["x", "y"], "a": "1"}, {}, ("x", "y"), 1),
        ({"x1": "x", "x2": 7, "a": 1}, {"options": ["x1", "x2"]}, ("x", "7"), 1),
        ({"x1": "x", "x2": "y", "a": "2"}, {"options": ["x1", "x2"], "keys": ["1", "2"]}, ("x", "y"), 1),
        ({"o": ["x", "y"], "a": "B"}, {"keys": ["A", "B", "C"]}, ("x", "y"), 1),
        ({"o": {"A": "x", "B": "y"}, "a": "B"}, {}, ("x", "y"), 1),
        ({"o": {"1": "x", "2": "y"}, "a": 1}, {}, ("x", "y"), 0),
        ({"o": {"t": ["x", "y"], "k": ["B", "A"]}, "a": "A"}, {"options": "o.t", "keys": "o.k"}, ("x", "y"), 1),
        ({"o": [{"t": "x", "k": 4}, {"t": "y", "k": 2}], "a": 2}, {"options": "o.t", "keys": "o.k"}, ("x", "y"), 1),
        ({"o": ["x", "y"], "a": ["b"]}, {"keys": ["a", "b"]}, ("x", "y"), 1),
        ({"o": {"A": "N/A", "B": "", "C": "x", "D": None, "E": "y"}, "a": "E"}, {}, ("x", "y"), 1),
    ],
)
def test_choice(
    tmp_path: Path, row: dict[str, Any], fields: dict[str, Any], options: tuple[str, ...], answer: int
) -> None:
    tally = Tally()
    (example,) = choice(jsonl(tmp_path, {"q": "Which?", **row}), tally, **fields)
    assert example == ChoiceExample("1", "Which?", options, answer)
    assert tally.notes == ({"empty options": 3} if None in dict(row).get("o", ()) or "D" in str(row) else {})


def test_questions_about_a_text(tmp_path: Path) -> None:
    rows = [{"p": "It rained.", "r": asked, "o": ["x", "y"], "a": 0, "d": "s1"} for asked in ("cause", "effect")]
    path = jsonl(tmp_path, *rows)
    phrases = {"cause": "Why?", "effect": "What then?"}
    found = choice(path, text="p", question="r", phrases=phrases, cluster="d")
    assert [(example.text, example.question) for example in found] == [
        ("It rained.", "Why?"),
        ("It rained.", "What then?"),
    ]
    assert {example.cluster for example in found} == {"s1"}
    assert [example.question for example in choice(path, text="p", question="r")] == ["cause", "effect"]


def test_questions_that_make_no_example(tmp_path: Path) -> None:
    rows = [{"o": ["x", "y"], "a": ["a", "b"]}, {"o": [], "a": ["21"]}, {"o": ["x", "y"], "a": ["b"]}]
    path = jsonl(tmp_path, *({"q": "Which?", **row} for row in rows))
    tally = Tally()
    (example,) = choice(path, tally, keys=["a", "b"])
    assert (example.id, example.answer) == ("3", 1)
    assert tally.notes == {"several answers": 1, "no options": 1}
    none = jsonl(tmp_path, {"q": "Which?", **rows[0]})
    with pytest.raises(InputError, match=r"no examples \(all 1 rows are left out: they have several answers, or no"):
        choice(none, keys=["a", "b"])


@given(st.lists(st.sampled_from(["", "n/a", "x", "y z"]), min_size=2, max_size=6), st.data())
def test_dropping_empty_options_keeps_the_right_one(
    tmp_path_factory: pytest.TempPathFactory, options: list[str], data: st.DataObject
) -> None:
    full = [place for place, option in enumerate(options) if option not in ("", "n/a")]
    if len(full) < 2:
        return
    right = data.draw(st.sampled_from(full))
    named = [f"{option} {place}" if place in full else option for place, option in enumerate(options)]
    (example,) = choice(jsonl(tmp_path_factory.mktemp("choice"), {"q": "?", "o": named, "a": right}))
    assert example.options[example.answer] == named[right]
    assert len(example.options) == len(full)


# --- span


def span(path: Path, tally: Tally | None = None, **fields: Any) -> list[SpanExample]:
    return read(path, "span", NONE, tally, **{"text": "c", "question": "q", "answers": "a", **fields})


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["York", "York "], "answer_start": [8, 6]},
        [{"text": "York", "answer_start": 8}, {"text": "York ", "answer_start": 6}],
    ],
)
def test_span(tmp_path: Path, answers: Any) -> None:
    tally = Tally()
    (example,) = span(jsonl(tmp_path, {"c": "Anna at York 1.", "q": "Where?", "a": answers}), tally, cluster="c")
    assert example == SpanExample("1", "Anna at York 1.", "Where?", (("York", 8), ("York", 8)), "1")
    assert tally.notes == {"moved": 1}


def test_span_without_an_answer(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"c": "Anna.", "q": "Where?", "a": {"text": [], "answer_start": []}})
    assert span(path, unanswerable=True)[0].answers == ()
    with pytest.raises(InputError, match=r":1: the question has no answers: remove it, or set unanswerable: true"):
        span(path)


# --- tagging


def tagging(path: Path, tally: Tally | None = None, **fields: Any) -> list[Any]:
    return read(path, "tagging", NER, tally, **fields)


def test_tags_from_lists(tmp_path: Path) -> None:
    rows = {"w": ["Anna", "Li", "ran"], "n": [1, 2, 0], "t": "B-PER I-PER O", "s": "Anna Li ran"}
    path = jsonl(tmp_path, rows)
    by_number = tagging(path, token="w", tag="n", names=["O", "B-PER", "I-PER"])
    assert by_number == tagging(path, token="s", tag="t", split=" ")
    assert (by_number[0].words, by_number[0].tags) == (("Anna", "Li", "ran"), ("B-PER", "I-PER", "O"))


@pytest.mark.parametrize(
    ("spans", "tags", "notes"),
    [
        ([[0, 1, "PER"], [3, 3, "LOC"]], "B-PER I-PER O B-LOC", {}),
        ([{"begin": 0, "end": 2, "label": "PER"}], "B-PER I-PER O O", {}),
        ([{"start": 0, "end": 2, "label": "PER"}, {"start": 3, "end": 4, "label": "DATE"}], "B-PER I-PER O O", {}),
        ([[0, 0, "LOC"], [0, 1, "PER"]], "B-PER I-PER O O", {"overlapping": 1}),
        ([], "O O O O", {}),
    ],
)
def test_spans_in_tokens(tmp_path: Path, spans: list[Any], tags: str, notes: dict[str, int]) -> None:
    tally = Tally()
    (example,) = tagging(jsonl(tmp_path, {"w": ["Anna", "Li", "in", "Rome"], "e": spans}), tally, token="w", spans="e")
    assert " ".join(example.tags) == tags
    assert tally.notes == notes


@pytest.mark.parametrize(
    ("spans", "fields", "tags"),
    [
        ([[0, 7, "PER"], [11, 15, "LOC"]], {}, "B-PER I-PER O B-LOC O"),
        ([{"start": 0, "end": 7, "kind": "PER"}], {"label": "kind"}, "B-PER I-PER O O O"),
        ([{"start": 0, "end": 7, "labels": ["PER"]}], {"label": "labels.0"}, "B-PER I-PER O O O"),
        (
            [{"begin": 0, "end": 7, "label": "PER"}, {"begin": 5, "end": 15, "label": "LOC"}],
            {},
            "O B-LOC I-LOC I-LOC O",
        ),
        ([{"begin": 0, "end": 7, "label": "PER", "discontinuous": True}], {}, "O O O O O"),
    ],
)
def test_spans_in_characters(tmp_path: Path, spans: list[Any], fields: dict[str, Any], tags: str) -> None:
    row = {"s": "Anna Li in Rome.\n", "x": {"e": spans}, "d": 4}
    (example,) = tagging(jsonl(tmp_path, row), text="s", spans="x.e", cluster="d", **fields)
    assert example.words == ("Anna", "Li", "in", "Rome", ".")
    assert " ".join(example.tags) == tags
    assert example.cluster == "4"


# --- malformed rows: the place, what, and what to do

CLASS = {"text": "t", "label": "l"}
CHOICE = {"text": "q", "options": "o", "label": "a"}
SPAN = {"text": "c", "question": "q", "answers": "a"}
TAGS = {"token": "w", "tag": "t"}
GOOD = {"t": "a", "l": "law"}
QUESTION = {"c": "Anna.", "q": "Where?"}
BAD: list[tuple[str, FormatName, dict[str, Any], Any, str]] = [
    ("path into a text", "classification", {**CLASS, "text": "t.x"}, GOOD, "no 'x' in 't', which is \"a\": give a"),
    ("place beyond", "classification", {**CLASS, "text": "t.3"}, {"t": ["a"], "l": "law"},
     "no place 3 in 't', which has 1 items: places count from 0"),
    ("field inside", "classification", {**CLASS, "text": "t.x"}, {"t": {"xx": "a"}, "l": "law"},
     "no field 'x' (did you mean 'xx'?): 't' has xx"),
    ("where on an object", "classification", {**CLASS, "where": {"o": "x"}}, {**GOOD, "o": {"x": 1}},
     'where: field \'o\' is {"x": 1}, not one value: name a field inside it'),
    ("where on nothing", "classification", {**CLASS, "where": {"lang": "x"}}, {**GOOD, "lnag": "x"},
     "no field 'lang' (did you mean 'lnag'?)"),
    ("number beyond names", "classification", {**CLASS, "names": ["law"]}, {"t": "a", "l": 1},
     "field 'l' is 1, but names has 1, counted from 0: complete names"),
    ("no label", "classification", CLASS, {"t": "a", "l": []}, "field 'l' is an empty list: give one answer"),
    ("list of numbers", "classification", CLASS, {"t": ["a", 1], "l": "law"}, "field 't' is 1, not a string"),
    ("empty list of texts", "classification", CLASS, {"t": [], "l": "law"}, "no text in t: fill it in"),
    ("text for a list", "multilabel", CLASS, GOOD, "field 'l' is \"law\", not a list: write [...], or set split"),
    ("null for a list", "multilabel", CLASS, {"t": "a", "l": None}, "field 'l' is null, not a list"),
    ("unknown in a list", "multilabel", CLASS, {"t": "a", "l": ["law", "tax"]}, "'tax' is neither a label"),
    ("list in a list", "multilabel", CLASS, {"t": "a", "l": [["law"]]}, "field 'l' is [\"law\"], not a string"),
    ("empty part", "multilabel", {**CLASS, "split": "|"}, {"t": "a", "l": "law||sport"}, "'' is neither a label"),
    ("place of no option", "choice", CHOICE, {"q": "?", "o": ["x", "y"], "a": 2}, "label '2' is no place from 0 to 1"),
    ("hidden answer", "choice", CHOICE, {"q": "?", "o": ["x", "y"], "a": -1}, "label '-1' is no place from 0 to 1"),
    ("letter without keys", "choice", CHOICE, {"q": "?", "o": ["x", "y"], "a": "B"}, "or name the options in keys"),
    ("truth as answer", "choice", CHOICE, {"q": "?", "o": ["x", "y"], "a": True}, "field 'a' is true, not a string"),
    ("no such key", "choice", CHOICE, {"q": "?", "o": {"A": "x", "B": "y"}, "a": "C"},
     "label 'C' is none of the options' keys: A, B"),
    ("key without option", "choice", {**CHOICE, "keys": ["A", "B", "C"]}, {"q": "?", "o": ["x", "y"], "a": "C"},
     "label 'C' is none of the options' keys: A, B"),
    ("too few keys", "choice", {**CHOICE, "keys": ["A"]}, {"q": "?", "o": ["x", "y"], "a": "A"},
     "2 options and 1 keys: give one key for each option"),
    ("too many keys", "choice", {**CHOICE, "keys": "k"}, {"q": "?", "o": ["x", "y"], "k": ["A", "B", "C"], "a": "A"},
     "2 options and 3 keys"),
    ("text for options", "choice", CHOICE, {"q": "?", "o": "x, y", "a": 0}, "not a list or object of options"),
    ("one option", "choice", CHOICE, {"q": "?", "o": ["x"], "a": 0}, "only one option is not empty: give at least two"),
    ("one full option", "choice", CHOICE, {"q": "?", "o": ["x", "n/a"], "a": 0}, "only one option is not empty"),
    ("empty right option", "choice", CHOICE, {"q": "?", "o": ["x", " ", "y"], "a": 1},
     "the right option, 1 counted from 0, is empty: fill it in"),
    ("option of a list", "choice", CHOICE, {"q": "?", "o": [["x"], "y"], "a": 1}, "field 'o' is [\"x\"], not a string"),
    ("unknown phrase", "choice", {**CHOICE, "question": "r", "phrases": {"cause": "Why?"}},
     {"q": "?", "r": "couse", "o": ["x", "y"], "a": 1},
     "question 'couse' is not among phrases (did you mean 'cause'?): cause"),
    ("uneven answers", "span", SPAN, {**QUESTION, "a": {"text": ["Anna"], "answer_start": []}},
     "does not hold lists text and answer_start of one length"),
    ("answers of texts", "span", SPAN, {**QUESTION, "a": ["Anna"]}, "not {text: [...], answer_start: [...]}"),
    ("answer elsewhere", "span", SPAN, {**QUESTION, "a": [{"text": "Li", "answer_start": 0}]},
     "answers[0] does not stand at character 0 of the context, nor 8 around"),
    ("answer without place", "span", SPAN, {**QUESTION, "a": {"text": ["Anna"], "answer_start": [None]}},
     "answers[0]: answer_start is null, not a whole number"),
    ("no passage", "span", SPAN, {"c": " ", "q": "Where?", "a": []}, "no text in c: fill it in"),
    ("text for tokens", "tagging", TAGS, {"w": "Anna", "t": ["O"]}, "field 'w' is \"Anna\", not a list"),
    ("empty token", "tagging", TAGS, {"w": ["a", " "], "t": ["O", "O"]}, "'w' is not a list of non-empty strings"),
    ("half a token", "tagging", TAGS, {"w": ["\ud800"], "t": ["O"]}, "field 'w' holds half a surrogate"),
    ("tag beyond names", "tagging", {**TAGS, "names": ["O"]}, {"w": ["a"], "t": [1]}, "'t' is 1, but names has 1"),
    ("no tokens", "tagging", {"token": "w", "spans": "e"}, {"w": [], "e": []}, "0 tokens and 0 tags"),
    ("last beyond", "tagging", {"token": "w", "spans": "e"}, {"w": ["a"], "e": [[0, 1, "PER"]]},
     "e[0] [0, 2] is no span of the text, which has 1 tokens: correct it"),
    ("span of two", "tagging", {"token": "w", "spans": "e"}, {"w": ["a"], "e": [[0, "PER"]]},
     'e[0] is [0, "PER"], not [begin, end, label]'),
    ("no spans", "tagging", {"text": "s", "spans": "e"}, {"s": "a", "e": {}}, "'e' is not a list: write [] where"),
    ("span of a word", "tagging", {"text": "s", "spans": "e"}, {"s": "a", "e": ["PER"]}, "e[0] is no object: write"),
    ("span on a blank", "tagging", {"text": "s", "spans": "e"}, {"s": "a b", "e": [[1, 2, "PER"]]}, "covers no word"),
    ("unknown span", "tagging", {"text": "s", "spans": "e"}, {"s": "a", "e": [[0, 1, "PRE"]]}, "did you mean 'PER'"),
    ("no words", "tagging", {"text": "s", "spans": "e"}, {"s": "\u200e", "e": []}, "0 tokens and 0 tags"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "fields", "row", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_malformed_rows(tmp_path: Path, format: FormatName, fields: dict[str, Any], row: Any, says: str) -> None:
    names = {"classification": TOPICS, "multilabel": TOPICS, "tagging": NER}.get(format, NONE)
    path = jsonl(tmp_path, row)
    with pytest.raises(InputError) as caught:
        read(path, format, names, **fields)
    assert str(caught.value).startswith(f"{path}:1: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("format", "fields", "says"),
    [
        ("classification", {"label": "l"}, "needs text and label: name the fields"),
        ("multilabel", {"text": "t"}, "needs text and label"),
        ("choice", {"text": "t", "label": "l"}, "needs text, options and label"),
        ("span", {"text": ["a", "b"], "question": "q", "answers": "a"}, "needs one text, question and answers"),
        ("tagging", {"token": "w"}, "needs token and tag"),
        ("tagging", {"token": "w", "text": "t", "spans": "s"}, "needs spans, and either token or one text"),
        ("tagging", {"spans": "s"}, "needs spans, and either token or one text"),
    ],
)
def test_readers_that_name_too_little(tmp_path: Path, format: FormatName, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"reader jsonl for {format} {says}"):
        read(jsonl(tmp_path, {"x": 1}), format, NONE, **fields)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcqotwle"), inner),
    max_leaves=12,
), st.sampled_from([("classification", CLASS), ("multilabel", CLASS), ("choice", CHOICE), ("span", SPAN),
                    ("tagging", TAGS), ("tagging", {"text": "t", "spans": "e"}),
                    ("tagging", {"token": "w", "spans": "e"})]))  # fmt: skip
def test_any_row_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, value: Any, used: tuple[FormatName, dict[str, Any]]
) -> None:
    format, fields = used
    row = {name: value for name in "tlqoacwe"} | (value if isinstance(value, dict) else {})
    path = jsonl(tmp_path_factory.mktemp("any"), row)
    try:
        read(path, format, TOPICS, **fields)
    except InputError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)
