"""What references are that are none."""

from __future__ import annotations

import pytest

from waystation.scoring.placeholders import BLANK, ENOUGH, hint, placeholder


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["-1"], "every label is '-1'"),
        (["", ""], "every label or answer is empty"),
        (["_", "-"], "every label is '-' or '_'"),
        (["0"] * ENOUGH, f"all {ENOUGH} labels are '0'"),
        (["O"] * ENOUGH, f"all {ENOUGH} labels are 'O'"),
    ],
)
def test_placeholders(labels: list[str], reason: str) -> None:
    assert placeholder(labels) == f"{reason}: placeholders, the references of this test set are hidden"


@pytest.mark.parametrize("labels", [[], ["0"] * (ENOUGH - 1), ["entailment", "-1"], ["0", "1"] * ENOUGH])
def test_real_labels(labels: list[str]) -> None:
    assert placeholder(labels) is None


def test_an_unknown_label_that_looks_like_one_is_told() -> None:
    assert all("labels of this set are hidden" in hint(label) for label in BLANK)
    assert hint("neutrl") == ""
