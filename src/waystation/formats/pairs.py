"""Windows that show one text, or two, whole or cut, in the tokenizer's own layout."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError
from waystation.formats.encoding import Encoded, Gold, offsets_of, ranges

Ints = npt.NDArray[np.int64]
Special = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]  # special tokens and their types

Cut = Callable[[Ints, Ints], Ints]
"""From the sub-tokens of both texts [W, 2] and the room for them together [W] to how many of each are kept [W, 2]."""

BATCH = 1000  # different texts a call of the tokenizer
BLOCK = 4096  # windows written at once: bounds the memory of index arrays


def longest_first(whole: Ints, room: Ints) -> Ints:
    """Cut the longer text first, then both equally: what the tokenizers library's "longest_first" leaves."""
    half = np.minimum(whole.min(1), room // 2)
    rest = np.minimum(whole.max(1), room - half)
    first = whole[:, 0] > whole[:, 1]
    return np.stack([np.where(first, rest, half), np.where(first, half, rest)], 1)


def first_text_first(whole: Ints, room: Ints) -> Ints:
    """Cut the first text, and the second only where nothing is left of the first."""
    second = np.minimum(whole[:, 1], room)
    return np.stack([np.minimum(whole[:, 0], room - second), second], 1)


class Texts:
    """What windows show, each different text once."""

    def __init__(self) -> None:
        self._number: defaultdict[str, int] = defaultdict(count().__next__)  # a new text gets the next number
        self._shown = array("q")

    def add(self, text: str, pair: str | None = None) -> None:
        """One more window."""
        self._shown.append(self._number[text])
        self._shown.append(-1 if pair is None else self._number[pair])

    @property
    def different(self) -> list[str]:
        """The V different texts."""
        return list(self._number)

    @property
    def shown(self) -> Ints:
        """Which of them each window shows: int64 [W, 2], -1 where there is no second one."""
        return np.frombuffer(self._shown, np.int64).reshape(-1, 2)

    def per_window(self, counted: Ints) -> Ints:
        """Counts [V] of the different texts, for what each window shows: int64 [W, 2], 0 where there is no second."""
        shown = self.shown
        found: Ints = np.where(shown >= 0, counted[shown], 0) if len(shown) else shown
        return found


@dataclass(frozen=True)
class Windows:
    """W windows, T tokens: ``tokens`` int32 [T], ``offsets`` int64 [W+1], ``types`` uint8 [T] or None.

    ``whole``: sub-tokens of the texts, cut or not, ``unknown`` ones among them, ``kept``: of them in the window; each
    int64 [W, 2].
    """

    tokens: npt.NDArray[np.int32]
    offsets: Ints
    types: npt.NDArray[np.uint8] | None
    whole: Ints
    unknown: Ints
    kept: Ints


def lay_out(texts: Texts, tokenizer: Any, max_length: int, cut: Cut, left: bool | None = None) -> Windows:
    """Windows of at most ``max_length`` tokens; ``left``: texts lose their beginning (None: as the tokenizer says).

    Raises InputError for a tokenizer or a length that will not do.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError("this format needs a fast tokenizer (tokenizer.json); use another backbone")
    layouts = [frame(backend, number) for number in (1, 2)]
    alone, paired = (sum(len(ids) for ids, _ in special) for special, _ in layouts)
    if max_length <= paired:
        raise InputError(f"max_length {max_length} leaves no room for text: {paired} tokens of each pair are special")
    left = tokenizer.truncation_side == "left" if left is None else left
    pieces = tokenize(texts.different, tokenizer, max_length - alone, left)

    shown = texts.shown
    pair = shown[:, 1] >= 0
    room = max_length - np.where(pair, paired, alone)
    whole = texts.per_window(pieces.whole)
    size = cut(whole, room)
    offsets = offsets_of(size.sum(1) + max_length - room)
    tokens, types = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.uint8)
    for (special, kinds), kind in zip(layouts, (~pair, pair), strict=True):
        members = np.flatnonzero(kind)
        for low in range(0, len(members), BLOCK):
            these = members[low : low + BLOCK]
            at = offsets[:-1][these]
            for side, fixed in enumerate(special):
                body = at[:, None] + np.arange(len(fixed[0]))
                tokens[body], types[body] = fixed
                at = at + len(fixed[0])
                if side < len(kinds):
                    text, length = shown[these, side], size[these, side]
                    first = pieces.start[text] + (pieces.kept[text] - length if left else 0)
                    body = ranges(at, length)
                    tokens[body], types[body] = pieces.tokens[ranges(first, length)], kinds[side]
                    at = at + length
    typed = "token_type_ids" in tokenizer.model_input_names
    unknown = texts.per_window(pieces.unknown)
    return Windows(tokens, offsets, types if typed else None, whole, unknown, size)


def one_each(
    texts: Texts,
    words: Ints,
    tokenizer: Any,
    max_length: int,
    targets: npt.NDArray[Any],
    ids: list[str],
    clusters: list[str | None],
    gold: Sequence[Gold],
) -> Encoded:
    """Examples of one window each, the longer text cut first; ``words`` [V] are those of the different texts.

    ``words`` of an example that is cut are those left, in proportion to its tokens. ``stats``: ``tokens`` T;
    ``windows``; of the whole texts, cut or not, ``words``, ``subtokens`` (fertility is subtokens / words) and the
    ``unknown`` ones; ``truncated``: examples cut.
    """
    made = lay_out(texts, tokenizer, max_length, longest_first)
    total, kept, counted = made.whole.sum(1), made.kept.sum(1), texts.per_window(words).sum(1)
    # Matched arms are matched in words that the model sees, not in words that were cut off.
    seen = np.where(total > kept, np.rint(counted * kept / np.maximum(total, 1)), counted)
    return Encoded(
        tokens=made.tokens,
        offsets=made.offsets,
        example=np.arange(len(ids), dtype=np.int32),
        targets=targets,
        words=seen.astype(np.int32),
        types=made.types,
        ids=ids,
        clusters=clusters,
        gold=list(gold),
        stats={
            "tokens": len(made.tokens),
            "words": int(counted.sum()),
            "subtokens": int(total.sum()),
            "unknown": int(made.unknown.sum()),
            "windows": len(ids),
            "truncated": int((total > kept).sum()),
        },
    )


def frame(backend: Any, texts: int) -> tuple[list[Special], list[int]]:
    """The tokenizer's own layout of one text or two: what stands before, between and after them, and their types.

    Switches off the truncation and padding that a tokenizer.json may come with. InputError for any other layout.
    """
    backend.no_truncation()
    backend.no_padding()
    sample = backend.encode(*"ab"[:texts])
    ids, kinds = np.array(sample.ids, np.int32), np.array(sample.type_ids, np.uint8)
    sides = [-1 if side is None else side for side in sample.sequence_ids]
    if [side for side, _ in groupby(sides) if side >= 0] != list(range(texts)):
        raise InputError("the backbone's tokenizer does not put two texts one after the other; use another backbone")
    first = [sides.index(side) for side in range(texts)]
    after = [at + sides.count(side) for side, at in enumerate(first)]
    special = [slice(low, high) for low, high in zip([0, *after], [*first, len(ids)], strict=True)]
    return [(ids[at], kinds[at]) for at in special], [int(kinds[at]) for at in first]


@dataclass(frozen=True)
class Pieces:
    """Sub-tokens of V distinct texts: ``whole`` in all, the ``kept`` first (or last) of them from ``start`` on in
    ``tokens`` int32, ``unknown`` of all the unknown token; int64 [V]."""

    tokens: npt.NDArray[np.int32]
    start: Ints
    kept: Ints
    whole: Ints
    unknown: Ints


def tokenize(texts: list[str], tokenizer: Any, room: int, left: bool) -> Pieces:
    """Tokenise each distinct text once: the parts of a pair do not touch each other."""
    backend, unknown_id = tokenizer.backend_tokenizer, tokenizer.unk_token_id
    flat, whole, unknown = array("i"), array("q"), array("q")
    for low in range(0, len(texts), BATCH):
        for encoding in backend.encode_batch_fast(texts[low : low + BATCH], add_special_tokens=False):
            ids = encoding.ids
            whole.append(len(ids))
            unknown.append(ids.count(unknown_id))
            flat.extend(ids if len(ids) <= room else ids[-room:] if left else ids[:room])
    sizes = np.frombuffer(whole, np.int64)
    kept = np.minimum(sizes, room)
    tokens, start = np.frombuffer(flat, np.int32), offsets_of(kept)[:-1]
    return Pieces(tokens, start, kept, sizes, np.frombuffer(unknown, np.int64))
