"""Sentence embeddings: the hidden states of an encoder, pooled over each window.

Pooling is as in XTREME's retrieval tasks and in jiant: the mean over all tokens, the special ones at both ends
included. Blocks above the highest layer that is read are left out when the encoder is built, and cost nothing. (After
the last block ModernBERT has one norm more, which here follows every layer that is read.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from waystation.errors import InputError, Stopped
from waystation.formats.encoding import Encoded, Reads
from waystation.models import packing
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
    """Embed the W windows of an encoding by the encoder's last block: float32 [W, H], as ``embed_layers`` does."""
    (found,) = embed_layers(
        encoder,
        encoded,
        places,
        [(len(encoder.blocks), pooling)],
        tokens_per_micro_batch=tokens_per_micro_batch,
        should_stop=should_stop,
    )
    return found


def embed_layers(
    encoder: Encoder,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    readings: Sequence[tuple[int, str]],
    *,
    tokens_per_micro_batch: int = 1024,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[npt.NDArray[np.float32]]:
    """Embed the W windows of an encoding in several ways in one pass: for each a float32 [W, H], not normalised.

    ``readings``: (block from 1 upwards, pooling), where pooling is "mean", or "first" for the first token (XTREME's
    "cls"). ``places`` maps vocabulary ids to rows of the encoder's embedding. Dropout is off here; the encoder's mode
    is kept. ``tokens_per_micro_batch`` bounds the tokens of one pass (a longer window goes alone): it changes speed,
    and results only by rounding.

    Raises InputError for an unknown pooling, Stopped between micro-batches when asked.
    """
    for _, pooling in readings:
        if pooling not in POOLINGS:
            raise InputError(f"pooling '{pooling}' is unknown: use one of {', '.join(POOLINGS)}")
    device, last = encoder.embedding.device, len(encoder.blocks)
    windows = np.arange(len(encoded.example), dtype=np.int64)
    out = [np.empty((len(windows), encoder.hidden), np.float32) for _ in readings]
    top_reads: Reads = "all" if (last, "mean") in readings else "first"  # the last block is done for these tokens alone

    def pooled(cut: Indices) -> list[npt.NDArray[np.float32]]:
        batch = collate(encoded, cut, places, top_reads)
        types, rows = (None if part is None else part.to(device) for part in (batch.types, batch.rows))
        lengths = torch.tensor(batch.lengths, device=device)
        firsts = lengths.cumsum(0) - lengths
        top = encoder(batch.tokens.to(device), batch.lengths, types, rows)
        found = []
        for layer, pooling in readings:
            states = top if layer == last else _below(encoder, below[layer], batch.lengths)
            if pooling == "mean":
                states = torch.segment_reduce(states.float(), "mean", lengths=lengths)
            elif layer != last or top_reads == "all":
                states = states[firsts]
            found.append(states.float().cpu().numpy())
        return found

    training = encoder.training
    encoder.eval()
    with torch.inference_mode(), _kept(encoder, {layer for layer, _ in readings} - {last}) as below:
        for cut in micro_batches(encoded, windows, tokens_per_micro_batch, padded=not encoder.packed):
            if should_stop():
                raise Stopped("stopped during evaluation; run again to go on")
            for some, vectors in in_halves(cut, pooled):
                for whole, part in zip(out, vectors, strict=True):
                    whole[some] = part
    encoder.train(training)
    return out


@contextmanager
def _kept(encoder: Encoder, layers: Iterable[int]) -> Iterator[dict[int, torch.Tensor]]:
    """What blocks below the last one gave in the latest pass: block from 1 → [1, N, H] packed, [B, L, H] padded."""
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int, module: nn.Module, given: Any, states: Any) -> None:
        kept[layer] = states if isinstance(states, torch.Tensor) else states[0]

    # some DeBERTas have a convolution after their first block, which is part of it here
    first = getattr(getattr(encoder.model, "encoder", None), "conv", None) or encoder.blocks[0]
    sources = [first, *encoder.blocks[1:]]
    hooks = [sources[layer - 1].register_forward_hook(partial(keep, layer)) for layer in layers]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def _below(encoder: Encoder, states: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Kept states of all tokens [N, H], as they would be if this block were the last."""
    flat = states[0] if encoder.packed else states[packing.inside(lengths, states.device)]
    norm = getattr(encoder.model, "final_norm", None)
    found: torch.Tensor = flat if norm is None else norm(flat)
    return found
