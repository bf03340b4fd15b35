import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation import languages
from waystation.errors import InputError
from waystation.tasks import known, sources
from waystation.tasks.examples import RetrievalExample
from waystation.tasks.reading import parallel
from waystation.tasks.task import Reader, Task

DATA = Path(os.environ.get("WAYSTATION_DATA") or Path(__file__).parents[4] / "shared" / "data")

UNIT = '<tu tuid="u{0}"><prop type="note">n</prop><tuv xml:lang="en"><seg>e{0}</seg></tuv>{1}</tu>'
FRENCH = '<tuv xml:lang="fr"><seg>f{0}</seg></tuv>'


def memory(*units: str) -> str:
    lines = "\n".join(units)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header/><body>\n{lines}\n</body></tmx>\n'


def unit(number: int, other: str = FRENCH) -> str:
    return UNIT.format(number, other.format(number))


def read(folder: Path, kind: str, *contents: str | bytes, language: str = "fr", **more: Any) -> list[RetrievalExample]:
    paths = []
    for name, content in zip(("ours.txt", "english.txt", "gold.txt"), contents, strict=False):
        paths.append(folder / name)
        paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(parallel.read(paths, Reader.model_validate({"kind": kind, **more}), language, "test/fr/"))


def by_side(found: list[RetrievalExample]) -> tuple[dict[str, RetrievalExample], dict[str, RetrievalExample]]:
    sides: dict[str, dict[str, RetrievalExample]] = {"left": {}, "right": {}}
    for example in found:
        assert sides[example.side].setdefault(example.id, example) is example, "ids are unique"
    assert not set(sides["left"]) & set(sides["right"]), "over both sides too"
    return sides["left"], sides["right"]


# --- what is read


def test_line_aligned_files(tmp_path: Path) -> None:
    found = read(tmp_path, "parallel", "\ufeffun\n deux \r\ntrois", "one\ntwo\nthree\n")
    left, right = by_side(found)
    assert [(one.id, one.text, one.answer) for one in left.values()] == [
        ("test/fr/1", "un", "test/fr/1/en"), ("test/fr/2", "deux", "test/fr/2/en"),
        ("test/fr/3", "trois", "test/fr/3/en"),
    ]  # fmt: skip
    assert [one.text for one in right.values()] == ["one", "two", "three"]


