"""What a recipe changes of a format's loss, and when a phase ends early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from waystation.formats.encoding import Encoded, Format, Softened, ranges
from waystation.steps.recipes import Recipe, Validation
from waystation.training.batches import Indices, windows_of

Criterion = Callable[[torch.Tensor, torch.Tensor, list[int]], torch.Tensor]
"""``Format.loss``."""


def criterion(recipe: Recipe, form: Format, outputs: Sequence[str], encoded: Encoded, examples: Indices) -> Criterion:
    """The format's loss with the recipe's smoothing and class weights; ``examples``: those that are learned from."""
    weights = class_weights(recipe, form, outputs, encoded, examples)
    if weights is None and not recipe.label_smoothing:
        return form.loss
    softened = cast(Softened, form)

    def loss(logits: torch.Tensor, targets: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        own = None if weights is None else weights.to(logits.device)
        return softened.loss(logits, targets, lengths, recipe.label_smoothing, own)

    return loss


def class_weights(
    recipe: Recipe, form: Format, outputs: Sequence[str], encoded: Encoded, examples: Indices
) -> torch.Tensor | None:
    """Weights float32 [C] of the classes, None where the recipe has none.

    ``balanced``: n / (C·n_c) for a class with n_c of the n labels in these examples (C classes have any), so that the
    mean over the labels is 1; 1 for a class that has none. By label: 1 for what is not named; in tagging a label's
    weight is that of its B- and I- tags, ``O`` that of the words outside.
    """
    if recipe.class_weights is None:
        return None
    if recipe.class_weights == "balanced":
        counts = label_counts(form, outputs, encoded, examples)
        there = counts > 0
        found = np.ones(len(outputs))
        found[there] = counts.sum() / (there.sum() * counts[there])
    else:
        given = recipe.class_weights
        labels = [name if name in given or form.reads != "scored" else name[2:] for name in outputs]
        found = np.array([given.get(label, 1.0) for label in labels])
    return torch.from_numpy(found.astype(np.float32))


def label_counts(form: Format, outputs: Sequence[str], encoded: Encoded, examples: Indices) -> npt.NDArray[np.int64]:
    """How often each class is a label of these examples, int64 [C]: of scored words, or of texts."""
    windows = windows_of(encoded, examples)
    targets: npt.NDArray[Any] = encoded.targets
    counts: npt.NDArray[np.int64]
    if form.reads == "scored":
        assert encoded.word is not None
        starts, ends = encoded.offsets[windows], encoded.offsets[windows + 1]
        tokens = ranges(starts, ends - starts)
        targets = targets[tokens[encoded.word[tokens] >= 0]]
    else:
        targets = targets[windows]
    if targets.dtype == np.uint8:  # several labels, a bit for each
        counts = np.unpackbits(targets, axis=1, count=len(outputs)).sum(0, dtype=np.int64)
    else:
        counts = np.bincount(targets[targets >= 0], minlength=len(outputs))
    return counts


def out_of_patience(validated: Sequence[tuple[int, float]], validation: Validation | None) -> bool:
    """Whether the last ``patience`` validations, given as (update, score), brought no new best score."""
    if validation is None or validation.patience is None or not validated:
        return False
    scores = [score for _, score in validated]
    return len(scores) - 1 - scores.index(max(scores)) >= validation.patience
