"""The evaluation of a retrieval target: sentences are embedded and their translations looked up. Nothing is trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from waystation.evaluation.embed import embed
from waystation.formats.encoding import Encoded
from waystation.formats.retrieval import LEFT, RIGHT
from waystation.models.encoder import Encoder
from waystation.models.vocabulary import Rows, lookup
from waystation.predictions import Columns
from waystation.scoring import metrics
from waystation.scoring import retrieval as search
from waystation.steps import models
from waystation.steps.context import Context
from waystation.steps.records import EvaluateStep, Reading, Retrieval, Swept

Predictor = Callable[[str, Encoded], Columns]
"""From a language's code and encoding to its predictions."""


def predictor(step: EvaluateStep, context: Context, rows: Rows) -> Predictor:
    """Embeds one language with the step's model, or the backbone itself, and looks up every asking sentence.

    ``pred`` is the id of the sentence found. In mining each of the language's own sentences has a row; ``pred`` is ""
    and ``score`` (the margin) nan where no pair was mined. ``counts`` hold the pairs at the threshold that is best on
    these very data.
    """
    assert step.retrieval is not None
    asked = reading(context, step.retrieval)
    encoder = opened(context, step.model, rows, asked.blocks(depth(context)))
    places = lookup(rows, context.checkpoint.vocabulary)

    def answer(code: str, encoded: Encoded) -> Columns:
        vectors = embed(
            encoder,
            encoded,
            places,
            asked.pooling,
            tokens_per_micro_batch=step.tokens_per_micro_batch,
            should_stop=context.should_stop,
        )
        return look_up(encoded, vectors, asked)

    return answer


def reading(context: Context, asked: Reading | Swept) -> Reading:
    """With the layer and the pooling that its sweep chose, where it has one."""
    if isinstance(asked, Reading):
        return asked
    chosen, rest = context.store.manifest(asked.sweep)["chosen"], asked.model_dump(exclude={"sweep"})
    return Reading(layer=chosen["layer"], pooling=chosen["pooling"], **rest)


def depth(context: Context) -> int:
    """How many blocks the study's backbone has."""
    return context.backbone.layers or int(context.checkpoint.config.num_hidden_layers)


def opened(context: Context, model: str | None, rows: Rows, blocks: int) -> Encoder:
    """The lowest ``blocks`` of a trained model, or of the backbone itself, over these rows of its embedding."""
    trained = models.read(context, model)
    encoder = context.checkpoint.encoder(rows, trained.embedding, blocks, 0.0, 0.0, trained.encoder)
    return encoder.to(context.accelerator.device)


def asking(encoded: Encoded, asked: Retrieval) -> npt.NDArray[np.int64]:
    """The sentences for which a translation is looked up."""
    return np.flatnonzero(encoded.targets == (RIGHT if asked.direction == "from-english" else LEFT))


def look_up(encoded: Encoded, vectors: npt.NDArray[np.float32], asked: Retrieval) -> Columns:
    """The predictions of one language from the embeddings [W, H] of its sentences."""
    ours = asking(encoded, asked)
    others = np.setdiff1d(np.arange(len(encoded)), ours)
    ids, names = np.array(encoded.ids, object), ours.tolist()
    gold = [str(encoded.gold[at]) for at in names]
    find = _mined if asked.direction == "mining" else partial(_nearest, index=asked.index)
    return {
        "id": ids[ours].tolist(),
        "cluster": [encoded.clusters[at] for at in names],
        "gold": gold,
        **find(vectors[ours], vectors[others], gold, ids[others]),
    }


def _nearest(
    queries: npt.NDArray[np.float32],
    pool: npt.NDArray[np.float32],
    gold: list[str],
    names: npt.NDArray[Any],
    index: str | None,
) -> Columns:
    found = search.top_k(queries, pool, 1, index)[0][:, 0]
    pred = np.where(found >= 0, names[found], "").tolist()  # an index may find nothing
    return {"pred": pred, "counts": [metrics.counts(*pair) for pair in zip(gold, pred, strict=True)]}


def _mined(
    left: npt.NDArray[np.float32], right: npt.NDArray[np.float32], gold: list[str], names: npt.NDArray[Any]
) -> Columns:
    ours, others, margin = search.mine(left, right)
    ours, once = np.unique(ours, return_index=True)  # a sentence has one answer: of equal ones the first
    others, margin = others[once], margin[once]
    pred, score = np.full(len(gold), "", object), np.full(len(gold), np.nan)
    pred[ours], score[ours] = names[others], margin
    threshold, _ = search.best_threshold(margin, np.array(gold, object)[ours] == pred[ours], sum(map(bool, gold)))
    kept = np.where(score >= threshold, pred, "").tolist()
    return {
        "pred": pred.tolist(),
        "counts": [metrics.pair_counts(*pair) for pair in zip(gold, kept, strict=True)],
        "score": score,
    }
