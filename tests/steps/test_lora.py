"""LoRA through whole studies: what is merged, kept or stacked between phases, and what the store holds of it."""

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from accelerate import Accelerator  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from small import encode, model_and_job, write_study  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.backbones import Backbone  # noqa: E402
from waystation.chains import find  # noqa: E402
from waystation.models.adapters import attach, merged  # noqa: E402
from waystation.models.encoder import TaskModel  # noqa: E402
from waystation.models.vocabulary import EmbeddingDelta, active_rows  # noqa: E402
from waystation.retention import HEAD, LOG, WEIGHTS, prune  # noqa: E402
from waystation.steps import models  # noqa: E402
from waystation.steps.context import Context  # noqa: E402
from waystation.steps.recipes import Lora  # noqa: E402
from waystation.store import Store  # noqa: E402
from waystation.training.loop import train  # noqa: E402

CHAIN = "names+towns.s0"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("backbone"), spread=0.1)


@pytest.fixture(scope="module")
def finished(backbone, tmp_path_factory):
    """A study that ran with LoRA; the same in a store of its own for each ``after``, asked for by it."""
    folder, done = tmp_path_factory.mktemp("study"), {}
    recipe = {"batch": 8, "max_length": 24, "stride": 6, "updates": 25, "rate": 3e-2, "head_rate": 1e-2, "dropout": 0}
    path = write_study(folder, backbone, intermediate={"entities": ["names"]}, recipe=recipe)

    def of(after, *overrides):
        if (after, overrides) not in done:
            study = Study.load(path, overrides=[f"recipe.lora={{rank: 4, after: {after}}}", *overrides])
            store = Store(folder / f"store-{len(done)}")
            summary = run(study, store.root)
            assert summary.ok, summary
            done[after, overrides] = study, plan(study), store
        return done[after, overrides]

    return of


def opened(study, store):
    return Context(store, store.root, study.backbone)


def trained(found, chain=CHAIN, phase=-1):
    """A model of a chain as the store has it; ``phase``: 0 the intermediate one."""
    study, made, store = found
    return models.read(opened(study, store), made.trainings(find(made, chain))[phase][0])


def test_merged_and_stacked_are_one_model(finished):
    """New matrices on merged weights learn what they learn on top of others that stay."""
    one, two = trained(finished("merge")), trained(finished("stack"))
    assert one.adapters == () and len(two.adapters) == 2 and two.apart == {}
    assert one.encoder.keys() == two.encoder.keys()
    for name, value in one.encoder.items():
        torch.testing.assert_close(value, two.encoder[name], atol=1e-5, rtol=0)
    assert gains(finished("merge")[0], finished("merge")[2].root).rows == (
        gains(finished("stack")[0], finished("stack")[2].root).rows
    )
    (below,) = trained(finished("stack"), phase=0).adapters
    for name, value in below.factors.items():
        assert torch.equal(value, two.adapters[0].factors[name])


def test_what_is_kept_is_trained_on(finished):
    (before,), (after,) = trained(finished("keep"), phase=0).adapters, trained(finished("keep")).adapters
    assert before.factors.keys() == after.factors.keys()
    assert not any(torch.equal(value, after.factors[name]) for name, value in before.factors.items())
    (alone,) = trained(finished("keep"), "none+towns.s0").adapters
    (first,) = trained(finished("stack"), "none+towns.s0").adapters
    for name, value in alone.factors.items():  # without an earlier phase there is nothing to keep
        assert torch.equal(value, first.factors[name])


@pytest.mark.parametrize("after", ["merge", "keep", "stack"])
def test_the_store_holds_little(finished, backbone, after):
    _, made, store = finished(after)
    own = (backbone / "model.safetensors").stat().st_size
    for key, _ in made.trainings(find(made, CHAIN)):
        path = store.folder(key) / WEIGHTS
        with safe_open(path, "pt") as file:
            names = set(file.keys())
        assert not file_rows(path)
        if after == "merge":
            assert {name for name in names if name.startswith("encoder.")} == {
                f"encoder.encoder.layer.{block}.attention.self.{layer}.weight"
                for block in range(2)
                for layer in ("query", "value")
            }
        else:
            assert {name.split(".")[0] for name in names} == {"adapters", "embedding"}
            assert path.stat().st_size < own / 4
        assert ("adapters" in json.loads((store.folder(key) / LOG).read_text())) is (after != "merge")
    assert store.verify() == []


