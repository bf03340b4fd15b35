"""What tests of FILTER share: a task's texts in three languages, paired, and a small model to read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from questions import questions
from small import LABELS, examples
from tiny import tiny_tokenizer

from waystation import formats
from waystation.formats.encoding import IGNORED, Encoded, joined
from waystation.models.backbone import Checkpoint
from waystation.models.encoder import TaskModel
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup
from waystation.steps.recipes import Fusion
from waystation.training.batches import Sampler
from waystation.training.fusing import FusionStream, Taught
from waystation.training.pairing import with_translations

FORMATS = ["classification", "multilabel", "choice", "tagging", "span"]
LAYERS = 3


def outputs(format: str) -> list[str]:
    return formats.get(format).outputs(LABELS.get(format, ()), "iob2")


def encode(format: str, seed: int, number: int = 16, longest: int = 40) -> Encoded:
    """Texts of the same ids whatever the seed; of several windows where the format has such."""
    made: list[Any] = questions(number, seed, longest) if format == "span" else examples(format, number, seed, longest)
    length = {"tagging": 24, "span": 36}.get(format, 60)
    return formats.get(format).encode(made, tiny_tokenizer(), outputs(format), length, 6)


def translated(format: str, seed: int, original: Encoded, dropped: tuple[int, ...] = ()) -> Encoded:
    """Other texts with the labels of the originals; tags are not known. Some examples may be missing."""
    found = encode(format, seed)
    if format == "choice":  # as many options
        places = np.random.default_rng(seed).permutation(len(original.tokens))
        types, word = original.types, original.word
        found = replace(original, tokens=original.tokens[places], types=types, word=word)
    targets = found.targets.copy()
    if format == "tagging":
        targets[:] = IGNORED
    elif format != "span":
        targets = original.targets.copy()
    found = replace(found, targets=targets)
    return found if not dropped else without(found, dropped)


def without(encoded: Encoded, dropped: tuple[int, ...]) -> Encoded:
    """The encoding with other names for some examples: nothing is paired with them."""
    ids = [f"lost-{own}" if at in dropped else own for at, own in enumerate(encoded.ids)]
    return replace(encoded, ids=ids)


def languages(format: str) -> list[Encoded]:
    """The original, two translations; the second lacks two examples."""
    original = encode(format, 1)
    return [original, translated(format, 2, original), translated(format, 3, original, (4, 9))]


def model_for(folder: Path, encoded: Encoded, format: str, dropout: float = 0.0) -> tuple[TaskModel, Any]:
    """A model as a step would make it, and its places."""
    checkpoint = Checkpoint(folder)
    rows = active_rows(encoded.tokens, checkpoint.vocabulary)
    encoder = checkpoint.encoder(rows, EmbeddingDelta.none(32), None, dropout, 0.0)
    torch.manual_seed(7)
    head = formats.get(format).head(encoder.hidden, len(outputs(format)), dropout)
    return TaskModel(encoder, head), lookup(rows, checkpoint.vocabulary)


def stream_and_model(
    folder: Path,
    format: str,
    learned: Any = None,
    teacher: Taught | None = None,
    batch: int = 7,
    dropout: float = 0.0,
    **fusion: Any,
) -> tuple[FusionStream, TaskModel]:
    parts = languages(format)
    encoded, form = joined(parts), formats.get(format)
    learned = np.arange(len(parts[0])) if learned is None else learned
    settled = Fusion(**fusion).settled(format)
    pairs = with_translations(encoded, learned)
    model, places = model_for(folder, encoded, format, dropout)
    sampler = Sampler(pairs.examples if settled.languages == "every" else learned, batch, 11)
    return FusionStream(pairs, places, form, sampler, settled, 5, teacher=teacher), model
