"""The "F1" of XTREME's part-of-speech tagging: seqeval's F1 of entities over tags that mark none.

Tags like NOUN carry no ``B-`` or ``I-``, so seqeval reads each run of one tag as an entity, and the first letter of a
tag as its mark: SCONJ and SYM are single words (``S``), INTJ is inside (``I``). What it takes for the type differs
between its versions:

- 1.2.2: all after the first letter and a hyphen, if there is one; ``_`` where nothing is left. CCONJ and SCONJ are one
  type, and X is of the type of ``O``: at the end of a sentence it is no entity, and at the begin of one it belongs to
  an entity that began before.
- 0.0.12 (2020, of the published figures): all after the last hyphen: tags are types.

seqeval joins all sentences with an ``O`` between them; so does this module, because an entity may reach over that.
Checked against both releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError
from waystation.scoring.spans import Tags, same_length

Ints = npt.NDArray[np.int64]

VERSIONS = ("1.2.2", "0.0.12")


@dataclass(frozen=True)
class Runs:
    """Entities of a corpus, reference against prediction.

    ``right``, ``predicted`` and ``gold`` have a column for each entity found rightly, predicted, in the reference: the
    sentence that it ends in, and its type's place in ``types``, which may hold more; int64 [2, n].
    """

    types: list[str]
    right: Ints
    predicted: Ints
    gold: Ints


def compare(golds: Sequence[Tags], preds: Sequence[Tags], version: str = "1.2.2") -> Runs:
    """Compare the tags of sentences with as many predicted, as this ``version`` of seqeval reads them.

    Raises InputError where a prediction has not one tag for each word, or a tag is empty.
    """
    for gold, pred in zip(golds, preds, strict=True):
        same_length(gold, pred)
    sentence = np.repeat(np.arange(len(golds)), [len(gold) + 1 for gold in golds])
    types: dict[str, int] = {}
    (wanted, wanted_at, wanted_from), (found, found_at, found_from) = (
        _entities(list(chain.from_iterable((*tags, "O") for tags in corpus)), version, types)
        for corpus in (golds, preds)
    )
    begin, kind = np.full((2, len(sentence)), -1)
    begin[found_at], kind[found_at] = found_from, found
    right = (begin[wanted_at] == wanted_from) & (kind[wanted_at] == wanted)
    reference = np.stack([sentence[wanted_at], wanted])
    return Runs(list(types), reference[:, right], np.stack([sentence[found_at], found]), reference)


def _entities(tags: list[str], version: str, types: dict[str, int]) -> tuple[Ints, Ints, Ints]:
    """Of each entity its type's number in ``types``, which grows, its last word and its first."""
    if not all(tags):
        raise InputError("a tag is empty; write one for each word")
    number = {tag: at for at, tag in enumerate(dict.fromkeys(tags))}
    names = list(number)
    kinds = [_type(tag, version) for tag in names]
    # What comes before the first word is outside, and of no type.
    before = [*zip((tag[0] for tag in names), kinds, strict=True), ("O", "")]
    ends = np.array([[_ends(*last, name[0], kind) for name, kind in zip(names, kinds, strict=True)] for last in before])
    opens = np.array(
        [[_begins(*last, name[0], kind) for name, kind in zip(names, kinds, strict=True)] for last in before]
    )
    numbered = np.fromiter(map(number.__getitem__, tags), np.int64, len(tags))
    previous = np.append(len(names), numbered)[:-1]
    # An entity that ends before word i began at the last beginning before i: 0 where there was none yet.
    begun = np.maximum.accumulate(np.where(opens[previous, numbered], np.arange(len(tags)), 0))
    after = np.flatnonzero(ends[previous, numbered])
    kind = np.array([types.setdefault(name, len(types)) for name in kinds], np.int64)
    return kind[previous[after]], after - 1, begun[after - 1]


def _type(tag: str, version: str) -> str:
    if version == "1.2.2":
        return tag[1:].split("-", 1)[-1] or "_"
    return tag.rsplit("-", 1)[-1]


def _ends(mark: str, kind: str, next_mark: str, next_kind: str) -> bool:
    """Whether an entity ends between two words (the CoNLL-2000 script's rule)."""
    return mark in "ES" or (mark in "BI" and next_mark in "BSO") or (mark not in "O." and kind != next_kind)


def _begins(mark: str, kind: str, next_mark: str, next_kind: str) -> bool:
    """Whether an entity begins between two words."""
    return next_mark in "BS" or (mark in "ESO" and next_mark in "EI") or (next_mark not in "O." and kind != next_kind)
