"""Classification: one label for a text, or for a pair of texts."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import InputError, suggest
from waystation.formats import pairs
from waystation.formats.encoding import Encoded, Gold, Reads, Unit
from waystation.scoring import metrics
from waystation.tasks.examples import ClassificationExample, Example

reads: Reads = "first"
unit: Unit = "window"

# Letters of scripts written without blanks, by the letters that make up a word there, rounded from UD's parallel
# treebanks (1.6 in Chinese, 4.3 in Thai): Han and kana; Thai and Lao, Myanmar, Khmer.
_IDEOGRAPHS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_ALPHABETS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")


def words_in(text: str) -> int:
    """Words of a text: pieces between blanks; Han and kana count half a word a letter, Thai, Lao, Burmese, Khmer ¼.

    An estimate for matching amounts of text over languages, not a segmentation.
    """
    if text.isascii():
        return len(text.split())
    text, ideographs = _IDEOGRAPHS.subn(" ", text)
    text, letters = _ALPHABETS.subn(" ", text)
    spaced = sum(any(map(str.isalnum, piece)) for piece in text.split()) if ideographs + letters else len(text.split())
    return spaced + -(-(2 * ideographs + letters) // 4)


def outputs(labels: Sequence[str], scheme: str) -> list[str]:
    """The labels themselves."""
    return list(labels)


def encode(
    examples: Iterable[Example], tokenizer: Any, outputs: Sequence[str], max_length: int, stride: int
) -> Encoded:
    """Encode each text or pair as one window in the tokenizer's own layout; ``stride`` has no meaning here.

    What exceeds ``max_length`` is cut from the longer text first. ``words`` and ``stats`` as in ``pairs.one_each``.
    """
    index = {name: at for at, name in enumerate(outputs)}
    texts, targets = pairs.Texts(), array("i")
    ids: list[str] = []
    clusters: list[str | None] = []
    gold: list[Gold] = []
    for example in examples:
        assert isinstance(example, ClassificationExample)
        if example.label not in index:
            near = suggest(example.label, outputs)
            raise InputError(
                f"example {example.id} has the label '{example.label}'{near}, which is not among the task's labels:"
                f" {', '.join(outputs)}; add it to them or rename it"
            )
        targets.append(index[example.label])
        texts.add(example.text, example.pair)
        ids.append(example.id)
        clusters.append(example.cluster)
        gold.append(example.label)
    words = np.fromiter(map(words_in, texts.different), np.int64)
    return pairs.one_each(texts, words, tokenizer, max_length, np.frombuffer(targets, np.int32), ids, clusters, gold)


class Head(torch.nn.Module):
    """First token → dropout → dense → tanh → dropout → linear (Phang et al. 2020's released code).

    Weights N(0, 0.02²), as transformers draws them.
    """

    def __init__(self, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout(dropout)
        self.dense = torch.nn.Linear(hidden, hidden)
        self.out = torch.nn.Linear(hidden, outputs)
        for layer in (self.dense, self.out):
            torch.nn.init.normal_(layer.weight, std=0.02)
            torch.nn.init.zeros_(layer.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states of first tokens [B, H] → logits [B, C]."""
        logits: torch.Tensor = self.out(self.dropout(torch.tanh(self.dense(self.dropout(hidden)))))
        return logits


def head(hidden: int, outputs: int, dropout: float) -> torch.nn.Module:
    """A new head, drawn from torch's global generator."""
    return Head(hidden, outputs, dropout)


def loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    lengths: list[int],
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy in fp32 summed over examples; logits [B, C], targets [B], ``weights`` of the classes [C].

    ``smoothing`` of the target goes to all classes alike (Szegedy et al. 2016, section 7), each with its weight.
    """
    return torch.nn.functional.cross_entropy(
        logits.float(), targets, weights, reduction="sum", label_smoothing=smoothing
    )


def decode(
    encoded: Encoded, logits: Iterable[tuple[int, npt.NDArray[np.float32]]], outputs: Sequence[str]
) -> list[Gold]:
    """The likeliest label of every example."""
    found = np.full(len(encoded), -1, np.int64)
    for window, row in logits:
        found[encoded.example[window]] = row.argmax()
    if len(found) and found.min() < 0:
        raise ValueError("logits are missing for some examples")
    return [outputs[at] for at in found.tolist()]


def counts(gold: Gold, pred: Gold) -> list[int]:
    """``scoring.metrics.LABEL_COUNTS`` of one example."""
    return metrics.counts(gold, pred)
