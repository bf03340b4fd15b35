"""The mini corpus in every format: the same every time, train and test apart, labels true to what was filled in."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import get_args

import pytest

from waystation.errors import InputError
from waystation.tasks import known, mini, sources
from waystation.tasks.examples import RetrievalExample
from waystation.tasks.mini import carriers as mini_carriers
from waystation.tasks.mini import formats as mini_formats
from waystation.tasks.task import FormatName

TASKS = [task for task in mini_formats.TASKS if task not in (mini_formats.RETRIEVAL, mini_formats.TEXT)]
SPLITS = [(task, split, code) for task in TASKS for split, (codes, _) in mini_formats.SPLITS.items() for code in codes]
SPANS = [one for one in SPLITS if one[0].startswith("mini-span")]
LANGUAGES = mini_carriers.LANGUAGES


def texts(example) -> list[str]:
    """What of an example came from carriers and lexicons."""
    found = [getattr(example, name, None) for name in ("text", "pair", "context")]
    return [*filter(None, found), *getattr(example, "options", ()), " ".join(getattr(example, "words", ()))]


def fillers(split: str, language: str, *slots: str) -> set[str]:
    stuff = [mini_carriers.material(pool, language) for pool in mini_formats.POOLS[split]]
    return {text for pool in stuff for slot in slots for text in pool.fillers.get(slot, ())}


def names(split: str, language: str) -> set[str]:
    stuff = [mini_carriers.material(pool, language) for pool in mini_formats.POOLS[split]]
    return {name for pool in stuff for group in pool.names for part in group for name in part}


def mentioned(text: str, known: set[str]) -> set[str]:
    return {term for term in known if re.search(rf"(?<!\S){re.escape(term)}(?!\S)", text, re.IGNORECASE)}


def test_every_format_has_a_task_with_english_training_data_and_tests_in_six_languages() -> None:
    records = [task for task in known.catalog().values() if task.source == "mini"]
    assert {task.format for task in records} == set(get_args(FormatName))
    assert {task.id for task in records} == {*mini_formats.TASKS, *(task for task, _ in mini.PARTS)}
    for record in (known.find(task) for task in TASKS):
        assert record.languages("train") == ("en",) and record.languages("test") == LANGUAGES
        assert "not reviewed by native speakers" in record.notes


@pytest.mark.parametrize(("task", "split", "language"), SPLITS)
def test_every_split_is_whole_and_the_same_twice(task: str, split: str, language: str) -> None:
    found = list(mini.read(task, split, language))
    assert found == list(mini.read(task, split, language))
    size = {"train": 320, "test": 96}[split]
    assert [example.id for example in found] == [f"{task}/{split}/{language}/{n}" for n in range(size)]
    assert len({replace(example, id="") for example in found}) == size
    assert all(text and not re.search(r"[{}]|^ | $|  ", text) for example in found for text in texts(example) if text)


@pytest.mark.parametrize("task", TASKS)
def test_no_sentence_and_no_term_of_the_tests_is_in_the_training_data(task: str) -> None:
    trained = {text for example in mini.read(task, "train", "en") for text in texts(example)}
    tested = {text for example in mini.read(task, "test", "en") for text in texts(example)}
    assert not (trained & tested) - {""}
    slots = ("ILLNESS", "REMEDY", "CITY", "LAND", "THING", "TITLE")
    theirs = fillers("train", "en", *slots)
    assert not theirs & fillers("test", "en", *slots)
    parts = {word for text in theirs for word in text.split()}  # the syrup of "fig syrup"
    ours = fillers("test", "en", "ILLNESS", "REMEDY") - parts
    assert not mentioned(" ".join(trained), ours) and mentioned(" ".join(tested), ours)


@pytest.mark.parametrize("language", LANGUAGES)
def test_labels_are_true(language: str) -> None:
    terms = fillers("test", language, "ILLNESS", "REMEDY")
    topics = list(mini.read("mini-topic", "test", language))
    assert [example.label for example in topics] == ["health", "other"] * 48
    for example in topics:
        assert bool(mentioned(example.text, terms)) == (example.label == "health"), example
    for example in mini.read("mini-pair", "test", language):
        healthy = sum(bool(mentioned(text, terms)) for text in (example.text, example.pair))
        assert ("neither", "one", "both")[healthy] == example.label
    kinds = {
        "PERSON": names("test", language), "PLACE": fillers("test", language, "CITY", "LAND"),
        "ILLNESS": fillers("test", language, "ILLNESS"), "REMEDY": fillers("test", language, "REMEDY"),
    }  # fmt: skip
    sizes = Counter()
    for example in mini.read("mini-types", "test", language):
        assert example.labels == tuple(kind for kind in kinds if mentioned(example.text, kinds[kind])), example
        sizes[len(example.labels)] += 1
    assert sizes[0] >= 12 and sizes[3] and sizes[4]


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_the_options_only_the_right_one_is_what_was_taken_out(language: str) -> None:
    kinds = {slot: fillers("test", language, slot) for slot in ("CITY", "LAND", "ILLNESS", "REMEDY", "THING", "TITLE")}

    def slot_of(option: str) -> str:
        found = [slot for slot, texts in kinds.items() if option in texts]
        if not found:
            assert set(option.split()) <= names("test", language)
        return found[0] if found else "PERSON"

    found = list(mini.read("mini-choice", "test", language))
    assert Counter(len(example.options) for example in found) == dict.fromkeys((2, 3, 4, 5), 24)
    frames = {carrier.id: carrier.words for carrier in mini_carriers.material("test", language).carriers}
    for example in found:
        slots = [slot_of(option) for option in example.options]
        assert len({mini_carriers.SLOTS[slot] or slot for slot in slots}) == len(slots)
        # With every slot that is left filled by anything, the frame is the text: so the blank is a slot of this kind.
        frame = frames[example.cluster]
        blanks = []
        for at in (at for at, word in enumerate(frame) if at and word.startswith("{")):
            parts = [".+" if word.startswith("{") else re.escape(word) for word in frame]
            parts[at] = re.escape(mini_formats.BLANK)
            blanks += [frame[at][1:-1]] if re.fullmatch(" ".join(parts), example.text, re.IGNORECASE) else []
        assert slots[example.answer] in blanks, example
    assert max(Counter(example.answer for example in found if len(example.options) == 2).values()) < 20


@pytest.mark.parametrize(("task", "split", "language"), SPANS)
def test_answers_stand_where_they_are_said_to_and_are_what_is_asked_for(task: str, split: str, language: str) -> None:
    asked = {question: kind for kind, question in mini_carriers.formats()["questions"][language].items()}
    terms = {kind: {text.casefold() for text in fillers(split, language, kind)} for kind in ("ILLNESS", "REMEDY")}
    terms["PLACE"] = {text.casefold() for text in fillers(split, language, "CITY", "LAND")}
    found = list(mini.read(task, split, language))
    assert Counter(asked[example.question] for example in found) == dict.fromkeys(mini_formats.TYPES, len(found) // 4)
    empty = 0
    for example in found:
        kind = asked[example.question]
        if not example.answers:
            empty += 1
            assert kind == "PERSON" or not mentioned(example.context, terms[kind])
            continue
        ((answer, start),) = example.answers
        assert example.context[start : start + len(answer)] == answer
        assert kind == "PERSON" or answer.casefold() in terms[kind]
    assert empty == (len(range(0, len(found), 3)) if task == "mini-span-2" else 0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_has_its_tag(language: str) -> None:
    found = list(mini.read("mini-words", "test", language))
    assert {tag for example in found for tag in example.tags} == set(known.find("mini-words").labels)
    cities, terms = fillers("test", language, "CITY"), fillers("test", language, "ILLNESS", "REMEDY", "THING")
    for example in found:
        for word, tag in zip(example.words, example.tags, strict=True):
            assert (tag == "NUMBER") == word.isdecimal()
            assert (tag == "PUNCT") == (not any(map(str.isalnum, word)))
            assert tag == "NAME" or word not in names("test", language) | cities
            assert tag == "TERM" or word not in terms


def test_retrieval_is_parallel_over_all_languages() -> None:
    read = {code: list(mini.read("mini-retrieval", "test", code)) for code in LANGUAGES[1:]}
    english = [example for example in read["de"] if example.side == "right"]
    assert len({example.text for example in english}) == len(english) == mini_formats.PAIRS
    table = {
        slot: mini_carriers.lexicon("test", "en")[slot] for slot in ("CITY", "ILLNESS", "REMEDY", "THING", "TITLE")
    }
    for code, found in read.items():
        assert [example for example in found if example.side == "right"] == english
        left = [example for example in found if example.side == "left"]
        assert len({example.text for example in left}) == len(left)
        theirs = mini_carriers.lexicon("test", code)
        for one, other in zip(left, english, strict=True):
            assert isinstance(one, RetrievalExample) and (one.answer, other.answer) == (other.id, one.id)
            for slot, words in table.items():
                ours = {row for row, text in enumerate(words) if mentioned(other.text, {text})}
                assert ours <= {row for row, text in enumerate(theirs[slot]) if mentioned(one.text, {text})}, one


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_is_running_text_in_every_language(language: str) -> None:
    found = list(mini.read("mini-text", "train", language))
    assert found == list(mini.read("mini-text", "train", language)) and len({one.text for one in found}) == 320
    assert [one.id for one in found] == [f"mini-text/train/{language}/{n}" for n in range(320)]
    assert not any(re.search(r"[{}]|^ | $|  | [.,)]|\( ", one.text) for one in found)
    split = "train" if language == "en" else "test"  # the one pool of the other languages is that of the tests
    ours = fillers(split, language, "ILLNESS", "REMEDY")
    assert mentioned(" ".join(re.sub("[.,]", " ", one.text) for one in found), ours)
    with pytest.raises(InputError, match="no test split"):
        next(mini.read("mini-text", "test", language))


def test_parallel_carriers_have_the_same_slots_in_all_languages() -> None:
    for carrier in mini_carriers.formats()["parallel"]:
        assert tuple(carrier) == LANGUAGES
        slots = [sorted(re.findall(r"\{\w+\}", text)) for text in carrier.values()]
        assert slots.count(slots[0]) == len(slots), carrier
    for slot, rows in mini_carriers.lexicon("test", "en").items():
        for code in LANGUAGES[1:]:
            assert len(mini_carriers.lexicon("test", code)[slot]) == len(rows)


def test_only_these_tasks_depend_on_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {task: mini.version(task) for task in ("mini-ner", *mini_formats.TASKS)}
    assert len({before[task] for task in mini_formats.TASKS}) == 1 and before["mini-ner"] != before["mini-topic"]
    monkeypatch.setattr(mini_formats, "VERSION", mini_formats.VERSION + 1)
    assert {task for task, old in before.items() if mini.version(task) != old} == set(mini_formats.TASKS)


def test_labels_go_by_the_names_that_a_study_gives_them() -> None:
    def read(task, rename, labels):
        return list(sources.read(known.find(task), "test", "de", None, rename=rename, labels=labels))

    topics = read("mini-topic", {"health": "medical", "other": None}, ["medical"])
    assert len(topics) == 48 and {example.label for example in topics} == {"medical"}
    sets = {
        example.labels
        for example in read("mini-types", {"PERSON": "WHO", "PLACE": "WHO", "ILLNESS": None}, ["REMEDY", "WHO"])
    }
    assert sets == {(), ("REMEDY",), ("WHO",), ("REMEDY", "WHO")}
    words = read("mini-words", {"NAME": "WORD", "TERM": "WORD"}, ["WORD", "NUMBER", "PUNCT"])
    assert {tag for example in words for tag in example.tags} == {"WORD", "NUMBER", "PUNCT"}


@pytest.mark.parametrize(
    ("task", "split", "language", "words"),
    [
        ("mini-topik", "train", "en", "did you mean 'mini-topic'"),
        ("mini-topic", "train", "de", "train: en; test: en, de"),
        ("mini-retrieval", "train", "en", "it has test: de, es"),
        ("mini-retrieval", "test", "en", "no test split in 'en'"),
        ("mini-span", "validation", "en", "train: en; test"),
    ],
)
def test_what_is_not_there_is_said(task: str, split: str, language: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        next(mini.read(task, split, language))
