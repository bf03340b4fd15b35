"""Folders of annotated documents: brat and UIMA CAS XMI. Both go through the rules that whole documents have."""

import json
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.tasks.reading.brat import split
from waystation.tasks.reading.readers import inputs, read_file
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.tags import Names
from waystation.tasks.task import Reader

NER = Names(("PER", "LOC"), {"DATE": None})
TEXT = "Anna saw Rome. Li Ba left.\nOn Monday"


def read(folder: Path, kind: str, names: Names = NER, tally: Tally | None = None, **fields: Any) -> list[Any]:
    used = Reader.model_validate({"kind": kind, **fields})
    return list(read_file(folder, used, "tagging", names, tally=tally))


# --- brat


def brat(folder: Path, notes: str, text: str = TEXT, name: str = "d1") -> Path:
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes(notes.encode())
    return folder


def test_brat(tmp_path: Path) -> None:
    notes = (
        "T1\tPER 0 4\tAnna\nR1\tIn Arg1:T1 Arg2:T2\t\nT2\tLOC 9 13\tRome\n#1\tNote T1\tx\nA1\tSure T1\nE1\tGo:T2\n"
        "N1\tReference T2 Wikidata:Q220\tRome\nM1\tSure T1\n*\tEquiv T1 T2\n\nT3\tPER 15 20\tLi Ba\n"
        "T4\tDATE 30 36\tMonday\n"
    )
    brat(tmp_path, "", "Nothing here", "d2")
    one, two, three, four = read(brat(tmp_path, notes), "brat")
    assert (one.id, one.cluster, one.words) == ("d1/1", "d1", ("Anna", "saw", "Rome", "."))
    assert (one.tags, two.tags) == (("B-PER", "O", "B-LOC", "O"), ("B-PER", "I-PER", "O", "O"))
    assert (three.words, three.tags) == (("On", "Monday"), ("O", "O"))
    assert (four.id, four.tags) == ("d2/1", ("O", "O"))
    assert [path.name for path in inputs(tmp_path, Reader(kind="brat"))] == ["d1.txt", "d1.ann", "d2.txt", "d2.ann"]


@pytest.mark.parametrize(
    ("notes", "tags", "counted"),
    [
        ("T1\tPER 0 4;9 13\tAnna Rome\n", "O O O O", {"discontinuous": 1}),
        ("T1\tPER 9 13;0 4\tRome Anna\n", "O O O O", {"discontinuous": 1}),
        ("T1\tPER 0 4;5 8\tAnna saw\n", "B-PER I-PER O O", {}),
        ("T1\tLOC 5 8;0 4\tsaw Anna\n", "B-LOC I-LOC O O", {}),
        ("T1\tPER 0 4\tAnna\nT2\tLOC 0 13\tAnna saw Rome\n", "B-LOC I-LOC I-LOC O", {"overlapping": 1}),
        ("T1\tDATE 0 13;15 17\tAnna saw Rome Li\nT2\tPER 0 4\tAnna\n", "B-PER O O O", {}),
    ],
)
def test_brat_goes_by_the_rules_of_documents(tmp_path: Path, notes: str, tags: str, counted: dict[str, int]) -> None:
    tally = Tally()
    found = read(brat(tmp_path, notes), "brat", tally=tally)
    assert " ".join(found[0].tags) == tags
    assert len(found) == 3
    assert tally.notes == counted


def test_brat_joins_sentences_that_an_entity_crosses(tmp_path: Path) -> None:
    tally = Tally()
    found = read(brat(tmp_path, "T1\tPER 21 29\tleft. On\n"), "brat", tally=tally)
    assert len(found) == 2 and tally.notes == {"merged": 1}
    assert found[1].tags == ("O", "O", "B-PER", "I-PER", "I-PER", "O")


