"""Where an answer stands in a translated passage.

The translation of the answer is looked for in the translation of the passage. Tried one after the other: as it is
written; without regard to case; without regard to case, accents, width, punctuation and blanks; and at last the piece
of the passage that shares most letters with it, word by word, where inflected forms of a word count as it. Of several
places the one nearest to where the answer stood in the original passage, relative to its length, is taken. Only the
last step can err about the borders.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import takewhile

from waystation.tasks.examples import UNSPACED
from waystation.tasks.reading.documents import words

HOW = ("exact", "case", "normalised", "overlap")
"""How an answer was found, the surest way first."""

ENOUGH = 0.6
"""Share of letters that an answer and a piece of the passage must have in common (Dice coefficient)."""
STEM, ALIKE = 4, 0.6
"""Two words are forms of one where their beginnings agree in that many letters, and that share of the longer one."""
LONGER = 2
"""Words by which a piece may be longer than the answer."""


def locate(passage: str, answer: str, near: float) -> tuple[int, int, str] | None:
    """Beginning and end (in characters) of an answer in a passage, and how it was found; None where it was not.

    ``near``: where its middle is expected, as a share of the passage.
    """
    answer = answer.strip()
    if not answer:
        return None
    spots = words(passage)
    starts, ends = {start for start, _ in spots}, {end for _, end in spots}

    def nearest(places: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
        whole = [
            (start, end)
            for start, end in places
            if (start in starts or UNSPACED.match(passage[start])) and (end in ends or UNSPACED.match(passage[end - 1]))
        ]
        return min(whole, key=lambda place: _off(place, near, len(passage)), default=None)

    folds: tuple[Callable[[str], str], ...] = (str, str.casefold, _bare)
    for how, fold in zip(HOW, folds, strict=False):
        if (found := nearest(_occurrences(passage, answer, fold))) is not None:
            return *found, how
    found = _overlapping(passage, spots, answer, near)
    return None if found is None else (*found, HOW[-1])


def _off(place: tuple[int, int], near: float, length: int) -> float:
    return abs((place[0] + place[1]) / 2 - near * length)


@lru_cache(maxsize=65536)
def _bare(character: str) -> str:
    """Without case, accents and width; nothing of blanks and punctuation."""
    plain = unicodedata.normalize("NFKD", character.casefold())
    return "".join(c for c in plain if not unicodedata.combining(c) and unicodedata.category(c)[0] in "LMN")


def _occurrences(passage: str, answer: str, fold: Callable[[str], str]) -> list[tuple[int, int]]:
    """Extents of the passage that are equal to the answer once both are folded, character by character."""
    folded, origin = [], []
    for place, character in enumerate(passage):
        plain = fold(character)
        folded.append(plain)
        origin += [place] * len(plain)
    hay, needle = "".join(folded), "".join(map(fold, answer))
    found, at = [], hay.find(needle) if needle else -1
    while at >= 0:
        found.append((origin[at], origin[at + len(needle) - 1] + 1))
        at = hay.find(needle, at + 1)
    return found


def _overlapping(passage: str, spots: list[tuple[int, int]], answer: str, near: float) -> tuple[int, int] | None:
    """The piece of a passage that shares most letters with the answer; of equal ones the nearest."""
    asked = [folded for start, end in words(answer) if (folded := _plain(answer[start:end]))]
    said = [_plain(passage[start:end]) for start, end in spots]
    alike = [[number for number, word in enumerate(asked) if _forms_of_one(word, other)] for other in said]
    wanted = sum(map(len, asked))
    best: tuple[float, float, tuple[int, int]] | None = None
    for first in (place for place, numbers in enumerate(alike) if numbers):
        used: set[int] = set()
        shared = held = 0
        for last in range(first, min(len(said), first + len(asked) + LONGER)):
            held += len(said[last])
            number = next((number for number in alike[last] if number not in used), None)
            if number is None:
                continue
            used.add(number)
            shared += len(asked[number]) + len(said[last])
            place = spots[first][0], spots[last][1]
            rank = (shared / (wanted + held), -_off(place, near, len(passage)), place)
            best = rank if best is None or rank > best else best
    return best[2] if best is not None and best[0] >= ENOUGH else None


def _plain(word: str) -> str:
    """A word, folded."""
    return "".join(map(_bare, word))


def _forms_of_one(word: str, other: str) -> bool:
    if word == other or any(map(str.isnumeric, word + other)):
        return word == other
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(word, other, strict=False))))
    return same >= STEM and same >= ALIKE * max(len(word), len(other))
