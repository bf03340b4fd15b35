"""The logits step: what a model that was trained with fusion says of training texts, for another to learn from."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from waystation import formats
from waystation.errors import WaystationError
from waystation.evaluation.predict import logits_of
from waystation.formats.encoding import offsets_of
from waystation.models.vocabulary import active_rows, lookup
from waystation.steps import models
from waystation.steps.context import Context
from waystation.steps.records import LogitsStep, step_id
from waystation.store import link
from waystation.training.fusing import Taught

FILE = "part={}.safetensors"


def perform(step: LogitsStep, folder: Path, context: Context) -> dict[str, Any]:
    """Write a file for each encoding into ``folder``; finished ones survive an interruption.

    Float32 logits [R, C] of what the head reads of each text beside its original, and int64 offsets [W + 1] of the
    rows of each window.
    """
    read = [context.encoded(key) for key in step.encodings]
    workspace, checkpoint = context.store.workspace(step_id(step)), context.checkpoint
    try:
        rows = active_rows(np.concatenate([part.tokens for part in read]), checkpoint.vocabulary)
    except ValueError as error:
        raise WaystationError(str(error)) from None
    places, form = lookup(rows, checkpoint.vocabulary), formats.get(step.format)
    model = models.build(context, step, models.read(context, step.model), rows, context.backbone.layers)
    model.to(context.accelerator.device)
    started, tokens, total = time.monotonic(), 0, sum(len(part.tokens) for part in read)
    for at, part in enumerate(read):
        kept = workspace / FILE.format(at)
        if not kept.exists():
            with context.accelerator.autocast():
                found = logits_of(
                    model,
                    part,
                    places,
                    form,
                    tokens_per_micro_batch=step.tokens_per_micro_batch,
                    fusion=step.fusion,
                    partners=read[0],
                    should_stop=context.should_stop,
                )
            _write(kept, [values for _, values in sorted(found, key=lambda one: one[0])])
        link(kept, folder / kept.name)
        tokens += len(part.tokens)
        context.on_progress(tokens / max(1, total), "")
    return {
        "tokens": tokens,
        "seconds": round(time.monotonic() - started, 3),
        "numerics": context.numerics(),
    }


def _write(path: Path, values: list[Any]) -> None:
    from safetensors.numpy import save_file

    offsets = offsets_of(np.array([len(rows) for rows in values]))
    temporary = path.with_suffix(".part")
    save_file({"logits": np.concatenate(values).astype(np.float32), "offsets": offsets}, temporary)
    os.replace(temporary, path)


def stored(context: Context, key: str | None) -> Taught | None:
    """The logits of an artifact, memory-mapped; None for None."""
    if key is None:
        return None
    from safetensors import safe_open

    parts = []
    for at in range(len(context.store.manifest(key)["identity"]["encodings"])):
        with safe_open(context.store.folder(key) / FILE.format(at), framework="pt") as file:
            parts.append((file.get_tensor("logits").numpy(), file.get_tensor("offsets").numpy()))
    return Taught(parts)
