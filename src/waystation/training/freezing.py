"""Which parameters a phase trains, at what rate, and from when on.

The groups of an encoder are counted from the top: 1 the highest block, 2 the one below it, the embedding last. What
all blocks read (DeBERTa's positions) goes with the embedding, the norm at ModernBERT's end with the highest block.
"""

from __future__ import annotations

from typing import Any

import torch

from waystation.errors import InputError
from waystation.models.encoder import Encoder, TaskModel
from waystation.steps.recipes import Recipe

HEADS = ("head.", "heads.")


def places(encoder: Encoder) -> dict[int, int]:
    """id of a parameter of the encoder → its group, counted from the top."""
    depth = len(encoder.blocks)
    found = {id(value): 1 if "final_norm" in name else depth + 1 for name, value in encoder.named_parameters()}
    for at, block in enumerate(encoder.blocks):
        found |= {id(value): depth - at for value in block.parameters()}
    return found


def train_biases_only(encoder: Encoder) -> None:
    """Of what is trained so far, go on with the biases, LayerNorm's among them (BitFit; Ben Zaken et al. 2022).

    Raises InputError where the encoder has none.
    """
    biases = {name for name, _ in encoder.named_parameters() if name.endswith("bias")}
    if not biases:
        raise InputError("biases_only: the encoder has no biases; leave it out")
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name in biases)


def parameter_groups(model: TaskModel, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's groups of all that the recipe trains at any time.

    ``base_rate``: the head's, or the encoder's times ``layer_decay`` once for every group above (Howard and Ruder 2018,
    section 3.2; a block is a group). No decay of biases, LayerNorm and (unless asked) embeddings. ``place``: the group
    of the encoder, counted from the top, 0 for what is trained from the start. Raises InputError where unfreezing asks
    for more groups than the encoder trains.
    """
    if recipe.biases_only:
        train_biases_only(model.encoder)
    of = places(model.encoder)
    if recipe.unfreezing is not None:
        there = max((of[id(value)] for value in model.encoder.parameters() if value.requires_grad), default=0)
        if (asked := recipe.unfreezing.groups[-1]) > there:
            raise InputError(f"unfreezing.groups: {asked} asked for, the encoder trains {there}; lower it")
    groups: dict[tuple[float, float, int], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = parameter.ndim < 2 or "LayerNorm" in name
        decayed = not plain and ("embeddings." not in name or recipe.decay_embeddings)
        place = 0 if name.startswith(HEADS) else of[id(parameter)]
        rate = recipe.rate * recipe.layer_decay ** (place - 1) if place else recipe.head_rate
        from_start = recipe.unfreezing is None
        key = (rate, recipe.weight_decay if decayed else 0.0, 0 if from_start else place)
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": members, "lr": rate, "base_rate": rate, "weight_decay": decay, "place": place}
        for (rate, decay, place), members in groups.items()
    ]


def prepare(optimizer: torch.optim.Optimizer, groups: int | None, factor: float) -> None:
    """Set the rates of an update, and which parameters it trains: ``groups`` of the encoder (None: all) and the rest.

    What is not trained gets no gradient, so AdamW passes it over: no decay, and no state until it is thawed.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * factor
        for parameter in group["params"]:
            parameter.requires_grad_(groups is None or group["place"] <= groups)


def shrinkage(optimizer: torch.optim.Optimizer, embedding: torch.nn.Parameter) -> float:
    """What an update's weight decay multiplies the embedding's rows with, also those that are not active."""
    if not embedding.requires_grad:
        return 1.0
    own = next(group for group in optimizer.param_groups if any(member is embedding for member in group["params"]))
    return 1.0 - float(own["lr"]) * float(own["weight_decay"])
