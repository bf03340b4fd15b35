"""Which task an update is of: the chances of each sampler, and draws that do not depend on where a run began."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'torch'")

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from waystation.steps.recipes import Mixing
from waystation.training.mixing import Mixture, chances

SIZES = [100, 400, 2500]
SAMPLERS = [
    Mixing(),
    Mixing(sampler="uniform"),
    Mixing(sampler="capped", cap=300),
    Mixing(sampler="temperature", temperature=2),
    Mixing(sampler="annealed", annealing=0.5),
]


@pytest.mark.parametrize(
    ("mixing", "weights"),
    [
        (Mixing(), [100, 400, 2500]),
        (Mixing(sampler="uniform"), [1, 1, 1]),
        (Mixing(sampler="capped", cap=300), [100, 300, 300]),
        (Mixing(sampler="capped", cap=9999), [100, 400, 2500]),
        (Mixing(sampler="temperature", temperature=2), [10, 20, 50]),
        (Mixing(sampler="temperature", temperature=1), [100, 400, 2500]),
    ],
)
def test_chances_follow_the_sizes(mixing: Mixing, weights: list[float]) -> None:
    for row in chances(SIZES, mixing, 3):
        np.testing.assert_allclose(row, np.array(weights) / sum(weights))


def test_annealed_chances_go_from_proportional_towards_uniform() -> None:
    found = chances(SIZES, Mixing(sampler="annealed", annealing=0.5), 5)
    np.testing.assert_allclose(found[0], chances(SIZES, Mixing(), 1)[0])
    np.testing.assert_allclose(found[-1], chances(SIZES, Mixing(sampler="temperature", temperature=2), 1)[0])
    assert (np.diff(found[:, 0]) > 0).all() and (np.diff(found[:, 2]) < 0).all()
    whole = chances(SIZES, Mixing(sampler="annealed", annealing=1), 5)
    np.testing.assert_allclose(whole[-1], 1 / 3)


@pytest.mark.parametrize("mixing", SAMPLERS, ids=lambda mixing: mixing.sampler)
def test_updates_are_shared_as_the_chances_say(mixing: Mixing) -> None:
    number = 4000
    drawn = Mixture(SIZES, mixing, number, seed=3).streams
    expected = chances(SIZES, mixing, number)
    for stream in range(3):
        deviation = np.sqrt((expected[:, stream] * (1 - expected[:, stream])).sum())
        assert abs((drawn == stream).sum() - expected[:, stream].sum()) < 4 * deviation


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=5), st.integers(1, 200), st.integers(0, 9))
def test_turns_count_the_updates_of_each_stream(sizes: list[int], updates: int, seed: int) -> None:
    """What a resumed run asks of a mixture is what an uninterrupted one asks: turns follow from the update alone."""
    mixture = Mixture(sizes, Mixing(), updates, seed)
    counted = [0] * len(sizes)
    for update in range(updates):
        stream, turn = mixture(update)
        assert turn == counted[stream]
        counted[stream] += 1
    again = Mixture(sizes, Mixing(), updates, seed)
    assert [again(update) for update in reversed(range(updates))] == [mixture(u) for u in reversed(range(updates))]


def test_text_takes_its_share_of_the_updates() -> None:
    number = 4000
    mixture = Mixture(SIZES, Mixing(), number, seed=5, share=0.3)
    text = mixture.streams == 3
    assert abs(text.mean() - 0.3) < 0.03
    rest = mixture.streams[~text]
    np.testing.assert_allclose(np.bincount(rest, minlength=3) / len(rest), np.array(SIZES) / 3000, atol=0.03)
    alone = Mixture([7], Mixing(), number, seed=5, share=0.3)
    assert {*alone.streams.tolist()} == {0, 1} and abs((alone.streams == 1).mean() - 0.3) < 0.03


def test_seeds_differ() -> None:
    first, second = (Mixture(SIZES, Mixing(sampler="uniform"), 50, seed).streams.tolist() for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sampler": "capped"}, "`cap` belongs to the sampler 'capped'"),
        ({"cap": 5}, "`cap` belongs to the sampler 'capped'"),
        ({"sampler": "temperature"}, "`temperature` belongs to the sampler 'temperature'"),
        ({"sampler": "uniform", "temperature": 2}, "`temperature` belongs"),
    ],
)
def test_settings_that_belong_to_another_sampler(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Mixing.model_validate(fields)
