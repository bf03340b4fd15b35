"""What is masked: exact rates, whole words, never a special token, at least one token."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'torch'")

from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_tokenizer

from waystation.errors import InputError
from waystation.formats.mlm import OUTSIDE
from waystation.steps.recipes import Mlm
from waystation.training.masking import Masking, masking

MASK, OTHERS = 4, np.arange(10, 60)
PLAIN = Masking(MASK, OTHERS, 0.15, False)


def drawn(used, tokens, word, seed=0):
    shown, predicted = used(tokens, word, np.random.default_rng(seed))
    assert (shown[~predicted] == tokens[~predicted]).all()
    assert not predicted[word == OUTSIDE].any()
    return shown, predicted


def near(count, number, chance):
    """Within five standard deviations of a binomial count."""
    assert abs(count - number * chance) < 5 * (number * chance * (1 - chance)) ** 0.5, (count / number, chance)


def flat(number, per_word=3):
    tokens = np.full(number, 100, np.int32)
    word = (np.arange(number) // per_word).astype(np.int32)
    word[::20] = OUTSIDE
    return tokens, word


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("probability", [0.15, 0.5])
def test_the_rates_are_those_of_the_paper(whole, probability):
    tokens, word = flat(200_000, 1 if whole else 3)
    shown, predicted = drawn(Masking(MASK, OTHERS, probability, whole), tokens, word)
    near(predicted.sum(), (word != OUTSIDE).sum(), probability)
    fate = shown[predicted]
    near((fate == MASK).sum(), len(fate), 0.8)
    near((fate == 100).sum(), len(fate), 0.1)
    others = fate[(fate != MASK) & (fate != 100)]
    near(len(others), len(fate), 0.1)
    assert set(others.tolist()) == set(OTHERS.tolist())
    for one in OTHERS[:5]:
        near((others == one).sum(), len(others), 1 / len(OTHERS))


def test_whole_words_are_predicted_together_and_each_token_as_often():
    tokens, word = flat(200_000)
    _, predicted = drawn(Masking(MASK, OTHERS, 0.15, True), tokens, word)
    inside = word != OUTSIDE
    starts = np.flatnonzero(inside & np.append(True, (word[1:] != word[:-1])))
    groups = np.split(predicted, starts[1:])
    labels = np.split(inside, starts[1:])
    assert all(len(set(one[held].tolist())) == 1 for one, held in zip(groups, labels, strict=True))
    near(sum(one[0] for one in groups), len(groups), 0.15)
    _, alone = drawn(PLAIN, tokens, word)
    assert any(len(set(one[held].tolist())) == 2 for one, held in zip(np.split(alone, starts[1:]), labels, strict=True))


@given(st.lists(st.integers(-1, 3), max_size=30), st.booleans(), st.integers(0, 99))
def test_at_least_one_token_is_predicted_wherever_there_is_one(words, whole, seed):
    word = np.array(words, np.int32)
    _, predicted = drawn(Masking(MASK, OTHERS, 1e-9, whole), np.full(len(word), 100, np.int32), word, seed)
    assert predicted.any() == (word != OUTSIDE).any()


def test_the_same_generator_gives_the_same_masks():
    tokens, word = flat(500)
    for seed in (1, 2):
        for one, other in zip(drawn(PLAIN, tokens, word, seed), drawn(PLAIN, tokens, word, seed), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (drawn(PLAIN, tokens, word, 1)[1] != drawn(PLAIN, tokens, word, 2)[1]).any()


def test_random_tokens_are_rows_in_use_and_never_special():
    tokenizer = tiny_tokenizer()
    used = masking(Mlm(probability=0.2, whole_word=True), tokenizer, np.arange(len(tokenizer) + 8))
    assert (used.mask, used.probability, used.whole_word) == (tokenizer.mask_token_id, 0.2, True)
    assert sorted([*used.others, *tokenizer.all_special_ids]) == list(range(len(tokenizer)))
    assert masking(Mlm(), tokenizer, np.array([0, 1, 7, 9])).others.tolist() == [7, 9]
    tokenizer.mask_token = None
    with pytest.raises(InputError, match="no mask token"):
        masking(Mlm(), tokenizer, np.arange(9))
