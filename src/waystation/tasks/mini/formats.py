"""The mini corpus in every format: small tasks whose answers are known because the sentences are filled carriers.

Each has English training data from the carriers and lexicons of all training pools; its tests in six languages come
from the pool "test", so neither a sentence frame nor an entity is in both. They show that a format works from reading
to scores, and plant nothing. Not reviewed by native speakers. Text alone (``TEXT``) is in all languages, in all but
English from the pool "test", the only one that they have: it is text of the tests' own kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import count
from types import MappingProxyType

from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    Example,
    MultilabelExample,
    RetrievalExample,
    SpanExample,
    TaggingExample,
    TextExample,
    running,
)
from waystation.tasks.mini.carriers import (
    LANGUAGES,
    NAMES,
    SLOTS,
    TERMS,
    Carrier,
    Material,
    Piece,
    Sentence,
    draw,
    fill,
    formats,
    lexicon,
    material,
    number,
)

VERSION = 1
"""Raise it when this file changes what a task yields; the older tagging tasks do not depend on it."""

POOLS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"train": ("target", "general", "domain", "harmful"), "test": ("test",)}
)
SPLITS: Mapping[str, tuple[tuple[str, ...], int]] = MappingProxyType({"train": (("en",), 320), "test": (LANGUAGES, 96)})
"""Split → languages and number of examples."""

TYPES = (*NAMES, *TERMS)
TOPIC = ("health", "other")
PAIR = ("both", "one", "neither")
Fits = Callable[[Counter[str]], bool]
"""What the mentions of a carrier, counted by type, must be."""
_WORD_OF_SLOT = {"THING": "TERM", "ILLNESS": "TERM", "REMEDY": "TERM", "NUMBER": "NUMBER"}
BLANK = "___"
RETRIEVAL, TEXT = "mini-retrieval", "mini-text"
PAIRS = 96


def languages(task_id: str, split: str) -> tuple[str, ...]:
    """Languages of a split; none where the task has no such split."""
    if task_id == RETRIEVAL:
        return LANGUAGES[1:] if split == "test" else ()
    if task_id == TEXT:
        return LANGUAGES if split == "train" else ()
    return SPLITS[split][0] if split in SPLITS else ()


def read(task_id: str, split: str, language: str) -> Iterator[Example]:
    """Yield the examples of one task, split and language; always the same ones, in the same order."""
    if task_id == RETRIEVAL:
        yield from _pairs(language)
        return
    make, name = MAKERS[task_id], f"{task_id}/{split}/{language}"
    stuff = _merged(split if language == "en" else "test", language)  # the one pool that is in every language
    made: set[Example] = set()
    for turn in count():
        example = make(len(made), f"{name}/{turn}", stuff, language)
        if example in made:
            continue
        yield replace(example, id=f"{name}/{len(made)}")
        made.add(example)
        if len(made) == SPLITS[split][1]:
            return


@cache
def _merged(split: str, language: str) -> Material:
    """Carriers and lexicons of all pools of a split together."""
    pools = [material(pool, language) for pool in POOLS[split]]
    slots = dict.fromkeys(slot for pool in pools for slot in pool.fillers)
    return Material(
        tuple(carrier for pool in pools for carrier in pool.carriers),
        tuple(group for pool in pools for group in pool.names),
        {slot: tuple(text for pool in pools for text in pool.fillers.get(slot, ())) for slot in slots},
    )


# Makers: what the n-th example of a task is; ``key`` decides all that is drawn. The caller gives the ids.


def _topic(n: int, key: str, stuff: Material, language: str) -> ClassificationExample:
    """Whether a sentence names an illness or a remedy."""
    label = TOPIC[n % 2]
    said = _say(stuff, key, _health if label == "health" else _without(TERMS))
    return ClassificationExample("", said.text, label, cluster=said.cluster)


def _pair(n: int, key: str, stuff: Material, language: str) -> ClassificationExample:
    """How many of two sentences name an illness or a remedy."""
    label = PAIR[n % 3]
    first = label == "both" or (label == "one" and number(key, "first") % 2 == 0)
    second = label == "both" or (label == "one" and not first)
    said = _say(stuff, f"{key}/1", _health if first else _without(TERMS))
    other = _say(stuff, f"{key}/2", _health if second else _without(TERMS), said)
    return ClassificationExample("", said.text, label, other.text, said.cluster)


def _types(n: int, key: str, stuff: Material, language: str) -> MultilabelExample:
    """Which types of mention stand in one to three sentences; in one of eight texts there are none."""
    if n % 8 == 0:
        said = [_say(stuff, key, lambda kinds: not kinds)]
    else:
        said = [_say(stuff, f"{key}/{at}") for at in range(1 + number(key, "length") % 3)]
    found = {kind for sentence in said for kind, _, _ in sentence.mentions()}
    return MultilabelExample("", _joined(said), tuple(kind for kind in TYPES if kind in found))


def _choice(n: int, key: str, stuff: Material, language: str) -> ChoiceExample:
    """Which of two to five words belongs where a mention was taken out; no two are of one kind."""
    # Mentions at the beginning stay: their capital letter would tell.
    carriers = [carrier for carrier in stuff.carriers if any(map(_is_mention, carrier.words[1:]))]
    said = fill(carriers[number(key, "carrier") % len(carriers)], stuff, key)
    places = [at for at, piece in enumerate(said.pieces) if at and piece.kind is not None]
    at = places[number(key, "place") % len(places)]
    right = said.pieces[at]
    others = [slot for slot, kind in SLOTS.items() if slot not in ("LAND", "NUMBER") and (kind or slot) != right.kind]
    others = sorted(others, key=lambda slot: number(key, slot))[: 1 + n % 4]
    options = [right.text, *(draw(slot, stuff, set(), f"{key}/{slot}") for slot in others)]
    options.sort(key=lambda text: number(key, text))
    text = " ".join(BLANK if place == at else piece.text for place, piece in enumerate(said.pieces))
    return ChoiceExample("", text, tuple(options), options.index(right.text), cluster=said.cluster)


def _span(n: int, key: str, stuff: Material, language: str, unanswerable: bool = False) -> SpanExample:
    """A question for a type of mention: one of two or three sentences has one. With ``unanswerable`` a third has none.

    The other sentences have no mention of its family (names, or illnesses and remedies).
    """
    kind = TYPES[n % len(TYPES)]
    family = NAMES if kind in NAMES else TERMS
    size = 2 + number(key, "length") % 2
    place = None if unanswerable and n % 3 == 0 else number(key, "place") % size
    said: list[Sentence] = []
    for at in range(size):
        fits = (lambda kinds: kinds[kind] == 1) if at == place else _without(family)
        said.append(_say(stuff, f"{key}/{at}", fits, *said))
    answers: list[tuple[str, int]] = []
    start = 0
    for sentence in said:
        answers += [(text, start + at) for found, text, at in sentence.mentions() if found == kind]
        start += len(sentence.text) + 1
    return SpanExample("", _joined(said), formats()["questions"][language][kind], tuple(answers))


def _words(n: int, key: str, stuff: Material, language: str) -> TaggingExample:
    """What each word is: part of a name, of a term, a number, punctuation, or any other word."""
    said = _say(stuff, key)
    tags = [tag for piece in said.pieces for tag in [_word(piece)] * len(piece.text.split())]
    return TaggingExample("", said.words, tuple(tags), said.cluster)


def _text(n: int, key: str, stuff: Material, language: str) -> TextExample:
    """One to three sentences as running text."""
    said = [_say(stuff, f"{key}/{at}") for at in range(1 + number(key, "length") % 3)]
    return TextExample("", running([word for sentence in said for word in sentence.words]))


def _word(piece: Piece) -> str:
    if piece.slot is not None:
        return _WORD_OF_SLOT.get(piece.slot, "NAME")
    return "WORD" if any(map(str.isalnum, piece.text)) else "PUNCT"


def _pairs(language: str) -> Iterator[RetrievalExample]:
    """Parallel carriers in turn, filled with the same rows of the lexicons in every language; ids are the same too."""
    carriers = formats()["parallel"]
    for n in range(PAIRS):
        turn, at = divmod(n, len(carriers))
        own, said = f"{RETRIEVAL}/{n}", carriers[at]
        yield RetrievalExample(own, _translated(said[language], language, at, turn), "left", f"{own}/en")
        yield RetrievalExample(f"{own}/en", _translated(said["en"], "en", at, turn), "right", own)


def _translated(carrier: str, language: str, key: int, turn: int) -> str:
    """A filled parallel carrier: its n-th slot of a kind takes row n + ``turn``, rows in the carrier's own order."""
    fillers, nth = lexicon("test", language), Counter[str]()
    words = carrier.split()
    for at, word in enumerate(words):
        if not word.startswith("{"):
            continue
        slot = word[1:-1]
        row = turn + nth[slot]
        nth[slot] += 1
        if slot == "NUMBER":
            words[at] = str(2 + number(key, slot, row) % 97)
        else:
            rows = sorted(range(len(fillers[slot])), key=lambda one: number(key, slot, one))
            words[at] = fillers[slot][rows[row % len(rows)]]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _health(kinds: Counter[str]) -> bool:
    """Whether there is an illness or a remedy among the mentions of a carrier."""
    return any(kind in TERMS for kind in kinds)


