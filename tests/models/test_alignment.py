"""Word alignment from an encoder's states."""

from __future__ import annotations

import random
from collections import Counter

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from small import WORDS, sentences  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.models import alignment  # noqa: E402
from waystation.models.alignment import align, layer_of  # noqa: E402
from waystation.models.backbone import Checkpoint, load_tokenizer  # noqa: E402
from waystation.tasks.mini.carriers import formats, lexicon  # noqa: E402
from waystation.tasks.translation.projection import entities, project  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["xlm-roberta", "deberta-v2"])
def opened(request, tmp_path_factory):
    folder = tiny_checkpoint(tmp_path_factory.mktemp("backbone"), request.param)
    return Checkpoint(folder), load_tokenizer(folder)


def test_a_sentence_is_aligned_with_itself(opened) -> None:
    """A sub-token is most like itself; absolute positions tell equal ones apart."""
    if not opened[0].packable:
        pytest.skip("relative positions alone: equal sub-tokens may be equal states")
    for words in sentences(20, seed=3):
        if len(set(words)) == len(words):
            assert align([(words, words)], *opened, CPU) == [{(n, n) for n in range(len(words))}]


def test_pairs_do_not_depend_on_each_other_nor_on_the_batch(opened) -> None:
    pairs = list(zip(sentences(12, seed=1), sentences(12, seed=2), strict=True))
    together = align(pairs, *opened, CPU)
    assert together == [align([pair], *opened, CPU)[0] for pair in pairs]
    assert together == align(pairs, *opened, CPU, tokens_per_batch=1)
    assert any(together)


def test_links_are_of_words_and_mutual(opened) -> None:
    """Turned round, the same words are linked; no number is beyond its sentence."""
    pairs = list(zip(sentences(12, seed=4), sentences(12, seed=5), strict=True))
    there = align(pairs, *opened, CPU)
    back = align([(other, own) for own, other in pairs], *opened, CPU)
    for (own, other), links, turned in zip(pairs, there, back, strict=True):
        assert {(b, a) for a, b in turned} == links
        assert all(a < len(own) and b < len(other) for a, b in links)


def test_what_the_encoder_cannot_read_is_linked_to_nothing(opened) -> None:
    checkpoint, _ = opened
    long = random.Random(0).choices(WORDS, k=checkpoint.longest)
    (links,) = align([(long, long)], *opened, CPU)
    assert 0 < max(a for a, _ in links) < len(long) - 1
    assert align([((), ("Genf",))], *opened, CPU) == [set()]
    assert align([], *opened, CPU) == []


def test_the_layer_is_two_thirds_up() -> None:
    assert [layer_of(blocks) for blocks in (1, 2, 6, 12, 24)] == [1, 1, 4, 8, 16]


def test_it_stops_when_asked(opened) -> None:
    pairs = list(zip(sentences(4, seed=1), sentences(4, seed=2), strict=True))
    with pytest.raises(alignment.Stopped):
        align(pairs, *opened, CPU, tokens_per_batch=1, should_stop=lambda: True)


# The real thing: parallel sentences of the mini corpus, whose entities are known on both sides

KINDS = {"CITY": "PLACE", "ILLNESS": "ILLNESS", "REMEDY": "REMEDY", "TITLE": "TITLE", "THING": "THING"}


def filled(carrier: str, language: str, turn: int) -> tuple[list[str], list[str]]:
    """Words and IOB2 tags of a carrier; the n-th slot of a kind takes row n + ``turn`` of the lexicon."""
    nth, words, tags = Counter[str](), [], []
    for word in carrier.split():
        slot = word.strip("{}")
        fillers = lexicon("test", language).get(slot) if word.startswith("{") else None
        parts = fillers[(turn + nth[slot]) % len(fillers)].split() if fillers else ["7" if slot == "NUMBER" else word]
        nth[slot] += 1
        words += parts
        kind = KINDS.get(slot)
        tags += [f"B-{kind}"] + [f"I-{kind}"] * (len(parts) - 1) if kind else ["O"]
    return words, tags


@pytest.mark.slow
@pytest.mark.parametrize(("language", "least"), [("de", 0.95), ("ru", 0.85)])
def test_entities_find_their_translations_through_the_bundled_encoder(language: str, least: float) -> None:
    from waystation import places
    from waystation.backbones import Backbone
    from waystation.errors import InputError
    from waystation.models.backbone import checkpoint_folder

    try:
        folder = checkpoint_folder(Backbone(id="bundled"), places.cache_folder())
    except InputError as problem:
        pytest.skip(f"the bundled backbone is not here: {problem}")
    pairs = [
        (filled(carrier["en"], "en", turn), filled(carrier[language], language, turn))
        for carrier in formats()["parallel"]
        for turn in (0, 1)
    ]
    found = align([(own[0], other[0]) for own, other in pairs], Checkpoint(folder), load_tokenizer(folder), CPU)
    right = given = true = 0
    for (own, other), links in zip(pairs, found, strict=True):
        gold, tags = set(entities(other[1])), project(own[1], len(other[0]), links, Counter(), False)
        made = set(entities(tags or ()))
        right, given, true = right + len(gold & made), given + len(made), true + len(gold)
    assert 2 * right / (given + true) >= least
