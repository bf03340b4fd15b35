"""Placeholders: what a hidden test set has where its labels were taken out."""

from __future__ import annotations

from collections.abc import Sequence

BLANK = frozenset({"", "-1", "-", "_", "?", "none", "None", "null", "NULL", "nan", "NaN", "unk", "<unk>"})
"""What stands where a label was taken out."""

ENOUGH = 20
"""So many labels are not all equal by chance."""


def placeholder(labels: Sequence[str]) -> str | None:
    """Why these labels of a test set stand for none: a reason, or None where they look real.

    Hidden test sets come with something ``BLANK`` for every label, or with one label throughout.
    """
    kinds = set(labels)
    if kinds == {""}:
        reason = "every label or answer is empty"
    elif kinds and kinds <= BLANK:
        reason = f"every label is {' or '.join(repr(kind) for kind in sorted(kinds))}"
    elif len(kinds) == 1 and len(labels) >= ENOUGH:
        reason = f"all {len(labels)} labels are '{labels[0]}'"
    else:
        return None
    return f"{reason}: placeholders, the references of this test set are hidden"


def hint(label: str) -> str:
    """What to add to a complaint about a label that nobody declared."""
    return "; where every row has it, the labels of this set are hidden" if label in BLANK else ""
