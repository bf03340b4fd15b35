"""MLM as a stream: equal to transformers' models, languages drawn as said, nothing but the turn decides."""

from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from accelerate import Accelerator  # noqa: E402
from masked import encoded_texts, masked_checkpoint  # noqa: E402
from small import padded  # noqa: E402
from tiny import tiny_checkpoint, tiny_tokenizer  # noqa: E402

from waystation.formats.encoding import IGNORED  # noqa: E402
from waystation.models import mlm as heads  # noqa: E402
from waystation.models.backbone import Checkpoint  # noqa: E402
from waystation.models.encoder import TaskModel  # noqa: E402
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup  # noqa: E402
from waystation.steps.recipes import Mlm, Recipe  # noqa: E402
from waystation.training import loop  # noqa: E402
from waystation.training.masking import masking  # noqa: E402
from waystation.training.mlm import Languages, MlmStream, rows_in_use  # noqa: E402

KINDS = ["xlm-roberta", "bert"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return {kind: masked_checkpoint(tmp_path_factory.mktemp("masked") / kind, kind) for kind in KINDS}


def stream_and_model(folder, kind, dropout=0.0, batch=6, **mlm):
    """The stream of a phase that reads nothing but the text, as a step would make it, and its model."""
    used, checkpoint, tokenizer, texts = Mlm(**mlm), Checkpoint(folder), tiny_tokenizer(kind), encoded_texts(kind)
    touched = active_rows(
        np.concatenate([one.tokens for some in texts.values() for one in some]), checkpoint.vocabulary
    )
    rows = rows_in_use(touched, used, tokenizer.mask_token_id, checkpoint.vocabulary, 5)
    encoder = checkpoint.encoder(rows, EmbeddingDelta.none(32), None, dropout, 0.0)
    torch.manual_seed(7)
    head, _ = heads.mlm_head(checkpoint, rows, None)
    model = TaskModel(encoder, torch.nn.Identity(), {"mlm": head})
    places = lookup(rows, checkpoint.vocabulary)
    stream = MlmStream(texts, places, masking(used, tokenizer, rows), batch, used.smooth, seed=11)
    return stream, model, rows


def mean_loss(stream, model, turn, budget):
    """The loss of a batch, its gradients in the model."""
    model.zero_grad()
    return loop._update(model, stream, turn, Accelerator(cpu=True), budget)


def reference(model, stream, rows, turn):
    """(logits of the tokens to be predicted, which rows they should be), by transformers in one padded batch."""
    shown = stream._masked(turn)
    spans = [slice(*shown.offsets[at : at + 2]) for at in range(len(shown.example))]
    tokens, mask = padded([shown.tokens[span].tolist() for span in spans], model.config.pad_token_id)
    targets = padded([shown.targets[span].tolist() for span in spans], IGNORED)[0]
    assert not mask.all(), "choose another turn: nothing is padded"
    logits = model(input_ids=tokens, attention_mask=mask).logits[..., torch.from_numpy(rows)]
    return logits[targets != IGNORED], targets[targets != IGNORED]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("softmax", [{}, {"softmax": "sampled", "sampled": 9}])
def test_loss_and_gradients_are_those_of_transformers_with_the_same_masks(made, kind, softmax, monkeypatch):
    folder, auto = made[kind]
    stream, model, rows = stream_and_model(folder, kind, probability=0.3, **softmax)
    assert (len(rows) == Checkpoint(folder).vocabulary) == (not softmax)
    monkeypatch.setattr(heads, "LOGITS", 4 * len(rows))
    auto.zero_grad()
    expected = torch.nn.functional.cross_entropy(*reference(auto, stream, rows, 1))
    expected.backward()
    loss, tokens = mean_loss(stream, model, 1, 40)
    assert loss == pytest.approx(expected.item(), abs=1e-5) and tokens == stream.tokens(stream.draw(1))
    found = {name: value.grad for name, value in model.named_parameters()}
    base, prefix = auto.base_model, "lm_head" if kind == "xlm-roberta" else "cls.predictions.transform"
    for name, value in base.named_parameters():
        if name.startswith("pooler."):
            continue
        wanted = value.grad[rows] if name == "embeddings.word_embeddings.weight" else value.grad
        torch.testing.assert_close(found.pop(f"encoder.model.{name}"), wanted, rtol=0, atol=1e-5, msg=name)
    own = dict(auto.named_parameters())
    norm = "layer_norm" if kind == "xlm-roberta" else "LayerNorm"
    bias = own["lm_head.bias" if kind == "xlm-roberta" else "cls.predictions.bias"].grad[rows]
    torch.testing.assert_close(found.pop("heads.mlm.bias"), bias, rtol=0, atol=1e-5)
    for ours, theirs in (("dense", "dense"), ("norm", norm)):
        for part in ("weight", "bias"):
            wanted = own[f"{prefix}.{theirs}.{part}"].grad
            torch.testing.assert_close(found.pop(f"heads.mlm.{ours}.{part}"), wanted, rtol=0, atol=1e-5)
    assert not found


def test_the_softmax_over_all_rows_sampled_is_the_full_one(made):
    folder, _ = made["xlm-roberta"]
    full, one, _ = stream_and_model(folder, "xlm-roberta")
    all_sampled, other, rows = stream_and_model(folder, "xlm-roberta", softmax="sampled", sampled=10_000)
    assert rows.tolist() == list(range(Checkpoint(folder).vocabulary))
    assert mean_loss(full, one, 0, 100) == mean_loss(all_sampled, other, 0, 100)
    for value, same in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value.grad, same.grad, rtol=0, atol=0)


