"""Retrieval: sentences of two languages, embedded each by itself. There is nothing to learn: no head and no loss.

So this is no ``encoding.Format``: it encodes and is read by ``evaluation/embed.py``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np

from waystation.errors import InputError
from waystation.formats.classification import words_in
from waystation.formats.encoding import Encoded
from waystation.tasks.examples import Example, RetrievalExample

BATCH = 1000  # sentences a call of the tokenizer

LEFT, RIGHT = 0, 1
"""Sides in ``Encoded.targets``: the language's own sentences, the English ones."""


def encode(examples: Iterable[Example], tokenizer: Any, max_length: int, prefix: str = "") -> Encoded:
    """Encode ``prefix`` and each sentence as one window, special tokens at both ends, cut at ``max_length`` tokens.

    ``targets`` [W] are the sides, ``gold`` the ids of the translations, "" where there is none. ``stats``: of both
    sides ``tokens`` T, ``windows`` and ``truncated`` sentences; of the language's own sentences, whole and without the
    prefix, ``words``, ``subtokens`` and ``unknown`` ones (fertility speaks of a language).
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError("retrieval needs a fast tokenizer (tokenizer.json); use another backbone")
    backend.no_padding()
    backend.no_truncation()
    before = len(backend.encode(prefix).ids)  # special tokens and the prefix
    if max_length <= before:
        raise InputError(f"max_length {max_length} leaves no room for text: {before} tokens are special or the prefix")
    tokens, sizes, targets, words = array("i"), array("q"), array("i"), array("i")
    ids: list[str] = []
    clusters: list[str | None] = []
    gold: list[str] = []
    truncated = subtokens = unknown = own_words = 0
    stream = iter(examples)
    while batch := list(islice(stream, BATCH)):
        found = []
        for example in batch:
            assert isinstance(example, RetrievalExample)
            found.append(example)
        texts = [prefix + example.text for example in found]
        for example, text, encoding in zip(found, texts, backend.encode_batch_fast(texts), strict=True):
            numbers = encoding.ids
            words.append(words_in(example.text))
            if example.side == "left":
                own_words += words[-1]
                subtokens += len(numbers) - before
                unknown += numbers.count(tokenizer.unk_token_id)
            if len(numbers) > max_length:
                truncated += 1
                backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
                numbers = backend.encode(text).ids
                backend.no_truncation()
            tokens.extend(numbers)
            sizes.append(len(numbers))
            targets.append(LEFT if example.side == "left" else RIGHT)
            ids.append(example.id)
            clusters.append(example.cluster)
            gold.append(example.answer or "")
    flat = np.frombuffer(tokens, np.int32)
    return Encoded(
        tokens=flat,
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(np.frombuffer(sizes, np.int64))]),
        example=np.arange(len(ids), dtype=np.int32),
        targets=np.frombuffer(targets, np.int32),
        words=np.frombuffer(words, np.int32),
        types=None,
        ids=ids,
        clusters=clusters,
        gold=list(gold),
        stats={
            "tokens": len(flat),
            "words": own_words,
            "subtokens": subtokens,
            "unknown": unknown,
            "windows": len(ids),
            "truncated": truncated,
        },
    )
