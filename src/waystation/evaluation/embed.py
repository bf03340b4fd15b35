"""Sentence embeddings from the hidden states of any transformers encoder.

Pooling is as in XTREME's retrieval tasks and in jiant: the mean over all positions that are not padding, the special
tokens at both ends included. Layer, pooling and prefix decide a retrieval score, so all three are arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import InputError

POOLINGS = ("mean", "first")


def embed(
    sentences: Sequence[str],
    model: Any,
    tokenizer: Any,
    *,
    prefix: str = "",
    layer: int = -1,
    pooling: str = "mean",
    max_length: int = 512,
    tokens_per_batch: int = 4096,
) -> npt.NDArray[np.float32]:
    """Embed N sentences: float32 [N, H], row i for sentence i, not normalised.

    ``model`` is a transformers encoder and stays on its device and in its mode; dropout is off here. ``layer`` counts
    as ``hidden_states`` does: 0 is the embedding layer, k the output of block k, -1 the last one. ``pooling`` is
    "mean", or "first" for the first position (XTREME's "cls"). ``prefix`` is put before every sentence as it stands.
    Sentences are cut at ``max_length`` tokens. ``tokens_per_batch`` bounds the padded tokens of one forward pass (a
    longer sentence goes alone): it changes speed, and results only by rounding.

    Raises InputError for an unknown pooling, or a layer that the model does not have.
    """
    if pooling not in POOLINGS:
        raise InputError(f"pooling '{pooling}' is unknown: use one of {', '.join(POOLINGS)}")
    blocks = int(model.config.num_hidden_layers)
    if not -blocks - 1 <= layer <= blocks:
        raise InputError(f"layer {layer}: the model has layers 0 (embeddings) to {blocks}, or -1 to {-blocks - 1}")
    out = np.zeros((len(sentences), int(model.config.hidden_size)), np.float32)
    if not len(sentences):
        return out
    texts = [prefix + sentence for sentence in sentences]
    ids: list[list[int]] = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    padding = tokenizer.pad_token_id or 0
    modes = [(module, module.training) for module in model.modules()]  # a frozen part may be in eval mode on purpose
    model.eval()
    try:
        with torch.inference_mode():
            for rows in _batches([len(one) for one in ids], tokens_per_batch):
                width = max(1, max(len(ids[row]) for row in rows))
                batch = torch.full((len(rows), width), padding, dtype=torch.long)
                mask = torch.zeros((len(rows), width), dtype=torch.long)
                for place, row in enumerate(rows):
                    batch[place, : len(ids[row])] = torch.tensor(ids[row], dtype=torch.long)
                    mask[place, : len(ids[row])] = 1
                batch, mask = batch.to(model.device), mask.to(model.device)
                states = _states(model, batch, mask, layer, blocks).float()
                out[rows] = _pool(states, mask, pooling).cpu().numpy()
    finally:
        for module, training in modes:
            module.training = training
    return out


def _states(model: Any, batch: torch.Tensor, mask: torch.Tensor, layer: int, blocks: int) -> torch.Tensor:
    """Hidden states [B, L, H] of one layer; the other layers are kept only where the last is not asked for."""
    last = layer in (-1, blocks)
    output = model(input_ids=batch, attention_mask=mask, output_hidden_states=not last)
    states: torch.Tensor = output.last_hidden_state if last else output.hidden_states[layer]
    return states


def _pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """[B, L, H] and mask [B, L] → [B, H]; a row without any token gives zeros."""
    if pooling == "first":
        return states[:, 0]
    kept = mask.unsqueeze(-1).to(states.dtype)
    return (states * kept).sum(1) / kept.sum(1).clamp(min=1)


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of all sentences, longest first (so that memory runs out at once or never), in padded batches."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        count = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count
