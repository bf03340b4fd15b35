import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import examples
from tiny import TEXTS, tiny_tokenizer

from waystation import formats
from waystation.errors import InputError
from waystation.formats import choice, classification, encoding
from waystation.formats.encoding import IGNORED
from waystation.tasks.examples import ChoiceExample

KINDS = ("xlm-roberta", "bert", "deberta-v2", "modernbert")
TOKENIZERS = {kind: tiny_tokenizer(kind) for kind in KINDS}  # type: ignore[arg-type]
EXAMPLES = [
    ChoiceExample(f"e{n}", TEXTS[n], TEXTS[n + 1 : n + 3 + n % 3], n % 2, TEXTS[0] if n % 2 else None, f"c{n}")
    for n in range(5)
]


def encode(given_=EXAMPLES, kind="bert", max_length=256):
    return choice.encode(given_, TOKENIZERS[kind], ["score"], max_length, 0)


def windows(encoded):
    return [encoded.tokens[a:b].tolist() for a, b in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)]


def shown(example):
    """The second text of each window."""
    return [option if example.question is None else f"{example.question} {option}" for option in example.options]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [256, 24, 8])
def test_an_option_is_a_pair_whose_text_is_cut_first(kind, max_length):
    """From its beginning, as tokenizers do that are told to truncate on the left."""
    tokenizer = copy.deepcopy(TOKENIZERS[kind])
    encoded = encode(kind=kind, max_length=max_length)
    tokenizer.truncation_side = "left"
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
    expected, cut = [], set()
    for number, example in enumerate(EXAMPLES):
        for option in shown(example):
            if len(tokenizer(option, add_special_tokens=False)["input_ids"]) < room:
                window = tokenizer(example.text, option, truncation="only_first", max_length=max_length)
            else:
                window = tokenizer("", option, truncation="only_second", max_length=max_length)
            expected.append(window["input_ids"])
            cut |= {number} if len(tokenizer(example.text, option)["input_ids"]) > max_length else set()
    assert windows(encoded) == expected
    assert encoded.stats["truncated"] == len(cut) and (len(cut) == 0) == (max_length == 256)
    assert encoded.stats["windows"] == sum(len(example.options) for example in EXAMPLES) == len(encoded.example)
    assert (encoded.types is not None) == (kind in ("bert", "deberta-v2"))


def test_types_are_those_of_the_tokenizer():
    encoded = encode()
    types = np.split(encoded.types, encoded.offsets[1:-1])
    expected = [TOKENIZERS["bert"](one.text, second)["token_type_ids"] for one in EXAMPLES for second in shown(one)]
    assert [kind.tolist() for kind in types] == expected


def test_examples_have_any_number_of_options(tmp_path):
    encoded = encode()
    assert np.bincount(encoded.example).tolist() == [len(one.options) for one in EXAMPLES] == [2, 3, 4, 2, 3]
    assert encoded.gold == ["0", "1", "0", "1", "0"] and encoded.ids == [one.id for one in EXAMPLES]
    assert encoded.targets.tolist() == [0, -100, 1, -100, -100, 0, -100, -100, -100, 1, -100, 0, -100, -100]
    assert encoded.clusters == [one.cluster for one in EXAMPLES]
    encoding.save(encoded, tmp_path)
    loaded = encoding.load(tmp_path, encoded.stats)
    for name in ("tokens", "offsets", "example", "targets", "words", "types"):
        assert np.array_equal(getattr(loaded, name), getattr(encoded, name))
        assert getattr(loaded, name).dtype == getattr(encoded, name).dtype
    assert loaded.gold == encoded.gold and encoded.targets.dtype == encoded.words.dtype == np.int32


def test_the_text_counts_once_and_what_is_cut_does_not():
    one = ChoiceExample("e", " ".join(["Anna"] * 20), ("Genf", "Genf York"), 0, "in London ?")
    encoded = encode([one])
    assert encoded.words.tolist() == [20 + 4 + 5] and encoded.stats["words"] == encoded.stats["subtokens"] == 29
    cut = encode([one], max_length=18)  # 3 special tokens, 4 or 5 of the option: 11 and 10 of the text
    assert cut.words.tolist() == [11 + 4 + 5] and cut.stats["words"] == cut.stats["subtokens"] == 29
    assert [len(window) for window in windows(cut)] == [18, 18]
    assert encode([one, replace(one, id="f")]).stats["words"] == 58


