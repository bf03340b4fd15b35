"""Labels carried to translations, by format."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.tasks import known, mini
from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    MultilabelExample,
    RetrievalExample,
    SpanExample,
    TaggingExample,
    TextExample,
)
from waystation.tasks.mini import formats as mini_formats
from waystation.tasks.translation.carrying import carry, words_of
from waystation.tasks.translation.fields import Said, fields
from waystation.tasks.translation.projection import entities, project

TASKS = [task for task in mini_formats.TASKS if task != mini_formats.RETRIEVAL]
TAGS = ("O", "B-A", "I-A", "B-B", "I-B")


def said(**texts: str) -> dict[str, Said]:
    return {name.replace("_", "."): Said(text) for name, text in texts.items()}


@pytest.mark.parametrize("task", TASKS)
def test_through_the_same_language_nothing_changes(task: str) -> None:
    """Every field is read and put back, and every label stays where it was."""
    plain = task == "mini-words"
    for example in mini.read(task, "train", "en"):
        own = {name: Said(text) for name, text in fields(example).items()}
        notes = Counter[str]()
        if isinstance(example, TaggingExample):
            found = words_of(own)
            # documents cut hyphens and apostrophes off, which the corpus leaves in its words
            example = example if found == example.words else replace(example, words=found, tags=("O",) * len(found))
        links = [(n, n) for n in range(len(getattr(example, "words", ())))]
        assert carry(example, own, notes, links=links, plain=plain) == example
        assert not any(notes[why] for why in ("not translated", "answer not found", "entity not aligned"))


def test_labels_are_copied() -> None:
    notes = Counter[str]()
    pair = ClassificationExample("1", "a dog", "yes", "an animal", "c")
    assert carry(pair, said(text="un perro", pair="un animal"), notes) == replace(
        pair, text="un perro", pair="un animal"
    )
    several = MultilabelExample("1", "a dog", ("x", "y"))
    assert carry(several, said(text="un perro"), notes) == replace(several, text="un perro")
    choice = ChoiceExample("1", "It rains", ("wet", "dry"), 0, "Effect?")
    translated = said(text="Llueve", question="¿Efecto?", options_0="mojado", options_1="seco")
    assert carry(choice, translated, notes) == ChoiceExample("1", "Llueve", ("mojado", "seco"), 0, "¿Efecto?")
    assert carry(TextExample("1", "a dog"), said(text="un perro"), notes) == TextExample("1", "un perro")
    assert not notes


@pytest.mark.parametrize(
    "example",
    [
        ClassificationExample("1", "a dog", "yes", "an animal"),
        ChoiceExample("1", "It rains", ("wet", "dry"), 0),
        SpanExample("1", "A dog barks", "What?", (("A dog", 0),)),
        TaggingExample("1", ("A", "dog"), ("O", "O")),
    ],
)
def test_a_text_without_translation_loses_the_example(example) -> None:
    notes = Counter[str]()
    assert carry(example, {}, notes) is None
    assert notes == {"not translated": 1}


def test_no_translation_search_is_translated() -> None:
    with pytest.raises(TypeError, match="RetrievalExample"):
        carry(RetrievalExample("1", "a", "left"), said(text="b"), Counter())


SPAN = SpanExample("1", "The dog came in 1990. The dog left.", "Who left?", (("dog", 26), ("The dog", 22), ("cat", 0)))
TRANSLATED = said(
    context="El perro vino en 1990. El perro se fue.", question="¿Quién?", answers_0="perro", answers_1="El Perro"
)


def test_answers_are_located_where_they_stood() -> None:
    notes = Counter[str]()
    found = carry(SPAN, TRANSLATED, notes)
    assert isinstance(found, SpanExample)
    assert found.answers == (("perro", 26), ("El perro", 23)) and found.question == "¿Quién?"
    assert all(found.context.startswith(text, start) for text, start in found.answers)
    assert notes == {"answers": 3, "answers found: exact": 1, "answers found: case": 1}


def test_a_translator_that_says_where_an_answer_begins_is_believed_where_that_is_true() -> None:
    for start, expected, how in ((3, 3, "given"), (4, 26, "exact")):
        notes = Counter[str]()
        found = carry(SPAN, {**TRANSLATED, "answers.0": Said("perro", start)}, notes)
        assert isinstance(found, SpanExample)
        assert found.answers[0] == ("perro", expected) and notes[f"answers found: {how}"] == 1


def test_a_question_whose_answer_is_not_found_is_lost_but_not_one_without_answers() -> None:
    notes, elsewhere = Counter[str](), {**TRANSLATED, "answers.0": Said("gato"), "answers.1": Said("loro")}
    assert carry(SPAN, elsewhere, notes) is None and notes["answer not found"] == 1
    none = replace(SPAN, answers=())
    assert carry(none, TRANSLATED, notes) == replace(
        none, context=TRANSLATED["context"].text, question=TRANSLATED["question"].text
    )


def test_texts_alone() -> None:
    """Without labels every translated example stays."""
    notes = Counter[str]()
    found = carry(SPAN, said(context="El perro", question="¿Quién?"), notes, labelled=False)
    assert found == SpanExample("1", "El perro", "¿Quién?", ())
    tagged = TaggingExample("1", ("Ann", "left"), ("B-A", "O"))
    assert carry(tagged, said(text="Ann se fue."), notes, labelled=False) == TaggingExample(
        "1", ("Ann", "se", "fue", "."), ("", "", "", "")
    )
    assert not notes


# Projection of tags


def spans(tags) -> list[tuple[int, int, str]]:
    return list(entities(tags))


@pytest.mark.parametrize(
    ("tags", "size", "links", "expected"),
    [
        ("B-A O O", 3, [(0, 2), (1, 1), (2, 0)], "O O B-A"),
        ("B-A I-A O", 4, [(0, 2), (1, 1), (2, 3)], "O B-A I-A O"),  # turned round inside: still one piece
        ("B-A I-A", 3, [(0, 0), (1, 2)], "B-A I-A I-A"),  # "fig syrup", "sirope de higo"
        ("B-A I-A O", 3, [(0, 0), (1, 2), (2, 1)], "B-A O O"),  # no bridge over another's word; the first of equals
        ("B-A O O O", 6, [(0, 0), (0, 1), (0, 5)], "B-A I-A O O O O"),  # the longest run
        ("B-A B-A", 2, [(0, 0), (1, 1)], "B-A B-A"),
        ("B-A O B-B", 3, [(0, 1), (2, 1), (2, 2), (2, 2)], "O B-A B-B"),  # no word is of two entities
        ("O O", 2, [], "O O"),
        ("B-A O", 2, [(1, 1)], None),
        ("B-A B-B", 1, [(0, 0), (1, 0)], None),
    ],
)
def test_entities_are_projected(tags: str, size: int, links, expected: str | None) -> None:
    assert project(tags.split(), size, links, Counter(), False) == (None if expected is None else expected.split())


@given(st.data())
def test_each_entity_is_one_piece_of_its_type_at_a_word_linked_to_it(data: st.DataObject) -> None:
    given_tags = data.draw(st.lists(st.sampled_from(TAGS), min_size=1, max_size=8))
    tags = [tag if not tag.startswith("I-") or spans_end(given_tags, at) else "O" for at, tag in enumerate(given_tags)]
    size = data.draw(st.integers(1, 8))
    pair = st.tuples(st.integers(0, len(tags) - 1), st.integers(0, size - 1))
    links = data.draw(st.sets(pair, max_size=20))
    notes = Counter[str]()
    found = project(tags, size, links, notes, False)
    assert notes["entities"] == len(spans(tags)) and (found is None) == (
        notes["entities projected"] < notes["entities"]
    )
    if found is not None:
        assert len(found) == size
        assert Counter(kind for *_, kind in spans(found)) == Counter(kind for *_, kind in spans(tags))
        held = {place for begin, end, _ in spans(found) for place in range(begin, end)}
        assert held == {place for place, tag in enumerate(found) if tag != "O"}, "valid IOB2"
        linked = {kind: {to for at, to in links if tags[at].endswith(f"-{kind}")} for kind in "AB"}
        assert all(begin in linked[kind] and end - 1 in linked[kind] for begin, end, kind in spans(found))


def spans_end(tags: list[str], at: int) -> bool:
    """Whether an I- tag continues an entity of its type."""
    while at and tags[at].startswith("I-"):
        if tags[at - 1][2:] != tags[at][2:]:
            return False
        at -= 1
    return tags[at].startswith("B-")


@given(st.permutations(range(6)))
def test_one_to_one_links_move_single_words_and_plain_tags(order: list[int]) -> None:
    links = list(enumerate(order))
    tags = ["B-A", "O", "B-B", "O", "B-A", "O"]
    moved = [tags[order.index(place)] for place in range(6)]
    assert project(tags, 6, links, Counter(), False) == moved
    plain = ["NOUN", "VERB", "DET", "ADJ", "X", "PUNCT"]
    assert project(plain, 6, links, Counter(), True) == [plain[order.index(place)] for place in range(6)]


def test_plain_tags_of_words_without_a_link_are_unknown() -> None:
    assert project(["N", "V"], 3, [(0, 1), (1, 1), (0, 2)], Counter(), True) == ["", "N", "N"]
    example = TaggingExample("1", ("dogs", "run"), ("N", "V"))
    notes = Counter[str]()
    assert carry(example, said(text="perros corren"), notes, links=[], plain=True) is None
    assert notes == {"entity not aligned": 1}


def test_the_mini_corpus_has_every_format_that_is_carried() -> None:
    assert {known.find(task).format for task in TASKS} >= {"tagging", "classification", "multilabel", "choice", "span"}
