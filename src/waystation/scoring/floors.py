"""What a metric gives to a system that has learned nothing: the best constant answer, or chance. Points, 0–100."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from waystation.scoring import metrics


def floor(name: str, golds: Sequence[Any], labels: Sequence[str] | None = None) -> float:
    """The score of the best constant answer; a score at or below it shows nothing.

    That is the most frequent reference label or tag, given everywhere; for ``f1:LABEL`` this label. Where runs of equal
    tags count, every tag is tried: a constant one is one run in a sentence, and the most frequent need not be the best.
    Looking up a translation has chance instead, 100 / N; answers in a text have the empty one. It is 0 for mined pairs
    and sets of labels, and for entities, whose most frequent tag is ``O``. ``labels``: as in ``metrics.score``.
    """
    base, _, argument = metrics.split(name)
    if not len(golds):
        return 0.0
    if base == "retrieval_accuracy":
        return 100.0 / len(golds)
    if base in metrics.OF_ANSWERS:
        name = name.removesuffix("_mlqa")  # an empty answer is one in every language
        silent = metrics.score([name], golds, [""] * len(golds))[name]
        return max(silent, 100 - silent) if base == "avna" else silent
    if (base == "token_accuracy" or base in metrics.POS_VERSIONS) and not any(golds):
        return 0.0  # no word
    if base == "token_accuracy":
        return _constant(name, golds, Counter(chain.from_iterable(golds)).most_common(1)[0][0])
    if base in metrics.POS_VERSIONS:
        return max(_constant(name, golds, tag) for tag in set(chain.from_iterable(golds)))
    if isinstance(golds[0], str) and not base.startswith("mining_f1"):
        usual = argument or Counter(golds).most_common(1)[0][0]
        return metrics.score([name], golds, [usual] * len(golds), labels=labels)[name]
    return 0.0


def _constant(name: str, golds: Sequence[Sequence[str]], tag: str) -> float:
    return metrics.score([name], golds, [[tag] * len(gold) for gold in golds])[name]