line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\ufeff"), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(line, line), min_size=1, max_size=8))
def test_only_a_line_feed_ends_a_line_and_answers_go_both_ways(pairs: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as folder:
        texts = ["".join(f"{pair[side]}\n" for pair in pairs) for side in (0, 1)]
        left, right = by_side(read(Path(folder), "parallel", *texts))
    assert [one.text for one in left.values()] == [ours.strip() for ours, _ in pairs]
    assert [right[one.answer or ""].text for one in left.values()] == [theirs.strip() for _, theirs in pairs]
    assert [left[one.answer or ""].answer for one in right.values()] == list(right)


def test_translation_memory(tmp_path: Path) -> None:
    other = '<tuv xml:lang="fr-CA"><seg>\n <bpt i="1">{{b}}</bpt>f<hi>{0}</hi> x<ph>code</ph> y </seg></tuv>'
    german = '<tuv xml:lang="de"><seg>d</seg></tuv>'
    left, right = by_side(read(tmp_path, "tmx", memory(unit(1, german + other), unit(2)), cluster="note"))
    assert [(one.id, one.text, one.answer, one.cluster) for one in left.values()] == [
        ("u1", "f1 x y", "u1/en", "n"),
        ("u2", "f2", "u2/en", "n"),
    ]
    assert [(one.id, one.text) for one in right.values()] == [("u1/en", "e1"), ("u2/en", "e2")]


def test_a_memory_without_ids_in_another_encoding(tmp_path: Path) -> None:
    text = memory(unit(1).replace(' tuid="u1"', "").replace("f1", "été")).replace("UTF-8", "UTF-16")
    left, _ = by_side(read(tmp_path, "tmx", text.encode("utf-16")))
    assert [(one.id, one.text, one.cluster) for one in left.values()] == [("test/fr/1", "été", None)]


def test_mining(tmp_path: Path) -> None:
    found = read(tmp_path, "mining", "f1\tun\nf2\tdeux\tet demi\n", "e1\tone\ne2\ttwo\ne3\tthree\n", "f2\te1\n")
    left, right = by_side(found)
    assert {name: one.answer for name, one in left.items()} == {"f1": None, "f2": "e1"}
    assert {name: one.answer for name, one in right.items()} == {"e1": "f2", "e2": None, "e3": None}
    assert left["f2"].text == "deux\tet demi"


def test_examples_come_as_the_files_are_read(tmp_path: Path) -> None:
    """Nothing is held in memory: what is wrong further down is told when it is reached."""
    for name, text in (("a", "un\ndeux\n"), ("b", "one\n")):
        (tmp_path / name).write_text(text)
    stream = parallel.read([tmp_path / "a", tmp_path / "b"], Reader(kind="parallel"), "fr")
    assert [next(stream).text, next(stream).text] == ["un", "one"]
    with pytest.raises(InputError, match="line-aligned"):
        next(stream)


# --- what is refused

PAIRS, GOLD = ("f1\tun\nf2\tdeux\n", "e1\tone\ne2\ttwo\n"), "f1\te1\n"


@pytest.mark.parametrize(
    ("kind", "contents", "says"),
    [
        ("parallel", ("a\nb\n", "a\n"), "ours.txt:2: english.txt has no such line: the two files must be line-aligned"),
        ("parallel", ("a\n", "a\nb\nc\n"), "english.txt:2: ours.txt has no such line"),
        ("parallel", ("a\n \nc\n", "a\nb\nc\n"), "ours.txt:2: the line is empty: fill it in, or remove it from both"),
        ("parallel", ("a\nb\n", "a\nb\n\n"), "english.txt:3: the line is empty"),
        ("parallel", ("a\n", b"a\xff\n"), "english.txt:1: not UTF-8"),
        ("parallel", ("", ""), "ours.txt: no sentence in it"),
        ("parallel", ("a\n",), "reader 'parallel' takes the sentences, the English ones of a language, 1 file is"),
        ("parallel", ("a\n", "a\n", "a\n"), "3 files are declared for 'fr': correct pattern or files"),
        ("conll", ("a\n", "a\n"), "reader 'conll' makes no retrieval examples: use parallel or tmx or mining"),
        ("tmx", (memory(unit(1), "<tu>"),), "ours.txt:5: not XML (mismatched tag)"),
        ("tmx", (memory(unit(1))[:-18],), "ours.txt:3: not XML (unclosed token)"),
        ("tmx", (memory(unit(1)).replace("UTF-8", "EBCDIC-9"),), "not XML (unknown encoding)"),
        ("tmx", ("one\ttwo\n",), "ours.txt:1: not XML (syntax error)"),
        ("tmx", (memory(unit(1), unit(2, "")),), "ours.txt:4: the unit has no sentence in 'fr' (it has: en)"),
        ("tmx", (memory(unit(1).replace('"en"', '"de"')),), "ours.txt:3: the unit has no sentence in 'en' (it has: de"),
        ("tmx", (memory(unit(1).replace(">f1<", "> <")),), "ours.txt:3: the unit has no sentence in 'fr'"),
        ("tmx", (memory(unit(1, FRENCH + FRENCH)),), "ours.txt:3: the unit has two sentences in 'fr': keep one"),
        ("tmx", (memory(unit(1), unit(1)),), "ours.txt:4: id 'u1' occurs twice: make ids unique"),
        ("tmx", (memory(unit(1).replace("note", "text")),), "ours.txt:3: the unit has no prop of type 'note'"),
        ("tmx", (memory(),), "ours.txt: no sentence in it"),
        ("mining", (*PAIRS, "f1\te9\n"), "gold.txt:1: id 'e9' is not in english.txt: correct one of them"),
        ("mining", (*PAIRS, "f1\te1\ne2\tf2\n"), "gold.txt:2: id 'e2' is not in ours.txt"),
        ("mining", (*PAIRS, "f1 e1\n"), "gold.txt:1: not two ids with a tab between them"),
        ("mining", (*PAIRS, "f1\te1\nf1\te2\n"), "gold.txt:2: id 'f1' is in a second pair: keep one translation"),
        ("mining", (*PAIRS, ""), "gold.txt: no gold pairs in it"),
        ("mining", (PAIRS[0] + "f1\ttrois\n", PAIRS[1], GOLD), "ours.txt:3: id 'f1' occurs twice: make ids unique"),
        ("mining", (PAIRS[0], "f1\tone\n", GOLD), "english.txt:1: id 'f1' occurs twice"),
        ("mining", ("un\n", PAIRS[1], GOLD), "ours.txt:1: not an id, a tab and a sentence: correct the line"),
        ("mining", (PAIRS[0], "e1\tone\ne2\t \n", GOLD), "english.txt:2: not an id, a tab and a sentence"),
        ("mining", PAIRS, "takes the sentences, the English ones, the gold pairs of a language, 2 files are"),
    ],
)  # fmt: skip
def test_malformed(tmp_path: Path, kind: str, contents: tuple[str | bytes, ...], says: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, kind, *contents, **({"cluster": "note"} if kind == "tmx" else {}))
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)


