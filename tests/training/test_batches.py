from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from small import encode  # noqa: E402

from waystation.errors import InputError  # noqa: E402
from waystation.formats.encoding import IGNORED  # noqa: E402
from waystation.steps.records import Subset  # noqa: E402
from waystation.training.batches import (  # noqa: E402
    Sampler,
    carve,
    collate,
    draw_subset,
    first_windows,
    micro_batches,
    windows_of,
)


@pytest.fixture(scope="module")
def encoded():
    made = encode("tagging", number=40, longest=30, clusters=7)
    assert len(made.example) > len(made), "some examples should need several windows"
    return made


# Subsets


@pytest.mark.parametrize(("by", "amount"), [("words", 100), ("words", 1), ("examples", 13), ("examples", 40)])
def test_a_subset_reaches_its_amount_with_whole_examples(encoded, by, amount):
    subset = Subset(by=by, amount=amount)
    draws = [draw_subset(encoded, subset, seed) for seed in range(5)]
    for chosen in draws:
        assert np.array_equal(chosen, np.unique(chosen))
        sizes = encoded.words[chosen] if by == "words" else np.ones(len(chosen))
        assert sizes.sum() >= amount
        assert sizes.sum() - sizes.max() < amount, "with one example less it would be too little"
    assert np.array_equal(draws[3], draw_subset(encoded, subset, 3))
    if amount < 40 and amount > 1:
        assert len({tuple(chosen) for chosen in draws}) == 5, "each seed draws anew"


def test_all_words_can_be_asked_for_and_no_more(encoded):
    words = int(encoded.words.sum())
    assert len(draw_subset(encoded, Subset(by="words", amount=words), 0)) == len(encoded)
    for by, have in [("words", words), ("examples", 40)]:
        with pytest.raises(InputError, match=f"match asks for {have + 1} {by}, the data holds {have}; lower"):
            draw_subset(encoded, Subset(by=by, amount=have + 1), 0)
    assert np.array_equal(draw_subset(encoded, None, 0), np.arange(40))


def test_a_larger_subset_of_a_seed_holds_the_smaller(encoded):
    small, large = (set(draw_subset(encoded, Subset(by="examples", amount=n), 3).tolist()) for n in (5, 20))
    assert small < large


# Validation


def test_validation_is_carved_by_cluster(encoded):
    examples = np.arange(0, 40, 2)
    rest, held = carve(encoded, examples, 0.3, seed=0)
    assert np.array_equal(np.sort(np.concatenate([rest, held])), examples)
    clusters = [{encoded.clusters[i] for i in part.tolist()} for part in (rest, held)]
    assert not clusters[0] & clusters[1]
    assert len(clusters[1]) == round(0.3 * 7)
    assert all(map(np.array_equal, carve(encoded, examples, 0.3, seed=0), (rest, held)))
    assert len({tuple(carve(encoded, examples, 0.3, seed)[1]) for seed in range(8)}) > 1


def test_validation_without_clusters_is_carved_by_example():
    encoded = encode("classification", number=10)
    rest, held = carve(encoded, np.arange(10), 0.25, seed=0)
    assert (len(rest), len(held)) == (8, 2)
    for fraction in (0.001, 0.999):
        rest, held = carve(encoded, np.arange(2), fraction, seed=0)
        assert len(rest) == len(held) == 1
    with pytest.raises(InputError, match="at least two documents"):
        carve(encoded, np.arange(1), 0.5, seed=0)


# Sampler


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**63 - 1))
def test_every_epoch_sees_every_example_once(number, batch, seed):
    examples = np.arange(number) * 3
    sampler = Sampler(examples, batch, seed)
    in_epoch = -(-number // batch)
    for epoch in range(3):
        seen = [sampler(epoch * in_epoch + place) for place in range(in_epoch)]
        assert all(len(part) == batch for part in seen[:-1])
        assert np.array_equal(np.sort(np.concatenate(seen)), examples)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**63 - 1), st.data())
def test_spread_updates_are_exactly_so_many_passes(number, passes, seed, data):
    updates = data.draw(st.integers(1, number * passes))
    examples = np.arange(number) * 3
    sampler = Sampler(examples, 8, seed, spread=(updates, passes))
    parts = [sampler(update) for update in range(updates)]
    sizes = {len(part) for part in parts}
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
    stream = np.concatenate(parts).reshape(passes, number)
    assert all(np.array_equal(np.sort(epoch), examples) for epoch in stream)


@pytest.mark.parametrize("spread", [None, (40, 3)])
def test_the_sampler_is_a_function_of_seed_and_update(spread):
    examples = np.arange(100)
    forward = [Sampler(examples, 8, 5, spread)(update) for update in range(40)]
    one = Sampler(examples, 8, 5, spread)
    assert all(np.array_equal(one(update), forward[update]) for update in reversed(range(40)))
    assert not np.array_equal(Sampler(examples, 8, 6, spread)(0), forward[0])
    assert not np.array_equal(forward[0], forward[13]), "another epoch, another order"


# Micro-batches


