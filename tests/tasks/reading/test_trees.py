"""Treebanks: CoNLL-U with multiword tokens and empty nodes, CCGbank's AUTO files."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.tasks.reading.readers import read_file
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.tags import Names
from waystation.tasks.task import Reader

UPOS = Names(("NOUN", "VERB", "ADP", "DET", "PUNCT", "X"))
CATEGORIES = Names(("N", "NP", "NP/N", "S[dcl]\\NP", "(S\\NP)/NP", "."))


def conllu(path: Path, tag: Any = "upos", names: Names = UPOS, prefix: str = "test/es/") -> list[Any]:
    return list(read_file(path, Reader(kind="conllu", tag=tag), "tagging", names, prefix=prefix, tally=Tally()))


def row(number: Any, form: str, upos: str = "NOUN", xpos: str = "NN") -> str:
    return "\t".join([str(number), form, form.lower(), upos, xpos, "_", "0", "root", "_", "SpaceAfter=No"]) + "\n"


def write(folder: Path, *parts: str) -> Path:
    path = folder / "a.conllu"
    path.write_text("".join(parts), encoding="utf-8")
    return path


def test_words_are_the_trees(tmp_path: Path) -> None:
    path = write(
        tmp_path, "# global.columns = ID FORM\n# sent_id = s-1\n# text = Vámonos al mar.\n",
        row("1-2", "Vámonos", "_", "_"), row(1, "Vamos", "VERB", "V"), row(2, "nos", "X", "P"),
        row("3-4", "al", "_", "_"), row(3, "a", "ADP", "E"), row(4, "el", "DET", "D"), row("4.1", "gran", "X", "J"),
        row(5, "mar", "NOUN", "N"), row(6, ".", "PUNCT", "F"), "\n",
    )  # fmt: skip
    (example,) = conllu(path)
    assert example.words == ("Vamos", "nos", "a", "el", "mar", ".")
    assert example.tags == ("VERB", "X", "ADP", "DET", "NOUN", "PUNCT")
    assert (example.id, example.cluster) == ("s-1", None)
    assert conllu(path, "xpos", Names(tuple("VPEDNF")))[0].tags == tuple("VPEDNF")


def test_ids_and_documents(tmp_path: Path) -> None:
    path = write(
        tmp_path, "# sent_id = a\n", row(1, "x"), "\n# newdoc id = d7\n# sent_id = a\n", row(1, "x"), "\n\n",
        row(1, "New York"), "\n# newdoc\n# newpar\n# sent_id = b\n", row(1, "_"), "",
    )  # fmt: skip
    found = conllu(path)
    assert [example.id for example in found] == ["a", "test/es/2", "test/es/3", "b"]
    assert [example.cluster for example in found] == [None, "d7", "d7", "test/es/document-2"]
    assert [example.words for example in found] == [("x",), ("x",), ("New York",), ("_",)]


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("1\tx\tx\tNOUN\n", 1, "4 columns, CoNLL-U has 10, parted by tabs: correct the line"),
        (row(1, "x").replace("\t", " "), 1, "1 columns, CoNLL-U has 10"),
        (row(1, "x") + row(3, "y"), 2, "word number '3' where 2 is due: correct the first column"),
        (row(2, "x"), 1, "word number '2' where 1 is due"),
        (row("1a", "x"), 1, "word number '1a' where 1 is due"),
        (row(1, "x") + "\n" + row(2, "y"), 3, "word number '2' where 1 is due"),
        (row(1, " "), 1, "the form is empty: fill it in"),
        (row(1, "x", "_"), 1, "no upos: this treebank, or this word, is not tagged with it"),
        (row(1, "x", "NOUNS"), 1, r"'NOUNS' is neither a label of the task .*\(did you mean 'NOUN'\?\)"),
        (row(1, "_") + row(2, "_") + "\n", 3, r"the words are left out \(_\): restore them"),
        (row(1, "_") + row(2, "_"), 2, r"the words are left out \(_\)"),
    ],
)
def test_malformed_conllu(tmp_path: Path, content: str, line: int, says: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=f"^{path}:{line}: {says}"):
        conllu(path)


def test_a_treebank_has_two_kinds_of_tags(tmp_path: Path) -> None:
    for tag in (-1, "deprel"):
        with pytest.raises(InputError, match="reader conllu has the tags upos and xpos: set tag to one of them"):
            conllu(write(tmp_path, row(1, "x")), tag)


WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5).filter(lambda word: word != "_")
SENTENCE = st.lists(
    st.tuples(WORDS, st.sampled_from(UPOS.labels), st.sampled_from(["", "range", "empty"])), min_size=1, max_size=6
)


@given(st.lists(SENTENCE, min_size=1, max_size=4))
def test_conllu_round_trips(sentences: list[list[tuple[str, str, str]]]) -> None:
    parts = []
    for sentence in sentences:
        for number, (form, tag, extra) in enumerate(sentence, 1):
            parts += [row(f"{number}-{number + 1}", form, "_")] if extra == "range" else []
            parts += [row(number, form, tag)]
            parts += [row(f"{number}.1", form, "_")] if extra == "empty" else []
        parts.append("\n")
    with TemporaryDirectory() as folder:
        found = conllu(write(Path(folder), *parts))
    assert [list(zip(example.words, example.tags, strict=True)) for example in found] == [
        [(form, tag) for form, tag, _ in sentence] for sentence in sentences
    ]


# --- CCGbank

ONE = (
    "(<T S[dcl] 0 2> (<T NP 0 1> (<L N NNP NNP Anna N>) ) "
    "(<T S[dcl]\\NP 0 2> (<L (S\\NP)/NP VBD VBD saw (S\\NP_1)/NP_2>) "
    "(<T NP 0 2> (<L NP/N DT DT -LRB- NP_3/N_3>) (<L N NN NN 5>6 N>) ) ) )"
)
AUTO = f"ID=wsj_0001.1 PARSER=GOLD NUMPARSE=1\n{ONE}\nID=wsj_0001.2 PARSER=GOLD NUMPARSE=1\n(<L N NN NN Rome N>)\n"


def ccgbank(folder: Path, content: str) -> list[Any]:
    path = folder / "wsj_0001.auto"
    path.write_text(content)
    return list(read_file(path, Reader(kind="ccgbank"), "tagging", CATEGORIES))


def test_ccgbank(tmp_path: Path) -> None:
    one, two = ccgbank(tmp_path, AUTO)
    assert one.words == ("Anna", "saw", "-LRB-", "5>6")
    assert one.tags == ("N", "(S\\NP)/NP", "NP/N", "N")
    assert (one.id, one.cluster) == ("wsj_0001.1", "wsj_0001")
    assert (two.words, two.tags, two.cluster) == (("Rome",), ("N",), "wsj_0001")


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (ONE + "\n", 1, "a derivation without an ID line before it"),
        (AUTO + ONE, 5, "a derivation without an ID line"),
        ("ID=a.1\nID=a.2\n", 2, "two ID lines in turn: the derivation of 'a.1' is missing"),
        ("ID=a.1\n" + ONE + "\nID=a.1\n", 3, "id 'a.1' occurs twice"),
        ("ID=a.1\n" + ONE[:-2] + "\n", 2, "not a derivation of an AUTO file, from '(<T S"),
        ("ID=a.1\n" + ONE.replace("DT DT", "DT") + "\n", 2, "not a derivation of an AUTO file"),
        ("ID=a.1\n()\n", 2, "not a derivation of an AUTO file"),
        ("ID=a.1\n(<L NN NN NN x NN>)\n", 2, "'NN' is neither a label of the task (N, NP, NP/N"),
        ("ID= PARSER=GOLD\n" + ONE, 1, "the id is empty"),
    ],
)
def test_malformed_ccgbank(tmp_path: Path, content: str, line: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        ccgbank(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path}/wsj_0001.auto:{line}: {says}")


def test_a_derivation_is_missing_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wsj_0001.auto: the derivation of 'a.1', its last, is missing"):
        ccgbank(tmp_path, "ID=a.1\n")