def test_brat_counts_every_character(tmp_path: Path) -> None:
    text = "\U0001f600 a\r\nAnna\r\n"
    (one, two) = read(brat(tmp_path, f"T1\tPER {text.index('Anna')} {text.index('Anna') + 4}\tAnna\r\n", text), "brat")
    assert (one.words, two.words, two.tags) == (("\U0001f600", "a"), ("Anna",), ("B-PER",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?\nFour", ["One.", "Two!", "Three?", "Four"]),
        ("See fig. two. Then 3.5 mg, i.e. little. 4 days", ["See fig. two.", "Then 3.5 mg, i.e. little.", "4 days"]),
        ('He said "no." She left (late!). «Да.» Он', ['He said "no."', "She left (late!).", "«Да.»", "Он"]),
        ("日本。東京！「はい。」次", ["日本。", "東京！", "「はい。」", "次"]),
        ("  Wait... what?  No…\tYes \n\n\r\n", ["Wait... what?", "No…", "Yes"]),
        (" \n", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[begin:end] for begin, end in split(text)] == expected


@given(st.text(st.sampled_from("aB .!?。\n\r\t\"')…1")))
def test_sentences_leave_nothing_but_blanks_out(text: str) -> None:
    found = split(text)
    assert "".join("".join(text[begin:end] for begin, end in found).split()) == "".join(text.split())
    assert all(text[begin:end] == text[begin:end].strip() != "" for begin, end in found)
    assert all(before[1] <= after[0] for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("notes", "line", "says"),
    [
        ("T1\tPER 0 99\tAnna\n", 1, "T1 [0, 99] is no span of the text, which has 36 characters: correct it"),
        ("T1\tPER 4 4\t\n", 1, "T1 [4, 4] is no span of the text"),
        ("T1\tPER 0 4\tRome\n", 1, "T1 is 'Rome', but its place holds 'Anna': correct begin and end"),
        ("T1\tPER 0 4;9 13\tAnna saw\n", 1, "T1 is 'Anna saw', but its place holds 'Anna Rome'"),
        ("T1\tPER 0 4\tAnna\nT2\tPRE 0 4\tAnna\n", 2, "'PRE' is neither a label of the task (PER, LOC)"),
        ("T1 PER 0 4 Anna\n", 1, "'T1 PER 0 4 Anna' is no annotation of brat: write T1, tab, type begin end"),
        ("T1\tPER 0\tAnna\n", 1, "'T1\tPER 0\tAnna' is no annotation"),
        ("T1\tPER 0 4,9 13\tAnna Rome\n", 1, "'T1\tPER 0 4,9 13\tAnna Rome' is no annotation"),
        ("X1\tPER 0 4\tAnna\n", 1, "'X1\tPER 0 4\tAnna' is no annotation"),
        ("T1\tPER 4 5\t \n", 0, "entity [4, 5] (PER) covers no word of any sentence: correct its offsets"),
    ],
)
def test_malformed_brat(tmp_path: Path, notes: str, line: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read(brat(tmp_path, notes), "brat")
    place = f"{tmp_path}/d1.ann:{line}: " if line else f"{tmp_path}/d1.ann: "
    assert str(caught.value).startswith(place + says)


def test_malformed_folders(tmp_path: Path) -> None:
    for kind, what in (("brat", "no .txt file in it"), ("xmi", "no .xml or .xmi file in it")):
        with pytest.raises(InputError, match=f"^{tmp_path}: {what}: name the folder that holds the documents"):
            read(tmp_path, kind)
        with pytest.raises(InputError, match=f"none: not a folder: reader {kind} takes a folder of"):
            read(tmp_path / "none", kind)
    brat(tmp_path, "")
    (tmp_path / "d1.ann").unlink()
    with pytest.raises(InputError, match=r"d1\.txt: no d1\.ann beside it: add it, empty where there are no entities"):
        read(tmp_path, "brat")
    (tmp_path / "d1.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match=r"d1\.txt:2: not UTF-8"):
        read(tmp_path, "brat")


# --- XMI


def xmi(folder: Path, *elements: str, text: str | None = TEXT, head: str = "", name: str = "d1.xml") -> Path:
    sofa = (
        ""
        if text is None
        else f'<cas:Sofa xmi:id="12" sofaNum="1" sofaID="_InitialView" sofaString={quoteattr(text)}/>'
    )
    (folder / name).write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<xmi:XMI xmlns:xmi="http://www.omg.org/XMI" '
        'xmlns:cas="http:///uima/cas.ecore" xmlns:custom="http:///webanno/custom.ecore" '
        'xmlns:seg="http:///core/segmentation.ecore" xmi:version="2.0"><cas:NULL xmi:id="0"/>'
        f'{"".join(elements)}{sofa}<cas:View sofa="12"/></xmi:XMI>',
        encoding="utf-8",
    )
    return folder


def element(name: str, begin: int, end: int, **more: str) -> str:
    rest = "".join(f" {key}={quoteattr(value)}" for key, value in more.items())
    return f'<{name} xmi:id="7" sofa="12" begin="{begin}" end="{end}"{rest}/>'


SENTENCES = [element("seg:Sentence", 27, 36), element("seg:Sentence", 0, 14), element("seg:Sentence", 15, 26)]


def test_xmi(tmp_path: Path) -> None:
    tally = Tally()
    folder = xmi(
        tmp_path, *SENTENCES, element("seg:Token", 0, 4), element("custom:PER", 0, 4, cui="C1"),
        element("custom:LOC", 9, 13), element("custom:DATE", 30, 36), element("custom:PER", 15, 20, discontinuous="x"),
        element("custom:PER", 15, 17, discontinuous=""), element("custom:EVENT", 5, 8),
    )  # fmt: skip
    one, two, three = read(folder, "xmi", tally=tally)
    assert (one.id, one.cluster, one.words) == ("d1/1", "d1", ("Anna", "saw", "Rome", "."))
    assert one.tags == ("B-PER", "O", "B-LOC", "O")
    assert (two.tags, three.tags) == (("B-PER", "O", "O", "O"), ("O", "O"))
    assert tally.notes == {"discontinuous": 1}
    only = read(folder, "xmi", Names(("PER",)), label="PER")
    assert [example.tags for example in only] == [("B-PER", "O", "O", "O"), ("B-PER", "O", "O", "O"), ("O", "O")]
    assert [path.name for path in inputs(folder, Reader(kind="xmi"))] == ["d1.xml"]


def test_the_type_may_be_an_attribute(tmp_path: Path) -> None:
    mentions = [element("custom:Mention", 0, 4, value="PER"), element("custom:Mention", 9, 13, value="LOC")]
    one, _, _ = read(xmi(tmp_path, *SENTENCES, *mentions), "xmi", label="Mention.value")
    assert one.tags == ("B-PER", "O", "B-LOC", "O")
    with pytest.raises(InputError, match=r"d1\.xml: a Mention has no attribute 'kind': correct the reader's label"):
        read(tmp_path, "xmi", label="Mention.kind")


@given(st.text(st.sampled_from("aé日\U0001f600\U00010400 \n\t&<\"'"), max_size=20), st.integers(1, 4))
def test_offsets_count_utf16_units(before: str, length: int) -> None:
    text = before + "\U00010400" * length + " z"
    units = [len(text[:place].encode("utf-16-le")) // 2 for place in (0, len(before), len(before) + length, len(text))]
    with TemporaryDirectory() as folder:
        whole = element("seg:Sentence", units[0], units[3])
        found = read(xmi(Path(folder), whole, element("custom:PER", units[1], units[2]), text=text), "xmi")
        record = {"doc_id": "d1", "text": text, "sentences": [[0, len(text)]],
                  "entities": [{"begin": len(before), "end": len(before) + length, "label": "PER"}]}  # fmt: skip
        path = Path(folder) / "d.jsonl"
        path.write_text(json.dumps(record) + "\n")
        assert found == read(path, "documents")


@pytest.mark.parametrize(
    ("elements", "text", "says"),
    [
        (SENTENCES, None, ": 0 texts (Sofa with sofaString), not one: export one document per file"),
        ([*SENTENCES, '<cas:Sofa xmi:id="13" sofaString="x"/>'], TEXT, ": 2 texts (Sofa with sofaString), not one"),
        ([], TEXT, ": no Sentence: export the sentences with the document"),
        ([*SENTENCES, element("seg:Sentence", 10, 20)], TEXT, ": sentences [0, 14] and [10, 20] overlap: correct one"),
        ([element("seg:Sentence", 0, 99)], TEXT, ": a Sentence [0, 99] is no span of the text, which has 36"),
        ([*SENTENCES, element("custom:PER", 3, 3)], TEXT, ": a PER [3, 3] is no span of the text"),
        ([*SENTENCES, '<custom:PER begin="0"/>'], TEXT, ": a PER without begin and end in whole numbers: correct it"),
        ([*SENTENCES, '<custom:PER begin="0" end="4.0"/>'], TEXT, ": a PER without begin and end in whole numbers"),
        ([*SENTENCES, element("custom:PER", 14, 15)], TEXT, ": entity [14, 15] (PER) covers no word of any sentence"),
        (["<custom:PER>"], TEXT, ":1: not XML (mismatched tag): fetch the file again"),
        (["<other:PER/>"], TEXT, ":1: not XML (unbound prefix)"),
    ],
)
def test_malformed_xmi(tmp_path: Path, elements: list[str], text: str | None, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read(xmi(tmp_path, *elements, text=text), "xmi")
    assert str(caught.value).startswith(f"{tmp_path}/d1.xml{says}")


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        "<!DOCTYPE x>",
    ],
)
def test_document_types_are_refused(tmp_path: Path, head: str) -> None:
    with pytest.raises(InputError, match=r"d1\.xml: a document type is declared \(<!DOCTYPE>\), which XMI has not"):
        read(xmi(tmp_path, *SENTENCES, head=head), "xmi")


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_in_one_line(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        for name in ("a.txt", "a.ann", "a.xml"):
            (Path(folder) / name).write_bytes(content)
        for kind in ("brat", "xmi"):
            try:
                read(Path(folder), kind)
            except InputError as error:
                assert str(error).startswith(folder) and "\n" not in str(error)
