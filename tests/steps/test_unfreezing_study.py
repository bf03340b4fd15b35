"""Studies whose phases train a part of the encoder: what is stored is what was trained, and all of it."""

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from safetensors.torch import load_file  # noqa: E402
from small import write_study  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.steps import train as step  # noqa: E402
from waystation.store import Store  # noqa: E402

EMBEDDING = "embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("backbone"), layers=3)


@pytest.fixture
def ran(backbone, tmp_path, monkeypatch):
    """Run a study; returns of its trainings, by label, manifest, stored log, delta, and model and log at the end."""
    ends = {}
    original = step.train

    def spy(model, job, accelerator):
        log = original(model, job, accelerator)
        ends[job.workspace.name] = model, log
        return log

    monkeypatch.setattr(step, "train", spy)

    def go(**changes):
        study = Study.load(write_study(tmp_path, backbone, **changes))
        summary = run(study, tmp_path / "store")
        assert summary.ok, summary
        assert gains(study, tmp_path / "store").rows
        store, found = Store(tmp_path / "store"), {}
        for node in plan(study).nodes.values():
            if node.label.startswith("train "):
                folder = store.folder(node.id)
                log = json.loads((folder / "training.json").read_bytes())
                found[node.label] = (
                    store.manifest(node.id),
                    log,
                    load_file(folder / "delta.safetensors"),
                    *ends[node.id],
                )
        return found

    return go


def assert_whole(backbone, stored, model):
    """Backbone and delta together are the model as it was when training ended."""
    base = load_file(backbone / "model.safetensors")
    for name, value in model.encoder.model.named_parameters():
        if name != EMBEDDING:
            torch.testing.assert_close(stored.get(f"encoder.{name}", base[name]), value.detach(), rtol=0, atol=0)


def blocks(stored):
    return {int(name.split(".")[3]) for name in stored if ".layer." in name}


def test_what_any_cycle_trained_is_stored(backbone, ran):
    """The intermediate phase thaws two blocks; the target trains biases on top of that."""
    recipe = {
        "batch": 4, "max_length": 24, "stride": 6, "updates": 6,
        "intermediate": {
            "unfreezing": {"groups": [1, 2], "length": 1, "unit": "epochs", "rates": [1e-3, 1e-4]},
            "batch": 10, "schedule": "one-cycle", "label_smoothing": 0.1, "class_weights": {"good": 2.0},
        },
        "target": {"biases_only": True, "class_weights": "balanced"},
    }  # fmt: skip
    found = ran(recipe=recipe, intermediate={"other": ["mood"]})
    manifest, _, stored, model, _ = found["train mood.s0"]
    assert blocks(stored) == {1, 2} and not len(stored["embedding.rows"]) and manifest["active_rows"] == 0
    assert manifest["ended"] is None
    assert_whole(backbone, stored, model)
    _, _, after, model, _ = found["train mood+towns.s0"]
    assert blocks(after) == {0, 1, 2}
    assert_whole(backbone, after, model)
    weight, bias = (f"encoder.encoder.layer.2.attention.self.query.{kind}" for kind in ("weight", "bias"))
    assert torch.equal(after[weight], stored[weight]) and not torch.equal(after[bias], stored[bias])
    alone = found["train none+towns.s0"][2]
    assert alone.keys() == {name for name in after if name.endswith("bias") or name.startswith("embedding.")}


def test_a_phase_that_ends_before_its_last_cycle(backbone, ran):
    recipe = {
        "batch": 4, "max_length": 24, "stride": 6, "updates": 20, "decay_embeddings": True,
        "unfreezing": {"groups": [1, 4], "length": 10},
        "validation": {"every": 1, "patience": 2, "fraction": 0.2},
        "rate": 1e-9, "head_rate": 1e-9,  # nothing is learned: the first score stays the best
    }  # fmt: skip
    for label, (manifest, log, stored, model, made) in ran(recipe=recipe, intermediate={"other": ["mood"]}).items():
        assert manifest["ended"] == len(made.losses) == len(log["losses"]) == log["selected_update"] == 3, label
        assert blocks(stored) == {2} and not len(stored["embedding.rows"]) and log["embedding_factor"] == 1.0
        assert_whole(backbone, stored, model)