def _without(family: Sequence[str]) -> Fits:
    return lambda kinds: not any(kind in family for kind in kinds)


def _say(
    stuff: Material,
    key: str,
    fits: Fits = lambda kinds: True,
    *before: Sentence,
) -> Sentence:
    """A sentence whose mentions, counted by type, are as wanted, of another carrier than those before."""
    taken = {sentence.cluster for sentence in before}
    carriers = [carrier for carrier in stuff.carriers if carrier.id not in taken and fits(_kinds(carrier))]
    return fill(carriers[number(key, "carrier") % len(carriers)], stuff, key)


@cache
def _kinds(carrier: Carrier) -> Counter[str]:
    return Counter(kind for word in carrier.words if _is_mention(word) and (kind := SLOTS[word[1:-1]]))


def _is_mention(word: str) -> bool:
    return word.startswith("{") and SLOTS[word[1:-1]] is not None


def _joined(said: Sequence[Sentence]) -> str:
    return " ".join(sentence.text for sentence in said)


Maker = Callable[[int, str, Material, str], Example]
MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "mini-topic": _topic,
        "mini-pair": _pair,
        "mini-types": _types,
        "mini-choice": _choice,
        "mini-span": _span,
        "mini-span-2": partial(_span, unanswerable=True),
        "mini-words": _words,
        TEXT: _text,
    }
)
TASKS = (*MAKERS, RETRIEVAL)