def test_english_is_the_other_side(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave 'en' out"):
        read(tmp_path, "parallel", "a\n", "a\n", language="en")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for kind in ("tmx", "parallel", "mining"):
        paths = [tmp_path / name for name in {"tmx": "a", "parallel": "ab", "mining": "abc"}[kind]]
        with pytest.raises(InputError, match=r"cannot be read \(No such file"):
            list(parallel.read(paths, Reader.model_validate({"kind": kind}), "fr"))


def test_a_task_has_no_labels() -> None:
    record = known.find("tatoeba").model_dump()
    for wrong in ({"labels": ("A",)}, {"rename": {"a": None}}):
        with pytest.raises(ValueError, match="retrieval has no labels: leave labels and rename out"):
            Task.model_validate({**record, **wrong})


def test_files_that_belong_together_are_both_content(tmp_path: Path) -> None:
    record = {
        "id": "own", "title": "Own", "format": "retrieval", "metrics": ["retrieval_accuracy"],
        "reader": {"kind": "parallel"}, "path": str(tmp_path),
        "splits": {"test": {"pattern": ["{lang}.txt", "{lang}.en.txt"], "languages": {"fr": "fra"}}},
    }  # fmt: skip
    task = Task.model_validate(record)
    for name in ("fra.txt", "fra.en.txt"):
        (tmp_path / name).write_text("a\nb\n")
    assert [path.name for path in sources.files(task, "test", "fr", None)] == ["fra.txt", "fra.en.txt"]
    first = sources.fingerprint(task, "test", "fr", None)
    assert [one.id for one in sources.read(task, "test", "fr", None)][:2] == ["test/fr/1", "test/fr/1/en"]
    (tmp_path / "fra.en.txt").write_text("a\nc\n")
    assert sources.fingerprint(task, "test", "fr", None) != first


# --- real data


def pairs_of(task_id: str, language: str) -> tuple[int, int, int]:
    """(own sentences, English ones, those with an answer)."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA} (set $WAYSTATION_DATA)")
    left, right = by_side(list(sources.read(known.find(task_id), "test", language, DATA)))  # type: ignore[arg-type]
    assert all(left[one.answer].answer == one.id for one in right.values() if one.answer is not None)
    return len(left), len(right), sum(one.answer is not None for one in left.values())


@pytest.mark.data
def test_tatoeba_in_64_languages() -> None:
    codes = known.find("tatoeba").splits["test"].paths()
    assert len(codes) == 64 and "en" not in codes
    for code in codes:
        assert len(set(pairs_of("tatoeba", code))) == 1, code
        (name, _) = known.find("tatoeba").splits["test"].paths()[code]
        assert languages.resolve(name.rpartition(".")[2]).code == code


@pytest.mark.data
def test_tico19_holds_the_same_units_in_every_language() -> None:
    codes = known.find("tico19").languages("test")
    assert len(codes) == 14
    ids = set()
    for code in codes:
        assert pairs_of("tico19", code) == (512, 512, 512)
        ids.add(tuple(one.id for one in sources.read(known.find("tico19"), "test", code, DATA)))
    assert len(ids) == 1


@pytest.mark.data
def test_bucc_sample() -> None:
    assert pairs_of("bucc2018", "zh") == (2716, 4166, 257)
