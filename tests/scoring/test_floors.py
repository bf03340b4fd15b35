"""What a system gets that has learned nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.scoring import metrics
from waystation.scoring.floors import floor


@pytest.mark.parametrize(
    ("name", "golds", "points"),
    [
        ("accuracy", list("aaab"), 75.0),
        ("macro_f1", list("aaab"), 300 / 7),
        ("f1:b", list("aaab"), 40.0),
        ("retrieval_accuracy", list("wxyz"), 25.0),
        ("mining_f1", ["x", ""], 0.0),
        ("mining_f1_halves", ["x", "x"], 0.0),
        ("token_accuracy", [["NOUN", "VERB"], ["NOUN", "NOUN"]], 75.0),
        ("pos_f1_xtreme", [["NOUN", "VERB"], ["NOUN", "NOUN"]], 40.0),
        ("pos_f1_xtreme", [["NOUN", "NOUN", "VERB"], ["VERB"]], 40.0),  # of VERB; NOUN has 0
        ("pos_f1_xtreme", [[], []], 0.0),
        ("token_accuracy", [[]], 0.0),
        ("entity_f1", [["O", "B-A"]], 0.0),
        ("answer_f1", [["cat"], ["dog"]], 0.0),
        ("exact_match_squad2", [["cat"], []], 50.0),
        ("avna", [["cat"], ["dog"], []], 200 / 3),
        ("micro_f1", [["a"]], 0.0),
        ("accuracy", [], 0.0),
    ],
)
def test_floor(name: str, golds: list[Any], points: float) -> None:
    assert floor(name, golds) == pytest.approx(points)


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_no_constant_answer_is_better(golds: list[str]) -> None:
    best = max(metrics.accuracy(golds, [label] * len(golds)) for label in "abc")
    assert floor("accuracy", golds) == pytest.approx(best)
