"""The sweep step: a retrieval target scored at several layers and poolings, and which of them is the best."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from waystation.chains import SWEEP
from waystation.evaluation.embed import embed_layers
from waystation.formats.encoding import Encoded
from waystation.models.encoder import Encoder
from waystation.models.vocabulary import Rows, active_rows, lookup
from waystation.scoring import metrics
from waystation.steps import retrieve
from waystation.steps.context import Context
from waystation.steps.records import SweepStep, step_id
from waystation.store import write_json
from waystation.tasks.task import usual_metrics


def perform(step: SweepStep, folder: Path, context: Context) -> dict[str, Any]:
    """Write the table into ``folder``; finished languages survive an interruption.

    ``chosen`` in the manifest is the row with the best mean over the languages; of equal ones the lowest layer, and of
    its poolings the one that is named first.
    """
    sets = {code: context.encoded(key) for code, key in step.encodings.items()}
    rows = active_rows(np.concatenate([item.tokens for item in sets.values()]), context.checkpoint.vocabulary)
    layers = step.sweep.blocks(retrieve.depth(context))
    encoder = retrieve.opened(context, step.model, rows, layers[-1])
    workspace = context.store.workspace(step_id(step))
    started, done, total = time.monotonic(), 0, sum(int(item.offsets[-1]) for item in sets.values())
    readings = list(product(layers, step.sweep.poolings))
    points: dict[str, list[float]] = {}
    for code, encoded in sets.items():
        kept = workspace / f"language={code}.json"
        if not kept.exists():
            with context.accelerator.autocast():
                write_json(kept, _points(step, encoder, rows, readings, encoded, context))
        points[code] = json.loads(kept.read_bytes())
        done += int(encoded.offsets[-1])
        context.on_progress(done / max(1, total), code)
    table: list[dict[str, Any]] = []
    for at, (layer, pooling) in enumerate(readings):
        scores = {code: found[at] for code, found in points.items()}
        table.append({"layer": layer, "pooling": pooling, "scores": scores, "mean": statistics.fmean(scores.values())})
    write_json(folder / SWEEP, table)
    return {
        "chosen": max(table, key=lambda row: row["mean"]),  # the first of equal ones
        "tokens": total,
        "seconds": round(time.monotonic() - started, 3),
        "numerics": context.numerics(),
    }


def _points(
    step: SweepStep,
    encoder: Encoder,
    rows: Rows,
    readings: Sequence[tuple[int, str]],
    encoded: Encoded,
    context: Context,
) -> list[float]:
    """The score of one language for each of the readings, all from one pass of the encoder."""
    found = embed_layers(
        encoder,
        encoded,
        lookup(rows, context.checkpoint.vocabulary),
        readings,
        tokens_per_micro_batch=step.tokens_per_micro_batch,
        should_stop=context.should_stop,
    )
    (metric,) = usual_metrics("retrieval", mined=step.retrieval.direction == "mining")
    columns = (retrieve.look_up(encoded, vectors, step.retrieval) for vectors in found)
    return [metrics.from_counts(metric, one["counts"]) for one in columns]