def file_rows(path):
    return load_file(path)["embedding.rows"].numel()


def test_pruned_adapters_come_back_bit_by_bit(finished, tmp_path):
    study, made, store = finished("keep")
    mine = Store(tmp_path / "store")
    shutil.copytree(store.root, mine.root)
    keys = [key for key, _ in made.trainings(find(made, CHAIN))]
    before = [(mine.folder(key) / WEIGHTS).read_bytes() for key in keys]
    prune(mine, [made], "heads", False, False)
    assert {path.name for path in mine.folder(keys[0]).iterdir()} == {HEAD, LOG, "pruned.json"}
    shutil.rmtree(mine.folder(find(made, CHAIN).evaluate))
    summary = run(study, mine.root)
    assert summary.ok and len(summary.again) == 2
    assert [(mine.folder(key) / WEIGHTS).read_bytes() for key in keys] == before


@pytest.mark.parametrize("after", ["merge", "keep"])
def test_blocks_below_stay_frozen(finished, after):
    """With a frozen trunk the matrices are in the blocks above it alone, and its states are stored as ever."""
    study, made, store = finished(after, "recipe.frozen=1")
    assert {name.split(".")[2] for name in trained((study, made, store)).encoder} == {"1"}
    assert gains(study, store.root).rows and any(node.step.kind == "trunk" for node in made.nodes.values())


def test_a_phase_without_lora_goes_on_from_the_sum(finished, backbone):
    """Trained as a whole, the encoder starts from weights to which the earlier products are added."""
    found = finished("keep", "recipe.target.lora=null", "recipe.target.updates=1", "recipe.target.warmup=0.9")
    first, last = trained(found, phase=0), trained(found)
    assert last.adapters == () and len(last.embedding.rows)
    name = "encoder.layer.1.attention.self.query.weight"
    changed = merged(first.adapters, first.checkpoint.tensor)[name]
    assert (changed - first.checkpoint.tensor(name)).abs().max() > 1e-2
    # the first update of a warm-up is of rate 0
    assert torch.equal(last.encoder[name], changed) and torch.equal(first.encoder[name], changed)


def test_matrices_kept_in_the_store_learn_as_those_kept_in_memory(backbone, tmp_path):
    """Two phases with an artifact between them are one object that is trained twice."""
    lora, encoded = Lora(rank=4, after="keep"), encode("tagging", number=24)
    context = Context(Store(tmp_path / "store"), tmp_path, Backbone(id=str(backbone)))
    model, job = model_and_job(backbone, encoded, tmp_path / "first", lora=lora)
    attach(model.encoder, lora, 5)
    train(model, job, Accelerator())
    context.store.folder("first").mkdir(parents=True)
    empty = models.read(context, None)
    models.write(context.store.folder("first"), model, empty, empty.embedding, {}, lora)
    stored = models.read(context, "first")
    assert stored.apart == {} and stored.embedding.factor == 1.0

    again, job = model_and_job(backbone, encoded, tmp_path / "second", lora=lora)
    rows = active_rows(encoded.tokens, context.checkpoint.vocabulary)
    encoder = context.checkpoint.encoder(rows, EmbeddingDelta.none(32), None, 0.0, 0.0)
    attach(encoder, lora, 6, stored.adapters[-1])
    again = TaskModel(encoder, again.head)
    again.head.load_state_dict(model.head.state_dict())
    train(again, job, Accelerator())
    train(model, model_and_job(backbone, encoded, tmp_path / "third", lora=lora)[1], Accelerator())
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    before = stored.adapters[0].factors
    assert not any(np.array_equal(before[name], value.detach()) for name, value in encoder.weights().items())
