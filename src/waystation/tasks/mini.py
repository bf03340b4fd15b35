"""The built-in mini corpus: a tagging target in six languages and four English intermediates with a planted truth.

Hand-written carrier sentences with slots are filled from lexicons (``data/mini``; place names from Unicode CLDR, the
rest ours; not reviewed by native speakers). Every pool of the corpus, target train, general, domain, harmful and
test, has carriers and lexicons of its own, so no sentence frame and no entity is shared between them. The truth is
planted by construction and never by choice of seeds: see ``KEY``. It is a demonstration, not evidence about language.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise, product
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple, TypedDict

import yaml

from waystation.errors import InputError, suggest
from waystation.tasks.examples import TaggingExample

VERSION = 1
"""Raise it when this file changes what ``read`` yields; changed data files are seen by themselves."""

LANGUAGES = ("en", "de", "es", "fr", "ru", "sw")
NAMES = ("PERSON", "PLACE")
TERMS = ("ILLNESS", "REMEDY")
SLOTS: Mapping[str, str | None] = MappingProxyType(
    {
        "PERSON": "PERSON",
        "CITY": "PLACE",
        "LAND": "PLACE",
        "ILLNESS": "ILLNESS",
        "REMEDY": "REMEDY",
        "THING": None,
        "TITLE": None,
        "NUMBER": None,
    }
)
"""Slot → type of the mention that fills it; None for fillers that are no mention (goods, book titles, numbers)."""


class Part(NamedTuple):
    """One split of one task: its labels, its pool of material and the share (first, step) it has, its size."""

    labels: tuple[str, ...]
    pool: str
    share: tuple[int, int]
    languages: tuple[str, ...]
    size: int


# Target and domain task: illnesses and remedies, with names as ordinary words; the domain task has many more terms.
# The general tasks: names. They are dealt alternately from one pool, so they are exchangeable by construction.
PARTS: Mapping[tuple[str, str], Part] = MappingProxyType(
    {
        ("mini-ner", "train"): Part(TERMS, "target", (0, 1), ("en",), 500),
        ("mini-ner", "test"): Part(TERMS, "test", (0, 1), LANGUAGES, 120),
        ("mini-general-a", "train"): Part(NAMES, "general", (0, 2), ("en",), 400),
        ("mini-general-b", "train"): Part(NAMES, "general", (1, 2), ("en",), 400),
        ("mini-domain", "train"): Part(TERMS, "domain", (0, 1), ("en",), 400),
        ("mini-harmful", "train"): Part(TERMS, "harmful", (0, 1), ("en",), 400),
    }
)
HARMFUL = "mini-harmful"


class Key(NamedTuple):
    """The planted truth: groups of intermediates, best first, in order of mean gain over the zero-shot languages.

    Members of one group differ by less than ``within`` times either gap between neighbouring groups (of means).
    """

    target: str
    languages: tuple[str, ...]
    order: tuple[tuple[str, ...], ...]
    within: float


KEY = Key(
    target="mini-ner",
    languages=LANGUAGES[1:],
    order=(("mini-domain",), ("mini-general-a", "mini-general-b"), (HARMFUL,)),
    within=0.5,
)


def check_key(gains: Mapping[str, float]) -> list[tuple[str, bool]]:
    """Score measured mean gains (points, over ``KEY.languages``) of the intermediates against the key."""
    wanted = [name for group in KEY.order for name in group]
    if missing := [name for name in wanted if name not in gains]:
        raise InputError(f"the key needs the mean gains of {', '.join(wanted)}; missing: {', '.join(missing)}")
    found: list[tuple[str, bool]] = []
    for upper, lower in pairwise(KEY.order):
        for better, worse in product(upper, lower):
            found.append((f"{better} gains more than {worse}", gains[better] > gains[worse]))
    means = [fmean(gains[name] for name in group) for group in KEY.order]
    for group in KEY.order:
        values = [gains[name] for name in group]
        for (upper, above), (lower, below) in pairwise(zip(KEY.order, means, strict=True)):
            if len(group) > 1 and group in (upper, lower):
                # Not a number stays false: every comparison with it does.
                holds = max(values) - min(values) < KEY.within * (above - below)
                gap = f"the gap between {_named(upper)} and {_named(lower)}"
                found.append((f"{_named(group)} are closer to each other than {KEY.within:g} of {gap}", holds))
    return found


def _named(group: Sequence[str]) -> str:
    return " and ".join(group)


class Carrier(NamedTuple):
    """One hand-written sentence with slots; ``id`` is the cluster of every sentence made from it."""

    id: str
    words: tuple[str, ...]


class Material(NamedTuple):
    """Carriers and lexicon (slot → fillers) of one pool and language. Names are (given, family) groups."""

    carriers: tuple[Carrier, ...]
    names: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    fillers: Mapping[str, tuple[str, ...]]


def read(task_id: str, split: str, language: str) -> Iterator[TaggingExample]:
    """Yield the sentences of one task, split and language; always the same ones, in the same order."""
    part = _part(task_id, split, language)
    stuff = material(part.pool, language, part.share)
    name = f"{task_id}/{split}/{language}"
    made: set[tuple[str, ...]] = set()
    turn = 0
    while len(made) < part.size:
        # One sentence of each carrier per round, each round in another order.
        for carrier in sorted(stuff.carriers, key=lambda c: _number(name, turn, c.id)):
            words, tags = _fill(carrier, stuff, part.labels, f"{name}/{turn}")
            if words in made:
                continue
            if task_id == HARMFUL:
                tags = _contradict(tags)
            yield TaggingExample(f"{name}/{len(made)}", words, tags, carrier.id)
            made.add(words)
            if len(made) == part.size:
                return
        turn += 1


def version() -> str:
    """Digest of everything that decides what ``read`` yields: the fingerprint of every mini task."""
    sha = hashlib.sha256(f"mini {VERSION}".encode())
    for entry in sorted(_folder().iterdir(), key=lambda e: e.name):
        if entry.name.endswith((".yaml", ".csv")):
            sha.update(f"\n{entry.name}\n".encode() + entry.read_bytes())
    return sha.hexdigest()


def material(pool: str, language: str, share: tuple[int, int] = (0, 1)) -> Material:
    """Carriers and lexicon of one pool, or the share of it that begins at ``share[0]`` with step ``share[1]``."""
    first, step = share
    document = _document(language)
    lines = document["carriers"][pool].splitlines()
    carriers = [Carrier(f"{language}-{pool}-{n:02}", tuple(line.split())) for n, line in enumerate(lines)]
    return Material(
        tuple(carriers[first::step]),
        tuple((tuple(g["given"][first::step]), tuple(g["family"][first::step])) for g in document["names"][pool]),
        {kind: texts[first::step] for kind, texts in _lexicon(pool, language).items()},
    )


def _contradict(tags: Sequence[str]) -> tuple[str, ...]:
    """The same mentions at mirrored places: the last word's type goes to the first word, and so on.

    Other names for the types would not do: a new head undoes them. Mirrored, as many mentions of the same types and
    lengths stand at words that have nothing to do with them.
    """
    kinds = [tag[2:] for tag in reversed(tags)]
    before = ["", *kinds[:-1]]
    return tuple(
        f"{'I' if kind == last else 'B'}-{kind}" if kind else "O" for kind, last in zip(kinds, before, strict=True)
    )


def _fill(
    carrier: Carrier, stuff: Material, labels: Sequence[str], key: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Fill the slots of one carrier: words and IOB2 tags. The same key always gives the same sentence."""
    words: list[str] = []
    tags: list[str] = []
    used: set[str] = set()
    for position, word in enumerate(carrier.words):
        slot = word[1:-1] if word.startswith("{") else None
        if slot is None:
            words.append(word)
            tags.append("O")
            continue
        text = _draw(slot, stuff, used, f"{key}/{carrier.id}/{position}")
        used.add(text)
        kind = SLOTS[slot]
        parts = text.split()
        words += parts
        tags += ["O"] * len(parts) if kind not in labels else [f"B-{kind}"] + [f"I-{kind}"] * (len(parts) - 1)
    words[0] = words[0][:1].upper() + words[0][1:]
    return tuple(words), tuple(tags)


