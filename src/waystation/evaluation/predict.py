"""Predictions of a model on an encoding: no training, no padding, any language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import Stopped
from waystation.formats.encoding import Encoded, Format, Gold, Logits, WithCutoff
from waystation.models.encoder import TaskModel
from waystation.training.batches import Indices, collate, micro_batches, windows_of
from waystation.training.memory import in_halves

Found = TypeVar("Found")


def predict(
    model: TaskModel,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    format: Format,
    outputs: Sequence[str],
    *,
    cutoff: float | None = None,
    examples: Indices | None = None,
    tokens_per_micro_batch: int = 1024,
    trunk: npt.NDArray[np.float32] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Gold]:
    """One prediction per example of ``encoded``, or for each of ``examples`` (sorted).

    ``places`` maps vocabulary ids to rows of the model's embedding; ``cutoff`` is for formats that have one (None: its
    default); ``trunk`` float32 [T, H] are stored states of the frozen trunk. Raises Stopped between micro-batches when
    asked.
    """

    def decide(asked: Encoded, logits: Logits) -> list[Gold]:
        if cutoff is not None and isinstance(format, WithCutoff):
            return format.decode(asked, logits, outputs, cutoff)
        return format.decode(asked, logits, outputs)

    return _decided(decide, model, encoded, places, format, examples, tokens_per_micro_batch, trunk, should_stop)


def tuned(
    model: TaskModel,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    format: Format,
    outputs: Sequence[str],
    *,
    examples: Indices,
    tokens_per_micro_batch: int = 1024,
    trunk: npt.NDArray[np.float32] | None = None,
    head: str = "",
) -> tuple[float | None, list[Gold]]:
    """The best cutoff for these examples, None where the format has none for them; and ``predict`` at this cutoff.

    ``head``: which of the model's heads answers, "" its main one.
    """

    def decide(asked: Encoded, logits: Logits) -> tuple[float | None, list[Gold]]:
        if not isinstance(format, WithCutoff):
            return None, format.decode(asked, logits, outputs)
        logits = list(logits)
        cutoff = format.tune(asked, logits, outputs)
        return cutoff, format.decode(asked, logits, outputs, format.CUTOFF if cutoff is None else cutoff)

    return _decided(decide, model, encoded, places, format, examples, tokens_per_micro_batch, trunk, head=head)


def logits_of(
    model: TaskModel,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    format: Format,
    *,
    tokens_per_micro_batch: int = 1024,
) -> list[tuple[int, npt.NDArray[np.float32]]]:
    """Window and logits [S, C] of what the head reads of it, for all windows, in no order; ``places`` as above."""

    def listed(asked: Encoded, logits: Logits) -> list[tuple[int, npt.NDArray[np.float32]]]:
        return list(logits)

    return _decided(listed, model, encoded, places, format, None, tokens_per_micro_batch, None)


def _decided(
    decide: Callable[[Encoded, Logits], Found],
    model: TaskModel,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    format: Format,
    examples: Indices | None,
    tokens_per_micro_batch: int,
    trunk: npt.NDArray[np.float32] | None,
    should_stop: Callable[[], bool] = lambda: False,
    head: str = "",
) -> Found:
    """What ``decide`` makes of the encoding, with the examples asked for alone, and their logits."""
    windows = windows_of(encoded, np.arange(len(encoded), dtype=np.int64) if examples is None else examples)
    asked = encoded if examples is None else _only(encoded, examples)

    def of_windows(cut: Indices) -> list[npt.NDArray[np.float32]]:
        batch = collate(encoded, cut, places, format.reads, trunk)
        values = batch.logits(model, next(model.parameters()).device, head).float().cpu().numpy()
        sizes = {"scored": None, "first": [1] * len(cut), "all": batch.lengths}[format.reads]
        if sizes is None:
            assert batch.rows is not None
            bounds = np.searchsorted(batch.rows.numpy(), np.cumsum(batch.lengths))
        else:
            bounds = np.cumsum(sizes)
        return np.split(values, bounds[:-1])

    def logits() -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        for cut in micro_batches(encoded, windows, tokens_per_micro_batch, padded=not model.encoder.packed):
            if should_stop():
                raise Stopped("stopped during evaluation; run again to go on")
            for some, values in in_halves(cut, of_windows):
                yield from zip(some.tolist(), values, strict=True)

    training = model.training
    model.eval()
    with torch.inference_mode():
        found = decide(asked, logits())
    model.train(training)
    return found


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
