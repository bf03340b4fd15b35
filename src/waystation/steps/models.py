"""Trained models as artifacts: encoder, head and changed embedding rows, as a delta on the backbone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from waystation import formats
from waystation.models.encoder import TaskModel
from waystation.models.vocabulary import EmbeddingDelta, Rows
from waystation.retention import HEAD, LOG, WEIGHTS
from waystation.steps.context import Context
from waystation.steps.records import EvaluateStep, TrainStep
from waystation.store import write_json


@dataclass(frozen=True)
class Trained:
    """A trained artifact as read back: weights by plain name, the head, the embedding delta."""

    encoder: dict[str, torch.Tensor] | None
    head: dict[str, torch.Tensor]
    embedding: EmbeddingDelta


def read(context: Context, key: str | None) -> Trained:
    """The trained artifact of a step, or the backbone itself for None."""
    hidden = int(context.checkpoint.config.hidden_size)
    if key is None:
        return Trained(None, {}, EmbeddingDelta.none(hidden))
    folder = context.store.folder(key)
    tensors = load_file(folder / WEIGHTS)
    factor = float(json.loads((folder / LOG).read_bytes())["embedding_factor"])
    delta = EmbeddingDelta(tensors.pop("embedding.rows").numpy(), tensors.pop("embedding.values"), factor)
    return Trained(
        {name.removeprefix("encoder."): value for name, value in tensors.items() if name.startswith("encoder.")},
        load_file(folder / HEAD),
        delta,
    )


def write(folder: Path, model: TaskModel, parent: Trained, embedding: EmbeddingDelta, log: dict[str, object]) -> None:
    """Write a trained model and its log into an artifact folder; the head apart, so that it can stay alone.

    What this phase did not train is stored as the parent has it; what nobody trained is the backbone's and not stored.
    """
    weights = {**(parent.encoder or {}), **model.encoder.weights()}
    tensors = {f"encoder.{name}": value for name, value in weights.items()}
    tensors |= {
        "embedding.rows": torch.from_numpy(embedding.rows.astype(np.int64)),
        "embedding.values": embedding.values,
    }
    for name, content in ((WEIGHTS, tensors), (HEAD, model.head.state_dict())):
        save_file({key: value.detach().cpu().contiguous() for key, value in content.items()}, folder / name)
    write_json(folder / LOG, {"embedding_factor": embedding.factor, **log})


def build(
    context: Context,
    step: TrainStep | EvaluateStep,
    trained: Trained,
    rows: Rows,
    layers: int | None,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    head_seed: int = 0,
    frozen: int | None = None,
) -> TaskModel:
    """Encoder over the active rows with a new head (training) or the stored one (``trained.head`` of equal shape)."""
    encoder = context.checkpoint.encoder(
        rows, trained.embedding, layers, dropout, attention_dropout, trained.encoder, frozen
    )
    form = formats.get(step.format)
    torch.manual_seed(head_seed)
    head = form.head(encoder.hidden, len(form.outputs(step.labels, step.scheme)), dropout)
    if isinstance(step, EvaluateStep):
        head.load_state_dict(trained.head)
    return TaskModel(encoder, head)
