"""Answers located in translated passages."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.tasks.reading.documents import words
from waystation.tasks.translation.answers import locate

PIECES = ("la", "casa", "de", "Geneva", "über", "Œuvre", "1990", "straße", "Москва", "日本", "(", ")", ",", "-")
WORDS = st.lists(st.sampled_from(PIECES), min_size=1)


def found(passage: str, answer: str, near: float = 0.5) -> tuple[str, str] | None:
    place = locate(passage, answer, near)
    return None if place is None else (passage[place[0] : place[1]], place[2])


@pytest.mark.parametrize(
    ("passage", "answer", "expected"),
    [
        ("Vive en Ginebra desde 1990.", "Ginebra", ("Ginebra", "exact")),
        ("Vive en Ginebra desde 1990.", "ginebra", ("Ginebra", "case")),
        ("Die STRASSE ist lang.", "straße", ("STRASSE", "case")),
        ("Murió en Córdoba (España).", "Cordoba, España", ("Córdoba (España", "normalised")),
        ("Über den Fluß.", "uber den fluss", ("Über den Fluß", "normalised")),
        (
            "el sistema judicial español de hoy",
            "sistemas judiciales españoles",
            ("sistema judicial español", "overlap"),
        ),
        ("La Universidad de Navarra abrió", "la universidad privada Navarra", ("La Universidad de Navarra", "overlap")),
        ("他在日本東京出生。", "東京", ("東京", "exact")),
        ("เขาเกิดที่กรุงเทพในปี", "กรุงเทพ", ("กรุงเทพ", "exact")),
        ("Nada de eso aquí.", "Ginebra", None),
        ("Fue en 20123 años.", "2012", None),  # not a piece of a word
        ("de la de las", "universidad de Navarra", None),  # little words alone are no answer
        ("Ginebra", "  ", None),
        ("", "Ginebra", None),
        ("Ginebra", "?!", None),
    ],
)
def test_where_an_answer_stands(passage: str, answer: str, expected: tuple[str, str] | None) -> None:
    assert found(passage, answer) == expected


def test_of_several_places_the_one_nearest_to_where_it_stood() -> None:
    passage = "Ginebra y Ginebra y ginebra y Ginebra"
    assert [locate(passage, "Ginebra", near)[:2] for near in (0.0, 0.3, 1.0)] == [(0, 7), (10, 17), (30, 37)]  # type: ignore[index]


@given(WORDS, st.data())
def test_a_piece_of_the_passage_is_found_where_it_is(pieces: list[str], data: st.DataObject) -> None:
    passage = " ".join(pieces)
    spots = words(passage)
    first = data.draw(st.integers(0, len(spots) - 1))
    last = data.draw(st.integers(first, len(spots) - 1))
    start, end = spots[first][0], spots[last][1]
    place = locate(passage, passage[start:end], (start + end) / 2 / len(passage))
    assert place == (start, end, "exact")


@given(WORDS, WORDS, st.floats(0, 1))
def test_what_is_found_lies_in_the_passage_and_cuts_no_word(pieces: list[str], asked: list[str], near: float) -> None:
    passage = " ".join(pieces)
    place = locate(passage, " ".join(asked), near)
    if place is not None:
        starts, ends = zip(*words(passage), strict=True)
        assert place[0] in starts and place[1] in ends and place[0] < place[1]


def test_a_shuffled_answer_is_found_by_its_words() -> None:
    asked = ["presidente", "de", "la", "Asamblea", "Nacional"]
    random.Random(1).shuffle(asked)
    text = found("Ayer habló el presidente de la Asamblea Nacional de Francia.", " ".join(asked))
    assert text == ("presidente de la Asamblea Nacional", "overlap")
