import csv
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.tasks.reading.documents import words
from waystation.tasks.reading.readers import read_file
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.tags import BadRow, Iob2, Names, relabel
from waystation.tasks.task import FormatName, Reader

NER = Names(("PER", "LOC"))
TOPIC = Names(("sports", "health"))


def reader(**fields: Any) -> Reader:
    return Reader.model_validate(fields)


def write(folder: Path, content: str | bytes, name: str = "f.txt") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tagging(path: Path, used: Reader, names: Names = NER, tally: Tally | None = None) -> list[Any]:
    return list(read_file(path, used, "tagging", names, tally=tally))


def classification(path: Path, used: Reader, names: Names = TOPIC, tally: Tally | None = None) -> list[Any]:
    return list(read_file(path, used, "classification", names, tally=tally))


def conll(**fields: Any) -> Reader:
    return reader(kind="conll", **fields)


def table(**fields: Any) -> Reader:
    return reader(**{"kind": "table", "text": "text", "label": "label", **fields})


# --- CoNLL columns


def test_conll_sentences_and_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "\n\nAnna\tB-PER\nlives\tO\n\n \t \nin\tO\nRome\tB-LOC")
    one, two = tagging(path, conll(separator="\t"))
    assert (one.id, one.words, one.tags, one.cluster) == ("1", ("Anna", "lives"), ("B-PER", "O"), None)
    assert (two.id, two.words, two.tags) == ("2", ("in", "Rome"), ("O", "B-LOC"))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_all_newlines_and_mark(tmp_path: Path, newline: str) -> None:
    text = "\ufeff" + newline.join(["Anna B-PER", "Li I-PER", "", "Rome B-LOC", ""])
    one, two = tagging(write(tmp_path, text), conll())
    assert one.words == ("Anna", "Li")
    assert two.tags == ("B-LOC",)


def test_only_newlines_end_lines(tmp_path: Path) -> None:
    (one,) = tagging(write(tmp_path, "a\u2028b\tO\nc\x85d\tO\ne\u00a0f\tO\n"), conll(separator="\t"))
    assert one.words == ("a\u2028b", "c\x85d", "e\u00a0f")
    (two,) = tagging(write(tmp_path, "e\u00a0f  O\ng \t O\n"), conll())  # a no-break space is no blank
    assert two.words == ("e\u00a0f", "g")


def test_columns_are_chosen(tmp_path: Path) -> None:
    text = "1 Anna NNP I-NP B-PER x\n2 Rome NNP I-NP B-LOC x\n"
    (one,) = tagging(write(tmp_path, text), conll(token=1, tag=-2))
    assert one.words == ("Anna", "Rome")
    assert one.tags == ("B-PER", "B-LOC")


def test_docstart_begins_a_cluster(tmp_path: Path) -> None:
    text = "first O\n-DOCSTART- -X- O\n\nAnna B-PER\n\nRome B-LOC\n-DOCSTART-\nLi B-PER\n"
    found = list(read_file(write(tmp_path, text), conll(), "tagging", NER, prefix="test/en/"))
    assert [example.cluster for example in found] == [
        None, "test/en/document-1", "test/en/document-1", "test/en/document-2",
    ]  # fmt: skip
    assert [example.id for example in found] == [f"test/en/{number}" for number in (1, 2, 3, 4)]


def test_stray_tags_begin_an_entity_and_are_counted(tmp_path: Path) -> None:
    tally = Tally()
    text = "a I-PER\nb I-PER\nc I-LOC\nd O\ne I-LOC\n\nf B-PER\n\ng I-PER\n"
    found = tagging(write(tmp_path, text), conll(), tally=tally)
    assert [example.tags for example in found] == [("B-PER", "I-PER", "B-LOC", "O", "B-LOC"), ("B-PER",), ("B-PER",)]
    assert tally.notes["stray"] == 4


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("iob1", "I-PER I-PER B-PER O I-LOC I-PER", "B-PER I-PER B-PER O B-LOC B-PER"),
        ("io", "I-PER I-PER I-LOC O I-LOC", "B-PER I-PER B-LOC O B-LOC"),
        ("io", "PER PER LOC O PER", "B-PER I-PER B-LOC O B-PER"),
        ("plain", "PER LOC PER PER LOC PER", "PER LOC PER PER LOC PER"),
    ],
)
def test_schemes(tmp_path: Path, scheme: str, tags: str, expected: str) -> None:
    tally = Tally()
    text = "".join(f"w {tag}\n" for tag in tags.split())
    (one,) = tagging(write(tmp_path, text), conll(scheme=scheme), tally=tally)
    assert one.tags == tuple(expected.split())
    assert tally.notes["stray"] == 0


