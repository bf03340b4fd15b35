"""Low-rank adaptation of an encoder (Hu et al. 2021): W x becomes W x + (α / r) B A x; A and B alone are trained.

Own layers and not the library peft's: a layer keeps its plain name and its products, so all that names weights stays
as it is, and nothing is imported (peft: seconds). peft is what the tests compare with, and what reads an export.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from waystation.errors import InputError
from waystation.models import packing
from waystation.models.encoder import Encoder
from waystation.models.linear import Linear
from waystation.steps.recipes import Lora

Weights = dict[str, torch.Tensor]


class Adapted(Linear):
    """A linear layer that stays as it is, and a product of two thin matrices beside it, which is 0 at first."""

    def __init__(self, layer: nn.Linear, lora: Lora, draws: torch.Generator) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.lora_A = Linear(layer.in_features, lora.rank, bias=False)
        self.lora_B = Linear(lora.rank, layer.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5), generator=draws)
        nn.init.zeros_(self.lora_B.weight)
        self.dropout, self.scale = packing.Dropout(lora.dropout), lora.alpha / lora.rank

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[..., m] → [..., n]."""
        found: torch.Tensor = super().forward(input) + self.lora_B(self.scale * self.lora_A(self.dropout(input)))
        return found


@dataclass(frozen=True)
class Adapters:
    """What a phase trained: by plain name of a layer ``….lora_A.weight`` [r, m] and ``….lora_B.weight`` [n, r]."""

    lora: Lora
    factors: Weights

    @property
    def layers(self) -> list[str]:
        """Plain names of the adapted layers."""
        return [name.removesuffix(".lora_A.weight") for name in self.factors if name.endswith(".lora_A.weight")]

    def pair(self, layer: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A [r, m] and (α / r) B [n, r] of a layer."""
        down, up = (self.factors[f"{layer}.lora_{side}.weight"] for side in "AB")
        return down, up * (self.lora.alpha / self.lora.rank)


def attach(encoder: Encoder, lora: Lora, seed: int, start: Adapters | None = None) -> None:
    """Put matrices beside layers of all blocks that are not frozen; they are all of the encoder that is then trained.

    ``start``: of an earlier phase, to go on with; None: A is drawn by ``seed``, uniformly from ±1/√m, and B is 0.
    Raises InputError where the encoder has no such layers, no block is left, or ``start`` is of other blocks.
    """
    places = lora.places(encoder.model.config.model_type)  # type: ignore[union-attr, arg-type]
    blocks = encoder.blocks[encoder.frozen or 0 :]
    if not len(blocks):
        raise InputError(f"lora: all {encoder.frozen} blocks are frozen, none is left to adapt; lower `frozen`")
    encoder.requires_grad_(False)
    draws = torch.Generator().manual_seed(seed)
    for block in blocks:
        for place in places:
            layer = block.get_submodule(place)
            assert isinstance(layer, nn.Linear)
            block.set_submodule(place, Adapted(layer, lora, draws))
    if start is not None:
        fresh = encoder.weights()
        if fresh.keys() != start.factors.keys():
            raise InputError(
                "lora: `after: keep` goes on with the same matrices, but the earlier phase has them in other blocks; "
                "make `frozen` equal, or say `after: stack` there"
            )
        for name, value in start.factors.items():
            fresh[name].data.copy_(value)


def continued(before: Sequence[Adapters], lora: Lora | None) -> tuple[Sequence[Adapters], Adapters | None]:
    """Of the adapters of earlier phases: those that a phase leaves as they are, and those that it goes on training."""
    if before and lora is not None and lora.continues(before[-1].lora):
        return before[:-1], before[-1]
    return before, None


def merged(adapters: Iterable[Adapters], weight: Callable[[str], torch.Tensor]) -> Weights:
    """The weights that adapters change, their products added; ``weight``: what a plain name holds without them."""
    found: Weights = {}
    for one in adapters:
        for layer in one.layers:
            down, up = one.pair(layer)
            name = f"{layer}.weight"
            found[name] = (found[name] if name in found else weight(name)) + up @ down
    return found


def combined(adapters: Sequence[Adapters]) -> Adapters:
    """One set of adapters that adds what several do together: of the sum of their ranks, 0 where one has no matrix."""
    if len(adapters) == 1:
        return adapters[0]
    rank = sum(one.lora.rank for one in adapters)
    factors: Weights = {}
    for layer in dict.fromkeys(layer for one in adapters for layer in one.layers):
        shapes = next(one.pair(layer) for one in adapters if layer in one.layers)
        width, height = shapes[0].shape[1], shapes[1].shape[0]
        pairs = [
            one.pair(layer)
            if layer in one.layers
            else (torch.zeros(one.lora.rank, width), torch.zeros(height, one.lora.rank))
            for one in adapters
        ]
        factors[f"{layer}.lora_A.weight"] = torch.cat([down for down, _ in pairs])
        factors[f"{layer}.lora_B.weight"] = torch.cat([up for _, up in pairs], 1)
    return Adapters(adapters[-1].lora.model_copy(update={"rank": rank, "alpha": float(rank)}), factors)