def test_windows_of_examples(encoded):
    for examples in (np.array([3]), np.array([7, 2, 30]), np.arange(40), np.array([], dtype=np.int64)):
        expected = [w for e in examples.tolist() for w in np.flatnonzero(encoded.example == e).tolist()]
        assert windows_of(encoded, examples).tolist() == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=20, unique=True), st.integers(1, 300), st.booleans())
def test_micro_batches_hold_every_window_within_the_budget(chosen, budget, padded):
    encoded = encode("classification", number=51)
    windows = np.array(chosen, dtype=np.int64)
    lengths = np.diff(encoded.offsets)

    def size(cut):
        return len(cut) * lengths[cut].max() if padded else lengths[cut].sum()

    cuts = micro_batches(encoded, windows, budget, padded)
    assert sorted(w for cut in cuts for w in cut.tolist()) == sorted(chosen)
    assert all(len(cut) == 1 or size(cut) <= budget for cut in cuts)
    for cut, after in pairwise(cuts):
        assert size(np.append(cut, after[0])) > budget, "one more window would still fit"
    order = [length for cut in cuts for length in lengths[cut].tolist()]
    assert order == sorted(order, reverse=True)


@settings(deadline=None)
@given(st.lists(st.integers(0, 39), max_size=20, unique=True), st.integers(1, 600), st.booleans())
def test_options_of_one_example_stay_together(chosen, budget, padded):
    encoded = encode("choice", number=40)
    lengths = np.diff(encoded.offsets)
    windows = windows_of(encoded, np.array(chosen, dtype=np.int64))

    def size(cut):
        return len(cut) * lengths[cut].max() if padded else lengths[cut].sum()

    cuts = micro_batches(encoded, windows, budget, padded, together=True)
    assert sorted(w for cut in cuts for w in cut.tolist()) == sorted(windows.tolist())
    for cut in cuts:
        members = list(dict.fromkeys(encoded.example[cut].tolist()))
        assert cut.tolist() == windows_of(encoded, np.array(members)).tolist(), "whole, in the order of the options"
        assert size(cut) <= budget or len(members) == 1
        assert first_windows(encoded, cut).sum() == len(members)
    for cut, after in pairwise(cuts):
        more = windows_of(encoded, encoded.example[after[:1]].astype(np.int64))
        assert size(np.append(cut, more)) > budget, "one more example would still fit"
    longest = [lengths[encoded.example == encoded.example[w]].max() for cut in cuts for w in cut.tolist()]
    assert longest == sorted(longest, reverse=True)


def test_an_example_may_come_twice():
    encoded = encode("choice", number=3)
    twice = np.array([1, 1, 2])
    cuts = micro_batches(encoded, windows_of(encoded, twice), 1, together=True)
    assert len(cuts) == 3 and first_windows(encoded, windows_of(encoded, twice)).sum() == 3


def stored(array, encoded, windows):
    """What is stored of each window."""
    return [array[encoded.offsets[w] : encoded.offsets[w + 1]].tolist() for w in windows.tolist()]


@pytest.mark.parametrize("reads", ["scored", "first", "all"])
@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
def test_collated_windows_are_the_stored_ones(reads, kind):
    encoded = encode("tagging" if reads == "scored" else "classification", kind=kind, longest=30)
    if reads == "all":
        encoded = replace(encoded, targets=np.arange(2 * len(encoded.example), dtype=np.int32).reshape(-1, 2))
    places = np.arange(1000, dtype=np.int32) + 500
    windows = np.array([4, 0, 11])
    batch = collate(encoded, windows, places, reads)
    tokens = stored(encoded.tokens, encoded, windows)
    assert batch.lengths == [len(window) for window in tokens] and len(set(batch.lengths)) > 1
    assert (batch.tokens - 500).tolist() == list(chain(*tokens))
    assert batch.states is None and batch.tokens.dtype == batch.targets.dtype == torch.int64
    assert (batch.types is None) == (kind == "xlm-roberta")
    if batch.types is not None:
        assert batch.types.tolist() == list(chain(*stored(encoded.types, encoded, windows)))
    if reads == "scored":
        targets = np.array(list(chain(*stored(encoded.targets, encoded, windows))))
        assert batch.rows.tolist() == np.flatnonzero(targets != IGNORED).tolist()
        assert batch.targets.tolist() == targets[targets != IGNORED].tolist()
        assert 0 < len(batch.rows) < len(batch.tokens) - 2 * len(windows), "words of several sub-tokens are missing"
    else:
        first = [0, batch.lengths[0], sum(batch.lengths[:2])]
        assert batch.rows is None if reads == "all" else batch.rows.tolist() == first
        assert batch.targets.tolist() == encoded.targets[windows].tolist()


def test_collated_states_are_those_of_the_tokens():
    encoded = encode("classification")
    trunk = np.random.default_rng(0).normal(size=(len(encoded.tokens), 4)).astype(np.float32)
    windows = np.array([4, 0, 11])
    batch = collate(encoded, windows, np.arange(1000, dtype=np.int32), "first", trunk)
    assert batch.states.tolist() == list(chain(*stored(trunk, encoded, windows)))
