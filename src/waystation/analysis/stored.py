"""One language's stored predictions: their scores, what each example moves them, and the floor under them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError
from waystation.scoring import floors, metrics, parts
from waystation.scoring.labels import Ranked
from waystation.scoring.retrieval import Mined

COUNTED = (
    *("entity_f1", "token_accuracy", "accuracy", "micro_f1", "retrieval_accuracy", "mining_f1"),
    *("answer_f1", "exact_match"),
)
"""Metrics that the stored counts give without reading the predictions themselves."""


def scores(path: Path, names: Iterable[str], language: str, labels: Sequence[str]) -> dict[str, float]:
    """Points of each metric; ``labels``: all of the task. Raises InputError where the file is missing or damaged."""
    names = list(names)
    with _open(path) as stored:
        counted = [name for name in names if name in COUNTED]
        values: dict[str, float] = {}
        if counted:
            counts = _column(stored, "counts").to_pylist()
            values |= {name: metrics.from_counts(name, counts) for name in counted}
        others = [name for name in names if name not in counted]
        if others:
            values |= metrics.score(others, *_pairs(stored, "mining_f1_halves" in others), language, labels)
    return values


def influence(path: Path, name: str, language: str, labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """What each example moves a metric: ``Parts.influence``, points [N]."""
    with _open(path) as stored:
        if name in COUNTED:
            return parts.from_counts(name, _column(stored, "counts").to_pylist()).influence()
        golds, preds = _pairs(stored, name == "mining_f1_halves")
        return parts.parts(name, golds, preds, language, labels).influence()


def clusters(path: Path) -> npt.NDArray[np.int64]:
    """The number of each example's document, from 0; one of its own where it has none. [N]"""
    with _open(path) as stored:
        names = _column(stored, "cluster").to_pylist()
    own = [(at, None) if name is None else name for at, name in enumerate(names)]
    number = {name: at for at, name in enumerate(dict.fromkeys(own))}
    return np.array([number[name] for name in own], np.int64)


def lowest(path: Path, name: str, points: float, labels: Sequence[str]) -> float:
    """``floors.floor`` of these references in points, exact where a score of ``points`` may be at or below it.

    An empty answer counts as right nowhere (of SQuAD 1.1's and MLQA's metrics), which spares reading all answers.
    """
    base = metrics.split(name)[0]
    frequent = base in ("accuracy", "token_accuracy", *metrics.POS_VERSIONS)
    if not frequent and not re.fullmatch("retrieval_accuracy|avna|macro_f1.*|f1|.*_squad2", base):
        return 0.0
    with _open(path) as stored:
        if base == "retrieval_accuracy":
            return 100.0 / max(1, int(stored.metadata.num_rows))
        share = _most_frequent(stored) if frequent else 100.0
        if base in ("accuracy", "token_accuracy") or points > share:  # runs are right less often than words
            return share
        golds: list[Any] = _column(stored, "gold").to_pylist()
        return floors.floor(name, golds, labels)


def _most_frequent(stored: Any) -> float:
    """Share of the most frequent label, or tag, in points."""
    gold = _column(stored, "gold").combine_chunks()
    values = gold if str(gold.type) in ("string", "large_string") else gold.flatten()
    times = values.value_counts().field("counts").to_numpy()
    return float(100.0 * times.max() / times.sum()) if len(times) else 0.0


def _open(path: Path) -> Any:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)  # `read_table` would set up a data set for every file: five times slower
    except (OSError, ValueError):  # pyarrow's own errors are among these
        raise InputError(f"{path} is missing or damaged; remove its folder and run the study again") from None


def _column(stored: Any, name: str) -> Any:
    return stored.read([name], use_threads=False)[name]


def _pairs(stored: Any, margins: bool) -> tuple[list[Any], list[Any]]:
    """References and predictions as ``metrics.score`` takes them; ``margins``: mined pairs with theirs."""
    columns = [name for name in ("gold", "pred", "ranking", "score") if name in stored.schema_arrow.names]
    read = stored.read(columns, use_threads=False).to_pydict()
    preds = read["pred"]
    if "ranking" in read:
        preds = [Ranked(*both) for both in zip(preds, read["ranking"], strict=True)]
    elif margins:  # an imported system has cut its pairs itself: all are kept
        preds = list(map(Mined, preds, read.get("score") or [math.inf] * len(preds)))
    return read["gold"], preds
