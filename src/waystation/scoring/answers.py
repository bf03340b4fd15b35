"""Answers in a text: exact match and the F1 of words, the best over an example's reference answers. Pure functions.

The rule is SQuAD v1.1's (Rajpurkar et al. 2016, official script): lower case, no ASCII punctuation, no English
articles, words between blanks. With a ``language`` it is MLQA's (Lewis et al. 2020, official script), which knows some
other languages.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

SPAN_COUNTS = ("exact", "common", "total")
"""Stored counts of one answered question: whether the prediction is a reference answer; words that it shares with the
best one, words of both together. The F1 of an example is 2 · common / total, or 1 where nothing was to be found and
nothing was: only there ``total`` is 0."""

_ENGLISH = re.compile(r"\b(a|an|the)\b")
_ARTICLES = {
    "en": _ENGLISH,
    "es": re.compile(r"\b(un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(của|là|cái|chiếc|những)\b"),
    "de": re.compile(r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "ar": re.compile("ال"),  # wherever it stands, as in the script
}
_HAN = re.compile("([\u4e00-\u9fa5])")
_ASCII = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=65536)
def words(text: str, language: str | None = None) -> tuple[str, ...]:
    """The words of an answer that are compared.

    With a ``language`` (our code), by MLQA's rule: no Unicode punctuation, the articles of en, es, vi, de and ar, and
    in zh every Han character a word. Languages that MLQA does not have keep their articles.
    """
    text = text.lower()
    if language is None:
        return tuple(_ENGLISH.sub(" ", text.translate(_ASCII)).split())
    text = "".join(character for character in text.translate(_ASCII) if unicodedata.category(character)[0] != "P")
    if language in _ARTICLES:
        text = _ARTICLES[language].sub(" ", text)
    return tuple((_HAN.sub(r" \1 ", text) if language == "zh" else text).split())


def counts(gold: Sequence[str], pred: str, language: str | None = None) -> list[int]:
    """``SPAN_COUNTS`` of one example: exact over all reference answers, the words of the one with the best F1.

    Without a reference answer the right one is empty (SQuAD 2.0, official script). Where there is one, no word in
    common is F1 0, even if neither has a word left ("the" for "The": exact all the same), as in SQuAD 1.1 and MLQA.
    """
    found = words(pred, language)
    if not gold:
        return [int(not found), 0, len(found)]
    expected = [words(answer, language) for answer in gold]
    common, total = max((_shared(answer, found) for answer in expected), key=lambda pair: pair[0] / pair[1])
    return [int(found in expected), common, total]


def squad2_counts(gold: Sequence[str], pred: str) -> list[int]:
    """``SPAN_COUNTS`` of one example by the script of SQuAD 2.0, which passes over reference answers without a word."""
    return counts([answer for answer in gold if words(answer)], pred)


def _shared(answer: tuple[str, ...], found: tuple[str, ...]) -> tuple[int, int]:
    return (Counter(answer) & Counter(found)).total(), max(1, len(answer) + len(found))


def each_f1(counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """F1 of each example, 0 to 1, from their stored counts [N, 3]: float64 [N]."""
    table = np.asarray(counts, np.float64).reshape(-1, len(SPAN_COUNTS))
    each = np.ones(len(table))
    np.divide(2 * table[:, 1], table[:, 2], out=each, where=table[:, 2] > 0)
    return each


def mean_f1(counts: npt.ArrayLike) -> float:
    """F1 over a corpus in points: the mean of its examples' F1, from their stored counts [N, 3]; 0 without examples.

    It is no ratio of sums: a long answer counts as much as a short one.
    """
    each = each_f1(counts)
    return float(100 * each.mean()) if len(each) else 0.0
