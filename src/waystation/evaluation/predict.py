"""Predictions of a model on an encoding: no training, no padding, any language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import Stopped
from waystation.formats.encoding import Encoded, Format, Gold
from waystation.models.encoder import TaskModel
from waystation.training.batches import Indices, collate, micro_batches, windows_of


def predict(
    model: TaskModel,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    format: Format,
    outputs: Sequence[str],
    *,
    examples: Indices | None = None,
    tokens_per_micro_batch: int = 1024,
    trunk: npt.NDArray[np.float32] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Gold]:
    """One prediction per example of ``encoded``, or for each of ``examples`` (sorted).

    ``places`` maps vocabulary ids to rows of the model's embedding; ``trunk`` float32 [T, H] are stored states of the
    frozen trunk. Raises Stopped between micro-batches when asked.
    """
    windows = windows_of(encoded, np.arange(len(encoded), dtype=np.int64) if examples is None else examples)
    asked = encoded if examples is None else _only(encoded, examples)

    def logits() -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        device = next(model.parameters()).device
        for cut in micro_batches(encoded, windows, tokens_per_micro_batch, padded=not model.encoder.packed):
            if should_stop():
                raise Stopped("stopped during evaluation; run again to go on")
            batch = collate(encoded, cut, places, format.reads, trunk)
            values = batch.logits(model, device).float().cpu().numpy()
            sizes = {"scored": None, "first": [1] * len(cut), "all": batch.lengths}[format.reads]
            if sizes is None:
                assert batch.rows is not None
                bounds = np.searchsorted(batch.rows.numpy(), np.cumsum(batch.lengths))
            else:
                bounds = np.cumsum(sizes)
            yield from zip(cut.tolist(), np.split(values, bounds[:-1]), strict=True)

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