def test_renames_go_by_name_and_do_not_join_entities(tmp_path: Path) -> None:
    names = Names(("WHO",), {"PER": "WHO", "CHAR": "WHO", "LOC": None})
    (one,) = tagging(write(tmp_path, "a I-PER\nb I-CHAR\nc I-LOC\nd I-PER\n"), conll(scheme="io"), names)
    assert one.tags == ("B-WHO", "B-WHO", "O", "B-WHO")


def test_names_in_two_steps() -> None:
    names = Names(("PER", "LOC"), {"person": "PER"}, Names(("WHO",), {"PER": "WHO", "LOC": None}))
    assert [names("person"), names("PER"), names("LOC")] == ["WHO", "WHO", None]
    assert relabel(("B-PER", "I-PER", "B-LOC", "O"), names) == ("B-WHO", "I-WHO", "O", "O")
    with pytest.raises(BadRow, match=r"'LOC' is neither a label of the task \(WHO\)"):
        Names(("LOC",), {}, Names(("WHO",)))("LOC")


def test_hyphens_and_slashes_in_labels(tmp_path: Path) -> None:
    names = Names(("creative-work", "LEGISLATION/ACT"))
    text = "a B-creative-work\nb I-creative-work\nc B-LEGISLATION/ACT\n"
    (one,) = tagging(write(tmp_path, text), conll(), names)
    assert one.tags == ("B-creative-work", "I-creative-work", "B-LEGISLATION/ACT")
    (two,) = tagging(write(tmp_path, "a creative-work\n"), conll(scheme="io"), names)
    assert two.tags == ("B-creative-work",)


Spans = list[tuple[str | None, int]]


def _iob2(spans: Spans) -> list[str]:
    tags = []
    for kind, length in spans:
        tags += ["O"] * length if kind is None else [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
    return tags


def _iob1(spans: Spans) -> list[str]:
    tags: list[str] = []
    for kind, length in spans:
        touches = bool(tags) and tags[-1][2:] == kind
        tags += ["O"] * length if kind is None else [f"{'B' if touches else 'I'}-{kind}"] + [f"I-{kind}"] * (length - 1)
    return tags


@given(st.lists(st.tuples(st.sampled_from([None, "PER", "LOC"]), st.integers(1, 3)), min_size=1, max_size=12))
def test_iob_round_trips(spans: Spans) -> None:
    def read(scheme: Any, tags: Iterable[str]) -> list[str]:
        convert = Iob2(scheme, NER, Tally().notes)
        return [convert(tag) for tag in tags]

    assert read("iob2", _iob2(spans)) == _iob2(spans)
    assert read("iob1", _iob1(spans)) == _iob2(spans)
    # IO cannot tell neighbours of one type apart: what it keeps is the spans joined.
    joined: Spans = []
    for kind, length in spans:
        if joined and joined[-1][0] == kind:
            joined[-1] = (kind, joined[-1][1] + length)
        else:
            joined.append((kind, length))
    assert read("io", [tag.replace("B-", "I-") for tag in _iob2(spans)]) == _iob2(joined)


# --- tables and JSON lines


def test_table_with_quoted_newlines(tmp_path: Path) -> None:
    text = '\ufefflabel\ttext\turl\nsports\t"He said ""go"".\n\nThen left."\tu\nhealth\tRest\tu\n\n'
    one, two = classification(write(tmp_path, text), table())
    assert (one.id, one.text, one.label, one.pair) == ("1", 'He said "go".\n\nThen left.', "sports", None)
    assert (two.id, two.text) == ("2", "Rest")


def test_table_without_quoting_and_header(tmp_path: Path) -> None:
    path = write(tmp_path, '"Go\tsaid "she"\tsports\nRest, "\tthen\thealth\n')
    used = table(header=False, quoting=False, text="0", pair="1", label="2")
    one, two = classification(path, used)
    assert (one.text, one.pair) == ('"Go', 'said "she"')
    assert two.text == 'Rest, "'


def test_text_of_several_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "head,text,label\nA,b,sports\n,c,health\n", "f.csv")
    found = classification(path, table(separator=",", text=["head", "text"]))
    assert [example.text for example in found] == ["A b", "c"]