def _draw(slot: str, stuff: Material, used: set[str], key: str) -> str:
    """One filler that the sentence does not have yet."""
    if slot == "NUMBER":
        return str(2 + _number(key) % 97)
    if slot == "PERSON":
        given, family = stuff.names[_number(key, "group") % len(stuff.names)]
        first = given[_number(key, "given") % len(given)]
        last = family[_number(key, "family") % len(family)]
        # One in three is a full name; the rest a given or a family name alone.
        return (f"{first} {last}", first, last)[_number(key, "form") % 3]
    left = [text for text in stuff.fillers[slot] if text not in used]
    return left[_number(key) % len(left)]


def _number(*key: object) -> int:
    """A number that depends on the key alone: no generator whose stream a Python release could change."""
    return int.from_bytes(hashlib.sha256("\n".join(map(str, key)).encode()).digest()[:8], "big")


def _part(task_id: str, split: str, language: str) -> Part:
    known = sorted({task for task, _ in PARTS})
    if task_id not in known:
        raise InputError(f"no built-in task '{task_id}'{suggest(task_id, known)}; there are {', '.join(known)}")
    part = PARTS.get((task_id, split))
    if part is None or language not in part.languages:
        have = "; ".join(f"{s}: {', '.join(p.languages)}" for (t, s), p in PARTS.items() if t == task_id)
        raise InputError(f"built-in task '{task_id}' has no {split} split in '{language}'; it has {have}")
    return part


class _Document(TypedDict):
    note: str
    names: dict[str, list[dict[str, list[str]]]]
    carriers: dict[str, str]


def _folder() -> Traversable:
    return files("waystation") / "data" / "mini"


@cache
def _document(language: str) -> _Document:
    loaded: _Document = yaml.safe_load((_folder() / f"{language}.yaml").read_text(encoding="utf-8"))
    return loaded


@cache
def _lexicon(pool: str, language: str) -> Mapping[str, tuple[str, ...]]:
    """Slot → fillers of one pool in one language, from the two tables."""
    found: dict[str, list[str]] = {}
    for table in ("places.csv", "terms.csv"):
        lines = (_folder() / table).read_text(encoding="utf-8").splitlines()
        for row in csv.DictReader(lines):
            if row["pool"] == pool and row[language]:
                found.setdefault(row["kind"], []).append(row[language])
    return MappingProxyType({kind: tuple(texts) for kind, texts in found.items()})
