"""The evaluate step: zero-shot predictions of one model on one target in every language, kept per example."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from waystation import formats, predictions
from waystation.errors import InputError
from waystation.evaluation.predict import predict
from waystation.formats.encoding import Encoded
from waystation.models.vocabulary import Rows, active_rows, lookup
from waystation.predictions import Columns
from waystation.scoring import metrics
from waystation.scoring.labels import Ranked
from waystation.steps import models, retrieve, trunk
from waystation.steps.context import Context
from waystation.steps.records import EvaluateStep, step_id
from waystation.steps.retrieve import Predictor
from waystation.store import link
from waystation.training.pairing import alone


def perform(step: EvaluateStep, folder: Path, context: Context) -> dict[str, Any]:
    """Write ``language=xx.parquet`` for every language into ``folder``; finished languages survive an interruption."""
    sets = {code: context.encoded(key) for code, key in step.encodings.items()}
    partners = {code: context.encoded(key) for code, key in step.partners.items()}
    workspace = context.store.workspace(step_id(step))
    _adopt(step, context, workspace)
    checkpoint = context.checkpoint
    read = [item.tokens for item in (*sets.values(), *partners.values())]
    rows = active_rows(np.concatenate(read), checkpoint.vocabulary)
    if step.retrieval is None:
        answer = _predictor(step, context, rows, partners)
    else:
        answer = retrieve.predictor(step, context, rows)
    started, tokens, total = time.monotonic(), 0, sum(int(item.offsets[-1]) for item in sets.values())
    details = {}
    for code, encoded in sets.items():
        kept = workspace / f"language={code}.parquet"
        asked = retrieve.asking(encoded, step.retrieval) if step.retrieval else encoded.ids
        if not _whole(kept, len(asked)):
            with context.accelerator.autocast():
                predictions.write(kept, answer(code, encoded))
        tokens += int(encoded.offsets[-1])
        context.on_progress(tokens / max(1, total), code)
        details[code] = language_details(encoded, len(asked))
        if step.fusion is not None:  # texts that were read beside themselves
            details[code]["alone"] = alone(encoded, partners.get(code), f"'{step.task}' {code}")
    for code in sets:
        link(workspace / f"language={code}.parquet", folder / f"language={code}.parquet")
    chosen = {} if step.model is None else context.store.manifest(step.model)
    return {
        "languages": details,
        # on which language the model's checkpoint was chosen, and the cutoff of its predictions
        **{name: chosen.get(name) for name in ("selected_on", "cutoff", "cutoff_on")},
        "tokens": tokens,
        "seconds": round(time.monotonic() - started, 3),
        "numerics": context.numerics(),
    }


def _adopt(step: EvaluateStep, context: Context, workspace: Path) -> None:
    """Take over languages from earlier evaluations of the same model: a study that gains one tests that alone."""
    for key in context.evaluations.get(step.all_but_languages(), []):
        with contextlib.suppress(InputError, FileNotFoundError):  # another process may be pruning it
            manifest = context.store.manifest(key)
            if manifest["numerics"] != context.numerics():
                continue
            others = manifest["identity"]
            for code, encoding_of in others["encodings"].items():
                same_partner = step.partners.get(code) == others["partners"].get(code)
                if step.encodings.get(code) == encoding_of and same_partner:
                    name = f"language={code}.parquet"
                    temporary = workspace / f"{name}.part"
                    link(context.store.folder(key) / name, temporary)
                    os.replace(temporary, workspace / name)


def _predictor(step: EvaluateStep, context: Context, rows: Rows, partners: Mapping[str, Encoded]) -> Predictor:
    form = formats.get(step.format)
    outputs = form.outputs(step.labels, step.scheme)
    states = {code: trunk.stored(context, key) for code, key in step.trunks.items()}
    places = lookup(rows, context.checkpoint.vocabulary)
    trained = models.read(context, step.model)
    cutoff = None if step.model is None else context.store.manifest(step.model).get("cutoff")
    model = models.build(context, step, trained, rows, context.backbone.layers, frozen=step.frozen)
    model.to(context.accelerator.device)

    def answer(code: str, encoded: Encoded) -> Columns:
        found = predict(
            model,
            encoded,
            places,
            form,
            outputs,
            cutoff=cutoff,
            tokens_per_micro_batch=step.tokens_per_micro_batch,
            trunk=states.get(code),
            fusion=step.fusion,
            partners=partners.get(code),
            should_stop=context.should_stop,
        )
        counts = metrics.counts_of(encoded.gold, found).tolist()
        columns = {"id": encoded.ids, "cluster": encoded.clusters, "gold": encoded.gold}
        ranking = [pred.ranking for pred in found if isinstance(pred, Ranked)]
        return {**columns, "pred": found, "counts": counts, **({"ranking": ranking} if ranking else {})}

    return answer


def _whole(path: Path, examples: int) -> bool:
    """Whether an earlier attempt left this language complete."""
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_metadata(path).num_rows == examples)
    except (OSError, ValueError):  # absent, or cut off by a power failure
        return False


def language_details(encoded: Encoded, examples: int) -> dict[str, Any]:
    """What stands beside each score: examples, clusters, tokenizer fertility, unknown rate, truncated examples."""
    stats = encoded.stats
    return {
        "n": examples,
        "clusters": len(set(encoded.clusters) - {None}) or None,
        "fertility": round(stats["subtokens"] / max(1, stats["words"]), 4),
        "unknown": round(stats["unknown"] / max(1, stats["subtokens"]), 6),
        "truncated": stats.get("truncated", 0),
    }
