"""FILTER's losses: equal to translate-train and to supervised training where they must be, however batches are cut."""

from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from accelerate import Accelerator  # noqa: E402
from fused import FORMATS, LAYERS, encode, languages, model_for, outputs, stream_and_model, translated  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import formats  # noqa: E402
from waystation.errors import Stopped  # noqa: E402
from waystation.evaluation.predict import logits_of, predict, tuned  # noqa: E402
from waystation.formats.encoding import IGNORED, joined, offsets_of, ranges  # noqa: E402
from waystation.steps.recipes import Fusion, Recipe  # noqa: E402
from waystation.training import loop  # noqa: E402
from waystation.training.batches import collate, windows_of  # noqa: E402
from waystation.training.fusing import Taught, distilled  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), layers=LAYERS, spread=0.1)


def update(stream, model, turn=0, budget=10_000):
    """(loss, gradients) of one batch."""
    model.zero_grad()
    loss, tokens = loop._update(model, stream, turn, Accelerator(cpu=True), budget)
    assert tokens == stream.tokens(stream.draw(turn))
    return loss, {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def assert_same(found, expected, atol=1e-5):
    loss, gradients = found
    assert loss == pytest.approx(expected[0], abs=atol)
    assert gradients.keys() == expected[1].keys()
    for name, value in expected[1].items():
        torch.testing.assert_close(gradients[name], value, rtol=0, atol=atol, msg=lambda text, name=name: name + text)


def teacher_for(format, seed=3, sharp=1.0):
    """Random logits of every window of the three languages."""
    drawn, parts = np.random.default_rng(seed), []
    for part in languages(format):
        sizes = collate(part, np.arange(len(part.example)), np.zeros(999, np.int32), formats.get(format).reads).sizes
        logits = sharp * drawn.normal(size=(int(sizes.sum()), len(outputs(format))))
        parts.append((logits.astype(np.float32), offsets_of(sizes)))
    return Taught(parts)


def certain(format, height=1e4):
    """A teacher that says the labels, with probability 1."""
    parts, form = [], formats.get(format)
    for part in languages(format):
        batch = collate(part, np.arange(len(part.example)), np.zeros(999, np.int32), form.reads)
        sizes, targets = batch.sizes, part.targets
        logits = np.zeros((int(sizes.sum()), len(outputs(format))), np.float32)
        starts = offsets_of(sizes)
        if format == "span":
            for side in (0, 1):
                logits[starts[:-1] + targets[:, side], side] = height
        elif format == "multilabel":
            logits[:] = height * (2.0 * np.unpackbits(targets, axis=1, count=logits.shape[1]) - 1)
        elif format == "choice":
            begins = np.flatnonzero(targets != IGNORED)
            logits[begins + targets[begins], 0] = height
        else:
            logits[np.arange(len(logits)), batch.targets.clamp(min=0).numpy()] = height  # tags: O where unknown
        parts.append((logits, starts))
    return Taught(parts)


# What an update is


@pytest.mark.parametrize("format", FORMATS)
def test_without_a_fused_block_it_is_translate_train(folder, format):
    """Of every text with its label, apart, and its original; in tagging of the originals alone."""
    stream, model = stream_and_model(folder, format, fused=0, languages="every")
    drawn, encoded, form = stream.draw(0), stream.pairs.encoded, formats.get(format)
    originals = np.array([stream.pairs.originals[stream.pairs.examples == at][0] for at in drawn])
    assert (drawn != originals).any() and len(drawn) == 7

    def mean_loss(examples):
        windows = windows_of(encoded, examples)
        batch = collate(encoded, windows, stream.places, form.reads)
        units = len(examples) if form.unit == "example" else len(windows)
        units = units if form.unit != "token" else len(batch.targets)
        return form.loss(batch.logits(model, CPU), batch.targets, batch.lengths) / units

    model.zero_grad()
    expected = mean_loss(originals)
    if format != "tagging":
        expected = expected + mean_loss(drawn)
    expected.backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    assert_same(update(stream, model, budget=90), (expected.item(), gradients))


@pytest.mark.parametrize("shape", [(1, 1), (0, 3), (2, 1)])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_how_a_batch_is_cut_changes_nothing(folder, format, shape, alpha):
    more = {"alpha": alpha, "temperature": 2.0, "teacher": teacher_for(format)} if alpha else {}
    stream, model = stream_and_model(folder, format, local=shape[0], fused=shape[1], languages="every", **more)
    whole = update(stream, model, turn=1)
    for budget in (1, 60, 150):
        assert len(stream.cuts(stream.draw(1), budget, False)) > 1
        assert_same(update(stream, model, turn=1, budget=budget), whole)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "tagging"])
def test_a_teacher_that_is_certain_is_supervision(folder, format):
    """At temperature 1, with KL as the mean over the batch."""
    plain, model = stream_and_model(folder, format)
    stream, _ = stream_and_model(folder, format, alpha=1.0, temperature=1.0, teacher=certain(format))
    assert (stream.pairs.encoded.targets != IGNORED).all() or format == "choice"
    for turn in (0, 2):
        assert_same(update(stream, model, turn), update(plain, model, turn))


