"""Predictions of a model on an encoding: no training, no padding worth speaking of, any language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import Stopped
from waystation.formats.encoding import Encoded, Format, Gold
from waystation.models.backbone import TaskModel
from waystation.training.batches import Indices, collate, micro_batches, windows_of


def predict(
    model: TaskModel,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    pad: int,
    format: Format,
    outputs: Sequence[str],
    *,
    examples: Indices | None = None,
    tokens_per_micro_batch: int = 1024,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Gold]:
    """One prediction per example of ``encoded``, or for each of ``examples`` (sorted).

    ``places`` maps vocabulary ids to rows of the model's embedding. Raises Stopped between micro-batches when asked.
    """
    windows = windows_of(encoded, np.arange(len(encoded), dtype=np.int64) if examples is None else examples)
    asked = encoded if examples is None else _only(encoded, examples)

    def logits() -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        device = next(model.parameters()).device
        for cut in micro_batches(encoded, windows, tokens_per_micro_batch):
            if should_stop():
                raise Stopped("stopped during evaluation; run again to go on")
            batch = collate(encoded, cut, places, pad, format.per_token)
            types = None if batch.types is None else batch.types.to(device)
            values = model(batch.tokens.to(device), batch.mask.to(device), types).float().cpu().numpy()
            for at, window in enumerate(cut.tolist()):
                length = int(encoded.offsets[window + 1] - encoded.offsets[window])
                yield window, values[at, :length] if format.per_token else values[at]

    training = model.training
    model.eval()
    with torch.inference_mode():
        predictions = format.decode(asked, logits(), outputs)
    model.train(training)
    return predictions


def _only(encoded: Encoded, examples: Indices) -> Encoded:
    """The same windows with the chosen examples alone numbered through; windows of others must not be asked for."""
    at = examples.tolist()
    return replace(
        encoded,
        example=np.searchsorted(examples, encoded.example).astype(np.int32),
        words=encoded.words[examples],
        ids=[encoded.ids[i] for i in at],
        clusters=[encoded.clusters[i] for i in at],
        gold=[encoded.gold[i] for i in at],
    )
