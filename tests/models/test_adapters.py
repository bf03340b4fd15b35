"""Low-rank adapters: nothing at first, then what peft computes; merged, kept and stacked."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from small import encode, model_and_job, padded  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.errors import InputError, Stopped  # noqa: E402
from waystation.models.adapters import Adapters, attach, combined, continued, merged  # noqa: E402
from waystation.models.backbone import Checkpoint  # noqa: E402
from waystation.models.encoder import TaskModel  # noqa: E402
from waystation.models.vocabulary import EmbeddingDelta  # noqa: E402
from waystation.steps.recipes import Lora  # noqa: E402
from waystation.training.loop import train  # noqa: E402

KINDS = ["xlm-roberta", "bert", "deberta-v2", "modernbert"]
EVERY = ("query", "key", "value", "output", "feed-forward")
BLOCKS = 3
LENGTHS = [5, 9, 9, 2]
WIDTH = 32


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: tiny_checkpoint(tmp_path_factory.mktemp(kind), kind, layers=BLOCKS, spread=0.1) for kind in KINDS}


def layers_of(kind):
    return EVERY[3:] if kind == "modernbert" else EVERY


def encoder(folder, trained=None, dropout=0.0, frozen=None):
    checkpoint = Checkpoint(folder)
    rows, none = np.arange(checkpoint.vocabulary), EmbeddingDelta.none(WIDTH)
    return checkpoint.encoder(rows, none, None, dropout, 0.0, trained, frozen)


def texts():
    return torch.randint(4, 60, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))


def states(model):
    return model(texts(), LENGTHS)


def loss(found):
    """Not their norm: LayerNorm leaves nothing to learn of that."""
    return (found * torch.randn(found.shape, generator=torch.Generator().manual_seed(2))).sum()


def filled(model, lora, seed=0):
    """Matrices as after training, in the model and as they are stored."""
    draws = torch.Generator().manual_seed(seed)
    for value in model.weights().values():
        value.data.normal_(std=0.1, generator=draws)
    return Adapters(lora, {name: value.detach().clone() for name, value in model.weights().items()})


@pytest.mark.parametrize("kind", KINDS)
def test_at_first_nothing_has_changed(folders, kind):
    plain, lora = encoder(folders[kind]).train(), Lora(layers=layers_of(kind), dropout=0.5)
    adapted = encoder(folders[kind])
    attach(adapted, lora, seed=3)
    assert torch.equal(states(adapted.train()), states(plain))


@pytest.mark.parametrize("frozen", [None, 0, 2])
def test_matrices_of_blocks_that_are_not_frozen_and_the_head_are_all_that_learns(folders, frozen):
    model = encoder(folders["xlm-roberta"], frozen=frozen)
    attach(model, Lora(layers=("value", "feed-forward"), rank=4), seed=3)
    filled(model, Lora())
    task = TaskModel(model, torch.nn.Linear(WIDTH, 2))
    task(texts(), LENGTHS).square().sum().backward()
    learning = {name for name, value in task.named_parameters() if value.grad is not None and value.grad.any()}
    assert learning == {name for name, value in task.named_parameters() if value.requires_grad}
    places = ("attention.self.value", "intermediate.dense", "output.dense")
    assert learning == {"head.weight", "head.bias"} | {
        f"encoder.model.encoder.layer.{block}.{place}.lora_{side}.weight"
        for block in range(frozen or 0, BLOCKS)
        for place in places
        for side in "AB"
    }
    assert {tuple(value.shape) for value in model.weights().values()} == {
        *((4, WIDTH), (WIDTH, 4)),  # value
        *((2 * WIDTH, 4), (4, 2 * WIDTH)),  # the other two of the feed-forward part
    }


def test_the_seed_draws_the_matrices(folders):
    drawn = []
    for seed in (1, 1, 2):
        model = encoder(folders["bert"])
        torch.manual_seed(seed + 10 * len(drawn))  # of no effect
        attach(model, Lora(), seed)
        drawn.append({name: value.detach() for name, value in model.weights().items()})
    downs = [name for name in drawn[0] if "lora_A" in name]
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert not any(torch.equal(drawn[0][name], drawn[2][name]) for name in downs)
    values = torch.cat([drawn[0][name].flatten() for name in downs])
    bound = WIDTH**-0.5
    assert 0.98 * bound < values.abs().max() <= bound and abs(values.mean()) < 0.05 * bound


@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_compute_the_same(folders, kind):
    """Two sets on top of each other, of different shape, blocks and layers."""
    checkpoint, made = Checkpoint(folders[kind]), []
    shapes = [Lora(rank=3, alpha=5, layers=layers_of(kind)), Lora(rank=2, alpha=7, layers=layers_of(kind)[-1:])]
    for lora, frozen in zip(shapes, (None, 1), strict=True):
        model = encoder(folders[kind], merged(made, checkpoint.tensor), frozen=frozen)
        before = states(model)
        attach(model, lora, 0)
        made.append(filled(model, lora, seed=len(made)))
        after = states(model)
        assert (after - before).abs().max() > 0.05
    for sets in (made, [combined(made)]):
        whole = encoder(folders[kind], merged(sets, checkpoint.tensor))
        torch.testing.assert_close(states(whole), after, atol=1e-5, rtol=0)
    assert combined(made).lora.rank == 5 and combined(made[:1]) is made[0]
    assert merged([], checkpoint.tensor) == {}


def test_dropout_is_of_the_matrices_alone_and_of_training_alone(folders):
    lora = Lora(dropout=0.5, rank=4)
    model = encoder(folders["xlm-roberta"])
    attach(model, lora, 0)
    made = filled(model, lora)
    sure = states(model.eval())
    torch.manual_seed(0)
    draws = torch.stack([states(model.train()) for _ in range(2)])
    assert not torch.equal(draws[0], draws[1])
    layer = model.blocks[0].attention.self.query
    values = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))
    down, up = made.pair("encoder.layer.0.attention.self.query")
    expected = torch.nn.functional.linear(values, layer.weight, layer.bias) + values @ down.T @ up.T
    mean = torch.stack([layer(values) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, expected, atol=0.05, rtol=0)
    torch.testing.assert_close(states(model.eval()), sure)
    torch.testing.assert_close(layer(values), expected)


def test_activations_can_be_recomputed(folders):
    found = []
    for again in (False, True):
        model = encoder(folders["xlm-roberta"])
        attach(model, Lora(), 0)
        filled(model, Lora())
        if again:
            model.recompute_activations()
        loss(states(model.train())).backward()
        found.append([value.grad for value in model.weights().values()])
    assert len(found[0]) == 4 * BLOCKS
    torch.testing.assert_close(found[0], found[1])


def test_kept_matrices_are_gone_on_with(folders):
    lora = Lora(after="keep")
    first = encoder(folders["bert"])
    attach(first, lora, 0)
    made = filled(first, lora)
    below, start = continued([made], Lora(after="merge", dropout=0.1))
    assert list(below) == [] and start is made
    second = encoder(folders["bert"])
    attach(second, lora, 1, start)
    assert torch.equal(states(second), states(first))
    stacked = Adapters(Lora(after="stack"), made.factors)
    assert continued([stacked], lora) == ([stacked], None)
    assert continued([made], None) == ([made], None)
    assert continued([stacked, made], lora) == ([stacked], made)


def test_what_does_not_fit_is_refused(folders):
    with pytest.raises(InputError, match=r"modernbert has no layer query, value of its own; it has"):
        attach(encoder(folders["modernbert"]), Lora(), 0)
    with pytest.raises(InputError, match="all 3 blocks are frozen, none is left to adapt; lower `frozen`"):
        attach(encoder(folders["bert"], frozen=BLOCKS), Lora(), 0)
    model, lora = encoder(folders["bert"]), Lora(after="keep")
    attach(model, lora, 0)
    made = filled(model, lora)
    with pytest.raises(InputError, match="in other blocks; make `frozen` equal"):
        attach(encoder(folders["bert"], frozen=1), lora, 0, made)
    for other in (Lora(rank=4), Lora(alpha=1), Lora(layers=["key"])):
        with pytest.raises(InputError, match=r"rank 8, alpha 16, layers query, value: make both equal, or say"):
            continued([made], other)
    assert Lora(layers=["value", "query"]) == lora.model_copy(update={"after": "merge"})


def adapted_job(folder, workspace, stop_at=None, **recipe):
    done = []
    job = {"on_update": lambda update, loss: done.append(update), "should_stop": lambda: len(done) == stop_at}
    lora = Lora(dropout=0.2, after="keep")
    encoded = encode("tagging", number=24)
    model, made = model_and_job(folder, encoded, workspace, job=job, lora=lora, dropout=0.1, weight_decay=0.1, **recipe)
    attach(model.encoder, lora, 5)
    return model, made


@pytest.mark.parametrize("stop_at", [1, 5])
def test_stopped_it_goes_on_to_the_same_bits(folders, tmp_path, stop_at):
    from accelerate import Accelerator

    whole, job = adapted_job(folders["xlm-roberta"], tmp_path / "whole")
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    train(whole, job, Accelerator())
    stopped, job = adapted_job(folders["xlm-roberta"], tmp_path / "stopped", stop_at)
    with pytest.raises(Stopped):
        train(stopped, job, Accelerator())
    again, job = adapted_job(folders["xlm-roberta"], tmp_path / "stopped")
    train(again, job, Accelerator())
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        learned = "lora_" in name or name.startswith("head.")
        assert torch.equal(value, before[name]) is not learned, name


@pytest.mark.parametrize("kind", ["xlm-roberta", "deberta-v2"])
def test_states_and_gradients_are_those_of_peft(folders, kind):
    peft = pytest.importorskip("peft", reason="the library peft is not installed")
    from transformers import AutoModel

    lora = Lora(rank=3, alpha=5, layers=EVERY)
    ours = encoder(folders[kind]).train()
    attach(ours, lora, 0)
    made = filled(ours, lora)
    theirs = AutoModel.from_pretrained(folders[kind])
    for module in theirs.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=made.layers)
    theirs = peft.get_peft_model(theirs, config).train()
    names = {name: name.replace(".weight", ".default.weight") for name in made.factors}
    factors = {name.removeprefix("base_model.model."): value for name, value in theirs.named_parameters()}
    learning = {name for name, value in factors.items() if value.requires_grad}
    assert learning == set(names.values())
    for name, value in made.factors.items():
        factors[names[name]].data.copy_(value)
    tokens, mask = padded([part.tolist() for part in torch.split(texts(), LENGTHS)], 1)
    expected = theirs(input_ids=tokens, attention_mask=mask).last_hidden_state[mask.bool()]
    found = states(ours)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    for each in (found, expected):
        loss(each).backward()
    largest = max(float(value.grad.abs().max()) for value in ours.weights().values())
    for name, value in ours.weights().items():
        torch.testing.assert_close(value.grad, factors[names[name]].grad, atol=1e-5 * largest, rtol=0)
