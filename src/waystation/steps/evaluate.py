"""The evaluate step: zero-shot predictions of one model on one target in every language, kept per example."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from waystation import formats
from waystation.evaluation.predict import predict
from waystation.formats import encoding
from waystation.formats.encoding import Encoded, Gold
from waystation.models.vocabulary import active_rows, lookup
from waystation.steps import models
from waystation.steps.context import Context
from waystation.steps.records import EvaluateStep, step_id


def perform(step: EvaluateStep, folder: Path, context: Context) -> dict[str, Any]:
    """Write ``language=xx.parquet`` for every language into ``folder``; finished languages survive an interruption."""
    form = formats.get(step.format)
    outputs = form.outputs(step.labels, step.scheme)
    sets = {
        code: encoding.load(context.store.folder(key), context.store.manifest(key)["stats"])
        for code, key in step.encodings.items()
    }
    workspace = context.store.workspace(step_id(step))
    checkpoint = context.checkpoint
    rows = active_rows(np.concatenate([item.tokens for item in sets.values()]), checkpoint.vocabulary, checkpoint.pad)
    places = lookup(rows, checkpoint.vocabulary)
    model = models.build(context, step, models.read(context, step.model), rows, context.backbone.layers)
    model.to(context.accelerator.device)
    started, tokens, total = time.monotonic(), 0, sum(int(item.offsets[-1]) for item in sets.values())
    details = {}
    for code, encoded in sets.items():
        kept = workspace / f"language={code}.parquet"
        if not _whole(kept, len(encoded)):
            with context.accelerator.autocast():
                predictions = predict(
                    model,
                    encoded,
                    places,
                    checkpoint.pad,
                    form,
                    outputs,
                    tokens_per_micro_batch=step.tokens_per_micro_batch,
                    should_stop=context.should_stop,
                )
            write(kept, encoded, predictions, form)
        tokens += int(encoded.offsets[-1])
        context.on_progress(tokens / max(1, total), code)
        details[code] = language_details(encoded)
    for code in sets:
        shutil.copyfile(workspace / f"language={code}.parquet", folder / f"language={code}.parquet")
    return {
        "languages": details,
        "selected_on": context.store.manifest(step.model)["selected_on"],
        "tokens": tokens,
        "seconds": round(time.monotonic() - started, 3),
        "numerics": context.numerics(),
    }


def write(path: Path, encoded: Encoded, predictions: list[Gold], form: Any) -> None:
    """One language's predictions: id, cluster, gold, pred, counts. No text is stored."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts = [form.counts(gold, pred) for gold, pred in zip(encoded.gold, predictions, strict=True)]
    table = pa.table(
        {
            "id": encoded.ids,
            "cluster": pa.array(encoded.clusters, pa.string()),
            "gold": encoded.gold,
            "pred": predictions,
            "counts": pa.array(counts, pa.list_(pa.int32())),
        }
    )
    temporary = path.with_suffix(".part")
    pq.write_table(table, temporary, compression="zstd")
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _whole(path: Path, examples: int) -> bool:
    """Whether an earlier attempt left this language complete."""
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_metadata(path).num_rows == examples)
    except (OSError, ValueError):  # absent, or cut off by a power failure
        return False


def language_details(encoded: Encoded) -> dict[str, Any]:
    """What stands beside each score: examples, clusters, tokenizer fertility, unknown rate, truncated examples."""
    stats = encoded.stats
    return {
        "n": len(encoded),
        "clusters": len(set(encoded.clusters) - {None}) or None,
        "fertility": round(stats["subtokens"] / max(1, stats["words"]), 4),
        "unknown": round(stats["unknown"] / max(1, stats["subtokens"]), 6),
        "truncated": stats.get("truncated", 0),
    }
