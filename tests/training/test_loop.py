import json
import os
import socket
import subprocess
import sys
from contextlib import nullcontext as nothing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from accelerate import Accelerator  # noqa: E402
from small import encode, first, model_and_job, outputs, padded  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import formats  # noqa: E402
from waystation.errors import Stopped, WaystationError  # noqa: E402
from waystation.formats.encoding import IGNORED  # noqa: E402
from waystation.models.backbone import WORD_EMBEDDING, Checkpoint  # noqa: E402
from waystation.training import loop  # noqa: E402
from waystation.training.batches import windows_of  # noqa: E402

FORMATS = ["tagging", "classification", "multilabel", "choice"]
KINDS = ["xlm-roberta", "bert", "deberta-v2", "modernbert"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def weights(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_equal(found, expected, atol=0.0):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


# The gradient of an effective batch


def drawing(job, examples):
    """The job's stream with these examples as every batch."""
    return replace(first(job), sampler=lambda turn: np.array(examples))


def gradient(folder, format, examples, budget, kind="xlm-roberta"):
    encoded = encode(format, longest=30, kind=kind)
    model, job = model_and_job(folder, encoded, Path("unused"), format=format)
    loss, tokens = loop._update(model, drawing(job, examples), 0, Accelerator(cpu=True), budget)
    assert tokens == sum(int(np.diff(encoded.offsets)[w]) for w in windows_of(encoded, np.array(examples)))
    return model, job, loss, {name: value.grad for name, value in model.named_parameters()}


@pytest.mark.parametrize("format", FORMATS)
def test_the_gradient_does_not_depend_on_how_the_batch_is_cut(folder, format):
    examples = [3, 29, 7, 11, 0, 15, 22, 8]
    _, _, loss, whole = gradient(folder, format, examples, 10_000)
    for budget in (1, 30, 100):
        _, _, other, cut = gradient(folder, format, examples, budget)
        assert other == pytest.approx(loss, abs=1e-5)
        assert_equal(cut, whole, atol=1e-5)


def reference_loss(auto, head, job, examples):
    """One padded batch, as anyone would write it: transformers' model with a mask, cross-entropy, mean."""
    encoded = first(job).encoded
    spans = [slice(*encoded.offsets[w : w + 2]) for w in windows_of(encoded, examples).tolist()]
    tokens, mask = padded([encoded.tokens[span].tolist() for span in spans], auto.config.pad_token_id)
    assert not mask.all(), "choose other examples: nothing is padded"
    more = {}
    if encoded.types is not None:
        more["token_type_ids"] = padded([encoded.types[span].tolist() for span in spans], 0)[0]
    states = auto(input_ids=tokens, attention_mask=mask, **more).last_hidden_state
    if first(job).format.reads == "scored":
        targets = padded([encoded.targets[span].tolist() for span in spans], IGNORED)[0]
        return torch.nn.CrossEntropyLoss(ignore_index=IGNORED)(head(states).flatten(0, -2), targets.flatten())
    logits = head(states[:, 0])
    if first(job).format is formats.get("multilabel"):
        labels = [[label in encoded.gold[example] for label in outputs("multilabel")] for example in examples]
        return torch.nn.BCEWithLogitsLoss()(logits, torch.tensor(labels).float())
    if first(job).format is formats.get("choice"):
        options = np.bincount(encoded.example)[examples].tolist()
        pairs = zip(torch.split(logits[:, 0], options), examples.tolist(), strict=True)
        losses = [-torch.log_softmax(scores, 0)[int(encoded.gold[example])] for scores, example in pairs]
        return torch.stack(losses).mean()
    targets = torch.from_numpy(encoded.targets[windows_of(encoded, examples)].astype(np.int64))
    return torch.nn.CrossEntropyLoss()(logits, targets)


def reference_model(folder, rows):
    """AutoModel with all that our model has under the same names, without dropout; which of its rows ours has."""
    from transformers import AutoModel

    auto = AutoModel.from_pretrained(folder).train()
    if hasattr(auto, "pooler"):
        auto.pooler = None
    for module in auto.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return auto, torch.from_numpy(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", FORMATS)
def test_the_gradient_is_that_of_one_padded_batch(tmp_path, format, kind):
    examples, folder = [3, 29, 7, 11, 0], tiny_checkpoint(tmp_path, kind, spread=0.1)
    model, job, loss, found = gradient(folder, format, examples, 40, kind)
    auto, rows = reference_model(folder, np.flatnonzero(first(job).places >= 0))
    head, embedding = model.head, Checkpoint(folder).word_embedding
    head.zero_grad()
    expected = reference_loss(auto, head, job, np.array(examples))
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    for name, value in auto.named_parameters():
        wanted = value.grad[rows] if name == embedding else value.grad
        torch.testing.assert_close(found.pop(f"encoder.model.{name}"), wanted, rtol=0, atol=1e-5, msg=name)
    for name, value in head.named_parameters():
        torch.testing.assert_close(found.pop(f"head.{name}"), value.grad, rtol=0, atol=1e-5)
    assert not found
    outside = torch.ones(auto.config.vocab_size, dtype=torch.bool).index_fill(0, rows, False)
    assert not auto.get_input_embeddings().weight.grad[outside].any()


@pytest.mark.parametrize("kind", KINDS)
def test_in_half_precision_the_gradient_is_nearly_the_same(tmp_path, kind):
    """Weights, gradients and the loss stay fp32; attention and its dropout run in bf16."""
    examples, folder = [3, 29, 7, 11, 0], tiny_checkpoint(tmp_path, kind)
    _, _, loss, expected = gradient(folder, "tagging", examples, 40, kind)
    # an Accelerator of bf16, of which a process has one precision only
    accelerator = SimpleNamespace(
        device=torch.device("cpu"),
        num_processes=1,
        process_index=0,
        autocast=lambda: torch.autocast("cpu", torch.bfloat16),
    )
    for dropout in (0.0, 0.2):
        model, job = model_and_job(
            folder, encode("tagging", longest=30, kind=kind), tmp_path, dropout=dropout, attention_dropout=dropout
        )
        found, _ = loop._update(model.train(), drawing(job, examples), 0, accelerator, 40)
        assert found == pytest.approx(loss, abs=0.05)
        found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        assert found.keys() == {name for name, value in expected.items() if value is not None}
        assert {value.dtype for value in found.values()} == {torch.float32}
        if not dropout:
            far = {name for name, value in found.items() if (value - expected[name]).abs().max() > 0.05}
            assert not far
            assert any(not torch.equal(value, expected[name]) for name, value in found.items()), "nothing was rounded"


# A sequence of updates


@pytest.mark.parametrize("format", FORMATS[:3])  # what all options share cancels out: choice has gradients of rounding
def test_training_equals_a_plain_torch_loop(folder, tmp_path, format):
    from transformers import get_linear_schedule_with_warmup

    recipe = {"updates": 20, "warmup": 0.2, "clip": 0.7, "weight_decay": 0.1, "rate": 2e-4, "head_rate": 1e-3}
    encoded = encode(format, longest=30)
    model, job = model_and_job(folder, encoded, tmp_path, format=format, **recipe)
    twin, _ = model_and_job(folder, encoded, tmp_path, format=format, **recipe)
    auto, rows = reference_model(folder, np.flatnonzero(first(job).places >= 0))
    head = twin.head
    log = loop.train(model, job, Accelerator(cpu=True))

    def undecayed(name):
        return "bias" in name or "LayerNorm" in name or "embeddings" in name

    groups = [
        {"params": [v for n, v in auto.named_parameters() if not undecayed(n)], "lr": 2e-4, "weight_decay": 0.1},
        {"params": [v for n, v in auto.named_parameters() if undecayed(n)], "lr": 2e-4, "weight_decay": 0.0},
        {"params": [v for n, v in head.named_parameters() if "bias" not in n], "lr": 1e-3, "weight_decay": 0.1},
        {"params": [v for n, v in head.named_parameters() if "bias" in n], "lr": 1e-3, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=4, num_training_steps=20)
    sampler, losses = first(job).sampler, []
    for update in range(20):
        loss = reference_loss(auto, head, job, sampler(update))
        losses.append(float(loss.detach()))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*auto.parameters(), *head.parameters()], 0.7)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    np.testing.assert_allclose(log.losses, losses, atol=1e-5)
    expected = {f"encoder.model.{name}": value.detach() for name, value in auto.named_parameters()}
    expected |= {f"head.{name}": value.detach() for name, value in head.named_parameters()}
    expected[f"encoder.model.{WORD_EMBEDDING}"] = expected[f"encoder.model.{WORD_EMBEDDING}"][rows]
    assert_equal(weights(model), expected, atol=1e-5)


# Stopping and going on


def trained(folder, workspace, job=None, **recipe):
    encoded = encode("tagging", longest=20)
    settings = {"dropout": 0.1, "attention_dropout": 0.1, "updates": 6, "decay_embeddings": True, **recipe}
    model, made = model_and_job(folder, encoded, workspace, job=job, **settings)
    log = loop.train(model, made, Accelerator(cpu=True))
    return weights(model), log


def scores(model):
    return {"": score(model)}


def score(model):
    """A score that goes up and down and can be computed at any time: the bias, 0 at first, passes this mark midway."""
    return -abs(float(model.head.out.bias.detach().abs().mean()) - 1.9e-3)


VALIDATED = {"validation": {"fraction": 0.2, "every": 1, "select": "best"}}


@pytest.mark.parametrize("stop_at", [0, 1, 3, 5])
@pytest.mark.parametrize("recipe", [{}, VALIDATED], ids=["plain", "select best"])
def test_stopped_anywhere_it_goes_on_to_the_same_bits(folder, tmp_path, stop_at, recipe):
    whole, log = trained(folder, tmp_path / "whole", {"validate": scores}, **recipe)
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > stop_at

    with pytest.raises(Stopped, match=f"after update {stop_at} of 6; saved"):
        trained(folder, tmp_path / "cut", {"validate": scores, "should_stop": stop}, **recipe)
    again, after = trained(folder, tmp_path / "cut", {"validate": scores}, **recipe)
    assert_equal(again, whole)
    for field in ("losses", "validation", "tokens", "factor", "selected"):
        assert getattr(after, field) == getattr(log, field)
    assert log.selected == (3 if recipe else 6), "choose another mark: some are stopped before the best, some after"


class Killed(Exception):
    pass


@pytest.mark.parametrize("recipe", [{}, VALIDATED], ids=["plain", "select best"])
def test_killed_after_any_update_it_goes_on_from_the_last_checkpoint(folder, tmp_path, recipe):
    whole, log = trained(folder, tmp_path / "whole", {"validate": scores}, **recipe)

    def kill(update, loss):
        if update - started >= 2 and update < 6:
            raise Killed

    for started in (0, 1, 2, 3, 4):  # each time one update further, since that after the last checkpoint is lost
        with pytest.raises(Killed) if started < 4 else nothing():
            again, after = trained(
                folder, tmp_path / "cut", {"validate": scores, "on_update": kill}, checkpoint_seconds=0, **recipe
            )
    assert_equal(again, whole)
    assert (after.losses, after.validation, after.factor) == (log.losses, log.validation, log.factor)


def test_a_finished_run_that_was_never_committed_only_does_the_rest(folder, tmp_path):
    first, _ = trained(folder, tmp_path, checkpoint_seconds=0)
    updates = []
    again, _ = trained(folder, tmp_path, {"on_update": lambda update, loss: updates.append(update)})
    assert updates == [6]
    assert_equal(again, first)


def test_checkpoints_change_nothing(folder, tmp_path):
    often, _ = trained(folder, tmp_path / "often", checkpoint_seconds=0)
    never, _ = trained(folder, tmp_path / "never", checkpoint_seconds=1e9)
    assert_equal(often, never)
    assert len(list((tmp_path / "often").glob("checkpoint-*"))) == 1
    assert not (tmp_path / "never").exists()


def test_seeds_rule_order_and_dropout(folder, tmp_path):
    base, log = trained(folder, tmp_path / "a")
    same, again = trained(folder, tmp_path / "b")
    assert_equal(same, base)
    assert again.losses == log.losses
    for number, job in enumerate([{"order_seed": 9}, {"dropout_seed": 9}]):
        assert trained(folder, tmp_path / f"c{number}", job)[1].losses != log.losses


# Validation


def test_the_best_weights_are_taken_where_asked_for(folder, tmp_path):
    kept = {}

    def validate(model):
        kept[len(kept) + 1] = (score(model), weights(model))
        return {"": kept[len(kept)][0]}

    for select in ("last", "best"):
        kept.clear()
        validation = {"fraction": 0.2, "every": 2, "select": select}
        found, log = trained(folder, tmp_path / select, {"validate": validate}, updates=7, validation=validation)
        assert log.validation == [(u, kept[n][0]) for n, u in enumerate([2, 4, 6, 7], 1)]
        best = max(kept, key=lambda n: kept[n][0]) if select == "best" else 4
        assert log.selected == [2, 4, 6, 7][best - 1]
        assert_equal(found, kept[best][1])
        assert log.selected == 7 if select == "last" else 2 < log.selected < 7, "choose another mark"


# What goes wrong


def test_a_loss_that_is_not_finite_ends_the_step(folder, tmp_path):
    with pytest.raises(WaystationError, match=r"the loss is (nan|inf) at update \d+; lower the rate"):
        trained(folder, tmp_path, rate=1e30, head_rate=1e30, warmup=0.0)


# Several processes

WORKER = """
import json, os, sys
from pathlib import Path
from accelerate import Accelerator
from safetensors.torch import save_file
from small import encode, model_and_job
from waystation.training.loop import train
folder, results = Path(sys.argv[1]), Path(sys.argv[2])
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2, accelerator.state
for format in ("tagging", "classification"):
    model, job = model_and_job(folder, encode(format, longest=30), results / format, updates=6)
    log = train(model, job, accelerator)
    name = f"{format}-{accelerator.process_index}"
    save_file(model.state_dict(), results / f"{name}.safetensors")
    (results / f"{name}.json").write_text(json.dumps(log.losses))
accelerator.wait_for_everyone()
accelerator.end_training()
os._exit(0)  # gloo's threads may outlive the interpreter, which then aborts
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(folder, tmp_path):
    from safetensors.torch import load_file

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "1"}
    world |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), str(tmp_path)],
            env={**os.environ, **world, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    for format in FORMATS[:2]:
        model, job = model_and_job(folder, encode(format, longest=30), tmp_path / "one", updates=6)
        log = loop.train(model, job, Accelerator(cpu=True))
        for rank in (0, 1):
            found = tmp_path / f"{format}-{rank}.json"
            np.testing.assert_allclose(json.loads(found.read_text()), log.losses, atol=1e-5)
            assert_equal(load_file(found.with_suffix(".safetensors")), weights(model), atol=1e-5)
