"""Who translates: files made before, parallel corpora, the program apertium; and what identifies each of them."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from waystation.errors import InputError
from waystation.records import mark_of
from waystation.steps.records import step_id
from waystation.steps.translation import OPTIONS, Translation
from waystation.tasks import known, mini, sources
from waystation.tasks.examples import RetrievalExample
from waystation.tasks.translation import apertium, lookup, providers
from waystation.tasks.translation.fields import Said
from waystation.tasks.translation.providers import translate_step

DATA = Path(os.environ.get("WAYSTATION_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))


def installed(*wanted: str) -> bool:
    return shutil.which("apertium") is not None and set(wanted) <= set(apertium.modes())


# The record


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"by": "precomputed", "files": "x"}, "needs `layout`"),
        ({"by": "seq2seq"}, "needs `model`"),
        ({"by": "parallel"}, "needs `task`"),
        ({"by": "apertium", "beams": 2}, "`beams` is no option of `by: apertium`; its options: modes"),
        ({"by": "identity", "task": "tico19"}, "no option"),
        ({"by": "google"}, "Input should be"),
    ],
)
def test_a_translator_has_its_own_options(record, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Translation.model_validate(record)


def test_every_option_belongs_to_a_translator() -> None:
    named = {name for wanted, allowed in OPTIONS.values() for name in (*wanted, *allowed)}
    assert named | {"by"} == set(Translation.model_fields)
    assert all(mark_of(Translation, name) for name in Translation.model_fields)


# Files


def test_pairs_are_matched_by_source_text_whatever_their_order(tmp_path: Path) -> None:
    path = tmp_path / "en-es-translated.tsv"
    rows = [
        ["A dog", "An animal", "Un perro", "Un animal", "entailment"],
        ['He said "no"', "Rain", 'Dijo "no"', "Lluvia", "neutral"],
        ["A dog", "It", "Otro perro", "Ello", "neutral"],  # the first translation counts
        ["wrong", "row", "of", "too", "many", "cells", "0"],
        ["One", "Uno"],
        ["Empty", "", "x"],
    ]
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n", encoding="utf-8")
    found = lookup.pairs(path)
    asked = ["Rain", "A  dog", "An animal", "He said no", "One", "Empty", "unknown"]
    assert found(asked) == ["Lluvia", "Un perro", "Un animal", 'Dijo "no"', "Uno", None, None]
    assert found.notes == {"rows of another shape": 1}


def test_a_file_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("only one cell\n")
    with pytest.raises(InputError, match=r"a\.tsv: no translation in it"):
        lookup.pairs(tmp_path / "a.tsv")
    (tmp_path / "a.json").write_text('{"data": [{"paragraphs": 3}]}')
    with pytest.raises(InputError, match=r"a\.json: not SQuAD's JSON"):
        lookup.squad(tmp_path / "a.json")
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:1: no field 'id'"):
        lookup.jsonl(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": 3}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:1: field 'text' is no text"):
        lookup.jsonl(tmp_path / "a.jsonl")


def test_translations_by_id(tmp_path: Path) -> None:
    answer = {"text": "perro", "answer_start": 3}
    question = {"id": "q1", "question": "¿Qué?", "answers": [answer]}
    content = {"data": [{"paragraphs": [{"context": "Un perro", "qas": [question]}]}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert lookup.squad(tmp_path / "a.json") == {
        ("q1", "context"): Said("Un perro"),
        ("q1", "question"): Said("¿Qué?"),
        ("q1", "answers.0"): Said("perro", 3),
    }
    rows = [{"id": "q1", "context": "Un perro", "answers": [answer]}, {"id": 2, "text": "a", "options": ["b", "c"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert lookup.jsonl(tmp_path / "a.jsonl") == {
        ("q1", "context"): Said("Un perro"),
        ("q1", "answers.0"): Said("perro", 3),
        ("2", "text"): Said("a"),
        ("2", "options.0"): Said("b"),
        ("2", "options.1"): Said("c"),
    }


def test_the_file_is_named_by_the_language_that_is_not_english(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WAYSTATION_DATA", str(tmp_path))
    for name in ("en-spa.tsv", "spa.en.tsv"):
        (tmp_path / name).touch()
    there = Translation(by="precomputed", files="en-{lang}.tsv", layout="pairs", spelling={"es": "spa"})
    assert lookup.path_of(there, "en", "es", None) == tmp_path / "en-spa.tsv"
    back = there.model_copy(update={"files": "{lang}.{target}.tsv"})
    assert lookup.path_of(back, "es", "en", tmp_path) == tmp_path / "spa.en.tsv"
    with pytest.raises(InputError, match=r"no file .*en-sw\.tsv"):
        lookup.path_of(there, "en", "sw", None)


def test_rows_of_a_parallel_corpus_both_ways() -> None:
    corpus = known.find("mini-retrieval")
    rows = [one for one in mini.read("mini-retrieval", "test", "sw") if isinstance(one, RetrievalExample)]
    left, right = ([one.text for one in rows if one.side == side] for side in ("left", "right"))
    assert lookup.parallel(corpus, "test", "en", "sw", None)([*right, "no row"]) == [*left, None]
    assert lookup.parallel(corpus, "test", "sw", "en", None)(left) == right
    with pytest.raises(InputError, match="pairs languages with English, not de with sw"):
        lookup.parallel(corpus, "test", "de", "sw", None)
    with pytest.raises(InputError, match="'mini-ner' is a tagging task"):
        lookup.parallel(known.find("mini-ner"), "test", "en", "sw", None)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "xnli").is_dir(), reason=f"no real data in {DATA}")
def test_the_oracle_is_the_same_row_in_the_other_language() -> None:
    xnli = known.find("xnli")
    own, english = (list(sources.read(xnli, "test", code, DATA)) for code in ("sw", "en"))
    said = lookup.oracle(xnli, "test", "sw", "en", DATA)
    assert len(own) == len(english)
    assert [said[one.id, "text"].text for one in own] == [one.text for one in english]
    assert [said[one.id, "pair"].text for one in own] == [one.pair for one in english]
    step = translate_step(Translation(by="oracle-translation"), xnli, "test", "sw", "en", DATA)
    assert step.provider == {"test": sources.fingerprint(xnli, "test", "en", DATA)}
    with pytest.raises(InputError, match="test sets that are translations of one another: 'mini-ner' test is none"):
        translate_step(Translation(by="oracle-translation"), known.find("mini-ner"), "test", "sw", "en", None)


# Identity


def test_what_translates_is_part_of_the_identity_and_where_it_lies_is_not(tmp_path: Path) -> None:
    for folder, text in (("a", "x\ty\n"), ("b", "x\ty\n"), ("c", "x\tz\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "es.tsv").write_text(text)
    made = {
        folder: translate_step(
            Translation(by="precomputed", files="{lang}.tsv", layout="pairs"),
            known.find("mini-topic"), "train", "en", "es", tmp_path / folder,
        )
        for folder in "abc"
    }  # fmt: skip
    keys = {folder: step_id(step) for folder, step in made.items()}
    assert keys["a"] == keys["b"] != keys["c"]
    elsewhere = Translation(by="precomputed", files=str(tmp_path / "a" / "{lang}.tsv"), layout="pairs")
    again = translate_step(elsewhere, known.find("mini-topic"), "train", "en", "es", None)
    assert step_id(again) == keys["a"]


def test_a_translation_model_is_known_by_its_files(tmp_path: Path) -> None:
    for name in ("config.json", "source.spm", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    by = Translation(by="seq2seq", model=str(tmp_path), spelling={"es": "spa_Latn"})
    first = translate_step(by, known.find("mini-topic"), "train", "en", "es", None)
    assert first.provider["spelling"] == ["en", "spa_Latn"]
    (tmp_path / "source.spm").write_text("other")
    os.utime(tmp_path / "source.spm", ns=(1, 1))
    assert step_id(translate_step(by, known.find("mini-topic"), "train", "en", "es", None)) != step_id(first)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"has no config\.json"):
        providers.fingerprint(first, None)


@pytest.mark.parametrize(("source", "target"), [("en", "en"), ("es", "es")])
def test_no_language_is_translated_into_itself(source: str, target: str) -> None:
    with pytest.raises(InputError, match="choose another language"):
        translate_step(Translation(by="identity"), known.find("mini-topic"), "test", source, target, None)


def test_translation_search_is_not_translated() -> None:
    with pytest.raises(InputError, match="both sides"):
        translate_step(Translation(by="identity"), known.find("mini-retrieval"), "test", "de", "en", None)


# Apertium


def fake(folder: Path, script: str, modes: tuple[str, ...]) -> None:
    """A program of that name, with modes, that runs a few lines of Python on what it is given."""
    (folder / "bin").mkdir()
    (folder / "share" / "apertium" / "modes").mkdir(parents=True)
    for mode in modes:
        (folder / "share" / "apertium" / "modes" / f"{mode}.mode").write_text("lt-proc 'x.bin'")
    path = folder / "bin" / "apertium"
    path.write_text(f"#!/usr/bin/env python3\nimport sys\ntext = sys.stdin.read()\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


def test_texts_stay_apart_even_where_the_program_joins_them(tmp_path: Path, monkeypatch) -> None:
    """A translator that swallows the break after any text with "join" in it is asked again in halves."""
    fake(tmp_path, "print(text.replace('join\\n\\n', 'join ').upper(), end='')", ("eng-spa",))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    texts = ["one", "please join", "two", "join", "three\nlines  of\ttext", "four"]
    expected = ["ONE", "PLEASE JOIN", "TWO", "JOIN", "THREE LINES OF TEXT", "FOUR"]
    assert apertium.Apertium("eng-spa")(texts) == expected
    assert apertium.Apertium("eng-spa")([]) == []


def test_marks_are_told_from_signs_of_the_text(tmp_path: Path, monkeypatch) -> None:
    """The program marks each word, unless it is asked not to."""
    fake(tmp_path, "print(text if '-u' in sys.argv else text.replace('w', '*w'), end='')", ("eng-spa",))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    translator = apertium.Apertium("eng-spa")
    assert translator(["a word", "a *word #w", "w w", "5 * w"]) == ["a word", "a *word #w", "w w", "5 * w"]
    assert translator.notes == {"unknown words": 4}


def test_a_program_that_fails_is_told_in_one_line(tmp_path: Path, monkeypatch) -> None:
    fake(tmp_path, "print('Error: no memory\\nmore'); sys.exit(1)", ("eng-spa",))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(InputError, match=r"^apertium eng-spa failed: Error: no memory$"):
        apertium.Apertium("eng-spa")(["text"])


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch) -> None:
    fake(tmp_path, "", ("eng-spa", "eng-spa_US", "xx-yy"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert apertium.mode_of("en", "es") == "eng-spa"
    assert apertium.mode_of("en", "es", "eng-spa_US") == "eng-spa_US"
    with pytest.raises(InputError, match="eu to en here: apt-get install apertium-eu-en"):
        apertium.mode_of("eu", "en")
    with pytest.raises(InputError, match="no mode 'eng-swa'"):
        apertium.mode_of("en", "sw")
    with pytest.raises(InputError, match=r"no mode 'eng-sp' \(did you mean 'eng-spa'\?\)"):
        apertium.mode_of("en", "es", "eng-sp")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install apertium"):
        apertium.mode_of("en", "es")


PAIRS = [("en", "es"), ("es", "en"), ("en", "ca"), ("en", "gl"), ("eu", "en")]
HARD = [
    "The patient took aspirin.",
    "no full stop at the end",
    "Stars *here and #there @home [brackets] {braces} ^carets$ <b>tags</b> back\\slash / slash",
    "Two sentences. In one text!",
    ".",
    "line\nbreaks\r\nand\u2028more\x00\x07",
    "  blanks   around  ",
    "“Quotes” — dashes… 5 mg/kg (IL-2), 3.5 %",
    "病人 吃 了 阿司匹林",
]


@pytest.mark.apertium
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_apertium_itself(source: str, target: str) -> None:
    try:
        mode = apertium.mode_of(source, target)
    except InputError as missing:
        pytest.skip(str(missing))
    translator = apertium.Apertium(mode)
    together = translator(HARD)
    assert translator(HARD[::-1]) == together[::-1], "a text does not depend on its neighbours"
    assert all(text and "\n" not in text for text in together)
    assert translator.notes["unknown words"] > 0
    found = apertium.fingerprint(mode)
    assert found["apertium"][0].isdigit() and len(found["data"]) == 64 and found == apertium.fingerprint(mode)


@pytest.mark.apertium
@pytest.mark.skipif(not installed("eng-spa", "eu-en"), reason="apertium-eng-spa and apertium-eu-en are not installed")
def test_apertium_translates() -> None:
    (said,) = apertium.Apertium("eng-spa")(["He did not sign the agreement."])
    assert said is not None and "acuerdo" in said
    (said,) = apertium.Apertium("eu-en")(["Etxea handia da."])
    assert said is not None and "house" in said
    assert apertium.fingerprint("eng-spa") != apertium.fingerprint("eu-en")
