"""Intervals of systems without seeds, against intervals of means as textbooks have them."""

import math
import statistics
from pathlib import Path

import numpy as np
import pytest

from waystation import predictions
from waystation.analysis import fixed, stored
from waystation.scoring import floors, metrics, parts


@pytest.mark.parametrize(
    ("freedom", "table"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227), (119, 1.98010)],
)
def test_quantiles_are_those_of_the_tables(freedom: int, table: float) -> None:
    assert fixed.t_quantile(freedom) == pytest.approx(table, abs=1e-5)
    assert fixed.t_quantile(100_000) == pytest.approx(1.95999, abs=1e-4)


def write(path: Path, golds: list, preds: list, clusters: list | None = None) -> Path:
    columns = {
        "id": list(map(str, range(len(golds)))),
        "cluster": clusters or [None] * len(golds),
        "gold": golds,
        "pred": preds,
        "counts": [metrics.counts(*pair) for pair in zip(golds, preds, strict=True)],
    }
    predictions.write(path, columns)
    return path


GOLD = list("aabbabbaab")
OURS = list("aabbabbbbb")
BASES = [list("abababbbab"), list("bbbbabbaaa"), list("aabbbbabab")]


def files(folder: Path, clusters: list | None = None) -> tuple[Path, list[Path]]:
    bases = [write(folder / f"{at}.parquet", GOLD, preds) for at, preds in enumerate(BASES)]
    return write(folder / "ours.parquet", GOLD, OURS, clusters), bases


def differences() -> list[float]:
    """Of each example: right, less the share of baselines that are right; points."""
    right = [[100 * (one == gold) for one, gold in zip(preds, GOLD, strict=True)] for preds in (OURS, *BASES)]
    return [own - statistics.fmean(others) for own, *others in zip(*right, strict=True)]


def test_of_accuracies_it_is_the_paired_t_interval(tmp_path: Path) -> None:
    ours, bases = files(tmp_path)
    gaps = differences()
    gain, error = statistics.fmean(gaps), statistics.stdev(gaps) / math.sqrt(len(gaps))
    expected = (gain - 2.262157 * error, gain + 2.262157 * error)
    assert fixed.interval(ours, bases, "accuracy", "de", ["a", "b"], gain) == pytest.approx(expected, abs=1e-4)


def test_documents_are_drawn_whole(tmp_path: Path) -> None:
    """As if each document were one example: the t interval of their means, where all are equally long."""
    ours, bases = files(tmp_path, [f"d{at // 2}" for at in range(10)])
    means = [statistics.fmean(pair) for pair in zip(differences()[::2], differences()[1::2], strict=True)]
    gain, error = statistics.fmean(means), statistics.stdev(means) / math.sqrt(5)
    expected = (gain - 2.776445 * error, gain + 2.776445 * error)
    assert fixed.interval(ours, bases, "accuracy", "de", ["a", "b"], gain) == pytest.approx(expected, abs=1e-4)
    assert stored.clusters(write(tmp_path / "some", GOLD, OURS, [*"xx", None, "x", *[None] * 6])).tolist() == [
        *(0, 0, 1, 0),
        *range(2, 8),
    ]


def test_of_a_single_document_there_is_none(tmp_path: Path) -> None:
    ours, bases = files(tmp_path, ["d"] * 10)
    assert fixed.interval(ours, bases, "accuracy", "de", ["a", "b"], 3.0) == (None, None)


def test_metrics_that_the_counts_do_not_give(tmp_path: Path) -> None:
    ours, bases = files(tmp_path)
    found = fixed.interval(ours, bases, "macro_f1", "de", ["a", "b"], 5.0)
    moved = parts.parts("macro_f1", GOLD, OURS).influence()
    moved -= np.mean([parts.parts("macro_f1", GOLD, preds).influence() for preds in BASES], 0)
    half = 2.262157 * math.sqrt(10 / 9 * (moved**2).sum()) / 10
    assert found == pytest.approx((5 - half, 5 + half), abs=1e-4)


TAGS = [["O", "B-A", "I-A"], ["B-B"], ["O", "O"], ["B-A"]]
POS = [["NOUN", "VERB"], ["NOUN"], ["VERB", "VERB", "SYM"]]
ANSWERS = [["cat", "a cat"], ["dog"], [], ["the"]]


@pytest.mark.parametrize(
    ("name", "golds", "preds"),
    [
        ("accuracy", GOLD, OURS),
        ("retrieval_accuracy", GOLD, OURS),
        ("macro_f1", GOLD, OURS),
        ("f1:b", GOLD, OURS),
        ("token_accuracy", TAGS, TAGS),
        ("entity_f1", TAGS, [["O"] * len(tags) for tags in TAGS]),
        ("pos_f1_xtreme", POS, [["NOUN"] * len(tags) for tags in POS]),
        ("answer_f1", ANSWERS[:2], ["cat", ""]),
        ("answer_f1_squad2", ANSWERS, [""] * 4),
        ("avna", ANSWERS, [""] * 4),
    ],
)
def test_the_floor_of_stored_predictions_is_that_of_their_references(
    tmp_path: Path, name: str, golds: list, preds: list
) -> None:
    path = write(tmp_path / "one.parquet", golds, preds)
    expected = floors.floor(name, golds, ["a", "b"])
    assert stored.lowest(path, name, expected, ["a", "b"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "golds", "preds"),
    [
        *((name, GOLD, OURS) for name in ("accuracy", "retrieval_accuracy")),
        *(
            (name, TAGS, [["O", "B-A", "O"], ["B-A"], ["B-B", "O"], ["B-A"]])
            for name in ("entity_f1", "token_accuracy")
        ),
        *((name, ANSWERS, ["a cat", "dog dog", "", "x"]) for name in ("answer_f1", "exact_match")),
    ],
)
def test_the_parts_that_counts_give_are_the_metrics(name: str, golds: list, preds: list) -> None:
    counted = parts.from_counts(name, metrics.counts_of(golds, preds))
    expected = parts.parts(name, golds, preds, "en")
    assert counted.score() == pytest.approx(expected.score())
    assert counted.influence() == pytest.approx(expected.influence())
    assert parts.from_counts(name, []).score() == 0
