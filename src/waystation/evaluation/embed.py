"""Sentence embeddings: the hidden states of an encoder, pooled over each window.

Pooling is as in XTREME's retrieval tasks and in jiant: the mean over all tokens, the special ones at both ends
included. The layer that is read is the encoder's last one: blocks above it are left out when the encoder is built, and
cost nothing. (After the last block ModernBERT has one norm more, which then follows the layer that is read.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import InputError, Stopped
from waystation.formats.encoding import Encoded
from waystation.models.encoder import Encoder
from waystation.training.batches import Indices, collate, micro_batches
from waystation.training.memory import in_halves

POOLINGS = ("mean", "first")


def embed(
    encoder: Encoder,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    pooling: str = "mean",
    *,
    tokens_per_micro_batch: int = 1024,
    should_stop: Callable[[], bool] = lambda: False,
) -> npt.NDArray[np.float32]:
    """Embed the W windows of an encoding: float32 [W, H], not normalised.

    ``places`` maps vocabulary ids to rows of the encoder's embedding. ``pooling`` is "mean", or "first" for the first
    token (XTREME's "cls"). Dropout is off here; the encoder's mode is kept. ``tokens_per_micro_batch`` bounds the
    tokens of one pass (a longer window goes alone): it changes speed, and results only by rounding.

    Raises InputError for an unknown pooling, Stopped between micro-batches when asked.
    """
    if pooling not in POOLINGS:
        raise InputError(f"pooling '{pooling}' is unknown: use one of {', '.join(POOLINGS)}")
    device = encoder.embedding.device
    windows = np.arange(len(encoded.example), dtype=np.int64)
    out = np.empty((len(windows), encoder.hidden), np.float32)

    def pooled(cut: Indices) -> npt.NDArray[np.float32]:
        batch = collate(encoded, cut, places, "first" if pooling == "first" else "all")
        types, rows = (None if part is None else part.to(device) for part in (batch.types, batch.rows))
        states = encoder(batch.tokens.to(device), batch.lengths, types, rows).float()
        if pooling == "mean":
            states = torch.segment_reduce(states, "mean", lengths=torch.tensor(batch.lengths, device=device))
        found: npt.NDArray[np.float32] = states.cpu().numpy()
        return found

    training = encoder.training
    encoder.eval()
    with torch.inference_mode():
        for cut in micro_batches(encoded, windows, tokens_per_micro_batch, padded=not encoder.packed):
            if should_stop():
                raise Stopped("stopped during evaluation; run again to go on")
            for some, states in in_halves(cut, pooled):
                out[some] = states
    encoder.train(training)
    return out
