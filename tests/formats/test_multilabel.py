import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from small import examples
from tiny import TEXTS, tiny_tokenizer

from waystation import formats
from waystation.errors import InputError
from waystation.formats import classification, encoding, multilabel
from waystation.scoring.labels import Ranked
from waystation.tasks.examples import ClassificationExample, MultilabelExample

OUTPUTS = [f"l{number}" for number in range(11)]
EXAMPLES = [
    MultilabelExample(f"e{n}", text, tuple(OUTPUTS[n % 3 : n : 2]), TEXTS[0] if n % 3 else None, f"c{n}")
    for n, text in enumerate([*TEXTS, *TEXTS])
]


def encode(given_=EXAMPLES, outputs=OUTPUTS, max_length=24):
    return multilabel.encode(given_, tiny_tokenizer("bert"), outputs, max_length, 0)


def wanted(encoded, outputs=OUTPUTS):
    return np.array([[label in gold for label in outputs] for gold in encoded.gold])


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert", "modernbert"])
@pytest.mark.parametrize("max_length", [12, 128])
@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_are_encoded_as_in_classification(kind, max_length, side):
    tokenizer = tiny_tokenizer(kind)
    tokenizer.truncation_side = side
    found = multilabel.encode(EXAMPLES, tokenizer, OUTPUTS, max_length, 0)
    same = [ClassificationExample(one.id, one.text, "yes", one.pair, one.cluster) for one in EXAMPLES]
    expected = classification.encode(same, tokenizer, ["yes"], max_length, 0)
    for name in ("tokens", "offsets", "example", "words", "types"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert np.array_equal(ours, theirs) and (ours is None) == (theirs is None)
    assert (found.ids, found.clusters, found.stats) == (expected.ids, expected.clusters, expected.stats)
    assert found.stats["truncated"] > 0 or max_length == 128


def test_gold_and_targets_are_the_labels(tmp_path):
    encoded = encode()
    assert encoded.gold == [list(one.labels) for one in EXAMPLES] and [] in encoded.gold
    assert encoded.targets.dtype == np.uint8 and encoded.targets.shape == (len(EXAMPLES), 2)
    assert np.array_equal(np.unpackbits(encoded.targets, axis=1, count=len(OUTPUTS)), wanted(encoded))
    encoding.save(encoded, tmp_path)
    loaded = encoding.load(tmp_path, encoded.stats)
    assert np.array_equal(loaded.targets, encoded.targets) and loaded.targets.dtype == np.uint8
    assert loaded.gold == encoded.gold


@pytest.mark.parametrize("labels", [1, 8, 11])
def test_the_loss_is_binary_cross_entropy_summed_over_examples(labels):
    torch.manual_seed(0)
    outputs = OUTPUTS[:labels]
    given_ = [MultilabelExample(f"e{n}", "a", tuple(outputs[n::3])) for n in range(5)]
    encoded = encode(given_, outputs)
    logits, targets = 3 * torch.randn(5, labels), torch.from_numpy(encoded.targets.astype(np.int64))
    gold = torch.from_numpy(wanted(encoded, outputs)).float()
    probability = logits.sigmoid()
    expected = -(gold * probability.log() + (1 - gold) * (1 - probability).log()).mean(1).sum()
    whole = multilabel.loss(logits, targets, [3] * 5)
    torch.testing.assert_close(whole, expected)
    torch.testing.assert_close(
        sum(multilabel.loss(logits[n : n + 1], targets[n : n + 1], [3]) for n in range(5)), whole
    )
    assert multilabel.loss(logits.bfloat16(), targets, [3] * 5).dtype == torch.float32
    head = multilabel.head(8, labels, dropout=0.0)
    assert head(torch.randn(2, 8)).shape == (2, labels) and isinstance(head, classification.Head)


def test_decoding_gold_gives_gold_back():
    encoded = encode()
    logits = [(n, (4 * row - 2 - np.arange(len(OUTPUTS)) / 10)[None].astype(np.float32)) for n, row in
              enumerate(wanted(encoded))]  # fmt: skip
    found = multilabel.decode(encoded, reversed(logits), OUTPUTS)
    assert found == encoded.gold and all(isinstance(one, Ranked) for one in found)
    for one, gold in zip(found, encoded.gold, strict=True):
        assert one.ranking == [*gold, *(label for label in OUTPUTS if label not in gold)][:10]
    with pytest.raises(ValueError, match="missing"):
        multilabel.decode(encoded, logits[1:], OUTPUTS)


def test_labels_above_the_cutoff_likeliest_first():
    encoded = encode(EXAMPLES[:1], ["a", "b", "c", "d"])
    row = np.log(np.array([[0.3, 0.9, 0.6, 0.5]]) / (1 - np.array([[0.3, 0.9, 0.6, 0.5]]))).astype(np.float32)
    found = {cut: multilabel.decode(encoded, [(0, row)], ["a", "b", "c", "d"], cut)[0] for cut in (0.95, 0.55, 0.2)}
    assert found == {0.95: [], 0.55: ["b", "c"], 0.2: ["b", "c", "d", "a"]}
    assert multilabel.decode(encoded, [(0, row)], ["a", "b", "c", "d"]) == [["b", "c"]], "0.5 is not above 0.5"
    assert {tuple(one.ranking) for one in found.values()} == {("b", "c", "d", "a")}


@given(seed=st.integers(0, 9999), number=st.integers(1, 20), shift=st.floats(-3, 3))
@settings(deadline=None, max_examples=60)
def test_no_cutoff_is_better_than_the_tuned_one(seed, number, shift):
    encoded = encode(EXAMPLES[:number])
    drawn = np.random.default_rng(seed)
    rows = (wanted(encoded) + drawn.normal(0, 1, (number, len(OUTPUTS))) + shift).astype(np.float32)
    logits = list(enumerate(rows[:, None]))
    cutoff = multilabel.tune(encoded, iter(logits), OUTPUTS)
    tried = np.arange(1, 100) / 100
    scores = []
    for each in tried:
        found = multilabel.decode(encoded, logits, OUTPUTS, float(each))
        predicted = [[label in one for label in OUTPUTS] for one in found]
        scores.append(f1_score(wanted(encoded), predicted, average="micro", zero_division=0))
    best = tried[np.isclose(scores, max(scores))]
    assert cutoff in best and abs(cutoff - 0.5) == np.abs(best - 0.5).min()


def test_without_a_choice_the_cutoff_stays():
    encoded = encode(EXAMPLES[:1])
    assert not encoded.gold[0]
    assert multilabel.tune(encoded, [(0, np.zeros((1, len(OUTPUTS)), np.float32))], OUTPUTS) == 0.5


def test_no_examples():
    encoded = encode([])
    assert len(encoded) == len(encoded.tokens) == 0 and encoded.offsets.tolist() == [0]
    assert multilabel.decode(encoded, [], OUTPUTS) == []


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"example x has the label 'l00' \(did you mean 'l0'\?\), which is not among"):
        encode([MultilabelExample("x", "a", ("l1", "l00"))])
    with pytest.raises(InputError, match="no room for text"):
        encode(max_length=3)
    with pytest.raises(InputError, match="fast tokenizer"):
        multilabel.encode(EXAMPLES, object(), OUTPUTS, 24, 0)


def test_it_is_a_format_with_a_cutoff():
    module = formats.get("multilabel")
    assert module is multilabel and module.reads == "first" and isinstance(module, encoding.WithCutoff)
    assert not isinstance(formats.get("classification"), encoding.WithCutoff)
    assert module.counts(["a", "b"], Ranked(["b", "c", "d"])) == [1, 3, 2]
    assert module.outputs(["a", "b"], "plain") == ["a", "b"]


def test_examples_of_the_shared_helper_have_every_kind_of_label():
    assert {len(one.labels) for one in examples("multilabel", 30)} == {0, 1, 2, 3}
