import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TEXTS, tiny_tokenizer

from waystation import formats
from waystation.errors import InputError
from waystation.formats import tagging
from waystation.formats.encoding import IGNORED
from waystation.tasks.examples import TaggingExample

OUTPUTS = tagging.outputs(["PER", "LOC"], "iob2")
TOKENIZERS = {kind: tiny_tokenizer(kind) for kind in ("xlm-roberta", "bert")}
WORDS = [*sorted({word for text in TEXTS for word in text.split()}), "中国", "xyz", "日内瓦", "Genf" * 9, "", " ", "▁"]
SENTENCES = st.lists(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(OUTPUTS)), max_size=40), min_size=1, max_size=6
)


def examples(sentences):
    return [
        TaggingExample(
            f"s{number}", tuple(word for word, _ in pairs), tuple(tag for _, tag in pairs), f"c{number // 2}"
        )
        for number, pairs in enumerate(sentences)
    ]


def sentence(text):
    return examples([[(word, "O") for word in text.split()]])


def windows(encoded):
    return [slice(low, high) for low, high in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)]


def test_outputs():
    assert OUTPUTS == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert tagging.outputs(["NOUN", "VERB"], "plain") == ["NOUN", "VERB"]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_tokens_are_those_of_the_tokenizer(kind):
    tokenizer = TOKENIZERS[kind]
    rows = [text.split() for text in TEXTS] + [["中国", "xyz", "Anna"], []]
    encoded = tagging.encode(
        examples([[(word, "O") for word in row] for row in rows]), tokenizer, OUTPUTS, max_length=128, stride=16
    )
    for window, row in zip(windows(encoded), rows, strict=True):
        expected = tokenizer(row, is_split_into_words=True)["input_ids"] if row else tokenizer("")["input_ids"]
        assert encoded.tokens[window].tolist() == expected
    assert (encoded.types is not None) == (kind == "bert")
    assert encoded.stats["windows"] == len(rows)
    assert encoded.stats["subtokens"] == encoded.stats["tokens"] - 2 * len(rows)
    assert encoded.stats["words"] == sum(map(len, rows)) == encoded.words.sum()


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(sentences=SENTENCES, max_length=st.integers(4, 40), data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_word_is_scored_exactly_once(kind, sentences, max_length, data):
    tokenizer, stride = TOKENIZERS[kind], data.draw(st.integers(0, max_length - 3))
    given_ = examples(sentences)
    encoded = tagging.encode(given_, tokenizer, OUTPUTS, max_length, stride)
    assert encoded.word is not None
    assert np.diff(encoded.offsets).max() <= max_length
    assert (np.diff(encoded.example) >= 0).all() and set(encoded.example) == set(range(len(given_)))
    ((before,), (after,)) = tagging._frame(tokenizer)
    seen = [[] for _ in given_]
    for number, window in enumerate(windows(encoded)):
        assert (encoded.tokens[window.start], encoded.tokens[window.stop - 1]) == (before, after)
        word, targets = encoded.word[window], encoded.targets[window]
        assert ((word >= 0) == (targets != IGNORED)).all()
        example = encoded.example[number]
        for at, target in zip(word[word >= 0], targets[word >= 0], strict=True):
            assert OUTPUTS[target] == given_[example].tags[at]
            seen[example].append(int(at))
    assert [sorted(row) for row in seen] == [list(range(len(example.words))) for example in given_]


@given(sentences=SENTENCES, max_length=st.integers(4, 40), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_decoding_one_hot_gold_gives_gold_back(sentences, max_length, seed):
    given_ = examples(sentences)
    encoded = tagging.encode(given_, TOKENIZERS["xlm-roberta"], OUTPUTS, max_length, stride=1)
    drawn, logits = np.random.default_rng(seed), []
    for number, window in enumerate(windows(encoded)):
        targets = encoded.targets[window][encoded.targets[window] != IGNORED]
        noise = drawn.normal(size=(len(targets), len(OUTPUTS)))
        logits.append((number, (noise + 99 * np.eye(len(OUTPUTS))[targets]).astype(np.float32)))
    drawn.shuffle(logits)
    assert tagging.decode(encoded, logits, OUTPUTS) == encoded.gold == [list(example.tags) for example in given_]


def test_decode_refuses_missing_windows():
    encoded = tagging.encode(sentence(TEXTS[0]), TOKENIZERS["bert"], OUTPUTS, 128, 16)
    with pytest.raises(ValueError, match="missing"):
        tagging.decode(encoded, [], OUTPUTS)


def test_chinese_words_are_tagged_where_the_text_is():
    tokenizer = TOKENIZERS["xlm-roberta"]
    encoded = tagging.encode(sentence("Anna 日内瓦 中国 ▁"), tokenizer, OUTPUTS, 128, 16)
    scored = encoded.tokens[encoded.targets != IGNORED]
    # 中 and 国 stand in no text of the tiny vocabulary; the word ▁ has no other sub-token.
    assert tokenizer.convert_ids_to_tokens(scored.tolist()) == ["▁Anna", "日", "<unk>", "▁"]


def test_wordpiece_is_tagged_at_its_first_piece_even_where_it_looks_like_a_mark():
    tokenizer = tiny_tokenizer("bert", texts=["Ġ o r ġ"])
    encoded = tagging.encode(sentence("Ġorġ"), tokenizer, OUTPUTS, 128, 16)
    scored = encoded.tokens[encoded.targets != IGNORED]
    assert tokenizer.convert_ids_to_tokens(scored.tolist()) == ["Ġ"]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_word_without_sub_tokens_becomes_the_unknown_token(kind):
    tokenizer = TOKENIZERS[kind]
    encoded = tagging.encode(examples([[("", "O"), ("\u3000", "B-PER")]]), tokenizer, OUTPUTS, 128, 16)
    assert encoded.tokens[1:-1].tolist() == [tokenizer.unk_token_id] * 2
    assert encoded.targets.tolist() == [IGNORED, 0, 1, IGNORED]
    assert encoded.stats["unknown"] == encoded.stats["words"] == 2


def test_a_word_longer_than_the_window_is_cut_and_still_scored():
    tokenizer = TOKENIZERS["bert"]
    encoded = tagging.encode(
        examples([[("Anna", "B-PER"), ("y" * 30, "O"), ("York", "B-LOC")]]), tokenizer, OUTPUTS, 8, 2
    )
    assert np.diff(encoded.offsets).tolist() == [3, 8, 3]
    assert encoded.stats == {"tokens": 14, "words": 3, "subtokens": 32, "unknown": 0, "windows": 3, "truncated": 1}
    assert encoded.word is not None and encoded.word[encoded.word >= 0].tolist() == [0, 1, 2]


def test_words_are_scored_where_they_have_most_context():
    tokenizer = TOKENIZERS["bert"]
    encoded = tagging.encode(examples([[("Anna", "O")] * 14]), tokenizer, OUTPUTS, max_length=10, stride=4)
    assert encoded.word is not None
    # Windows hold words 0–7, 4–11, 8–13; of words 4–7 the first two lie further from the first window's cut.
    scored = [encoded.word[window] for window in windows(encoded)]
    assert [row[row >= 0].tolist() for row in scored] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12, 13]]


