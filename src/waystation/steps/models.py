"""Trained models as artifacts: encoder, head and changed embedding rows, as a delta on the backbone.

Adapters that a phase does not merge are stored beside the weights that they belong to, which stay as they were.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from waystation import formats
from waystation.models import adapters as low_rank
from waystation.models.adapters import Adapters
from waystation.models.backbone import Checkpoint
from waystation.models.encoder import TaskModel
from waystation.models.vocabulary import EmbeddingDelta, Rows
from waystation.records import derive
from waystation.retention import HEAD, LOG, WEIGHTS
from waystation.steps.context import Context
from waystation.steps.recipes import Lora
from waystation.steps.records import EvaluateStep, LogitsStep, TrainStep
from waystation.store import write_json

MLM = "mlm."
"""Before the names of the weights of the head of masked language modelling, in the file of the head."""


@dataclass(frozen=True)
class Trained:
    """A trained artifact as read back: weights by plain name, the head, the embedding delta.

    ``apart``: the weights without the ``adapters`` of its phases, the first one first. ``mlm``: the head of masked
    language modelling, where a phase had one.
    """

    checkpoint: Checkpoint
    apart: dict[str, torch.Tensor]
    head: dict[str, torch.Tensor]
    embedding: EmbeddingDelta
    adapters: tuple[Adapters, ...] = ()
    mlm: dict[str, torch.Tensor] = field(default_factory=dict)

    @cached_property
    def encoder(self) -> dict[str, torch.Tensor]:
        """All trained weights, adapters included: all that it takes to run the model."""
        return self.with_adapters(self.adapters)

    def with_adapters(self, adapters: Sequence[Adapters]) -> dict[str, torch.Tensor]:
        """The weights with some adapters added."""
        changed = low_rank.merged(
            adapters, lambda name: self.apart[name] if name in self.apart else self.checkpoint.tensor(name)
        )
        return {**self.apart, **changed}


def read(context: Context, key: str | None) -> Trained:
    """The trained artifact of a step, or the backbone itself for None."""
    hidden = int(context.checkpoint.config.hidden_size)
    if key is None:
        return Trained(context.checkpoint, {}, {}, EmbeddingDelta.none(hidden))
    folder = context.store.folder(key)
    tensors, log = load_file(folder / WEIGHTS), json.loads((folder / LOG).read_bytes())
    factor = float(log["embedding_factor"])
    delta = EmbeddingDelta(tensors.pop("embedding.rows").numpy(), tensors.pop("embedding.values"), factor)

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    shapes = [Lora.model_validate(shape) for shape in log.get("adapters", ())]
    adapters = tuple(Adapters(shape, part(f"adapters.{at}.")) for at, shape in enumerate(shapes))
    heads = load_file(folder / HEAD)
    mlm = {name.removeprefix(MLM): heads.pop(name) for name in sorted(heads) if name.startswith(MLM)}
    return Trained(context.checkpoint, part("encoder."), heads, delta, adapters, mlm)


def write(
    folder: Path,
    model: TaskModel,
    parent: Trained,
    embedding: EmbeddingDelta,
    log: dict[str, object],
    lora: Lora | None = None,
) -> None:
    """Write a trained model and its log into an artifact folder; the head apart, so that it can stay alone.

    What this phase did not train is stored as the parent has it; what nobody trained is the backbone's and not stored.
    ``lora``: of the phase.
    """
    adapters: tuple[Adapters, ...] = ()
    if lora is None:
        weights = {**parent.encoder, **model.encoder.weights()}
    else:
        own = Adapters(lora, {name: value.detach().cpu() for name, value in model.encoder.weights().items()})
        adapters = (*low_rank.continued(parent.adapters, lora)[0], own)
        weights = parent.apart
        if lora.after == "merge":
            weights, adapters = parent.with_adapters(adapters), ()
    tensors = {f"encoder.{name}": value for name, value in weights.items()}
    for at, one in enumerate(adapters):
        tensors |= {f"adapters.{at}.{name}": value for name, value in one.factors.items()}
    tensors |= {
        "embedding.rows": torch.from_numpy(embedding.rows.astype(np.int64)),
        "embedding.values": embedding.values,
    }
    heads = {**model.head.state_dict(), **{f"{MLM}{name}": value for name, value in parent.mlm.items()}}
    if "mlm" in model.heads:
        heads |= {f"{MLM}{name}": value for name, value in model.heads["mlm"].state_dict().items()}
    for name, content in ((WEIGHTS, tensors), (HEAD, heads)):
        save_file({key: value.detach().cpu().contiguous() for key, value in content.items()}, folder / name)
    shapes = {"adapters": [one.lora.model_dump() for one in adapters]} if adapters else {}
    write_json(folder / LOG, {"embedding_factor": embedding.factor, **shapes, **log})


def build(
    context: Context,
    step: TrainStep | LogitsStep | EvaluateStep,
    trained: Trained,
    rows: Rows,
    layers: int | None,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    head_seed: int = 0,
    frozen: int | None = None,
) -> TaskModel:
    """Encoder over the active rows with a new head (training) or the stored one (``trained.head`` of equal shape).

    A training with LoRA gets new adapters, or those of the parent that it goes on with; all others are in the weights.
    """
    lora = step.recipe.lora if isinstance(step, TrainStep) else None
    below, kept = low_rank.continued(trained.adapters, lora)
    encoder = context.checkpoint.encoder(
        rows, trained.embedding, layers, dropout, attention_dropout, trained.with_adapters(below), frozen
    )
    torch.manual_seed(head_seed)
    head: torch.nn.Module = torch.nn.Identity()  # text alone has no head of a task
    if step.format != "mlm":
        form = formats.get(step.format)
        head = form.head(encoder.hidden, len(form.outputs(step.labels, step.scheme)), dropout)
    if not isinstance(step, TrainStep):
        head.load_state_dict(trained.head)
    if lora is not None:
        low_rank.attach(encoder, lora, derive(head_seed, "adapters"), kept)
    return TaskModel(encoder, head)
