"""The built-in mini corpus: a tagging target in six languages and four English intermediates with a planted truth.

Hand-written carrier sentences with slots are filled from lexicons (``data/mini``; place names from Unicode CLDR, the
rest ours; not reviewed by native speakers). Every pool of the corpus, target train, general, domain, harmful and
test, has carriers and lexicons of its own, so no sentence frame and no entity is shared between them. The truth is
planted by construction and never by choice of seeds: see ``KEY``. It is a demonstration, not evidence about language.
Small tasks of every format from the same material are in ``mini.formats``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple

from waystation.errors import InputError, suggest
from waystation.tasks.examples import Example, TaggingExample
from waystation.tasks.mini import formats
from waystation.tasks.mini.carriers import FORMATS, LANGUAGES, NAMES, TERMS, fill, folder, material, number

VERSION = 1
"""Raise it when the code changes what the tasks here yield; changed data files are seen by themselves."""


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


def read(task_id: str, split: str, language: str) -> Iterator[Example]:
    """Yield the examples of one task, split and language; always the same ones, in the same order."""
    _check(task_id, split, language)
    return (formats.read if task_id in formats.TASKS else _tagged)(task_id, split, language)


def _tagged(task_id: str, split: str, language: str) -> Iterator[TaggingExample]:
    part = PARTS[task_id, split]
    stuff = material(part.pool, language, part.share)
    name = f"{task_id}/{split}/{language}"
    made: set[tuple[str, ...]] = set()
    turn = 0
    while len(made) < part.size:
        # One sentence of each carrier per round, each round in another order.
        for carrier in sorted(stuff.carriers, key=lambda c: number(name, turn, c.id)):
            sentence = fill(carrier, stuff, f"{name}/{turn}")
            words, tags = sentence.words, sentence.tags(part.labels)
            if words in made:
                continue
            if task_id == HARMFUL:
                tags = _contradict(tags)
            yield TaggingExample(f"{name}/{len(made)}", words, tags, carrier.id)
            made.add(words)
            if len(made) == part.size:
                return
        turn += 1


def version(task_id: str) -> str:
    """Digest of everything that decides what ``read`` yields for a task: part of its fingerprint."""
    sha = hashlib.sha256(f"mini {VERSION}".encode())
    for entry in sorted(folder().iterdir(), key=lambda e: e.name):
        if entry.name.endswith((".yaml", ".csv")) and entry.name != FORMATS:
            sha.update(f"\n{entry.name}\n".encode() + entry.read_bytes())
    if task_id in formats.TASKS:
        sha.update(f"formats {formats.VERSION}\n".encode() + (folder() / FORMATS).read_bytes())
    return sha.hexdigest()


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


def _check(task_id: str, split: str, language: str) -> None:
    """Raise InputError where there is no such task, split or language."""
    splits = {
        **{(task, part): formats.languages(task, part) for task in formats.TASKS for part in ("train", "test")},
        **{key: part.languages for key, part in PARTS.items()},
    }
    known = sorted({task for task, _ in splits})
    if task_id not in known:
        raise InputError(f"no built-in task '{task_id}'{suggest(task_id, known)}; there are {', '.join(known)}")
    if language not in splits.get((task_id, split), ()):
        have = "; ".join(f"{s}: {', '.join(codes)}" for (t, s), codes in splits.items() if t == task_id and codes)
        raise InputError(f"built-in task '{task_id}' has no {split} split in '{language}'; it has {have}")
