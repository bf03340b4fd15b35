"""Text for masked language modelling: no labels and no decisions; what is predicted is drawn anew at every update.

So this is no ``encoding.Format``: it encodes, and is read by ``training/mlm.py``.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError
from waystation.formats.classification import words_in
from waystation.formats.encoding import IGNORED, Encoded
from waystation.formats.pairs import frame
from waystation.tasks.examples import UNSPACED, Example, texts_of

Ints = npt.NDArray[np.int32]

BATCH = 2**19  # characters a call of the tokenizer
OUTSIDE = -1
"""In ``word``: a token that is no part of a word, and is never masked."""


def encode(examples: Iterable[Example], tokenizer: Any, max_length: int) -> Encoded:
    """Encode the texts of examples of any format into windows of at most ``max_length`` tokens; nothing is cut off.

    A long text becomes windows of about equal length that do not overlap, cut between words where that can be. A text
    that came before is passed over, and so is an example that has no other: questions share passages. ``word`` int32
    [T]: which word of its text a token is part of, ``OUTSIDE`` for special and unknown tokens; in scripts without
    blanks each token is a word. All ``targets`` are ignored, ``gold`` is empty. ``stats``: ``tokens`` T, ``windows``,
    ``words``, ``subtokens`` of the texts and the ``unknown`` ones among them, ``truncated`` (0), ``repeated`` texts.
    """
    windows = _Windows(tokenizer, max_length)
    ids: list[str] = []
    clusters: list[str | None] = []
    words = array("i")
    seen: set[bytes] = set()
    waiting: list[tuple[int, str]] = []
    held = repeated = 0
    for example in examples:
        texts = texts_of(example)
        new = {hashlib.sha256(text.encode()).digest(): text for text in texts}
        fresh = [text for digest, text in new.items() if digest not in seen]
        repeated += len(texts) - len(fresh)
        if not fresh:
            continue
        seen |= new.keys()
        waiting += [(len(ids), text) for text in fresh]
        ids.append(example.id)
        clusters.append(example.cluster)
        words.append(sum(map(words_in, fresh)))
        held += sum(map(len, fresh))
        if held >= BATCH:
            windows.add(waiting)
            waiting, held = [], 0
    windows.add(waiting)
    return Encoded(
        tokens=np.frombuffer(windows.tokens, np.int32),
        offsets=np.frombuffer(windows.offsets, np.int64),
        example=np.frombuffer(windows.example, np.int32),
        targets=np.full(len(windows.example), IGNORED, np.int32),
        words=np.frombuffer(words, np.int32),
        types=np.frombuffer(windows.types, np.uint8) if "token_type_ids" in tokenizer.model_input_names else None,
        ids=ids,
        clusters=clusters,
        gold=[""] * len(ids),
        stats={
            "tokens": len(windows.tokens),
            "words": sum(words),
            "subtokens": windows.subtokens,
            "unknown": windows.unknown,
            "windows": len(windows.example),
            "truncated": 0,
            "repeated": repeated,
        },
        word=np.frombuffer(windows.word, np.int32),
    )


class _Windows:
    """Windows as they are made, in the tokenizer's own layout of one text."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if self.backend is None:
            raise InputError("text needs a fast tokenizer (tokenizer.json); use another backbone")
        self.special, self.unknown_id = tokenizer.all_special_ids, tokenizer.unk_token_id
        (self.before, self.after), (self.kind,) = frame(self.backend, 1)
        around = len(self.before[0]) + len(self.after[0])
        self.room = max_length - around
        if self.room < 1:
            raise InputError(f"max_length {max_length} leaves no room for text: {around} tokens are special")
        self.tokens, self.word, self.types = array("i"), array("i"), array("B")
        self.offsets, self.example = array("q", [0]), array("i")
        self.subtokens = self.unknown = 0

    def add(self, texts: list[tuple[int, str]]) -> None:
        """The windows of some texts, each with the number of its example."""
        # the faster call does not say which word a token is part of
        encodings = self.backend.encode_batch([text for _, text in texts], add_special_tokens=False)
        for (example, text), encoding in zip(texts, encodings, strict=True):
            ids = np.array(encoding.ids, np.int32)
            word = _words(text, encoding)
            self.subtokens += len(ids)
            self.unknown += int((ids == self.unknown_id).sum())
            cuts = list(_cuts(word, self.room))
            word[np.isin(ids, self.special)] = OUTSIDE
            for low, high in cuts:
                self._append(ids[low:high], word[low:high])
                self.example.append(example)

    def _append(self, ids: Ints, word: Ints) -> None:
        kinds = np.full(len(ids), self.kind, np.uint8)
        self.tokens.frombytes(np.concatenate([self.before[0], ids, self.after[0]]).tobytes())
        self.types.frombytes(np.concatenate([self.before[1], kinds, self.after[1]]).tobytes())
        around = [np.full(len(part[0]), OUTSIDE, np.int32) for part in (self.before, self.after)]
        self.word.frombytes(np.concatenate([around[0], word, around[1]]).tobytes())
        self.offsets.append(len(self.tokens))


def _words(text: str, encoding: Any) -> Ints:
    """Which word each token of a text is part of: what the tokenizer takes for a word, or a token without blanks."""
    found = np.array([OUTSIDE if one is None else one for one in encoding.word_ids], np.int32)
    begins = found[1:] != found[:-1]
    if UNSPACED.search(text):
        alone = np.array([UNSPACED.search(text, low, high) is not None for low, high in encoding.offsets], bool)
        begins |= alone[1:] | alone[:-1]
    return np.cumsum(np.concatenate([[False], begins])[: len(found)], dtype=np.int32)


def _cuts(word: Ints, room: int) -> Iterator[tuple[int, int]]:
    """Windows (first token, the one after the last) of a text, about equally long; a word beyond half of one is cut."""
    first = 0
    while (left := len(word) - first) > room:
        size = -(-left // -(-left // room))
        begun = 1 + np.flatnonzero(word[first + 1 : first + size + 1] != word[first : first + size])
        if len(begun) and begun[-1] >= size / 2:
            size = int(begun[-1])
        yield first, first + size
        first += size
    if left:
        yield first, len(word)
