"""The trunk step: the states that the trained blocks read, for every token of one encoding."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from waystation.errors import WaystationError
from waystation.models.vocabulary import active_rows, lookup
from waystation.retention import trunk_bytes, worthwhile
from waystation.steps import models
from waystation.steps.context import Context
from waystation.steps.records import TrunkStep
from waystation.training import trunk


def perform(step: TrunkStep, folder: Path, context: Context) -> dict[str, Any]:
    """Write the states into ``folder``; nothing where that is not ``worthwhile`` or the encoder cannot be packed.

    What reads the artifact then runs the trunk itself, each time.
    """
    encoded = context.encoded(step.encoding)
    checkpoint = context.checkpoint
    size = trunk.size(encoded, int(checkpoint.config.hidden_size))
    details: dict[str, Any] = {
        "tokens": len(encoded.tokens),
        "examples": len(encoded),
        "bytes": size if checkpoint.packable else None,
        "stored": False,
        "numerics": context.numerics(),
    }
    if not checkpoint.packable or not worthwhile(step, len(encoded), size, trunk_bytes(context.store)):
        return details
    started = time.monotonic()
    try:
        rows = active_rows(encoded.tokens, checkpoint.vocabulary)
    except ValueError as error:
        raise WaystationError(str(error)) from None
    parent = models.read(context, step.source)
    layers = context.backbone.layers
    encoder = checkpoint.encoder(rows, parent.embedding, layers, 0.0, 0.0, parent.encoder, frozen=step.blocks)
    encoder.to(context.accelerator.device)
    with context.accelerator.autocast():
        trunk.write(
            folder / trunk.FILE,
            encoder,
            encoded,
            lookup(rows, checkpoint.vocabulary),
            step.tokens_per_micro_batch,
            context.accelerator.device,
            lambda share: context.on_progress(share, ""),
            context.should_stop,
        )
    return details | {"stored": True, "seconds": round(time.monotonic() - started, 3)}


def stored(context: Context, key: str | None) -> Any:
    """The states [T, H] of a trunk artifact, or None where there is none or it holds nothing."""
    if key is None or not context.store.manifest(key)["stored"]:
        return None
    return trunk.load(context.store.folder(key) / trunk.FILE)