def test_in_tagging_a_certain_teacher_stands_for_the_tags_of_the_translation(folder):
    stream, model = stream_and_model(folder, "tagging", alpha=0.3, teacher=certain("tagging"), languages="every")
    pairs, form = stream.pairs, formats.get("tagging")
    at = windows_of(pairs.index, stream.draw(0))
    batch = collate(pairs.encoded, pairs.windows[at].ravel(), stream.places, "scored")
    logits, window = batch.logits(model, CPU, "", stream.fusion), np.repeat(np.arange(2 * len(at)), batch.sizes)
    means = []
    for side in (0, 1):
        rows = np.isin(window, 2 * np.flatnonzero(pairs.counted[at, side]) + side)
        means.append(form.loss(logits[rows], batch.targets[rows].clamp(min=0), []) / rows.sum())
    assert update(stream, model)[0] == pytest.approx((0.3 * means[0] + means[1]).item(), abs=1e-5)


@pytest.mark.parametrize("format", FORMATS)
def test_the_weights_of_labels_and_teacher(folder, format):
    """(1 − α) · labels + α · teacher on the translation, labels on the original; in tagging no labels there."""
    taught = teacher_for(format)
    losses = {}
    for alpha in (0.0, 0.25, 1.0):
        more = {"teacher": taught} if alpha else {}
        stream, model = stream_and_model(folder, format, alpha=alpha, temperature=3.0, languages="every", **more)
        losses[alpha] = update(stream, model)[0]
    assert losses[0.25] == pytest.approx(0.75 * losses[0] + 0.25 * losses[1.0], abs=1e-5)
    assert losses[1.0] != pytest.approx(losses[0], abs=1e-3)


def test_the_logits_of_the_original_are_those_of_its_own_first_token(folder):
    """Not of the second token of the translation, as in the published code."""
    stream, model = stream_and_model(folder, "classification")
    drawn = stream.draw(0)
    (cut,) = stream.cuts(drawn, 10_000, False)
    windows, encoded = stream.pairs.windows[cut], stream.pairs.encoded
    lengths = np.diff(encoded.offsets)[windows].ravel()
    tokens = np.concatenate(
        [encoded.tokens[ranges(encoded.offsets[[at]], np.diff(encoded.offsets)[[at]])] for at in windows.ravel()]
    )
    places = torch.from_numpy(stream.places[tokens].astype(np.int64))
    states = torch.split(model.encoder(places, lengths.tolist(), seen=seen(lengths, stream.fusion)), lengths.tolist())
    firsts = torch.stack([part[0] for part in states])
    targets = torch.from_numpy(encoded.targets[windows.ravel()].astype(np.int64))
    logits = model.head(firsts)
    expected = sum(torch.nn.functional.cross_entropy(logits[side::2], targets[side::2]) for side in (0, 1))
    assert update(stream, model)[0] == pytest.approx(expected.item(), abs=1e-5)


def seen(lengths, fusion):
    pairs = (lengths[::2] + lengths[1::2]).tolist()
    apart = lengths.tolist()
    return [pairs if fusion.local <= at < fusion.local + fusion.fused else apart for at in range(LAYERS)]


# Distillation


def test_distillation_of_classes_is_the_formula():
    student, teacher, t = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3), 2.5
    p, q = torch.softmax(teacher / t, -1), torch.softmax(student / t, -1)
    expected = t**2 * (p * (p.log() - q.log())).sum()
    found = distilled(
        formats.get("classification"), student, teacher, torch.zeros(5).long(), [1] * 5, Fusion(temperature=t)
    )
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


def test_distillation_of_spans_is_over_the_tokens_of_each_window_alone():
    lengths = [3, 7, 1]
    student, teacher = torch.randn(11, 2), torch.randn(11, 2)
    expected = 0.0
    for own, other in zip(student.split(lengths), teacher.split(lengths), strict=True):
        for side in (0, 1):
            p, q = torch.softmax(other[:, side], 0), torch.softmax(own[:, side], 0)
            expected += (p * (p.log() - q.log())).sum().item() / 2
    targets = torch.zeros(3, 2).long()
    assert distilled(formats.get("span"), student, teacher, targets, lengths, Fusion()).item() == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize("format", FORMATS)
def test_a_student_that_says_the_same_has_nothing_to_learn(format):
    form, classes = formats.get(format), len(outputs(format))
    logits = torch.randn(12, classes, requires_grad=True)
    targets = {
        "span": torch.zeros(3, 2),
        "multilabel": torch.zeros(12, 1),
        "choice": torch.tensor([1, IGNORED, IGNORED] * 4),
    }.get(format, torch.zeros(12))
    loss = distilled(form, logits, logits.detach(), targets.long(), [4, 3, 5], Fusion(temperature=2.0))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5) and logits.grad.abs().max() < 1e-5