def test_sampled_rows_are_those_of_the_texts_and_others_drawn_with_the_seed():
    touched, mlm = np.array([2, 5, 7]), Mlm(softmax="sampled", sampled=20)
    rows = rows_in_use(touched, mlm, 99, 100, 1)
    assert {2, 5, 7, 99} < set(rows.tolist()) and len(rows) == 24 and (np.diff(rows) > 0).all()
    assert (rows == rows_in_use(touched, mlm, 99, 100, 1)).all()
    assert (rows != rows_in_use(touched, mlm, 99, 100, 2)).any()
    assert rows_in_use(touched, Mlm(), 99, 100, 1).tolist() == list(range(100))


@pytest.mark.parametrize("whole_word", [False, True])
def test_masks_and_gradients_do_not_depend_on_how_the_batch_is_cut(made, whole_word):
    stream, model, _ = stream_and_model(made["xlm-roberta"][0], "xlm-roberta", whole_word=whole_word, probability=0.3)
    loss, _ = mean_loss(stream, model, 2, 10_000)
    whole = [value.grad.clone() for value in model.parameters()]
    for budget in (1, 40):
        assert len(stream.cuts(stream.draw(2), budget, False)) > 1
        assert mean_loss(stream, model, 2, budget)[0] == pytest.approx(loss, abs=1e-5)
        for value, same in zip(model.parameters(), whole, strict=True):
            torch.testing.assert_close(value.grad, same, rtol=0, atol=1e-5)


def test_a_turn_is_the_same_whatever_was_asked_before(made):
    build = lambda: stream_and_model(made["bert"][0], "bert")[0]  # noqa: E731
    stream, fresh = build(), build()
    before = [(stream.draw(turn), stream._masked(turn), stream.units(stream.draw(turn), turn)) for turn in range(8)]
    for turn in (5, 0, 7):
        drawn, masked, units = before[turn]
        np.testing.assert_array_equal(fresh.draw(turn), drawn)
        np.testing.assert_array_equal(fresh._masked(turn).tokens, masked.tokens)
        assert fresh.units(drawn, turn) == units == (masked.targets != IGNORED).sum() > 0
    turns = [masked.tokens.tolist() for _, masked, _ in before]
    assert len({str(one) for one in turns}) == len(turns)


def test_every_window_of_every_source_is_read(made):
    stream, _, _ = stream_and_model(made["bert"][0], "bert", smooth=1.0, batch=4)
    parts = [one for some in encoded_texts("bert").values() for one in some]
    assert stream.size == sum(len(part.example) for part in parts)
    rounds = [stream._gathered(np.array([at])).tokens.tolist() for at in range(stream.size)]
    windows = [
        part.tokens[a:b].tolist() for part in parts for a, b in zip(part.offsets, part.offsets[1:], strict=False)
    ]
    assert rounds == windows
    seen = Counter(window for turn in range(4 * stream.size) for window in stream.draw(turn).tolist())
    assert set(seen) == set(range(stream.size))


@pytest.mark.parametrize("smooth", [0.0, 0.3, 1.0])
def test_languages_are_drawn_with_their_smoothed_shares(smooth):
    sizes, number = [900, 90, 10], 20_000
    drawn = Languages(sizes, smooth, 3)(0, number)
    counts = Counter(language for language, _ in drawn)
    weights = [size**smooth for size in sizes]
    for language, weight in enumerate(weights):
        chance = weight / sum(weights)
        assert abs(counts[language] - number * chance) < 5 * (number * chance * (1 - chance)) ** 0.5
    for language, size in enumerate(sizes):
        order = [window for one, window in drawn if one == language]
        epochs = [order[at : at + size] for at in range(0, len(order) - size + 1, size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert len(epochs) < 2 or epochs[0] != epochs[1]


def test_places_are_the_same_in_any_order():
    straight = Languages([5, 3], 0.5, 1)(0, 10_000)
    again = Languages([5, 3], 0.5, 1)
    assert again(9_000, 500) == straight[9_000:9_500] and again(10, 20) == straight[10:30]
    assert Languages([5, 3], 0.5, 2)(0, 100) != straight[:100]


def test_text_is_learned_from(tmp_path):
    stream, model, _ = stream_and_model(tiny_checkpoint(tmp_path / "plain"), "xlm-roberta", batch=8)
    recipe = Recipe(updates=60, rate=3e-3, head_rate=3e-3, tokens_per_micro_batch=80)
    log = loop.train(model, loop.Job([stream], recipe, 2, tmp_path / "work"), Accelerator(cpu=True))
    assert np.mean(log.losses[-10:]) < np.mean(log.losses[:5]) - 0.5
