"""Entities in tag sequences: whole corpora of references and predictions compared with numpy.

Python reads strings one at a time. So the tags of many sentences are joined to one text, and the bytes of that text
are what numpy works on: tags become numbers, entities become rows of numbers, equal rows are entities found rightly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from operator import iconcat
from typing import Self

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError

Tags = Sequence[str]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BLOCK = 1000
"""Sentences compared at a time: their arrays stay in the processor's cache."""

_LEADING = np.array([2 ** (8 * size) - 1 for size in range(9)], np.uint64)  # masks of the first bytes of eight


@dataclass(frozen=True)
class Compared:
    """Entities of a block of sentences, reference against prediction.

    ``right``, ``predicted`` and ``gold`` have a column for each entity found rightly, predicted, in the reference: its
    first word, numbered through the block, and its type's place in ``types``; int64 [2, n]. ``wrong`` int64 [n]: words
    of another tag than the reference's. ``sizes`` int64 [sentences]: words of each.
    """

    types: list[str]
    sizes: Ints
    wrong: Ints
    right: Ints
    predicted: Ints
    gold: Ints


def compare(
    golds: Sequence[Tags], preds: Sequence[Tags], *, plain: bool = False, strict: bool = False
) -> Iterator[Compared]:
    """Compare references with as many predictions, in blocks of ``BLOCK`` sentences.

    A tag that marks no entity (a part of speech) is refused. With ``plain``, a sentence whose reference has one holds
    no entities instead, in the prediction neither. With ``strict``, nothing is mended: an entity begins with ``B``
    (strict IOB2, seqeval's ``mode="strict"``). Raises InputError, also where a prediction has not one tag for each
    word.
    """
    for low in range(0, len(golds), BLOCK):
        yield _compare(golds[low : low + BLOCK], preds[low : low + BLOCK], plain, strict)


def entities(tags: Tags) -> list[tuple[str, int, int]]:
    """Entities of one sentence as (type, first word, word after the last), in order.

    IOB2 with the repair of the CoNLL-2000 script, as in seqeval's default mode (1.2.2, whose end is inclusive): an
    ``I-X`` that continues no X begins one. ``B`` and ``I`` alone are of type ``_``.
    """
    marked = _marked(tags)
    _refuse(marked.stray, marked.at, tags)
    types, kind, first, last = _spans(marked, tags, np.array([len(tags)]))
    return [(types[k], i, j) for k, i, j in zip(kind.tolist(), first.tolist(), last.tolist(), strict=True)]


def same_length(gold: Tags, pred: Tags) -> None:
    """Refuse a prediction that has not one tag for each word."""
    if len(gold) != len(pred):
        raise InputError(f"{len(pred)} tags predicted for a sentence of {len(gold)} words; there must be one for each")


def _compare(golds: Sequence[Tags], preds: Sequence[Tags], plain: bool, strict: bool) -> Compared:
    sizes = np.fromiter(map(len, golds), np.int64, len(golds))
    if (sizes != np.fromiter(map(len, preds), np.int64, len(preds))).any():
        for gold, pred in zip(golds, preds, strict=True):
            same_length(gold, pred)
    flat: list[str] = reduce(iconcat, chain(golds, preds), [])
    ends, words = np.cumsum(sizes), len(flat) // 2
    marked = _marked(flat)
    wrong = _wrong(marked, words)
    stray = marked.stray
    if plain and stray.any():
        sentence = np.searchsorted(ends, marked.at % words, "right")
        marked = marked[~np.isin(sentence, sentence[stray & (marked.at < words)])]
        stray = marked.stray
    _refuse(stray, marked.at, flat)
    types, kind, first, last = _spans(marked, flat, np.concatenate([ends, ends + words]), strict)

    key = (last - first) * len(types) + kind  # its length and type: what tells entities with one first word apart
    split = int(np.searchsorted(first, words))
    wanted, found = np.stack([first[:split], kind[:split]]), np.stack([first[split:] - words, kind[split:]])
    begun = np.full(words, -1)
    begun[found[0]] = key[split:]
    return Compared(types, sizes, wrong, wanted[:, begun[wanted[0]] == key[:split]], found, wanted)


