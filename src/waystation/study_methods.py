"""What of a recipe's methods does not go together, or not with a format: refused with the reason, before any work."""

from __future__ import annotations

from collections.abc import Sequence

from waystation.errors import suggest
from waystation.steps.recipes import Recipe
from waystation.study_checks import Problem

SMOOTHED = ("classification", "multilabel", "tagging", "choice")
"""Formats whose loss can be smoothed."""

WEIGHTED = ("classification", "multilabel", "tagging")
"""Formats whose loss can be weighted: those with classes."""


def recipe_problems(
    recipe: Recipe, format: str, labels: Sequence[str] = (), layers: int | None = None, matched: bool = False
) -> list[Problem]:
    """(place below ``recipe``, one line) for everything that this recipe asks of a training and cannot have.

    ``labels``: those of the use that is trained on (tagging: without B- and I-); ``layers``: blocks of the backbone,
    None where it is not known yet; ``matched``: the arms are to be equal in updates.
    """
    found = [*_unfreezing_problems(recipe, layers), *_loss_problems(recipe, format, labels)]
    found += _fusion_problems(recipe, format, layers)
    if recipe.biases_only and recipe.lora is not None:
        found.append((("biases_only",), "LoRA leaves the encoder as it is, its biases too; leave out one of them"))
    if recipe.layer_decay != 1 and recipe.lora is not None:
        found.append((("layer_decay",), "LoRA leaves the encoder as it is; layer_decay is a rate of its own weights"))
    if matched and recipe.validation is not None and recipe.validation.patience is not None:
        text = "with `match` all arms make the same updates; leave patience out (`select: best` can stay)"
        found.append((("validation", "patience"), text))
    return [(place, f"field '{'.'.join(['recipe', *map(str, place)])}': {text}") for place, text in found]


def _unfreezing_problems(recipe: Recipe, layers: int | None) -> list[Problem]:
    asked = recipe.unfreezing
    if asked is None:
        return []
    found: list[Problem] = []
    if recipe.lora is not None:
        found.append((("unfreezing",), "LoRA leaves the encoder as it is, so there is nothing to unfreeze"))
    if recipe.biases_only:
        found.append((("unfreezing",), "biases_only trains the biases of all blocks throughout; leave out one of them"))
    if layers is not None:
        below = 0 if recipe.frozen is None else recipe.frozen + 1
        if asked.groups[-1] > (there := max(0, layers + 1 - below)):
            held = f", of which frozen: {recipe.frozen} holds the lowest {below}" if below else ""
            text = f"{asked.groups[-1]} groups asked for; there are {layers} blocks and the embedding{held}"
            found.append((("unfreezing", "groups"), f"{text}; {there} can be unfrozen"))
    number, length = len(asked.groups), asked.length
    if length is not None and asked.unit == "updates" and (number - 1) * length >= recipe.updates:
        text = f"{number - 1} cycles of {length} updates leave nothing of {recipe.updates} for the last; lower it"
        found.append((("unfreezing", "length"), text))
    elif number > recipe.updates:
        found.append((("unfreezing", "groups"), f"{number} cycles do not fit into {recipe.updates} updates"))
    return found


def _fusion_problems(recipe: Recipe, format: str, layers: int | None) -> list[Problem]:
    asked = recipe.fusion
    if asked is None:
        return []
    if layers is not None and asked.local + asked.fused > layers:
        text = f"{asked.local} local and {asked.fused} fused blocks, the backbone has {layers}; lower one of them"
        return [(("fusion",), text)]
    return []


def _loss_problems(recipe: Recipe, format: str, labels: Sequence[str]) -> list[Problem]:
    found: list[Problem] = []
    if recipe.label_smoothing and format not in SMOOTHED:
        text = f"the loss of {format} is not over labels; formats that can be smoothed: {', '.join(SMOOTHED)}"
        found.append((("label_smoothing",), text))
    if recipe.class_weights is None:
        return found
    if format not in WEIGHTED:
        text = f"{format} has no classes; formats that have: {', '.join(WEIGHTED)}"
        found.append((("class_weights",), text))
    elif recipe.class_weights != "balanced":
        known = [*labels, *(["O"] if format == "tagging" and "O" not in labels else [])]
        found += [
            (("class_weights", name), f"no label '{name}'{suggest(name, known)}; labels: {', '.join(known)}")
            for name in recipe.class_weights
            if name not in known
        ]
    return found
