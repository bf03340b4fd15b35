"""The adopt step: a checkpoint that somebody fine-tuned stands as an intermediate phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from waystation import backbones
from waystation.backbones import Backbone
from waystation.errors import InputError
from waystation.models.backbone import TOKENIZERS, Checkpoint, checkpoint_folder, load_tokenizer
from waystation.models.vocabulary import EmbeddingDelta
from waystation.retention import HEAD, LOG, WEIGHTS
from waystation.steps.context import Context
from waystation.steps.records import AdoptStep
from waystation.store import write_json

ROWS = 16_384  # of the embedding, compared at once


def perform(step: AdoptStep, folder: Path, context: Context) -> dict[str, Any]:
    """Write encoder and changed embedding rows of the checkpoint into ``folder``, without a head.

    Raises InputError where it is not the backbone's shape or has another vocabulary.
    """
    if backbones.fingerprint(Backbone(id=step.source)) != step.checkpoint:
        raise InputError(f"the checkpoint '{step.source}' changed since the plan was made; run again")
    place = checkpoint_folder(Backbone(id=step.source), context.cache)
    own, other = context.checkpoint, Checkpoint(place)
    told = f"'{step.source}' is no fine-tuned copy of the backbone"
    if other.config.model_type != own.config.model_type or other.vocabulary != own.vocabulary:
        raise InputError(
            f"{told}: it is {other.config.model_type} with {other.vocabulary} rows of vocabulary, the backbone is "
            f"{own.config.model_type} with {own.vocabulary}; name the checkpoint's own backbone"
        )
    if any((place / name).is_file() for name in TOKENIZERS):
        ours, theirs = context.tokenizer.get_vocab(), load_tokenizer(place).get_vocab()
        if ours != theirs:
            raise InputError(f"{told}: its tokenizer numbers other pieces; name the checkpoint's own backbone")
    encoder = own.encoder(
        np.zeros(1, np.int64), EmbeddingDelta.none(int(own.config.hidden_size)), context.backbone.layers, 0.0, 0.0
    )
    tensors = {}
    for name, parameter in encoder.model.named_parameters():
        if name == own.word_embedding:
            continue
        if name not in other:
            raise InputError(f"{told}: its weights lack '{name}'; save the whole checkpoint")
        weight = other.tensor(name)
        if weight.shape != parameter.shape:
            raise InputError(f"{told}: '{name}' is {list(weight.shape)} there, {list(parameter.shape)} here")
        if not torch.equal(weight, own.tensor(name)):
            tensors[f"encoder.{name}"] = weight.contiguous()
    rows, values = _changed(own, other)
    tensors |= {"embedding.rows": rows, "embedding.values": values}
    save_file(tensors, folder / WEIGHTS)
    save_file({}, folder / HEAD)
    write_json(folder / LOG, {"embedding_factor": 1.0})
    return {"rows": len(rows), "numerics": context.numerics()}


def _changed(own: Checkpoint, other: Checkpoint) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the embedding that differ, int64 [R], and the checkpoint's values of them, float32 [R, H]."""
    rows, values = [], []
    for low in range(0, own.vocabulary, ROWS):
        block = np.arange(low, min(low + ROWS, own.vocabulary), dtype=np.int64)
        mine, theirs = own.tensor(own.word_embedding, block), other.tensor(other.word_embedding, block)
        if mine.shape != theirs.shape:
            raise InputError(f"the checkpoint is {theirs.shape[1]} wide, the backbone {mine.shape[1]}; name its own")
        differ = (mine != theirs).any(1)
        rows.append(torch.from_numpy(block)[differ])
        values.append(theirs[differ])
    return torch.cat(rows), torch.cat(values).contiguous()
