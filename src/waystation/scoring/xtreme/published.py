"""Published scores of known backbones on XTREME's tests, to notice a figure that is far from all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waystation.scoring.xtreme.layout import TASKS

FAR = 10.0
"""Points from the nearest published figure above which a score is flagged: something may differ in the set-up."""

_QUOTED = "XTREME, as quoted in arXiv 2010.12821, table 16"
_SECOND_HAND = "XTREME, second-hand"
_JIANT = "jiant-dev, pull request 128; presumably layer 14, mean pooling"
_JIANT_BUCC = "jiant-dev, pull request 128; development set, at its own best threshold"
_ERNIE = "ERNIE-M's README"

_TATOEBA = """
af 30.5 ar 20.4 bg 39.0 bn 13.3 de 63.9 el 18.9 es 48.0 et 25.8 eu 19.9 fa 42.0 fi 41.5 fr 48.1 he 28.0 hi 38.3 hu 42.5
id 47.0 it 42.3 ja 41.8 jv 10.2 ka 11.8 kk 17.4 ko 35.5 ml 19.4 mr 15.2 nl 52.6 pt 47.2 ru 42.1 sw 7.9 ta 9.1 te 19.7
th 27.4 tl 10.3 tr 37.8 ur 22.5 vi 38.3 zh 41.2
"""
_BUCC = "de 77.7 fr 62.7 ru 79.2 zh 66.5"
_PAWSX = "en 94.7 de 89.7 es 90.1 fr 90.4 ja 78.7 ko 79.0 zh 82.3"

Figure = tuple[float, str]
"""Points and where they are published."""


def _by_language(text: str, source: str) -> dict[str, list[Figure]]:
    words = text.split()
    return {code: [(float(points), source)] for code, points in zip(words[::2], words[1::2], strict=True)}


MEANS: dict[str, dict[str, dict[str, list[Figure]]]] = {
    "xlm-roberta-large": {
        "xnli": {"accuracy": [(79.2, _QUOTED)]},
        "pawsx": {"accuracy": [(86.4, _QUOTED)]},
        "udpos": {"f1": [(73.8, _QUOTED)]},
        "panx": {"f1": [(65.4, _QUOTED)]},
        "xquad": {"f1": [(76.6, _QUOTED)], "exact_match": [(60.8, _QUOTED)]},
        "mlqa": {"f1": [(71.6, _QUOTED)], "exact_match": [(53.2, _QUOTED)]},
        "tydiqa": {"f1": [(65.1, _QUOTED)], "exact_match": [(45.0, _QUOTED)]},
        "bucc2018": {"f1": [(66.0, _SECOND_HAND), (71.5, _JIANT_BUCC)]},
        # contradicting each other: layer and pooling differ
        "tatoeba": {"accuracy": [(57.3, _SECOND_HAND), (31.0, _JIANT), (75.2, _ERNIE)]},
    }
}
"""Backbone → task → metric → figures of the mean over the task's languages."""

EACH: dict[str, dict[str, dict[str, dict[str, list[Figure]]]]] = {
    "xlm-roberta-large": {
        "pawsx": {"accuracy": _by_language(_PAWSX, _ERNIE)},
        "bucc2018": {"f1": _by_language(_BUCC, _JIANT_BUCC)},
        "tatoeba": {"accuracy": _by_language(_TATOEBA, _JIANT)},
    }
}
"""Backbone → task → metric → language → figures."""


def known(backbone: str) -> str | None:
    """The name under which figures of a backbone stand here, whoever's copy is meant; None where there are none."""
    name = backbone.rstrip("/").rsplit("/", 1)[-1].casefold()
    return name if name in MEANS else None


def far(backbone: str, tasks: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Scores further than ``FAR`` from every published figure of a known backbone; ``tasks`` as ``score`` returns them.

    The mean of a task is compared where all its languages are there, its languages always: a mean can hide them.
    """
    found = []
    for task in TASKS:
        scores = tasks.get(task, {})
        for metric, figures in MEANS[backbone].get(task, {}).items():
            if f"avg_{metric}" in scores:
                found += _compared(task, None, metric, scores[f"avg_{metric}"], figures)
            each = EACH[backbone].get(task, {}).get(metric, {})
            for language, points in scores.get(metric, {}).items():
                found += _compared(task, language, metric, points, each.get(language, []))
    return found


def _compared(
    task: str, language: str | None, metric: str, points: float, figures: list[Figure]
) -> list[dict[str, Any]]:
    if not figures or min(abs(points - value) for value, _ in figures) <= FAR:
        return []
    value, source = min(figures, key=lambda figure: abs(points - figure[0]))
    why = f"{abs(points - value):.1f} points from the nearest published figure ({value}, {source})"
    return [{"task": task, "language": language, "metric": metric, "score": points, "published": value, "why": why}]