@dataclass(frozen=True)
class _Marked:
    """The tags other than O: their places among all [n], and their bytes, eight in a number: uint64 [columns, n]."""

    at: Ints
    columns: npt.NDArray[np.uint64]

    def __getitem__(self, kept: Bools) -> Self:
        return replace(self, at=self.at[kept], columns=self.columns[:, kept])

    def byte(self, place: int) -> npt.NDArray[np.uint8]:
        """The first byte of each, or the second."""
        found: npt.NDArray[np.uint8] = (self.columns[0] >> (8 * place)).astype(np.uint8)
        return found

    @property
    def stray(self) -> Bools:
        """Whether they mark no entity."""
        mark, dash = self.byte(0), self.byte(1)
        found: Bools = ~(((mark == ord("B")) | (mark == ord("I"))) & ((dash == ord("-")) | (dash == 0)))
        return found


def _marked(tags: Sequence[str]) -> _Marked:
    text = np.frombuffer(("\0" + "\0".join(tags) + "\0" * 9).encode("utf-8", "surrogatepass"), np.uint8)
    ends = text[:-8] == 0
    is_o = ends[:-1] & (text[1:-8] == ord("O")) & (text[2:-7] == 0)
    end = np.flatnonzero(ends)
    if tags and len(end) != len(tags) + 1:
        raise InputError("a tag contains the character NUL; remove it")
    at = np.flatnonzero(~is_o[end[:-1]]) if tags else end[:0]
    start = end[at] + 1
    size = end[at + 1] - start
    eights = np.ndarray((len(text) - 7,), "<u8", text, 0, (1,))  # any eight bytes of the text
    columns = [
        eights[np.minimum(start + low, len(eights) - 1)] & _LEADING.take(size - low, mode="clip")
        for low in range(0, max(1, int(size.max(initial=0))), 8)
    ]
    return _Marked(at, np.stack(columns))


def _wrong(marked: _Marked, words: int) -> Ints:
    """Of so many words of the references, and as many predicted that follow them: those whose tags differ."""
    found = np.zeros(words, bool)
    for column in marked.columns:
        tags = np.full(2 * words, ord("O"), np.uint64)
        tags[marked.at] = column
        found |= tags[:words] != tags[words:]
    return np.flatnonzero(found)


def _refuse(stray: Bools, at: Ints, tags: Sequence[str]) -> None:
    if stray.any():
        tag = tags[at[stray.argmax()]]
        raise InputError(f"'{tag}' is no entity tag: write O, B-TYPE or I-TYPE, or score plain tags by token_accuracy")


def _spans(
    marked: _Marked, tags: Sequence[str], ends: Ints, strict: bool = False
) -> tuple[list[str], Ints, Ints, Ints]:
    """Types of entities; of each entity the type's place among them, its first word and the word after its last.

    Sentences end at the words ``ends``. ``strict``: only entities that begin with ``B``.
    """
    at = marked.at
    if not len(at):
        return [], at, at, at
    head = np.zeros(ends[-1] + 1, bool)
    head[ends] = True
    opens = (marked.byte(0) == ord("B")) | head[at]
    opens[0] = True
    opens[1:] |= at[1:] != at[:-1] + 1
    types = [marked.columns[0] >> 16, *marked.columns[1:]]
    types[0][types[0] == 0] = ord("_")
    for column in types:
        opens[1:] |= column[1:] != column[:-1]
    begun = np.flatnonzero(opens)
    kind = np.zeros(len(begun), np.int64)
    for column in types:
        kind = np.unique(column[begun], return_inverse=True)[1] + len(begun) * kind
        if column is not types[0]:
            kind = np.unique(kind, return_inverse=True)[1]
    first = at[begun]
    example = np.empty(kind.max() + 1, np.int64)
    example[kind] = first
    names = [tags[place][2:] or "_" for place in example.tolist()]
    last = at[np.append(begun[1:], len(at)) - 1] + 1
    kept = marked.byte(0)[begun] == ord("B") if strict else slice(None)
    return names, kind[kept], first[kept], last[kept]
