"""What real models keep: heads alone, deltas, or the full state; and that what was pruned comes back bit by bit."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from safetensors.torch import load_file  # noqa: E402
from small import write_study  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.retention import HEAD, LOG, PRUNED, STATE, TRUNK, WEIGHTS, prune, strip  # noqa: E402
from waystation.store import Store  # noqa: E402
from waystation.training import checkpoint  # noqa: E402

UPDATES = 4


@pytest.fixture
def study(tmp_path):
    path = write_study(tmp_path, tiny_checkpoint(tmp_path / "backbone"), intermediate={"other": ["mood"]})

    def load(*overrides):
        return Study.load(path, overrides=overrides)

    return load


def folders(store, made):
    """Label → artifact folder of every model."""
    return {node.label: store.folder(node.id) for node in made.nodes.values() if node.step.kind == "train"}


def test_scores_are_the_same_whatever_is_kept(study, tmp_path):
    shown = []
    for keep in ("heads", "deltas", "all"):
        chosen = study(f"keep={keep}")
        assert run(chosen, tmp_path / keep).ok
        found = gains(chosen, tmp_path / keep)
        assert found.numerics and found.rows
        shown.append((found.rows, found.averages, found.numerics))
        for folder in folders(Store(tmp_path / keep), plan(chosen)).values():
            files = {path.name for path in folder.iterdir()}
            assert (files == {HEAD, LOG, PRUNED}) is (keep == "heads")
            assert (files >= {WEIGHTS, *STATE}) is (keep == "all")
        assert Store(tmp_path / keep).verify() == []
    assert shown[0] == shown[1] == shown[2]


def test_the_full_state_is_that_after_the_last_update(study, tmp_path):
    chosen, store = study("keep=all", "recipe.updates=4"), Store(tmp_path / "store")
    assert run(chosen, store.root).ok
    for folder in folders(store, plan(chosen)).values():
        (tmp_path / "work").mkdir()
        shutil.copytree(folder, tmp_path / "work" / "checkpoint-00000004")
        saved = checkpoint.load(tmp_path / "work")
        shutil.rmtree(tmp_path / "work")
        assert saved is not None and saved.progress["update"] == UPDATES
        assert saved.progress["losses"] == json.loads((folder / LOG).read_text())["losses"]
        stored = load_file(folder / WEIGHTS)
        assert torch.equal(saved.tensors["model.head.out.weight"], load_file(folder / HEAD)["out.weight"])
        name = "encoder.layer.0.output.dense.weight"
        assert torch.equal(saved.tensors[f"model.encoder.model.{name}"], stored[f"encoder.{name}"])
        moments = [value for key, value in saved.tensors.items() if key.endswith("exp_avg_sq")]
        assert moments and any(value.any() for value in moments)


def test_a_pruned_model_comes_back_bit_by_bit(study, tmp_path):
    chosen, store = study(), Store(tmp_path / "store")
    assert run(chosen, store.root).ok
    made = plan(chosen)
    before = {label: (folder / WEIGHTS).read_bytes() for label, folder in folders(store, made).items()}
    scores = gains(chosen, store.root).rows
    assert prune(store, [made], "heads", False, False).models.count == len(before) == 3
    for chain in made.chains:
        shutil.rmtree(store.folder(chain.evaluate))
    summary = run(chosen, store.root)
    assert summary.ok and sorted(summary.again) == sorted(before)
    assert {label: (folder / WEIGHTS).read_bytes() for label, folder in folders(store, made).items()} == before
    assert gains(chosen, store.root).rows == scores and store.verify() == []


def test_another_language_later(study, tmp_path):
    """All models are needed once more, are trained again, and are pruned again."""
    first, store = study("keep=heads", "languages=[en]"), Store(tmp_path / "store")
    assert run(first, store.root).ok
    both = study("keep=heads", "languages=[en,de]")
    summary = run(both, store.root)
    assert summary.ok and len(summary.again) == 3
    whole = study("languages=[en,de]")
    assert run(whole, tmp_path / "other").ok
    assert gains(both, store.root).rows == gains(whole, tmp_path / "other").rows
    assert not any((folder / WEIGHTS).exists() for folder in folders(store, plan(both)).values())


def test_states_of_a_frozen_trunk_go_with_the_encoders(study, tmp_path):
    shown = []
    for keep in ("heads", "deltas"):
        chosen, store = study(f"keep={keep}", "recipe.frozen=1"), Store(tmp_path / keep)
        assert run(chosen, store.root).ok and store.verify() == []
        assert bool(list(store.root.glob(f"artifacts/*/{TRUNK}"))) is (keep == "deltas")
        shown.append(gains(chosen, store.root).rows)
        again = run(study(f"keep={keep}", "recipe.frozen=1", "languages=[en]"), store.root)
        assert again.ok and bool(again.again) is (keep == "heads")
    assert shown[0] == shown[1]


def test_stripping_frees_what_it_says(study, tmp_path):
    chosen, store = study("keep=all"), Store(tmp_path / "store")
    assert run(chosen, store.root).ok

    def size():
        return sum(path.stat().st_size for path in store.root.glob("artifacts/*/*") if path.suffix == ".safetensors")

    for keep in ("deltas", "heads"):
        before = size()
        freed = sum(strip(store, node.id, keep) or 0 for node in plan(chosen).nodes.values())
        progress = freed - (before - size())  # the JSON beside the state
        assert 0 <= progress < 10_000 and freed > 50_000