def test_bad_input_is_named():
    tokenizer = TOKENIZERS["bert"]
    with pytest.raises(InputError, match=r"example s1 has the tag 'B-PERS' \(did you mean 'B-PER'\?\)"):
        tagging.encode(examples([[("a", "O")], [("a", "B-PERS")]]), tokenizer, OUTPUTS, 16, 2)
    with pytest.raises(InputError, match="example x has 2 words but 1 tags"):
        tagging.encode([TaggingExample("x", ("a", "b"), ("O",))], tokenizer, OUTPUTS, 16, 2)
    with pytest.raises(InputError, match="stride 14 does not fit max_length 16"):
        tagging.encode([], tokenizer, OUTPUTS, 16, 14)
    with pytest.raises(InputError, match="did you mean 'tagging'"):
        formats.get("taging")


def test_no_examples():
    encoded = tagging.encode([], TOKENIZERS["bert"], OUTPUTS, 16, 2)
    assert len(encoded) == len(encoded.tokens) == 0 and encoded.offsets.tolist() == [0]
    assert tagging.decode(encoded, [], OUTPUTS) == []


def test_the_loss_is_summed_over_the_scored_words():
    torch.manual_seed(0)
    head = tagging.head(8, len(OUTPUTS), dropout=0.0)
    assert set(head.state_dict()) == {"out.weight", "out.bias"}
    hidden, targets = torch.randn(5, 8), torch.tensor([0, 1, 4, 2, 3])
    logits = head(hidden)
    assert logits.shape == (5, len(OUTPUTS))
    whole = tagging.loss(logits, targets, [4, 7])
    assert whole.shape == ()
    expected = -torch.log_softmax(hidden @ head.out.weight.T + head.out.bias, -1)[range(5), targets].sum()
    torch.testing.assert_close(whole, expected)
    parts = tagging.loss(logits[:2], targets[:2], [4]) + tagging.loss(logits[2:], targets[2:], [7])
    torch.testing.assert_close(whole, parts)
    assert tagging.loss(logits.bfloat16(), targets, [4, 7]).dtype == torch.float32
    nothing = tagging.loss(logits[:0], targets[:0], [2])  # a window may hold no scored word
    nothing.backward()
    assert nothing == 0 and not head.out.weight.grad.any()
    assert formats.get("tagging").reads == "scored"


def test_head_is_drawn_from_the_seed():
    heads = []
    for _ in range(2):
        torch.manual_seed(3)
        heads.append(tagging.head(8, 3, 0.1).state_dict()["out.weight"])
    assert torch.equal(*heads)


def test_counts():
    assert formats.get("tagging").counts(["B-PER", "I-PER", "O"], ["B-PER", "I-PER", "B-LOC"]) == [1, 2, 1, 2, 3]
