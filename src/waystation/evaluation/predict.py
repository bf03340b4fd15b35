"""Predictions of a model on an encoding: no training, no padding, any language."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import Stopped
from waystation.formats.encoding import Encoded, Format, Gold, Logits, WithCutoff
from waystation.models.encoder import TaskModel
from waystation.steps.recipes import Fusion
from waystation.training.batches import Indices, collate, micro_batches, windows_of
from waystation.training.memory import in_halves
from waystation.training.pairing import beside

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
    fusion: Fusion | None = None,
    partners: Encoded | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Gold]:
    """One prediction per example of ``encoded``, or for each of ``examples`` (sorted).

    ``places`` maps vocabulary ids to rows of the model's embedding; ``cutoff`` is for formats that have one (None: its
    default); ``trunk`` float32 [T, H] are stored states of the frozen trunk. With ``fusion`` a text is read beside its
    translation, the partner of its id (None: itself), and what the model says of the text itself is taken. Raises
    Stopped between micro-batches when asked.
    """

    def decide(asked: Encoded, logits: Logits) -> list[Gold]:
        if cutoff is not None and isinstance(format, WithCutoff):
            return format.decode(asked, logits, outputs, cutoff)
        return format.decode(asked, logits, outputs)

    how = _How(places, format, tokens_per_micro_batch, trunk=trunk, fusion=fusion, should_stop=should_stop)
    return _decided(decide, model, encoded, partners, examples, how)


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
    fusion: Fusion | None = None,
) -> tuple[float | None, list[Gold]]:
    """The best cutoff for these examples, None where the format has none for them; and ``predict`` at this cutoff.

    ``head``: which of the model's heads answers, "" its main one. With ``fusion`` each text stands beside itself.
    """

    def decide(asked: Encoded, logits: Logits) -> tuple[float | None, list[Gold]]:
        if not isinstance(format, WithCutoff):
            return None, format.decode(asked, logits, outputs)
        logits = list(logits)
        cutoff = format.tune(asked, logits, outputs)
        return cutoff, format.decode(asked, logits, outputs, format.CUTOFF if cutoff is None else cutoff)

    how = _How(places, format, tokens_per_micro_batch, trunk=trunk, head=head, fusion=fusion)
    return _decided(decide, model, encoded, None, examples, how)


def logits_of(
    model: TaskModel,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    format: Format,
    *,
    tokens_per_micro_batch: int = 1024,
    fusion: Fusion | None = None,
    partners: Encoded | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[tuple[int, npt.NDArray[np.float32]]]:
    """Window and logits [S, C] of what the head reads of it, for all windows, in no order; all else as ``predict``."""

    def listed(asked: Encoded, logits: Logits) -> list[tuple[int, npt.NDArray[np.float32]]]:
        return list(logits)

    how = _How(places, format, tokens_per_micro_batch, fusion=fusion, should_stop=should_stop)
    return _decided(listed, model, encoded, partners, None, how)


@dataclass(frozen=True)
class _How:
    """What does not depend on the texts, as ``predict`` explains it."""

    places: npt.NDArray[np.int32]
    format: Format
    tokens_per_micro_batch: int
    trunk: npt.NDArray[np.float32] | None = None
    head: str = ""
    fusion: Fusion | None = None
    should_stop: Callable[[], bool] = lambda: False


def _decided(
    decide: Callable[[Encoded, Logits], Found],
    model: TaskModel,
    encoded: Encoded,
    partners: Encoded | None,
    examples: Indices | None,
    how: _How,
) -> Found:
    """What ``decide`` makes of the encoding, with the examples asked for alone, and their logits."""
    pairs = None if how.fusion is None else beside(encoded, partners)
    windows = windows_of(encoded, np.arange(len(encoded), dtype=np.int64) if examples is None else examples)
    asked = encoded if examples is None else _only(encoded, examples)

    def of_windows(cut: Indices) -> list[npt.NDArray[np.float32]]:
        if pairs is None:
            batch = collate(encoded, cut, how.places, how.format.reads, how.trunk)
        else:  # a text, its partner, the next text, …
            batch = collate(pairs.encoded, pairs.windows[cut].ravel(), how.places, how.format.reads)
        device = next(model.parameters()).device
        values = batch.logits(model, device, how.head, how.fusion).float().cpu().numpy()
        rows = np.split(values, np.cumsum(batch.sizes)[:-1])
        return rows if pairs is None else rows[::2]

    def logits() -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        index, padded = encoded if pairs is None else pairs.index, not model.encoder.packed
        for cut in micro_batches(index, windows, how.tokens_per_micro_batch, padded):
            if how.should_stop():
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
