"""Multilabel: any number of labels, none among them, for a text or for a pair of texts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import InputError, suggest
from waystation.formats import pairs
from waystation.formats.classification import head, outputs, words_in
from waystation.formats.encoding import Encoded, Gold, Logits, Reads, Unit
from waystation.scoring import metrics
from waystation.scoring.labels import RANKED, Ranked
from waystation.tasks.examples import Example, MultilabelExample

__all__ = ["CUTOFF", "counts", "decode", "encode", "head", "loss", "outputs", "reads", "tune", "unit"]

reads: Reads = "first"
unit: Unit = "window"

CUTOFF = 0.5
"""A label is predicted where its probability is above this."""

CUTOFFS = np.arange(1, 100) / 100
"""Those that ``tune`` tries."""


def encode(
    examples: Iterable[Example], tokenizer: Any, outputs: Sequence[str], max_length: int, stride: int
) -> Encoded:
    """Encode each text or pair as one window, as classification does; ``stride`` has no meaning here.

    ``targets`` uint8 [W, ⌈C/8⌉], a bit for each label. ``stats`` as ``pairs.one_each`` says.
    """
    index = {name: at for at, name in enumerate(outputs)}
    texts, rows, columns = pairs.Texts(), array("q"), array("q")
    ids: list[str] = []
    clusters: list[str | None] = []
    gold: list[Gold] = []
    for example in examples:
        assert isinstance(example, MultilabelExample)
        for label in example.labels:
            if label not in index:
                raise InputError(
                    f"example {example.id} has the label '{label}'{suggest(label, outputs)}, which is not among the"
                    f" task's labels: {', '.join(outputs)}; add it to them or rename it"
                )
            rows.append(len(ids))
            columns.append(index[label])
        texts.add(example.text, example.pair)
        ids.append(example.id)
        clusters.append(example.cluster)
        gold.append(list(example.labels))
    targets = np.zeros((len(ids), -(-len(outputs) // 8)), np.uint8)
    row, column = np.frombuffer(rows, np.int64), np.frombuffer(columns, np.int64)
    np.bitwise_or.at(targets, (row, column // 8), (128 >> column % 8).astype(np.uint8))
    words = np.fromiter(map(words_in, texts.different), np.int64)
    return pairs.one_each(texts, words, tokenizer, max_length, targets, ids, clusters, gold)


def loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    lengths: list[int],
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Binary cross-entropy in fp32, the mean of the C labels, summed over examples; logits [B, C], targets packed.

    ``weights`` [C] of the labels that a text has; those that it lacks weigh 1. ``smoothing`` of each target goes to
    yes and no alike.
    """
    places = torch.arange(7, -1, -1, device=targets.device)
    wanted = (targets[..., None] >> places & 1).flatten(1)[:, : logits.shape[1]].float()
    wanted = wanted * (1 - smoothing) + smoothing / 2
    total = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.float(), wanted, pos_weight=weights, reduction="sum"
    )
    return total / logits.shape[1]


def decode(encoded: Encoded, logits: Logits, outputs: Sequence[str], cutoff: float = CUTOFF) -> list[Gold]:
    """The labels of every example whose probability is above ``cutoff``, likeliest first, as ``Ranked``."""
    found: dict[int, Gold] = {}
    least = _logit(cutoff)
    for window, (row,) in logits:
        order = np.argsort(-row, kind="stable")
        above = order[: np.count_nonzero(row > least)]
        names = [[outputs[at] for at in part.tolist()] for part in (above, order[:RANKED])]
        found[int(encoded.example[window])] = Ranked(*names)
    if len(found) < len(encoded):
        raise ValueError("logits are missing for some examples")
    return [found[example] for example in range(len(encoded))]


def tune(encoded: Encoded, logits: Logits, outputs: Sequence[str]) -> float:
    """The cutoff among ``CUTOFFS`` with the best micro-F1; of several the nearest to 0.5, the lower of two."""
    least = _logit(CUTOFFS)
    labels = np.zeros((2, len(CUTOFFS) + 1), np.int64)  # wrong and right ones, by how many cutoffs they are above
    for window, (row,) in logits:
        wanted = np.unpackbits(encoded.targets[window].astype(np.uint8), count=len(row)).astype(bool)
        passed = np.searchsorted(least, row, "left")
        for right in (0, 1):
            labels[right] += np.bincount(passed[wanted == right], minlength=len(CUTOFFS) + 1)
    wrong, right = np.cumsum(labels[:, ::-1], 1)[:, -2::-1]  # predicted at each cutoff
    score = right / np.maximum(1, wrong + right + labels[1].sum())
    best = np.flatnonzero(score == score.max())
    return float(CUTOFFS[best[np.abs(best - np.searchsorted(CUTOFFS, CUTOFF)).argmin()]])


def _logit(probability: npt.ArrayLike) -> npt.NDArray[np.float32]:
    found = np.asarray(probability, np.float64)
    return np.log(found / (1 - found)).astype(np.float32)


def counts(gold: Gold, pred: Gold) -> list[int]:
    """``scoring.labels.SET_COUNTS`` of one example."""
    return metrics.counts(gold, pred)
