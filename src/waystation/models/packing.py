"""Packed sequences: many texts as one row of tokens, each attending to itself alone; nothing is ever padded.

transformers hands attention over to a registered function and passes the keyword arguments of a block through to it
(its AttentionInterface), so one function that knows the lengths packs every encoder built on that interface.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

import torch
from torch import nn

PACKED = "waystation_packed"
"""Name under which transformers knows ``attend``."""

MASKLESS = ("bert", "roberta", "xlm-roberta", "camembert")
"""``model_type`` of the encoders whose attention needs nothing but the lengths: absolute positions, full attention."""


def register() -> None:
    """Make ``attn_implementation=PACKED`` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACKED, attend)
    AttentionMaskInterface.register(PACKED, lambda *_, **__: None)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    lengths: list[int],
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each text to itself: ``query``, ``key``, ``value`` [1, heads, N, D] → [1, N, heads, D].

    ``lengths`` sum up to N. Texts of equal length that are neighbours are one call. On a GPU in half precision all are
    one variable-length call; there and in fp32 texts are padded for the call alone.
    """
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))  # [N, heads, D]
    half = query.dtype in (torch.float16, torch.bfloat16)
    if query.is_cuda and half and dropout == 0.0 and _varlen() is not None:
        return _variable_length(q, k, v, lengths, scaling).unsqueeze(0), None
    if query.is_cuda:
        return _padded(q, k, v, lengths, dropout, scaling).unsqueeze(0), None
    runs = _runs(lengths)
    sizes = [count * length for count, length in runs]
    pieces = zip(runs, torch.split(q, sizes), torch.split(k, sizes), torch.split(v, sizes), strict=True)
    out = []
    for run, *parts in pieces:
        a, b, c = (part.view(*run, *part.shape[1:]).transpose(1, 2) for part in parts)  # [count, heads, length, D]
        out.append(_block(a, b, c, dropout, scaling).transpose(1, 2).flatten(0, 1))
    return (torch.cat(out) if len(out) > 1 else out[0]).unsqueeze(0), None


def _runs(lengths: list[int]) -> list[tuple[int, int]]:
    """Neighbours of equal length as (how many, length)."""
    runs: list[tuple[int, int]] = []
    for length in lengths:
        if runs and runs[-1][1] == length:
            runs[-1] = (runs[-1][0] + 1, length)
        else:
            runs.append((1, length))
    return runs


def _block(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scaling: float | None
) -> torch.Tensor:
    """[B, heads, L, D] without any padding. torch's own CPU kernel takes a path several times slower with dropout."""
    if dropout == 0.0:
        return nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    weights = torch.softmax((query * scale) @ key.transpose(-1, -2), -1)
    return drop(weights, dropout) @ value


def _variable_length(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: list[int], scaling: float | None
) -> torch.Tensor:
    """[N, heads, D] in one call of the flash kernel for ragged batches."""
    bounds = torch.zeros(len(lengths) + 1, dtype=torch.int32, device=query.device)
    bounds[1:] = torch.tensor(lengths, device=query.device).cumsum(0)
    longest = max(lengths)
    usual = query.shape[-1] ** -0.5  # what the kernel scales by; some releases let no other be given
    if scaling is not None and scaling != usual:
        query = query * (scaling / usual)
    found: torch.Tensor = _varlen()(query, key, value, bounds, bounds, longest, longest)
    return found


@functools.cache
def _varlen() -> Any:
    """torch's call for ragged batches, None where this release has none."""
    try:
        return import_module("torch.nn.attention.varlen").varlen_attn
    except (ImportError, AttributeError):
        return None


def _padded(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: list[int],
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """[N, heads, D] padded to [B, heads, L, D] with a mask: where a loop over texts would cost more than padding."""
    mask = inside(lengths, query.device)
    room = query.new_zeros(*mask.shape, *query.shape[1:])
    q, k, v = (room.masked_scatter(mask[..., None, None], part).transpose(1, 2) for part in (query, key, value))
    out = nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask[:, None, None], dropout_p=dropout, scale=scaling
    )
    return out.transpose(1, 2)[mask]


def inside(lengths: list[int], device: torch.device | None = None) -> torch.Tensor:
    """bool [B, L]: where a padded batch of these lengths holds tokens."""
    return torch.arange(max(lengths), device=device) < torch.tensor(lengths, device=device)[:, None]


# Dropout

_STEPS = 1 << 16


class _Drop(torch.autograd.Function):
    """Zero a share of the values and scale the others up, with 16 random bits for each instead of a whole number."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor, level: int) -> torch.Tensor:
        bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
        keep = (bits.view(torch.int16)[: values.numel()] >= level - _STEPS // 2).view(values.shape)
        context.save_for_backward(keep)
        context.scale = _STEPS / (_STEPS - level)
        return values.mul(keep).mul_(context.scale)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (keep,) = context.saved_tensors
        return gradients[0].mul(keep).mul_(context.scale), None


def drop(values: torch.Tensor, share: float) -> torch.Tensor:
    """Dropout: each value is zero with probability ``share`` (to within 1/65536), else scaled to keep the mean.

    On a CPU the draw of torch's own dropout costs several times the multiplication; this one draws 4 values at a time
    from the same generator.
    """
    level = round(share * _STEPS)
    if values.device.type != "cpu" or level in (0, _STEPS):
        return nn.functional.dropout(values, share)
    dropped: torch.Tensor = _Drop.apply(values.contiguous(), level)  # type: ignore[no-untyped-call]
    return dropped


class Dropout(nn.Module):
    """``drop`` as a module."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.p = share

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Values of any shape; as they are outside training."""
        return drop(values, self.p) if self.training and self.p else values
