"""The plain texts of examples of every format."""

from typing import get_args

import pytest

from waystation.tasks import known, sources
from waystation.tasks.checks import texts
from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    MultilabelExample,
    RetrievalExample,
    SpanExample,
    TaggingExample,
    TextExample,
    running,
    texts_of,
)
from waystation.tasks.sizes import expected_size, expected_text_size
from waystation.tasks.task import FormatName


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (TaggingExample("1", ("In", "Rome", "."), ("O", "B-LOC", "O")), ["In Rome."]),
        (ClassificationExample("1", "a b", "x"), ["a b"]),
        (ClassificationExample("1", "a b", "x", "c"), ["a b", "c"]),
        (MultilabelExample("1", "a", (), "b"), ["a", "b"]),
        (ChoiceExample("1", "It rained.", ("Wet.", "Dry."), 0), ["It rained.", "Wet. Dry."]),
        (ChoiceExample("1", "It rained.", ("Wet.", "Dry."), 0, "So?"), ["It rained.", "So? Wet. Dry."]),
        (SpanExample("1", "In Rome.", "Where?", (("Rome", 3),)), ["In Rome.", "Where?"]),
        (RetrievalExample("1", "In Rom.", "left", "2"), ["In Rom."]),
        (RetrievalExample("2", "In Rome.", "right", "1"), []),
        (TextExample("1", "In Rome."), ["In Rome."]),
        (TextExample("1", " \n"), []),
    ],
)
def test_the_texts_of_an_example(example: object, expected: list[str]) -> None:
    assert texts_of(example) == expected


def test_every_format_of_the_mini_corpus_is_text() -> None:
    met = set()
    for task in known.catalog().values():
        if task.source == "mini":
            split = task.all_splits()[0]
            found = list(sources.read(task, split, task.languages(split)[-1], None))
            assert any(map(texts_of, found)) and all(text.strip() for one in found for text in texts_of(one))
            met.add(task.format)
    assert met == set(get_args(FormatName))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("The patient ( aged 5 ) ate 100 % , twice .", "The patient (aged 5) ate 100%, twice."),
        ("L' eau n' est pas bonne ; qu' il parte !", "L'eau n'est pas bonne; qu'il parte!"),
        ("dell' arte d’ Oro", "dell'arte d’Oro"),
        ("She does n't like John 's dogs ' bone", "She doesn't like John's dogs ' bone"),
        ("病 人 在 Geneva 吃 了 药 。", "病人在 Geneva 吃了药。"),
        ("ผู้ป่วย ได้รับ แอสไพริน", "ผู้ป่วยได้รับแอสไพริน"),
        ("환자 는 월요일 에", "환자 는 월요일 에"),
        ("¿ Dónde está ?", "¿Dónde está?"),
        ('he said " no " twice', 'he said " no " twice'),
        ("", ""),
    ],
)
def test_words_become_running_text(words: str, text: str) -> None:
    assert running(words.split()) == text


def test_nothing_but_blanks_differs_from_the_words() -> None:
    for language in known.find("mini-words").languages("test"):
        for example in sources.read(known.find("mini-words"), "test", language, None):
            assert "".join(texts_of(example)[0].split()) == "".join("".join(texts(example)).split())


def test_text_is_read_under_no_labels_at_all() -> None:
    task = known.find("mini-types")
    plain = list(sources.read(task, "test", "de", None))
    assert list(sources.read(task, "test", "de", None, rename={}, labels=())) == plain


def test_the_size_of_text_counts_every_window() -> None:
    long = TextExample("1", "word " * 300)
    words, tokens = expected_text_size(long, 32)
    assert words == 300 and tokens == 1.45 * 300 + 2 * 15
    assert expected_size(long, 32, 0) == (words, tokens)
    assert expected_text_size(RetrievalExample("2", "In Rome.", "right"), 32) == (0, 0)
