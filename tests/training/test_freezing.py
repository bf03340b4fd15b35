"""Which parameters a phase trains, at what rate and from when on: by name, and against plain torch loops."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from accelerate import Accelerator  # noqa: E402
from small import encode, first, model_and_job  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.errors import InputError, Stopped  # noqa: E402
from waystation.models.backbone import WORD_EMBEDDING  # noqa: E402
from waystation.training import freezing, loop  # noqa: E402

CPU = Accelerator(cpu=True)
KINDS = ["xlm-roberta", "bert", "deberta-v2", "modernbert"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: tiny_checkpoint(tmp_path_factory.mktemp(kind), kind, layers=4) for kind in KINDS}


def place(name, depth=4):
    """The group of a parameter by its name: 0 the head, 1 the highest block, depth + 1 the embedding."""
    if name.startswith("head."):
        return 0
    block = re.search(r"layers?\.(\d+)\.", name)
    if block:
        return depth - int(block[1])
    return 1 if "final_norm" in name else depth + 1


def made(folders, workspace, kind="xlm-roberta", job=None, **recipe):
    encoded = encode("tagging", longest=20, kind=kind)
    return model_and_job(folders[kind], encoded, workspace, job=job, **{"updates": 6, **recipe})


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def changed(before, after):
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


# Rates


def test_every_weight_is_in_one_group_with_its_own_rate(folders, tmp_path):
    model, job = made(folders, tmp_path, rate=1e-4, head_rate=1e-2)
    names = {id(value): name for name, value in model.named_parameters()}
    found = {}
    groups = freezing.parameter_groups(model, job.recipe)
    for group in groups:
        for value in group["params"]:
            assert id(value) in names and names[id(value)] not in found
            found[names[id(value)]] = (group["lr"], group["weight_decay"])
    assert found.keys() == set(names.values())
    assert len(groups) == 4, "few groups are quick"
    assert found["head.out.weight"] == (1e-2, 0.01)
    assert found["head.out.bias"] == (1e-2, 0.0)
    assert found["encoder.model.encoder.layer.0.attention.self.query.weight"] == (1e-4, 0.01)
    assert found["encoder.model.encoder.layer.0.attention.output.LayerNorm.weight"] == (1e-4, 0.0)
    assert found[f"encoder.model.{WORD_EMBEDDING}"] == (1e-4, 0.0)


@pytest.mark.parametrize("unfreezing", [None, {"groups": [2, 5]}], ids=["", "unfreezing"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_falls_by_the_same_share_from_block_to_block(folders, tmp_path, kind, unfreezing):
    recipe = {"rate": 1e-4, "head_rate": 1e-2, "layer_decay": 0.5, "unfreezing": unfreezing}
    model, job = made(folders, tmp_path, kind, **recipe)
    names = {id(value): name for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(freezing.parameter_groups(model, job.recipe))
    freezing.prepare(optimizer, None, 0.25)
    found = {names[id(value)]: group["lr"] for group in optimizer.param_groups for value in group["params"]}
    assert found.keys() == set(names.values())
    for name, rate in found.items():
        expected = 1e-4 * 0.5 ** (place(name) - 1) if place(name) else 1e-2
        assert rate == pytest.approx(0.25 * expected, rel=1e-12), name


# Biases alone


@pytest.mark.parametrize("kind", KINDS[:3])
def test_biases_only_trains_biases_and_the_head(folders, tmp_path, kind):
    model, job = made(folders, tmp_path, kind, biases_only=True, weight_decay=0.1)
    before = weights(model)
    loop.train(model, job, CPU)
    found = changed(before, weights(model))
    biases = {name for name in before if name.startswith("encoder.") and name.endswith("bias")}
    assert any("LayerNorm.bias" in name for name in biases)
    assert found == biases | {"head.out.weight", "head.out.bias"}
    assert {f"encoder.model.{name}" for name in model.encoder.weights()} == biases


def test_biases_only_above_frozen_blocks(folders, tmp_path):
    model, job = made(folders, tmp_path, biases_only=True, frozen=3)
    before = weights(model)
    loop.train(model, job, CPU)
    found = changed(before, weights(model)) - {"head.out.weight", "head.out.bias"}
    assert found == {name for name in before if place(name) == 1 and name.endswith("bias")}


def test_an_encoder_without_biases(folders, tmp_path):
    with pytest.raises(InputError, match="the encoder has no biases"):
        loop.train(*made(folders, tmp_path, "modernbert", biases_only=True), CPU)


# Gradual unfreezing


@pytest.mark.parametrize("kind", KINDS)
def test_each_cycle_trains_more_from_the_top(folders, tmp_path, kind):
    seen = []

    def look(update, loss):
        seen.append(weights(model))

    recipe = {"unfreezing": {"groups": [1, 3, 5]}, "weight_decay": 0.1, "decay_embeddings": True, "warmup": 0.0}
    model, job = made(folders, tmp_path, kind, {"on_update": look}, **recipe)
    seen.append(weights(model))
    loop.train(model, job, CPU)
    for update in range(6):
        most = (1, 3, 5)[update // 2]
        found = changed(seen[update], seen[update + 1])
        assert found == {name for name in seen[0] if place(name) <= most}, f"update {update}"


def test_frozen_embedding_stays_frozen_to_the_end(folders, tmp_path):
    model, job = made(folders, tmp_path, unfreezing={"groups": [2, 4]}, decay_embeddings=True, weight_decay=0.1)
    before = weights(model)
    log = loop.train(model, job, CPU)
    assert changed(before, weights(model)) == {name for name in before if place(name) <= 4}
    assert log.factor == 1.0
    assert {place(name) for name in model.encoder.weights()} == {1, 2, 3, 4}, "what is stored"
    assert not model.encoder.embedding.requires_grad


def test_frozen_and_unfreezing_together(folders, tmp_path):
    """What is frozen stays so, without dropout; the groups above it are thawed."""
    model, job = made(folders, tmp_path / "a", frozen=1, unfreezing={"groups": [1, 3]}, dropout=0.3)
    before = weights(model)
    loop.train(model, job, CPU)
    assert changed(before, weights(model)) == {name for name in before if place(name) <= 3}
    assert not model.encoder.blocks[0].training and model.encoder.blocks[1].training
    with pytest.raises(InputError, match=r"unfreezing.groups: 4 asked for, the encoder trains 3; lower it"):
        loop.train(*made(folders, tmp_path / "b", frozen=1, unfreezing={"groups": [4]}), CPU)


@pytest.mark.parametrize("kind", ["xlm-roberta", "deberta-v2"])
def test_frozen_groups_cost_no_backward_pass(folders, tmp_path, kind):
    """Below the lowest thawed block no graph is built."""
    built = []

    def look(update, loss):
        built.append(graph[:])
        graph.clear()

    recipe = {"unfreezing": {"groups": [1, 3, 5]}, "tokens_per_micro_batch": 10_000, "dropout": 0.1}
    model, job = made(folders, tmp_path, kind, {"on_update": look}, **recipe)
    graph = []
    for block in model.encoder.blocks:
        block.register_forward_hook(
            lambda module, given, result: graph.append((result if torch.is_tensor(result) else result[0]).requires_grad)
        )
    loop.train(model, job, CPU)
    whole = [True] * 4  # the highest block is not run as a whole where only some rows are read
    expected = [[False, False, False, *whole], [False, *whole], whole]
    for update, states in enumerate(built):
        assert states == expected[update // 2][: len(states)] and len(states) >= 3, f"update {update}"


@pytest.mark.parametrize("kind", KINDS)
def test_activations_computed_again_change_nothing(folders, tmp_path, kind):
    found = []
    for again in (False, True):
        recipe = {"unfreezing": {"groups": [1, 3, 5]}, "gradient_checkpointing": again, "dropout": 0.1}
        model, job = made(folders, tmp_path / str(again), kind, **recipe)
        loop.train(model, job, CPU)
        found.append(weights(model))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "one-cycle"])
def test_unfreezing_equals_a_plain_torch_loop(folders, tmp_path, schedule):
    """Per cycle: torch's own schedule, gradients of frozen parameters thrown away, one AdamW throughout."""
    updates, rates, sizes = 12, (3e-4, 1e-4, 2e-4), (1, 3, 5)
    unfreezing = {"groups": sizes, "rates": rates, "length": 4}
    recipe = {"updates": updates, "rate": 1e-4, "head_rate": 1e-3, "warmup": 0.5, "clip": 0.7, "weight_decay": 0.1}
    recipe |= {"unfreezing": unfreezing, "schedule": schedule, "layer_decay": 0.8, "decay_embeddings": True}
    model, job = made(folders, tmp_path, **recipe)
    twin, _ = made(folders, tmp_path, **recipe)
    log = loop.train(model, job, CPU)
    groups = []
    for name, value in twin.named_parameters():
        rate = 1e-4 * 0.8 ** (place(name) - 1) if place(name) else 1e-3
        plain = value.ndim < 2 or "LayerNorm" in name
        groups.append({"params": [value], "lr": rate, "weight_decay": 0.0 if plain else 0.1, "name": name})
    optimizer, stream, factor = torch.optim.AdamW(groups), first(job), 1.0
    bases = [group["lr"] for group in groups]
    for cycle in range(3):
        dummy = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        if schedule == "one-cycle":
            kind = torch.optim.lr_scheduler.OneCycleLR(dummy, 1.0, 4, pct_start=0.5, cycle_momentum=False)
        else:
            kind = torch.optim.lr_scheduler.LambdaLR(dummy, lambda at: [0, 0.5, 1, 0.5][at] if at < 4 else 0)
        for turn in range(4 * cycle, 4 * cycle + 4):
            drawn = stream.draw(turn)
            for cut in stream.cuts(drawn, 10_000, False):
                (stream.loss(twin, cut, turn, torch.device("cpu")) / stream.units(drawn, turn)).backward()
            for name, value in twin.named_parameters():
                if place(name) > sizes[cycle]:
                    value.grad = None
            torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.7)
            for group, base in zip(optimizer.param_groups, bases, strict=True):
                group["lr"] = base * rates[cycle] / 1e-4 * kind.get_last_lr()[0]
                if cycle == 2 and "word_embeddings" in group["name"]:
                    factor *= 1 - group["lr"] * 0.1
            optimizer.step()
            optimizer.zero_grad()
            dummy.step()
            kind.step()
    assert log.factor == pytest.approx(factor, abs=1e-12) and factor < 1
    for name, value in weights(twin).items():
        torch.testing.assert_close(weights(model)[name], value, rtol=0, atol=1e-5, msg=name)