def test_rows_left_out_keep_the_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "text\tlabel\na\tsports\nb\tother\nc\thealth\n")
    tally = Tally()
    found = classification(path, table(), Names(("sports", "health"), {"other": None}), tally)
    assert [example.id for example in found] == ["1", "3"]
    assert tally.notes["left out"] == 1


def test_own_ids_and_clusters(tmp_path: Path) -> None:
    path = write(tmp_path, "id\tdoc\ttext\tlabel\nx7\td1\tsame\tsports\nx8\td1\tother\tsports\nx9\td2\tsame\thealth\n")
    found = classification(path, table(id="id", cluster="doc"))
    assert [(example.id, example.cluster) for example in found] == [("x7", "d1"), ("x8", "d1"), ("x9", "d2")]
    by_text = classification(path, table(cluster="text"))
    assert [example.cluster for example in by_text] == ["1", "2", "1"]


def test_slips_of_annotators_are_renamed_as_they_are(tmp_path: Path) -> None:
    names = Names(("PER", "LOC"), {"P": None, "PLACE": "LOC", "I_LOC": "LOC"})
    text = "a P\nb I-PER\nc P\nd PLACE\ne I_LOC\n"
    (one,) = tagging(write(tmp_path, text), conll(scheme="iob1"), names)
    assert one.tags == ("O", "B-PER", "O", "B-LOC", "B-LOC")
    with pytest.raises(InputError, match=r"'Q' is not O, B-\.\.\. or I-\.\.\. as scheme iob1 wants"):
        tagging(write(tmp_path, "a Q\n"), conll(scheme="iob1"), names)


def test_a_table_of_tokens(tmp_path: Path) -> None:
    text = '-DOCSTART-,O\n,O\nAnna,I-PER\n",",O\n"1,000",O\n,O\n,O\n\nRome,I-LOC\n-DOCSTART-,O\nLi,I-PER\n'
    used = table(separator=",", header=False, token="0", tag="1", scheme="io", text=None, label=None)
    one, two, three = tagging(write(tmp_path, text), used)
    assert (one.words, one.tags) == (("Anna", ",", "1,000"), ("B-PER", "O", "O"))
    assert [example.cluster for example in (one, two, three)] == ["document-1", "document-1", "document-2"]
    assert [example.id for example in (one, two, three)] == ["1", "2", "3"]


def test_a_table_of_tokens_of_some_rows(tmp_path: Path) -> None:
    text = "w\tt\tpart\na\tB-PER\tx\n\t\t\nb\tO\ty\nc\tB-LOC\tx\n"
    one, two = tagging(write(tmp_path, text), reader(kind="table", token="w", tag="t", where={"part": "x"}))
    assert (one.words, two.words) == (("a",), ("c",))


def test_a_field_longer_than_the_csv_limit(tmp_path: Path) -> None:
    long = "word " * 40_000
    path = write(tmp_path, f'text,label\n"{long}",sports\n')
    (one,) = classification(path, table(separator=","))
    assert one.text == long


def test_jsonl_texts(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": "a", "label": 1, "score": NaN}\n{"text": "b", "label": "sports"}\n\n')
    found = classification(path, reader(kind="jsonl", text="text", label="label"), Names(("sports",), {"1": "sports"}))
    assert [(example.text, example.label) for example in found] == [("a", "sports"), ("b", "sports")]


def test_jsonl_tags(tmp_path: Path) -> None:
    path = write(tmp_path, '{"w": ["Anna", "ran"], "t": ["B-PER", "O"], "d": 7}\n')
    (one,) = tagging(path, reader(kind="jsonl", token="w", tag="t", cluster="d"))
    assert (one.words, one.tags, one.cluster) == (("Anna", "ran"), ("B-PER", "O"), "7")


ANY_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda text: bool(text.strip()))