def test_decoding_one_hot_gold_gives_gold_back():
    encoded = encode()
    right = np.repeat([int(gold) for gold in encoded.gold], np.bincount(encoded.example))
    place = np.concatenate([np.arange(len(one.options)) for one in EXAMPLES])
    rows = [(n, np.array([[score]], np.float32)) for n, score in enumerate(right == place)]
    assert choice.decode(encoded, reversed(rows), ["score"]) == encoded.gold
    for lost in (slice(1, None), slice(0, -1), slice(2, None)):  # an option of the first, of the last, a whole example
        with pytest.raises(ValueError, match="missing"):
            choice.decode(encoded, rows[lost], ["score"])


@given(st.integers(0, 9999))
@settings(deadline=None, max_examples=30)
def test_the_loss_is_cross_entropy_over_the_options_of_each_example(seed):
    drawn = np.random.default_rng(seed)
    encoded = encode([EXAMPLES[at] for at in drawn.permutation(len(EXAMPLES))[: drawn.integers(1, 6)]])
    scores = torch.from_numpy(drawn.normal(size=(len(encoded.example), 1)).astype(np.float32))
    targets = torch.from_numpy(encoded.targets.astype(np.int64))
    parts = torch.split(scores[:, 0], np.bincount(encoded.example).tolist())
    expected = sum(-torch.log_softmax(part, 0)[int(gold)] for part, gold in zip(parts, encoded.gold, strict=True))
    loss = choice.loss(scores, targets, [9] * len(scores))
    torch.testing.assert_close(loss, expected)
    assert choice.loss(scores.bfloat16(), targets, [9] * len(scores)).dtype == torch.float32
    # What all options share says nothing.
    torch.testing.assert_close(choice.loss(scores + 5, targets, [9] * len(scores)), loss)


def test_the_order_of_the_options_does_not_matter():
    one = EXAMPLES[2]
    order = [2, 0, 3, 1]
    other = replace(one, options=tuple(one.options[at] for at in order), answer=order.index(one.answer))
    ours, theirs = encode([one]), encode([other])
    assert [windows(ours)[at] for at in order] == windows(theirs)
    scores = torch.randn(4, 1)
    targets = [torch.from_numpy(made.targets.astype(np.int64)) for made in (ours, theirs)]
    torch.testing.assert_close(
        choice.loss(scores, targets[0], [9] * 4), choice.loss(scores[order], targets[1], [9] * 4)
    )
    rows = [(n, scores[n : n + 1].numpy()) for n in range(4)]
    turned = [(place, rows[at][1]) for place, at in enumerate(order)]
    assert order[int(choice.decode(theirs, turned, ["score"])[0])] == int(choice.decode(ours, rows, ["score"])[0])


def test_no_examples():
    encoded = encode([])
    assert len(encoded) == len(encoded.tokens) == 0 and encoded.offsets.tolist() == [0]
    assert choice.decode(encoded, [], ["score"]) == []


def test_bad_input_is_named():
    for options, answer in ((("a",), 0), (("a", "b"), 2), (("a", "b"), -1)):
        with pytest.raises(InputError, match=f"example x has {len(options)} options and the answer {answer} "):
            encode([ChoiceExample("x", "a", options, answer)])
    with pytest.raises(InputError, match="no room for text"):
        encode(max_length=3)


def test_it_is_a_format():
    module = formats.get("choice")
    assert module is choice and module.reads == "first" and module.unit == "example"
    assert (
        choice.outputs((), "plain") == ["score"] and module.counts("1", "1") == [1] and module.counts("1", "0") == [0]
    )
    head = choice.head(8, 1, 0.0)
    assert isinstance(head, classification.Head) and head(torch.randn(3, 8)).shape == (3, 1)
    assert {len(one.options) for one in examples("choice", 30)} == {2, 3, 4} and IGNORED < 0
