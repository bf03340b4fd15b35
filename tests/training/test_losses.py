"""Label smoothing and class weights against torch, balanced weights against counts, and when a phase ends early."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from accelerate import Accelerator  # noqa: E402
from sklearn.utils.class_weight import compute_class_weight  # noqa: E402
from small import encode, first, model_and_job, outputs  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402
from torch.nn import functional  # noqa: E402

from waystation import formats  # noqa: E402
from waystation.errors import Stopped  # noqa: E402
from waystation.formats.encoding import IGNORED  # noqa: E402
from waystation.steps.recipes import Recipe, Validation  # noqa: E402
from waystation.training import loop  # noqa: E402
from waystation.training.losses import class_weights, criterion, out_of_patience  # noqa: E402

CPU = Accelerator(cpu=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3


def packed(wanted):
    return torch.from_numpy(np.packbits(wanted.numpy().astype(bool), axis=1).astype(np.int64))


# The formats' losses


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 1.0, 3.0, 0.7])], ids=["", "weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("format", ["classification", "tagging"])
def test_losses_of_classes_are_those_of_torch(format, smoothing, weights):
    logits, targets = drawn(6, 4), torch.tensor([0, 3, 1, 1, 2, 0])
    found = formats.get(format).loss(logits, targets, [3] * 6, smoothing, weights)
    expected = functional.cross_entropy(logits, targets, weights, label_smoothing=smoothing, reduction="none").sum()
    torch.testing.assert_close(found, expected)
    # and by hand: the smoothed target over all classes, each with its weight
    each = torch.ones(4) if weights is None else weights
    smoothed = (1 - smoothing) * functional.one_hot(targets, 4) + smoothing / 4
    torch.testing.assert_close(found, -(smoothed * each * torch.log_softmax(logits, 1)).sum())


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 1.0, 3.0])], ids=["", "weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_several_labels(smoothing, weights):
    logits, wanted = drawn(5, 3), torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]]).float()
    found = formats.get("multilabel").loss(logits, packed(wanted), [3] * 5, smoothing, weights)
    loss = torch.nn.BCEWithLogitsLoss(reduction="sum", pos_weight=weights)
    torch.testing.assert_close(found, loss(logits, wanted * (1 - smoothing) + smoothing / 2) / 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothing_of_choices_goes_to_the_options_of_the_example(smoothing):
    logits, sizes, answers = drawn(9, 1), [2, 4, 3], [1, 0, 2]
    targets = torch.full((9,), IGNORED)
    targets[[0, 2, 6]] = torch.tensor(answers)
    found = formats.get("choice").loss(logits.requires_grad_(), targets, [5] * 9, smoothing)
    pairs = zip(logits[:, 0].split(sizes), answers, strict=True)
    each = [functional.cross_entropy(row[None], torch.tensor([at]), label_smoothing=smoothing) for row, at in pairs]
    torch.testing.assert_close(found, sum(each))
    found.backward()
    assert torch.isfinite(logits.grad).all()


# Weights


def gold_labels(encoded, examples):
    golds = (encoded.gold[example] for example in examples)
    return [label for gold in golds for label in ([gold] if isinstance(gold, str) else gold)]


@pytest.mark.parametrize("format", ["tagging", "classification", "multilabel"])
def test_balanced_weights_are_inverse_to_the_frequency_in_what_is_learned(format):
    encoded, examples = encode(format, longest=40, number=40), np.arange(5, 30)
    labels, recipe = gold_labels(encoded, examples), Recipe(class_weights="balanced")
    found = class_weights(recipe, formats.get(format), outputs(format), encoded, examples).tolist()
    weight = dict(zip(outputs(format), found, strict=True))
    assert np.mean([weight[label] for label in labels]) == pytest.approx(1, rel=1e-6)
    there = sorted(set(labels))
    expected = compute_class_weight("balanced", classes=np.array(there), y=labels)
    np.testing.assert_allclose([weight[label] for label in there], expected, rtol=1e-6)
    absent = weight.keys() - set(there)
    assert absent == ({"I-PER", "I-LOC"} if format == "tagging" else set())
    assert all(weight[label] == 1 for label in absent)
    everything = class_weights(recipe, formats.get(format), outputs(format), encoded, np.arange(40)).tolist()
    assert found != everything


@pytest.mark.parametrize(
    ("format", "given_weights", "expected"),
    [
        ("classification", {"bad": 2.5}, [1, 2.5, 1]),
        ("multilabel", {"person": 3, "long": 0.5}, [3, 1, 0.5]),
        ("tagging", {"LOC": 4, "O": 0.1}, [0.1, 1, 1, 4, 4]),  # O, B-PER, I-PER, B-LOC, I-LOC
    ],
)
def test_weights_by_label(format, given_weights, expected):
    recipe, encoded = Recipe(class_weights=given_weights), encode(format)
    found = class_weights(recipe, formats.get(format), outputs(format), encoded, np.arange(30))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_a_recipe_without_either_has_the_formats_own_loss():
    form, encoded = formats.get("tagging"), encode("tagging")
    assert criterion(Recipe(), form, outputs("tagging"), encoded, np.arange(30)) is form.loss


def update(folder, format, encoded, budget=10_000, even=False, **recipe):
    """(mean loss, gradients) of one batch with the loss that the recipe asks for; ``even``: all logits are 0."""
    model, job = model_and_job(folder, encoded, "unused", format=format, batch=12, **recipe)
    torch.manual_seed(0)
    for value in model.head.parameters():  # far enough from even that smoothing is felt
        torch.nn.init.normal_(value, std=0.0 if even else 1.0)
    stream, form = first(job), formats.get(format)
    loss = criterion(job.recipe, form, outputs(format), encoded, stream.sampler.examples)
    found, _ = loop._update(model, replace(stream, criterion=loss), 1, CPU, budget)
    return found, {name: value.grad for name, value in model.named_parameters()}


@pytest.mark.parametrize("format", ["tagging", "classification", "multilabel", "choice"])
def test_a_softened_loss_does_not_depend_on_how_the_batch_is_cut(folder, format):
    encoded = encode(format, longest=30)
    recipe = {"label_smoothing": 0.2, "class_weights": None if format == "choice" else "balanced"}
    loss, whole = update(folder, format, encoded, **recipe)
    other, cut = update(folder, format, encoded, 30, **recipe)
    assert other == pytest.approx(loss, abs=1e-5)
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-5, atol=1e-5)
    assert update(folder, format, encoded)[0] != pytest.approx(loss, abs=1e-4), "the recipe was not listened to"


def test_what_the_loop_divides_by_stays_the_number_of_labels(folder):
    """Each example's loss counts its weight: no more is divided out, as torch's own mean would."""
    encoded = encode("classification", number=13)  # the second batch of 12 is one example
    counts = np.bincount(encoded.targets)
    assert len(set(counts.tolist())) > 1, "choose examples that are not balanced"
    (example,) = model_and_job(folder, encoded, "unused", batch=12)[1].streams[0].draw(1)
    expected = np.log(3) * 13 / (3 * counts[encoded.targets[example]])
    loss, _ = update(folder, "classification", encoded, even=True, class_weights="balanced")
    assert loss == pytest.approx(expected, abs=1e-5) and loss != pytest.approx(np.log(3), abs=1e-2)


# Patience


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 4))
def test_patience_is_counted_in_validations_without_a_new_best(scores, patience):
    stale, best, over = 0, float("-inf"), False
    for number, score in enumerate(scores, 1):
        stale, best = (0, score) if score > best else (stale + 1, best)
        over = stale >= patience
        found = out_of_patience([(at, s) for at, s in enumerate(scores[:number])], Validation(patience=patience))
        assert found == over
    assert not out_of_patience([(1, 5.0), (2, 1.0), (3, 1.0)], Validation())
    assert not out_of_patience([(1, 5.0)], None)


SCORES = [10.0, 30.0, 20.0, 25.0, 5.0, 90.0]


def patient(folder, workspace, select, stop_after=99, keep=False):
    """Validated at every second of 12 updates with ``SCORES``; patience 2 ends it after the fourth validation.

    Returns the weights at the end, the log, and the weights at each validation.
    """
    asked, seen, saved = [], [], loop.checkpoint.load(workspace)
    before = 0 if saved is None else len(saved.progress["validation"])

    def validate(model):
        seen.append(state(model))
        return {"": SCORES[before + len(seen) - 1]}

    def should_stop():
        asked.append(1)
        return len(asked) > stop_after

    validation = {"fraction": 0.2, "every": 2, "select": select, "patience": 2}
    hooks = {"validate": validate, "should_stop": should_stop, "keep_state": keep}
    model, job = model_and_job(
        folder, encode("tagging"), workspace, updates=12, dropout=0.1, validation=validation, job=hooks
    )
    log = loop.train(model, job, CPU)
    return state(model), log, seen


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


@pytest.fixture(scope="module")
def unstopped(folder, tmp_path_factory):
    return {select: patient(folder, tmp_path_factory.mktemp(select), select) for select in ("last", "best")}


@pytest.mark.parametrize("select", ["last", "best"])
def test_a_phase_ends_when_patience_does(folder, tmp_path, unstopped, select):
    found, log, seen = unstopped[select]
    assert len(log.losses) == 8
    assert log.validation == [(2 * n, SCORES[n - 1]) for n in (1, 2, 3, 4)]
    assert log.selected == (4 if select == "best" else 8)
    assert_equal(found, seen[1 if select == "best" else 3])
    model, job = model_and_job(folder, encode("tagging"), tmp_path, updates=12, dropout=0.1)
    assert loop.train(model, job, CPU).losses[:8] == log.losses, "the schedule is that of all updates"


@pytest.mark.parametrize("stop_after", [0, 1, 4, 5, 7])
@pytest.mark.parametrize("select", ["last", "best"])
def test_patience_outlasts_a_stop(folder, tmp_path, unstopped, select, stop_after):
    whole, log, _ = unstopped[select]
    with pytest.raises(Stopped):
        patient(folder, tmp_path, select, stop_after)
    again, after, _ = patient(folder, tmp_path, select)
    assert (after.losses, after.validation, after.selected) == (log.losses, log.validation, log.selected)
    assert_equal(again, whole)


def test_a_phase_whose_last_state_was_kept_is_not_gone_on_with(folder, tmp_path):
    whole, log, _ = patient(folder, tmp_path, "last", keep=True)
    again, after, validated = patient(folder, tmp_path, "last", keep=True)
    assert not validated and after.losses == log.losses
    assert_equal(again, whole)
