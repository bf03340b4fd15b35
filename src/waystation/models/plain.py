"""Whole plain checkpoints: the names that transformers' own task models give to an encoder and a head."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from waystation.errors import InputError
from waystation.models.backbone import FROM_PADDING, Checkpoint, load_tokenizer
from waystation.models.vocabulary import EmbeddingDelta
from waystation.tasks.task import FormatName

MAPPINGS = {
    "tagging": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
    "classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "multilabel": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "choice": "MODEL_FOR_MULTIPLE_CHOICE_MAPPING",
    "span": "MODEL_FOR_QUESTION_ANSWERING_MAPPING",
}
"""Format → what transformers lists the models of its kind in."""

AUTO = {
    "tagging": "AutoModelForTokenClassification",
    "classification": "AutoModelForSequenceClassification",
    "multilabel": "AutoModelForSequenceClassification",
    "choice": "AutoModelForMultipleChoice",
    "span": "AutoModelForQuestionAnswering",
}
"""Format → the class of transformers that loads it."""


def write(
    folder: Path,
    checkpoint: Checkpoint,
    layers: int | None,
    encoder: dict[str, torch.Tensor] | None,
    embedding: EmbeddingDelta,
    head: Mapping[str, torch.Tensor],
    format: FormatName,
    outputs: Sequence[str],
) -> str:
    """Write config, tokenizer and all weights (fp32) of a trained model into ``folder``; the name of its class.

    ``encoder``: trained weights by plain name, all others are the backbone's; ``head``: of the format's head, whose
    classes are ``outputs``. Raises InputError where transformers' model of this type has no equal head.
    """
    import transformers

    placed = head_weights(checkpoint.config.model_type, format, head)
    config = task_config(checkpoint, layers, format, outputs)
    model = getattr(transformers, MAPPINGS[format])[type(config)]
    config.architectures = [model.__name__]
    hidden = int(config.hidden_size)
    # over a single row of the embedding: the whole table is read and changed apart
    built = checkpoint.encoder(np.zeros(1, np.int64), EmbeddingDelta.none(hidden), layers, 0.0, 0.0, encoder)
    weights = {name: value.detach() for name, value in built.model.named_parameters()}
    own = checkpoint.word_embedding
    weights[own] = embedding.apply(np.arange(checkpoint.vocabulary, dtype=np.int64), checkpoint.tensor(own))
    state = {f"{model.base_model_prefix}.{name}": value for name, value in weights.items()}
    content = {name: value.contiguous() for name, value in {**state, **placed}.items()}
    save_file(content, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    load_tokenizer(checkpoint.folder).save_pretrained(folder)
    return str(model.__name__)


def head_weights(kind: str, format: FormatName, head: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A head's weights under the names of transformers' task model.

    Raises InputError where transformers' model of this type has no equal head.
    """
    found = {}
    for layer, place in _places(kind, format).items():
        weight = head[f"{layer}.weight"]
        found[f"{place}.weight"] = weight
        found[f"{place}.bias"] = head.get(f"{layer}.bias", torch.zeros(len(weight)))  # choice has none of the last
    return found


def _places(kind: str, format: FormatName) -> dict[str, str]:
    """Layer of our head → where transformers' model has it; both heads compute the same."""
    if kind == "modernbert":  # dense, activation and norm before the last layer, whatever the task
        raise InputError(
            f"transformers' {kind} models normalise before the last layer of every head, ours does not: no plain "
            "checkpoint can hold this model; `waystation predict` applies it"
        )
    if format in ("tagging", "span"):
        return {"out": "classifier" if format == "tagging" else "qa_outputs"}
    if kind in FROM_PADDING and format != "choice":
        return {"dense": "classifier.dense", "out": "classifier.out_proj"}
    pooler = {"bert": "bert.pooler", "deberta-v2": "pooler"}.get(kind, "roberta.pooler")
    return {"dense": f"{pooler}.dense", "out": "classifier"}


def task_config(checkpoint: Checkpoint, layers: int | None, format: FormatName, outputs: Sequence[str]) -> Any:
    """The backbone's config as that of a task model: depth, names of the classes."""
    config = copy.deepcopy(checkpoint.config)
    if layers is not None:
        config.num_hidden_layers = layers
    config.vocab_size = checkpoint.vocabulary
    config.dtype = torch.float32
    config.id2label = dict(enumerate(outputs))
    config.label2id = {name: at for at, name in enumerate(outputs)}
    if config.model_type == "deberta-v2":
        config.pooler_hidden_act, config.pooler_hidden_size = "tanh", config.hidden_size
    if AUTO[format] == "AutoModelForSequenceClassification":
        config.problem_type = "multi_label_classification" if format == "multilabel" else "single_label_classification"
    return config
