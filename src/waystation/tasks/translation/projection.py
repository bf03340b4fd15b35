"""Tags projected over a word alignment: what stood at a word stands at the words that translate it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise

Links = Collection[tuple[int, int]]
"""Pairs (word of a sentence, word of its translation) that translate each other."""

UNKNOWN = ""
"""The tag of a word of which no tag is known."""


def project(tags: Sequence[str], size: int, links: Links, notes: Counter[str], plain: bool) -> list[str] | None:
    """Tags of the ``size`` words of a translation; None where an entity has no counterpart in it.

    Each entity (IOB2) stays one piece, without gaps: of the words linked to it the longest run, by links, where a run
    may pass over one word that is linked to nothing else. Two entities never share a word. ``plain``: each word has the
    tag of the word it is linked to, or ``UNKNOWN``. ``notes`` count entities, and those that were projected.
    """
    if plain:
        return [_commonest(tags[at] for at, to in links if to == place) for place in range(size)]
    found = ["O"] * size
    spans = list(entities(tags))
    linked = [[to for at, to in links if begin <= at < end] for begin, end, _ in spans]
    foreign = [{to for at, to in links if not begin <= at < end} for begin, end, _ in spans]
    notes["entities"] += len(spans)
    complete = True
    for number in sorted(range(len(spans)), key=lambda one: len(set(linked[one]))):  # the least free chooses first
        begin, end, kind = spans[number]
        free = Counter(to for to in linked[number] if found[to] == "O")
        middle = (begin + end) / 2 * size / len(tags)
        bridges = {place for place in range(size) if found[place] == "O"} - foreign[number]
        runs = _runs(sorted(free), bridges)
        best = max(
            runs,
            key=lambda run: (sum(free[place] for place in range(*run)), -abs(sum(run) / 2 - middle)),
            default=None,
        )
        if best is None:
            complete = False
            continue
        notes["entities projected"] += 1
        found[slice(*best)] = [f"B-{kind}"] + [f"I-{kind}"] * (best[1] - best[0] - 1)
    return found if complete else None


def entities(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """First word, the one after the last, and type of each entity in IOB2 tags."""
    starts = [place for place, tag in enumerate(tags) if tag.startswith("B-")]
    for begin in starts:
        end = begin + 1
        while end < len(tags) and tags[end] == f"I-{tags[begin][2:]}":
            end += 1
        yield begin, end, tags[begin][2:]


def _runs(places: Sequence[int], bridges: set[int]) -> list[tuple[int, int]]:
    """Runs (first, one after the last) of sorted places; one place between two of a run may be a bridge."""
    if not places:
        return []
    cuts = [at for at, (a, b) in enumerate(pairwise(places), 1) if b - a > 2 or (b - a == 2 and a + 1 not in bridges)]
    edges = [0, *cuts, len(places)]
    return [(places[low], places[high - 1] + 1) for low, high in pairwise(edges)]


def _commonest(tags: Iterable[str]) -> str:
    counted = Counter(tags)
    return max(sorted(counted), key=counted.__getitem__, default=UNKNOWN)
