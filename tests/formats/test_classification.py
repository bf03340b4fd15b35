import numpy as np
import pytest
import torch
from tiny import TEXTS, tiny_tokenizer

from waystation import formats
from waystation.errors import InputError
from waystation.formats import classification
from waystation.tasks.task import ClassificationExample

OUTPUTS = classification.outputs(["yes", "no"], "plain")
EXAMPLES = [
    ClassificationExample(f"e{number}", text, OUTPUTS[number % 2], TEXTS[0] if number % 3 else None, f"c{number}")
    for number, text in enumerate(TEXTS)
]


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
@pytest.mark.parametrize("max_length", [12, 128])
def test_tokens_are_those_of_the_tokenizer(kind, max_length):
    tokenizer = tiny_tokenizer(kind)
    encoded = classification.encode(EXAMPLES, tokenizer, OUTPUTS, max_length, stride=0)
    cut = whole = 0
    for number, example in enumerate(EXAMPLES):
        texts = [example.text] if example.pair is None else [example.text, example.pair]
        expected = tokenizer(*texts, truncation="longest_first", max_length=max_length)
        cut += len(tokenizer(*texts)["input_ids"]) > max_length
        whole += sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
        window = slice(encoded.offsets[number], encoded.offsets[number + 1])
        assert encoded.tokens[window].tolist() == expected["input_ids"]
        if kind == "bert":
            assert encoded.types is not None and encoded.types[window].tolist() == expected["token_type_ids"]
    assert (encoded.types is None) == (kind == "xlm-roberta")
    assert [OUTPUTS[target] for target in encoded.targets] == encoded.gold
    assert encoded.ids == [example.id for example in EXAMPLES] and encoded.clusters[1] == "c1"
    assert encoded.stats["truncated"] == cut and (cut > 0) == (max_length == 12)
    assert encoded.stats["subtokens"] == whole  # of the whole texts, cut or not
    if cut:
        assert encoded.stats["words"] > encoded.words.sum()  # of a text that was cut, the words that are left
    else:
        assert encoded.stats["words"] == encoded.words.sum()
    assert tokenizer.backend_tokenizer.truncation is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("two words", 2),
        ("  zwei  Wörter ", 2),
        ("病人星期一在日内瓦吃了阿司匹林。", 8),
        ("病人吃了 aspirin", 3),
        ("ผู้ป่วยได้รับแอสไพริน", 6),
    ],
)
def test_words_are_counted_in_scripts_without_blanks_too(text, words):
    assert classification.words_in(text) == words


def test_bad_input_is_named():
    tokenizer = tiny_tokenizer("bert")
    with pytest.raises(InputError, match=r"example x has the label 'yess' \(did you mean 'yes'\?\)"):
        classification.encode([ClassificationExample("x", "a", "yess")], tokenizer, OUTPUTS, 16, 0)
    with pytest.raises(InputError, match="no room for text"):
        classification.encode([], tokenizer, OUTPUTS, 3, 0)
    assert tokenizer.backend_tokenizer.truncation is None


def test_no_examples():
    encoded = classification.encode([], tiny_tokenizer("bert"), OUTPUTS, 16, 0)
    assert len(encoded) == len(encoded.tokens) == 0 and encoded.offsets.tolist() == [0]
    assert classification.decode(encoded, [], OUTPUTS) == []


def test_decoding_one_hot_gold_gives_gold_back():
    encoded = classification.encode(EXAMPLES, tiny_tokenizer("bert"), OUTPUTS, 64, 0)
    logits = list(enumerate(np.eye(len(OUTPUTS), dtype=np.float32)[encoded.targets, None]))
    assert logits[0][1].shape == (1, len(OUTPUTS))
    assert classification.decode(encoded, reversed(logits), OUTPUTS) == encoded.gold
    with pytest.raises(ValueError, match="missing"):
        classification.decode(encoded, logits[1:], OUTPUTS)


def test_the_loss_is_summed_over_the_examples():
    torch.manual_seed(0)
    head = classification.head(8, 3, dropout=0.0)
    assert set(head.state_dict()) == {"dense.weight", "dense.bias", "out.weight", "out.bias"}
    hidden, targets = torch.randn(2, 8), torch.tensor([0, 2])
    logits = head(hidden)
    assert logits.shape == (2, 3)
    whole = classification.loss(logits, targets, [5, 9])
    assert whole.shape == ()
    states = torch.tanh(hidden @ head.dense.weight.T + head.dense.bias)
    expected = -torch.log_softmax(states @ head.out.weight.T + head.out.bias, -1)[range(2), targets].sum()
    torch.testing.assert_close(whole, expected)
    parts = [classification.loss(logits[at : at + 1], targets[at : at + 1], [5]) for at in range(2)]
    torch.testing.assert_close(whole, parts[0] + parts[1])
    assert classification.loss(logits.bfloat16(), targets, [5, 9]).dtype == torch.float32


def test_counts():
    module = formats.get("classification")
    assert module is classification and module.reads == "first"
    assert module.counts("yes", "yes") == [1] and module.counts("yes", "no") == [0]
