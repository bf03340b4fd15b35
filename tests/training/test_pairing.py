"""Windows of a text and of its translation meet in order, all are read, none counts twice."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from fused import FORMATS, encode, languages, without  # noqa: E402

from waystation.errors import InputError  # noqa: E402
from waystation.formats.encoding import Encoded, joined, offsets_of  # noqa: E402
from waystation.training.batches import windows_of  # noqa: E402
from waystation.training.pairing import alone, beside, pair, with_translations  # noqa: E402

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def made_of(windows: list[int], names: str = "e") -> Encoded:
    """Examples of so many windows, of different lengths."""
    total = sum(windows)
    lengths = np.arange(total) % 5 + 1
    example = np.repeat(np.arange(len(windows), dtype=np.int32), windows)
    tokens = np.arange(lengths.sum(), dtype=np.int32)
    ids = [f"{names}{at}" for at in range(len(windows))]
    return Encoded(
        tokens, offsets_of(lengths), example, np.zeros(total, np.int32), np.ones(len(windows), np.int32), None,
        ids, [None] * len(windows), ["x"] * len(windows), {},
    )  # fmt: skip


@given(one=SIZES, other=SIZES)
def test_all_windows_of_both_are_read_in_order_and_count_once(one, other):
    number = min(len(one), len(other))
    encoded = joined([made_of(one[:number]), made_of(other[:number])])
    examples = np.arange(number)
    found = pair(encoded, examples, examples + number)
    for at in range(number):
        here = np.flatnonzero(encoded.example[found.windows[:, 0]] == at)
        assert len(here) == max(one[at], other[at])
        for side, text in ((0, at), (1, at + number)):
            shown, counted = found.windows[here, side], found.counted[here, side]
            expected = np.flatnonzero(encoded.example == text)
            assert (np.diff(shown) >= 0).all()
            np.testing.assert_array_equal(np.unique(shown), expected)
            np.testing.assert_array_equal(shown[counted], expected)
    assert (np.diff(encoded.example[found.windows[:, 0]]) >= 0).all()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (3, 3, [(0, 0), (1, 1), (2, 2)]),
        (2, 1, [(0, 0), (1, 0)]),
        (1, 3, [(0, 0), (0, 1), (0, 2)]),
        (3, 2, [(0, 0), (1, 0), (2, 1)]),
        (2, 5, [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4)]),
        (4, 2, [(0, 0), (1, 0), (2, 1), (3, 1)]),
    ],
)
def test_who_meets_whom(one, other, expected):
    encoded = joined([made_of([one]), made_of([other])])
    found = pair(encoded, np.array([0]), np.array([1])).windows - [0, one]
    assert list(map(tuple, found.tolist())) == expected


def test_a_pair_is_as_long_as_both():
    encoded = joined([made_of([2, 1]), made_of([1, 3])])
    found = pair(encoded, np.array([0, 1]), np.array([2, 3]))
    lengths = np.diff(encoded.offsets)
    for at, (first, second) in enumerate(found.windows.tolist()):
        assert found.index.offsets[at + 1] - found.index.offsets[at] == lengths[first] + lengths[second]
    assert windows_of(found.index, np.array([1])).tolist() == [2, 3, 4]


@pytest.mark.parametrize("format", FORMATS)
def test_translations_stand_beside_the_originals_of_their_ids(format):
    parts = languages(format)
    encoded, learned = joined(parts), np.array([0, 3, 4, 9])
    found = with_translations(encoded, learned)
    assert [encoded.ids[at] for at in found.examples] == [encoded.ids[at] for at in found.originals]
    assert set(found.originals) == set(learned.tolist())
    # 4 and 9 have no second translation
    assert found.examples.tolist() == [0, 3, 4, 9, 16, 19, 20, 25, 32, 35]
    own = found.examples < 16
    np.testing.assert_array_equal(found.examples[own], found.originals[own])
    if format in ("tagging", "span"):
        assert not found.counted.all(), "choose longer texts: all have equally many windows"


@pytest.mark.parametrize("format", FORMATS)
def test_every_window_to_be_predicted_has_one_partner(format):
    text, partners = encode(format, 2), without(encode(format, 3), (2, 5))
    found = beside(text, partners)
    np.testing.assert_array_equal(found.windows[:, 0], np.arange(len(text.example)))
    assert alone(text, partners, "it") == 2 and alone(text, None, "it") == len(text)
    with pytest.raises(InputError, match="no text of it has the id"):
        alone(text, without(text, tuple(range(16))), "it")
    for window, partner in found.windows.tolist():
        example = text.example[window]
        expected = example if example in (2, 5) else example + len(text)
        assert found.encoded.example[partner] == expected
    for own in (beside(text, None), beside(text, text)):
        lengths = np.diff(own.encoded.offsets)
        for window, partner in own.windows.tolist():
            tokens = [own.encoded.tokens[own.encoded.offsets[at] :][: lengths[at]] for at in (window, partner)]
            np.testing.assert_array_equal(*tokens)


def test_where_an_answer_lies_has_no_say():
    parts = languages("span")
    moved = [part.targets.copy() for part in parts]
    for targets in moved:
        targets[:] = targets[::-1]
    other = [replace(part, targets=targets) for part, targets in zip(parts, moved, strict=True)]
    learned = np.arange(16)
    one, two = (with_translations(joined(given), learned) for given in (parts, other))
    np.testing.assert_array_equal(one.windows, two.windows)
