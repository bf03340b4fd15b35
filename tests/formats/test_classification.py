import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TEXTS, tiny_tokenizer
from tokenizers.processors import TemplateProcessing

from waystation import formats
from waystation.errors import InputError
from waystation.formats import classification
from waystation.tasks.examples import ClassificationExample

OUTPUTS = classification.outputs(["yes", "no"], "plain")
EXAMPLES = [
    ClassificationExample(f"e{number}", text, OUTPUTS[number % 2], TEXTS[0] if number % 3 else None, f"c{number}")
    for number, text in enumerate(TEXTS)
]


KINDS = ("xlm-roberta", "bert", "deberta-v2", "modernbert")
TOKENIZERS = {kind: tiny_tokenizer(kind) for kind in KINDS}  # type: ignore[arg-type]
WORDS = [*sorted({word for text in TEXTS for word in text.split()}), "中国", "xyz", "🙂", "e\u0301", "[SEP]", "<mask>"]
ANY_TEXT = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from([" ", "  ", "\n", ""])), max_size=12).map(
    lambda pieces: "".join(map("".join, pieces))
)


@pytest.mark.parametrize("kind", KINDS)
@given(
    texts=st.lists(st.tuples(ANY_TEXT, st.none() | ANY_TEXT), min_size=1, max_size=4),
    max_length=st.integers(5, 40),
    side=st.sampled_from(["left", "right"]),
)
@settings(max_examples=60, deadline=None)
def test_any_text_is_cut_as_the_tokenizer_cuts_it(kind, texts, max_length, side):
    tokenizer = TOKENIZERS[kind]
    tokenizer.truncation_side = side
    examples = [ClassificationExample(str(at), text, "yes", pair) for at, (text, pair) in enumerate(texts)]
    encoded = classification.encode(examples, tokenizer, OUTPUTS, max_length, stride=0)
    subtokens = unknown = truncated = words = 0
    backend = tokenizer.backend_tokenizer  # the tokenizer itself takes an empty second text for none
    for number, given_ in enumerate(texts):
        parts = [part for part in given_ if part is not None]
        backend.enable_truncation(max_length, strategy="longest_first", direction=side)
        expected = backend.encode(*parts)
        backend.no_truncation()
        window = slice(encoded.offsets[number], encoded.offsets[number + 1])
        assert encoded.tokens[window].tolist() == expected.ids
        if encoded.types is not None:
            assert encoded.types[window].tolist() == expected.type_ids
        whole = backend.encode(*parts, add_special_tokens=False).ids
        room = max_length - tokenizer.num_special_tokens_to_add(len(parts) == 2)
        held = sum(map(classification.words_in, parts))
        assert encoded.words[number] == (held if len(whole) <= room else round(held * room / len(whole)))
        subtokens, words = subtokens + len(whole), words + held
        unknown += whole.count(tokenizer.unk_token_id)
        truncated += len(whole) > room
    assert encoded.stats == {
        "tokens": len(encoded.tokens),
        "words": words,
        "subtokens": subtokens,
        "unknown": unknown,
        "windows": len(texts),
        "truncated": truncated,
    }


def test_truncation_and_padding_that_a_tokenizer_comes_with_are_switched_off():
    expected = classification.encode(EXAMPLES, tiny_tokenizer("bert"), OUTPUTS, 64, 0)
    tokenizer = tiny_tokenizer("bert")
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=99)
    encoded = classification.encode(EXAMPLES, tokenizer, OUTPUTS, 64, 0)
    np.testing.assert_array_equal(encoded.tokens, expected.tokens)


def test_a_layout_that_turns_texts_around_is_refused():
    tokenizer = tiny_tokenizer("bert")
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $B:1 [SEP] $A:0 [SEP]", special_tokens=ends
    )
    with pytest.raises(InputError, match="one after the other"):
        classification.encode(EXAMPLES, tokenizer, OUTPUTS, 64, 0)


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