def test_rows_outside_the_active_vocabulary_shrink_only_while_the_embedding_is_trained(folders, tmp_path):
    recipe = {"unfreezing": {"groups": [2, 5]}, "decay_embeddings": True, "weight_decay": 0.5, "rate": 1e-2}
    encoded = encode("tagging", number=3, longest=4)
    dense, job = model_and_job(folders["xlm-roberta"], encoded, tmp_path / "dense", dense=True, **recipe)
    before = dense.encoder.embedding.detach().clone()
    loop.train(dense, job, CPU)
    model, job = model_and_job(folders["xlm-roberta"], encoded, tmp_path / "active", **recipe)
    log = loop.train(model, job, CPU)
    rows = np.flatnonzero(first(job).places >= 0)
    outside = torch.ones(len(before), dtype=torch.bool).index_fill(0, torch.from_numpy(rows), False)
    assert outside.any() and log.factor < 0.999
    torch.testing.assert_close(dense.encoder.embedding[outside], before[outside] * log.factor, rtol=0, atol=1e-6)
    torch.testing.assert_close(dense.encoder.embedding[rows], model.encoder.embedding, rtol=0, atol=1e-6)


# Stopping and going on

VALIDATED = {"validation": {"fraction": 0.2, "every": 1, "select": "best"}}
MODES = {
    "unfreezing": {"unfreezing": {"groups": [1, 3, 5]}, "decay_embeddings": True},
    "unfreezing, peaks, one-cycle": {
        "unfreezing": {"groups": [1, 2, 2], "length": 1, "rates": [1e-2, 1e-3, 1e-3]}, "schedule": "one-cycle",
    },
    "unfreezing by epochs, best": {"unfreezing": {"groups": [1, 5], "length": 1, "unit": "epochs"}, **VALIDATED},
    "unfreezing above frozen blocks": {"unfreezing": {"groups": [1, 2]}, "frozen": 2},
    "layer decay": {"layer_decay": 0.5, "decay_embeddings": True},
    "biases": {"biases_only": True},
    "one-cycle": {"schedule": "one-cycle"},
}  # fmt: skip