# Which examples


@pytest.mark.parametrize("format", FORMATS)
def test_an_epoch_shows_every_language_or_one(folder, format):
    every, _ = stream_and_model(folder, format, languages="every", batch=5)
    assert every.size == 46  # three times 16, but two
    epoch = [at for turn in range(10) for at in every.draw(turn).tolist()]
    assert sorted(epoch) == every.pairs.examples.tolist()
    one, _ = stream_and_model(folder, format, languages="one", batch=5)
    assert one.size == 16
    seen_in = Counter()
    for epoch in range(30):
        drawn = np.concatenate([one.draw(4 * epoch + turn) for turn in range(4)])
        assert sorted(drawn % 16) == list(range(16)), "each original once"
        seen_in.update((drawn // 16).tolist())
        assert not {36, 41} & set(drawn.tolist()), "a translation that is not there"
    assert min(seen_in.values()) > 0.25 * sum(seen_in.values())
    assert (one.draw(3) == stream_and_model(folder, format, languages="one", batch=5)[0].draw(3)).all()


def test_as_published_tagging_draws_one_language():
    assert Fusion().settled("tagging").languages == "one" and Fusion().settled("span").languages == "every"
    assert Fusion(temperature=6).settled("span") == Fusion(languages="every")
    assert Fusion(temperature=6, alpha=0.5).teacher() == Fusion()


def test_a_teacher_and_its_weight_go_together(folder):
    for given in ({"alpha": 0.5}, {"teacher": teacher_for("classification")}):
        with pytest.raises(ValueError, match="teacher"):
            stream_and_model(folder, "classification", **given)


# Prediction


@pytest.mark.parametrize("format", FORMATS)
def test_predictions_are_those_of_the_text_beside_its_partner(folder, format):
    text, partners = encode(format, 2, longest=30), encode(format, 3, longest=30)
    if format == "choice":
        text = translated(format, 2, partners)
    model, places = model_for(folder, joined([text, partners]), format)
    form, fusion = formats.get(format), Fusion(local=1, fused=1)
    plain = predict(model, text, places, form, outputs(format))

    def fused(given, with_, **more):
        found = logits_of(model, given, places, form, fusion=with_, **more)
        return [values for _, values in sorted(found, key=lambda one: one[0])]

    def same(one, other):
        return all(np.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))

    apart = [v for _, v in sorted(logits_of(model, text, places, form), key=lambda one: one[0])]
    assert same(fused(text, Fusion(fused=0), partners=partners), apart)
    beside = fused(text, fusion, partners=partners)
    assert not same(beside, apart) and not same(beside, fused(text, fusion))
    assert same(fused(text, fusion), fused(text, fusion, partners=text)), "no partner: the text itself"
    assert same(beside, fused(text, fusion, partners=partners, tokens_per_micro_batch=1))
    more = {"fusion": Fusion(fused=0), "partners": partners}
    assert predict(model, text, places, form, outputs(format), **more) == plain
    held = np.array([1, 4, 10])
    every = predict(model, text, places, form, outputs(format), fusion=fusion, partners=partners)
    some = predict(model, text, places, form, outputs(format), fusion=fusion, partners=partners, examples=held)
    assert some == [every[at] for at in held] and len(every) == len(text)
    alone = predict(model, text, places, form, outputs(format), fusion=fusion, examples=held)
    cutoff, found = tuned(model, text, places, form, outputs(format), examples=held, fusion=fusion)
    assert found == alone or cutoff is not None


# Training


@pytest.mark.parametrize("format", ["classification", "tagging", "span"])
def test_an_interrupted_training_goes_on_to_the_same_bits(folder, format, tmp_path):
    recipe = Recipe(updates=6, rate=1e-3, tokens_per_micro_batch=120, checkpoint_seconds=3600)

    def trained(work, stop_after=None):
        more = {"alpha": 0.5, "teacher": teacher_for(format)}
        stream, model = stream_and_model(folder, format, dropout=0.1, **more)
        asked = iter(range(99))
        stop = (lambda: next(asked) >= stop_after) if stop_after is not None else (lambda: False)
        job = loop.Job([stream], recipe, 2, tmp_path / work, should_stop=stop)
        return model, loop.train(model, job, Accelerator(cpu=True))

    whole, log = trained("whole")
    with pytest.raises(Stopped):
        trained("cut", stop_after=3)
    again, second = trained("cut")
    assert second.losses == log.losses and len(log.losses) == 6
    for value, same in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(value, same)


def test_it_learns(folder, tmp_path):
    stream, model = stream_and_model(folder, "span", alpha=0.5, teacher=certain("span", 9.0))
    recipe = Recipe(updates=40, rate=3e-3, head_rate=3e-3, tokens_per_micro_batch=300)
    log = loop.train(model, loop.Job([stream], recipe, 2, tmp_path), Accelerator(cpu=True))
    assert np.mean(log.losses[-5:]) < 0.7 * np.mean(log.losses[:5])