@given(
    st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=5),
    st.sampled_from(["\t", ",", ";"]),
    # Not minimal quoting with "\n": there csv.writer leaves a lone "\r" unquoted, which no reader can repair.
    st.sampled_from([(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_MINIMAL, "\r\n")]),
)
def test_quoted_tables_round_trip(rows: list[tuple[str, str]], separator: str, style: tuple[Any, str]) -> None:
    quoting, newline = style
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator=newline)
    writer.writerow(["text", "pair", "label"])
    writer.writerows([(text, pair, "sports") for text, pair in rows])
    with TemporaryDirectory() as folder:
        path = write(Path(folder), buffer.getvalue())
        found = classification(path, table(separator=separator, pair="pair"))
    # The one thing that changes: newlines inside fields become "\n".
    expected = [tuple(re.sub("\r\n?", "\n", text) for text in row) for row in rows]
    assert [(example.text, example.pair) for example in found] == expected


PLAIN_TEXT = ANY_TEXT.filter(lambda text: not set(text) & set("\t\r\n"))


@given(st.lists(st.tuples(PLAIN_TEXT, PLAIN_TEXT), min_size=1, max_size=5))
def test_unquoted_tables_round_trip(rows: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as folder:
        text = "label\ttext\tpair\n" + "".join(f"sports\t{text}\t{pair}\n" for text, pair in rows)
        found = classification(write(Path(folder), text), table(quoting=False, pair="pair"))
    assert [(example.text, example.pair) for example in found] == rows


# --- whole documents


def test_words() -> None:
    text = "L'état, 3.5 mg—हिन्दी 日本の b_c\u200b !"
    assert [text[begin:end] for begin, end in words(text)] == [
        "L", "'", "état", ",", "3", ".", "5", "mg", "—", "हिन्दी", "日", "本", "の", "b_c", "!",
    ]  # fmt: skip


def document(**changes: Any) -> str:
    text = "Anna saw Rome. Li Ba left."
    record = {
        "doc_id": "d1", "text": text, "sentences": [[0, 14], [15, 26]],
        "entities": [{"begin": 0, "end": 4, "label": "PER"}, {"begin": 15, "end": 20, "label": "PER"}],
    }  # fmt: skip
    return json.dumps({**record, **changes}) + "\n"


DOCUMENTS = reader(kind="documents")


def test_documents(tmp_path: Path) -> None:
    one, two = tagging(write(tmp_path, document()), DOCUMENTS)
    assert (one.id, one.cluster) == ("d1/1", "d1")
    assert one.words == ("Anna", "saw", "Rome", ".")
    assert one.tags == ("B-PER", "O", "O", "O")
    assert (two.id, two.tags) == ("d1/2", ("B-PER", "I-PER", "O", "O"))


def entity(begin: int, end: int, label: str = "PER", **more: Any) -> dict[str, Any]:
    return {"begin": begin, "end": end, "label": label, **more}


@pytest.mark.parametrize(
    ("entities", "expected", "note"),
    [
        ([entity(0, 4), entity(0, 8, "LOC")], "B-LOC I-LOC O O", "overlapping"),  # the longest
        ([entity(5, 13), entity(0, 8, "LOC")], "B-LOC I-LOC O O", "overlapping"),  # of equal ones the earliest
        ([entity(0, 4), entity(0, 4, "LOC")], "B-PER O O O", "overlapping"),  # then the first listed
        ([entity(1, 3)], "B-PER O O O", None),  # part of a word marks the word
        ([entity(0, 2), entity(2, 4, "LOC")], "B-PER O O O", "overlapping"),  # two parts of one word
        ([entity(0, 8, discontinuous="yes"), entity(9, 13, "LOC")], "O O B-LOC O", "discontinuous"),
        ([entity(0, 13, "DATE"), entity(9, 13, "LOC")], "O O B-LOC O", None),  # renamed to null: not seen
    ],
)
def test_overlaps(tmp_path: Path, entities: list[Any], expected: str, note: str | None) -> None:
    tally = Tally()
    path = write(tmp_path, document(entities=entities))
    one, _ = tagging(path, DOCUMENTS, Names(("PER", "LOC"), {"DATE": None}), tally)
    assert " ".join(one.tags) == expected
    assert dict(tally.notes) == ({note: 1} if note else {})


def test_an_entity_across_sentences_joins_them(tmp_path: Path) -> None:
    tally = Tally()
    (one,) = tagging(write(tmp_path, document(entities=[entity(9, 17)])), DOCUMENTS, tally=tally)
    assert one.words == ("Anna", "saw", "Rome", ".", "Li", "Ba", "left", ".")
    assert one.tags == ("O", "O", "B-PER", "I-PER", "I-PER", "O", "O", "O")
    assert tally.notes["merged"] == 1


def test_an_entity_from_the_gap_joins_nothing(tmp_path: Path) -> None:
    assert len(tagging(write(tmp_path, document(entities=[entity(14, 17)])), DOCUMENTS)) == 2


# --- malformed input: one line, file:line, and what to do

BAD: list[tuple[str, str | bytes, Reader, FormatName, int, str]] = [
    ("missing tag", "Anna B-PER\nran\n", conll(), "tagging", 2, "1 column where the lines before have 2: correct"),
    ("only tokens", "Anna\nran\n", conll(tag=1), "tagging", 1, "no column 1 for the tag, only 1 column: check"),
    ("empty tag", "Anna\tB-PER\nran\t\n", conll(separator="\t"), "tagging", 2, "the tag is empty: fill it in"),
    ("empty token", "Anna\tO\n\tO\n", conll(separator="\t"), "tagging", 2, "the token is empty: fill"),
    ("space token", "Anna\tO\n\u3000\tO\n", conll(separator="\t"), "tagging", 2, "the token is empty"),
    ("too many columns", "Anna O\nNew York O\n", conll(separator=" "), "tagging", 2, "3 columns where .* have 2"),
    ("no such column", "Anna O\n", conll(token=4), "tagging", 1, "no column 4 for the token"),
    ("wrong separator", "Anna O\n", conll(separator="\t", tag=1), "tagging", 1, "check separator and tag"),
    ("unknown tag", "a O\nb B-PERS\n", conll(), "tagging", 2,
     r"'PERS' is neither a label of the task \(PER, LOC\) nor a name in its rename \(did you mean 'PER'\?\): add it"),
    ("bare tag", "a PER\n", conll(), "tagging", 1, "'PER' is not O, B-... or I-... as scheme iob2 wants: correct it"),
    ("empty type", "a B-\n", conll(), "tagging", 1, "'B-' is not O"),
    ("BIOES", "a S-PER\n", conll(), "tagging", 1, "'S-PER' is not O"),
    ("B- in IO", "a B-PER\n", conll(scheme="io"), "tagging", 1, "set scheme to iob1 or iob2"),
    ("plain O", "a PER\nb O\n", conll(scheme="plain"), "tagging", 2, "'O' is neither a label"),
    ("latin-1", b"Anna O\ncaf\xe9 O\n", conll(), "tagging", 2, r"not UTF-8 \(byte 0xe9 at column 4\): save"),
    ("UTF-16", "Anna O\n".encode("utf-16"), conll(), "tagging", 1, "not UTF-8 .*: save the file as UTF-8"),
    ("missing column", "txt\tlabel\na\tsports\n", table(), "classification", 1,
     r"no column 'text' \(did you mean 'txt'\?\); the file has txt, label"),
    ("separator of a table", "text,label\na,sports\n", table(), "classification", 1, "check the separator"),
    ("column twice", "text\ttext\tlabel\na\tb\tsports\n", table(), "classification", 1, "'text' occurs twice: rename"),
    ("short row", "text\tlabel\na\tsports\nb\n", table(), "classification", 3, "1 column where 2 .*quoting: false"),
    ("long row", "a\tsports\nb\tc\td\n", table(header=False, quoting=False, text="0", label="1"), "classification", 2,
     "3 columns where 2 are expected: correct the row, or check the separator"),
    ("no column 2", "a\tsports\n", table(header=False, text="0", label="2"), "classification", 1, "no column '2'"),
    ("unknown label", 'text\tlabel\n"a\nb"\tsports\nc\tsport\n', table(), "classification", 4,
     r"'sport' is neither a label of the task \(sports, health\) .*did you mean 'sports'"),
    ("open quote", 'text\tlabel\na\tsports\n"b\thealth\nc\tsports\n', table(), "classification", 3, "close the quote"),
    ("text after quote", 'text\tlabel\n"b" c\thealth\n', table(), "classification", 2, "set quoting: false"),
    ("blank line", "text\tlabel\na\tsports\n\nb\thealth\n", table(), "classification", 3, "blank line .*: remove it"),
    ("no text", "text\tlabel\n \tsports\n", table(), "classification", 2, "no text in text: fill it in"),
    ("no pair", "text\tpair\tlabel\na\t\tsports\n", table(pair="pair"), "classification", 2, "no text in pair: fill"),
    ("id twice", "id\ttext\tlabel\n7\ta\tsports\n7\tb\tsports\n", table(id="id"), "classification", 3,
     "id '7' occurs twice: make ids unique"),
    ("empty id", "id\ttext\tlabel\n\ta\tsports\n", table(id="id"), "classification", 2, "the id is empty: fill"),
    ("empty cluster", "c\ttext\tlabel\n\ta\tsports\n", table(cluster="c"), "classification", 2, "cluster 'c' is empty"),
    ("not JSON", '{"text": "a", "label": "sports"}\n{"text": \n', table(kind="jsonl"), "classification", 2,
     "not JSON .*: write one object per line"),
    ("JSON list", "[1]\n", table(kind="jsonl"), "classification", 1, "a JSON list, not an object: write"),
    ("deep JSON", "[" * 100_000 + "\n", table(kind="jsonl"), "classification", 1, "not JSON"),
    ("JSON gap", '\n{"text": "a"}\n', table(kind="jsonl"), "classification", 1, "a blank line .*: remove it"),
    ("missing field", '{"txt": "a", "label": "sports"}\n', table(kind="jsonl"), "classification", 1,
     r"no field 'text' \(did you mean 'txt'\?\)"),
    ("text is no string", '{"text": [1], "label": "x"}\n', table(kind="jsonl"), "classification", 1, "not a string"),
    ("infinite", '{"text": "a", "label": Infinity}\n', table(kind="jsonl"), "classification", 1,
     r"not JSON \(Infinity is no number\): write one object"),
    ("long number", '{"label": ' + "1" * 5000 + "}\n", table(kind="jsonl"), "classification", 1,
     r"not JSON \(Exceeds the limit .*\): write one object"),
    ("missing value", '{"text": NaN, "label": "x"}\n', table(kind="jsonl"), "classification", 1,
     "'text' is null, not a string"),
    ("broken label", '{"text": "a", "label": "x\\ny"}\n', table(kind="jsonl"), "classification", 1, "'x y' is neither"),
    ("label is a truth", '{"text": "a", "label": true}\n', table(kind="jsonl"), "classification", 1, "not a string"),
    ("half a pair", '{"text": "\\ud800", "label": "x"}\n', table(kind="jsonl"), "classification", 1, "surrogate"),
    ("tag numbers", '{"w": ["a"], "t": [0]}\n', reader(kind="jsonl", token="w", tag="t"), "tagging", 1,
     "'t' is not a list of non-empty strings: write names, or say what numbers are in names"),
    ("uneven lists", '{"w": ["a", "b"], "t": ["O"]}\n', reader(kind="jsonl", token="w", tag="t"), "tagging", 1,
     "2 tokens and 1 tags: give one tag for each"),
    ("no such field", '{"doc_id": "d"}\n', DOCUMENTS, "tagging", 1, "no field 'text'"),
    ("document twice", document() * 2, DOCUMENTS, "tagging", 2, "id 'd1' occurs twice"),
    ("offset beyond", document(entities=[entity(20, 99)]), DOCUMENTS, "tagging", 1,
     r"entities\[0\] \[20, 99\] is no span of the text, which has 26 characters: correct it"),
    ("empty entity", document(entities=[entity(3, 3)]), DOCUMENTS, "tagging", 1, "is no span"),
    ("truth as offset", document(entities=[entity(True, 3)]), DOCUMENTS, "tagging", 1, "is no span"),
    ("entity on a blank", document(entities=[entity(14, 15)]), DOCUMENTS, "tagging", 1, "covers no word"),
    ("unknown type", document(entities=[entity(0, 4, "PRE")]), DOCUMENTS, "tagging", 1, "'PRE' is neither"),
    ("untyped entity", document(entities=[{"begin": 0, "end": 4}]), DOCUMENTS, "tagging", 1, "has no 'label': write"),
    ("sentences overlap", document(sentences=[[0, 14], [10, 26]]), DOCUMENTS, "tagging", 1, "order them"),
    ("no sentences", document(sentences=[]), DOCUMENTS, "tagging", 1, "give at least one"),
    ("flat sentences", document(sentences=[0, 14]), DOCUMENTS, "tagging", 1, r"sentences\[0\] is not \[begin, end\]"),
    ("no entity list", document(entities=None), DOCUMENTS, "tagging", 1, r"write \[\] where there are none"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "used", "format", "line", "says"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_malformed(
    tmp_path: Path, content: str | bytes, used: Reader, format: FormatName, line: int, says: str
) -> None:
    path = write(tmp_path, content, "a file.txt")
    with pytest.raises(InputError) as caught:
        list(read_file(path, used, format, NER if format == "tagging" else TOPIC))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}:{line}: ")
    assert re.search(says, message), message


@pytest.mark.parametrize(
    ("content", "used", "format", "says"),
    [
        ("", conll(), "tagging", r"no examples \(it is empty\): check"),
        ("\n\n", conll(), "tagging", r"no examples \(it is empty\)"),
        ("", table(), "classification", r"no examples \(it is empty\)"),
        ("text\tlabel\n", table(), "classification", r"no examples \(it is empty\)"),
        ("text\tlabel\na\tx\n", table(), "classification", r"no examples \(all 1 rows are left out by rename\)"),
        ("", DOCUMENTS, "tagging", r"no examples \(it is empty\)"),
        ("a\tO\n", table(), "tagging", "reader table for tagging needs token and tag: name the columns"),
        (
            '{"data": []}',
            reader(kind="squad"),
            "tagging",
            "reader 'squad' makes no tagging examples: use conll, conllu",
        ),
        ("a\n", conll(), "classification", "reader 'conll' makes no classification examples: use table, jsonl, json"),
        ("w\tt\n", reader(kind="table", token="w", tag="t", id="i"), "tagging", "has no id and no cluster: leave them"),
        ("a\n", conll(tag="ner"), "tagging", "give token and tag as numbers"),
        (
            "a\n",
            reader(kind="table", text="text"),
            "classification",
            "reader table for classification needs text and label",
        ),
        ('{"a": 1}\n', reader(kind="jsonl"), "tagging", "needs token and tag: name the fields"),
        ("a||b\n", table(separator="||"), "classification", "has 2 characters: with quoting, give one"),
    ],
)
def test_nothing_to_read(tmp_path: Path, content: str, used: Reader, format: FormatName, says: str) -> None:
    path = write(tmp_path, content)
    names = NER if format == "tagging" else Names(("sports",), {"x": None})
    with pytest.raises(InputError) as caught:
        list(read_file(path, used, format, names))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert re.search(says, message), message


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt: cannot be read \(No such file or directory\): check the path"):
        tagging(tmp_path / "none.txt", conll())


def test_an_open_quote_does_not_swallow_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'text\tlabel\n"a\tsports\n' + "b\thealth\n" * 3_000_000)
    with pytest.raises(InputError, match=r"f\.txt:2: field larger than field limit .*: close the quote"):
        classification(path, table())


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_one_line(content: bytes) -> None:
    used: list[tuple[Reader, FormatName]] = [
        (conll(), "tagging"), (DOCUMENTS, "tagging"), (table(), "classification"),
        (table(header=False, text="0", label="1"), "classification"), (table(kind="jsonl"), "classification"),
    ]  # fmt: skip
    with TemporaryDirectory() as folder:
        path = write(Path(folder), content)
        for one, format in used:
            try:
                list(read_file(path, one, format, NER))
            except InputError as error:
                assert "\n" not in str(error)
                assert str(error).startswith(str(path))
