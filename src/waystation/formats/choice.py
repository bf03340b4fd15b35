"""Choice: which of several options goes with a text, or answers a question about it.

Each option is a window: the text, and after it the question and the option. The head gives each a score, and the loss
compares those of one example, as Phang et al. 2020's released code does. Options are scored without a look at the
others, so there may be any number of them and their order does not matter.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from waystation.errors import InputError
from waystation.formats import pairs
from waystation.formats.classification import Head, words_in
from waystation.formats.encoding import IGNORED, Encoded, Gold, Logits, Reads, Unit, offsets_of
from waystation.scoring import metrics
from waystation.tasks.examples import ChoiceExample, Example

reads: Reads = "first"
unit: Unit = "example"


def outputs(labels: Sequence[str], scheme: str) -> list[str]:
    """The score of an option."""
    return ["score"]


def encode(
    examples: Iterable[Example], tokenizer: Any, outputs: Sequence[str], max_length: int, stride: int
) -> Encoded:
    """Encode each option as one window, a pair in the tokenizer's own layout; ``stride`` has no meaning here.

    What exceeds ``max_length`` is cut from the beginning of the text, since what is asked often stands at its end, then
    from that of the option. ``targets`` int32 [W]: at the
    window of an example's first option the place of the right one, counted from 0, else ``IGNORED``; gold is that
    place as text. ``words`` int32 [E] are those left of the text, once, and of each option with its question.
    ``stats``: ``tokens`` T; ``windows``; counted like ``words`` but whole, ``words``, ``subtokens`` and the
    ``unknown`` ones; ``truncated``: examples cut.
    """
    texts, sizes, targets = pairs.Texts(), array("q"), array("i")
    ids: list[str] = []
    clusters: list[str | None] = []
    gold: list[Gold] = []
    for example in examples:
        assert isinstance(example, ChoiceExample)
        number = len(example.options)
        if number < 2 or not 0 <= example.answer < number:
            raise InputError(
                f"example {example.id} has {number} options and the answer {example.answer} (counted from 0); there"
                " must be two or more, and the answer one of them"
            )
        for option in example.options:
            texts.add(example.text, option if example.question is None else f"{example.question} {option}")
        targets.append(example.answer)
        targets.extend([IGNORED] * (number - 1))
        sizes.append(number)
        ids.append(example.id)
        clusters.append(example.cluster)
        gold.append(str(example.answer))
    made = pairs.lay_out(texts, tokenizer, max_length, pairs.first_text_first, left=True)
    first = offsets_of(np.frombuffer(sizes, np.int64))[:-1]
    once = np.ones(made.whole.shape, np.int64)
    once[:, 0] = 0  # the text of an example stands in all its windows and counts in the first
    once[first, 0] = 1
    words = once * texts.per_window(np.fromiter(map(words_in, texts.different), np.int64))
    left = np.add.reduceat(np.rint(words * made.kept / np.maximum(1, made.whole)).sum(1), first) if len(ids) else first
    cut = (made.kept < made.whole).any(1)
    example_of = np.repeat(np.arange(len(ids), dtype=np.int32), np.frombuffer(sizes, np.int64))
    return Encoded(
        tokens=made.tokens,
        offsets=made.offsets,
        example=example_of,
        targets=np.frombuffer(targets, np.int32),
        words=left.astype(np.int32),
        types=made.types,
        ids=ids,
        clusters=clusters,
        gold=gold,
        stats={
            "tokens": len(made.tokens),
            "words": int(words.sum()),
            "subtokens": int((once * made.whole).sum()),
            "unknown": int((once * made.unknown).sum()),
            "windows": len(example_of),
            "truncated": len(np.unique(example_of[cut])),
        },
    )


def head(hidden: int, outputs: int, dropout: float) -> torch.nn.Module:
    """Classification's head, without the last bias: a score that all options share cancels out in the softmax."""
    made = Head(hidden, outputs, dropout)
    made.out.register_parameter("bias", None)
    return made


def loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    lengths: list[int],
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy over the options of each example, in fp32, summed over examples.

    logits [B, 1], targets [B]; all windows of an example are there, one after the other in the order of its options.
    ``smoothing`` of the target goes to the options of the example alike. There are no classes that ``weights`` could
    be of.
    """
    assert weights is None
    begins = torch.nonzero(targets != IGNORED).flatten()
    sizes = torch.diff(begins, append=begins.new_tensor([len(targets)])).tolist()
    rows = torch.split(logits.float().squeeze(1), sizes)
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), True, float("-inf"))  # [examples, most options]
    right = torch.nn.functional.cross_entropy(padded, targets[begins], reduction="sum")
    if not smoothing:
        return right
    even = sum((-torch.log_softmax(row, 0).mean() for row in rows), right.new_zeros(()))
    return (1 - smoothing) * right + smoothing * even


def decode(encoded: Encoded, logits: Logits, outputs: Sequence[str]) -> list[Gold]:
    """The place of the option with the highest score, counted from 0, as text; of equal ones the first."""
    scores, given = np.empty(len(encoded.example), np.float32), np.zeros(len(encoded.example), np.bool_)
    for window, row in logits:
        scores[window], given[window] = row.item(), True
    begins = np.flatnonzero(np.append(encoded.targets != IGNORED, True))
    asked = [slice(low, high) for low, high in pairwise(begins.tolist()) if given[low:high].any()]
    if len(asked) < len(encoded) or not all(given[options].all() for options in asked):
        raise ValueError("logits are missing for some options")
    return [str(scores[options].argmax()) for options in asked]


def counts(gold: Gold, pred: Gold) -> list[int]:
    """``scoring.metrics.LABEL_COUNTS`` of one example."""
    return metrics.counts(gold, pred)
