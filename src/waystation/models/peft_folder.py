"""Adapters as the library peft stores them: a folder that ``peft.PeftModel.from_pretrained`` loads on the backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from waystation.models import plain
from waystation.models.adapters import Adapters, combined
from waystation.models.backbone import Checkpoint
from waystation.store import write_json
from waystation.tasks.task import FormatName

TASK_TYPES = {"tagging": "TOKEN_CLS", "classification": "SEQ_CLS", "multilabel": "SEQ_CLS"}
"""Format → peft's kind of task. It has none for choices, and its kind for questions drops the token types (0.21)."""


def write(
    folder: Path,
    checkpoint: Checkpoint,
    base: Mapping[str, Any],
    layers: int | None,
    adapters: Sequence[Adapters],
    head: Mapping[str, torch.Tensor],
    format: FormatName,
    outputs: Sequence[str],
) -> str:
    """Write adapters (several as one, of the sum of their ranks), the head and the config into ``folder``.

    ``base``: what peft is told of the backbone. Returns the name of the class that the backbone is loaded as, with the
    config that lies here. Raises InputError where transformers' model of this type has no equal head.
    """
    import transformers

    placed = plain.head_weights(checkpoint.config.model_type, format, head)
    config = plain.task_config(checkpoint, layers, format, outputs)
    model = getattr(transformers, plain.MAPPINGS[format])[type(config)]
    config.architectures = [model.__name__]
    one, prefix = combined(adapters), model.base_model_prefix
    content = {f"{prefix}.{name}": value for name, value in one.factors.items()} | placed
    save_file(
        {f"base_model.model.{name}": value.contiguous() for name, value in content.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    described = {
        **base,
        "peft_type": "LORA",
        "task_type": TASK_TYPES.get(format),
        "inference_mode": True,
        "r": one.lora.rank,
        "lora_alpha": one.lora.alpha,
        "lora_dropout": one.lora.dropout,
        "bias": "none",
        "target_modules": [f"{prefix}.{layer}" for layer in one.layers],
        # the parts of the task model that hold the head
        "modules_to_save": sorted({_module(name, prefix) for name in placed}),
    }
    write_json(folder / "adapter_config.json", described)
    config.save_pretrained(folder)
    return str(model.__name__)


def _module(name: str, prefix: str) -> str:
    """``classifier`` of ``classifier.dense.weight``, ``pooler`` of ``bert.pooler.dense.weight``."""
    return name.removeprefix(f"{prefix}.").split(".")[0]