def score(model):
    """A score that goes up and down and can be computed at any time."""
    return {"": -abs(float(model.head.out.bias.detach().abs().mean()) - 1.9e-3)}


def trained(folders, workspace, job=None, **recipe):
    hooks = {"validate": score, "epoch": 3.0, **(job or {})}
    model, made_job = made(folders, workspace, job=hooks, **{"dropout": 0.1, "rate": 1e-3, **recipe})
    log = loop.train(model, made_job, CPU)
    return weights(model), log


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_stopped_anywhere_it_goes_on_to_the_same_bits(folders, tmp_path, mode):
    whole, log = trained(folders, tmp_path / "whole", **mode)
    for stop_at in range(6):
        asked = []

        def stop(asked=asked, stop_at=stop_at):
            asked.append(1)
            return len(asked) > stop_at

        with pytest.raises(Stopped, match=f"after update {stop_at} of 6"):
            trained(folders, tmp_path / f"cut{stop_at}", {"should_stop": stop}, **mode)
        again, after = trained(folders, tmp_path / f"cut{stop_at}", **mode)
        for name, value in whole.items():
            torch.testing.assert_close(again[name], value, rtol=0, atol=0, msg=name)
        for field in ("losses", "validation", "tokens", "factor", "selected"):
            assert getattr(after, field) == getattr(log, field)
    assert log.selected < 6 if "validation" in mode else log.selected == 6


def test_killed_after_every_update_it_goes_on_from_the_last_checkpoint(folders, tmp_path):
    mode = MODES["unfreezing"] | VALIDATED
    whole, log = trained(folders, tmp_path / "whole", **mode)

    for last in (2, 3, 4, 5, 6):  # what was done since the last checkpoint is lost

        def kill(update, loss, last=last):
            if update == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trained(folders, tmp_path / "cut", {"on_update": kill}, checkpoint_seconds=0, **mode)
    again, after = trained(folders, tmp_path / "cut", **mode)
    for name, value in whole.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0, msg=name)
    assert (after.losses, after.validation, after.factor) == (log.losses, log.validation, log.factor)
