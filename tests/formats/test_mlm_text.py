"""Text in windows without labels: nothing is lost, words are known, special tokens are not theirs."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'torch'")

import itertools

from hypothesis import given
from hypothesis import strategies as st
from small import examples
from tiny import TEXTS, tiny_tokenizer

from waystation import formats
from waystation.errors import InputError
from waystation.formats import encoding, mlm
from waystation.tasks.examples import SpanExample, TextExample, texts_of

KINDS = ["xlm-roberta", "bert", "deberta-v2", "modernbert"]
LONG = " ".join(TEXTS)


def text(*texts):
    return [TextExample(f"t{at}", one, f"c{at}") for at, one in enumerate(texts)]


def windows(array, offsets):
    return [array[low:high].tolist() for low, high in itertools.pairwise(offsets)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [3, 8, 20, 500])
def test_windows_hold_the_whole_text_in_the_tokenizers_layout(kind, length):
    tokenizer = tiny_tokenizer(kind)
    made = mlm.encode(text(*TEXTS, LONG), tokenizer, length)
    first, last = tokenizer("a")["input_ids"][0], tokenizer("a")["input_ids"][-1]
    held = {}
    for example, ids, word in zip(
        made.example.tolist(), windows(made.tokens, made.offsets), windows(made.word, made.offsets), strict=True
    ):
        assert len(ids) <= length and (ids[0], ids[-1]) == (first, last)
        assert word[0] == word[-1] == mlm.OUTSIDE
        held.setdefault(example, []).extend(ids[1:-1])
    for at, one in enumerate((*TEXTS, LONG)):
        assert held[at] == tokenizer(one, add_special_tokens=False)["input_ids"]
    assert made.ids == [f"t{at}" for at in range(len(TEXTS) + 1)] and made.clusters[2] == "c2"
    assert (made.types is not None) == (kind in ("bert", "deberta-v2"))
    assert set(made.targets.tolist()) == {encoding.IGNORED} and len(made.targets) == len(made.example)
    stats = made.stats
    assert stats["tokens"] == len(made.tokens) and stats["windows"] == len(made.example)
    assert stats["subtokens"] == len(made.tokens) - 2 * stats["windows"] and stats["truncated"] == 0
    assert stats["words"] == made.words.sum()


@given(st.text(alphabet="ab 病ส.\n", max_size=60), st.integers(3, 12))
def test_no_token_of_any_text_is_lost(content, length):
    tokenizer = tiny_tokenizer()
    made = mlm.encode(text(content), tokenizer, length)
    bodies = [token for ids in windows(made.tokens, made.offsets) for token in ids[1:-1]]
    assert bodies == (tokenizer(content, add_special_tokens=False)["input_ids"] if content.strip() else [])


def test_windows_are_about_equally_long_and_cut_between_words():
    tokenizer = tiny_tokenizer()
    made = mlm.encode(text(LONG), tokenizer, 30)
    lengths = np.diff(made.offsets)
    assert lengths.max() <= 30 and lengths.min() >= 15
    words = windows(made.word, made.offsets)
    for one, other in itertools.pairwise(words):
        assert one[-2] != other[1]
    letters = mlm.encode(text("Monday " + "sow" * 30), tokenizer, 30)  # a word that no window holds
    assert np.diff(letters.offsets).min() > 15


def test_words_are_those_of_the_tokenizer_and_single_letters_where_nothing_parts_words():
    tokenizer = tiny_tokenizer()
    made = mlm.encode(text("The patient sow 病人 given</s> ☃☃ London"), tokenizer, 50)
    ((ids, word),) = zip(windows(made.tokens, made.offsets), windows(made.word, made.offsets), strict=True)
    units = {}
    for token, number in zip(tokenizer.convert_ids_to_tokens(ids), word, strict=True):
        units.setdefault(number, []).append(token)
    outside = units.pop(mlm.OUTSIDE)
    assert sorted({*outside}) == ["</s>", "<s>", "<unk>"]
    assert ["▁", "s", "o", "w"] in units.values()
    assert ["病"] in units.values() and ["人"] in units.values() and ["▁London"] in units.values()
    assert made.stats["unknown"] == outside.count("<unk>")


@pytest.mark.parametrize("format", ["tagging", "classification", "multilabel", "choice"])
def test_examples_of_any_format_are_text(format):
    found = examples(format, 12)
    made = mlm.encode(found, tiny_tokenizer(), 64)
    plain = [one for example in found for one in texts_of(example)]
    other = mlm.encode(text(*plain), tiny_tokenizer(), 64)
    np.testing.assert_array_equal(made.tokens, other.tokens)
    assert made.stats == other.stats and made.words.sum() == other.words.sum()


def test_a_text_that_came_before_is_not_read_again(tmp_path):
    asked = [SpanExample(f"q{n}", LONG, question, ()) for n, question in enumerate(["Who ?", "Where ?", "Who ?"])]
    made = mlm.encode(asked, tiny_tokenizer(), 400)
    assert made.ids == ["q0", "q1"] and made.example.tolist() == [0, 0, 1] and made.stats["repeated"] == 3
    encoding.save(made, tmp_path)
    opened = encoding.load(tmp_path, made.stats)
    for name in ("tokens", "offsets", "example", "word", "words"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(made, name))
    assert opened.ids == made.ids


def test_batches_of_the_tokenizer_change_nothing(monkeypatch):
    whole = mlm.encode(text(*TEXTS), tiny_tokenizer(), 12)
    monkeypatch.setattr(mlm, "BATCH", 1)
    np.testing.assert_array_equal(mlm.encode(text(*TEXTS), tiny_tokenizer(), 12).tokens, whole.tokens)


def test_what_cannot_be_is_said():
    with pytest.raises(InputError, match="max_length 2 leaves no room for text: 2 tokens are special"):
        mlm.encode(text("a"), tiny_tokenizer(), 2)
    with pytest.raises(InputError, match="unknown format 'mlm'"):
        formats.get("mlm")
