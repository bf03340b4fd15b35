"""A checkpoint that was fine-tuned elsewhere stands for an intermediate phase."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from safetensors.torch import load_file, save_file  # noqa: E402
from small import write_study  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.retention import WEIGHTS  # noqa: E402
from waystation.store import Store  # noqa: E402

RECIPE = {"batch": 8, "max_length": 24, "stride": 6, "updates": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), "xlm-roberta", layers=3)


@pytest.fixture
def tuned(folder, tmp_path):
    """A copy of the backbone in which one block and some rows of the embedding differ."""
    copy = tmp_path / "tuned"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    for name in weights:
        if name.endswith("layer.1.output.dense.weight"):
            weights[name] = weights[name] + 0.5
        if name.endswith("word_embeddings.weight"):
            weights[name][5:9] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def study(tmp_path, folder, tuned, **more):
    uses = {"other": [{"task": "names", "from": str(tuned), **more}]}
    return Study.load(write_study(tmp_path, folder, recipe=RECIPE, intermediate=uses))


def test_only_what_differs_is_stored_and_trained_on(folder, tuned, tmp_path):
    asked = study(tmp_path, folder, tuned)
    assert run(asked, tmp_path / "store").ok
    made, store = plan(asked), Store(tmp_path / "store")
    assert not any("names" in node.label for node in made.nodes.values() if node.step.kind == "encode")
    (key,) = [key for key, node in made.nodes.items() if node.step.kind == "adopt"]
    held = load_file(store.folder(key) / WEIGHTS)
    assert sorted(held) == ["embedding.rows", "embedding.values", "encoder.encoder.layer.1.output.dense.weight"]
    assert held["embedding.rows"].tolist() == [5, 6, 7, 8]
    (target,) = [node.step for node in made.nodes.values() if node.label == "train names+towns.s0"]
    assert target.parent == key
    rows = gains(asked, tmp_path / "store").rows
    assert rows and all("trained elsewhere" in row.marks for row in rows)
    assert store.verify() == []


def test_the_backbone_itself_gains_nothing(folder, tmp_path):
    asked = study(tmp_path, folder, folder)
    assert run(asked, tmp_path / "store").ok
    assert {row.gain for row in gains(asked, tmp_path / "store").rows} == {0.0}


def test_another_content_is_another_step(folder, tuned, tmp_path):
    before = set(plan(study(tmp_path, folder, tuned)).nodes)
    assert set(plan(study(tmp_path, folder, folder)).nodes) != before


def test_a_checkpoint_of_another_kind_is_refused(folder, tmp_path):
    other = tiny_checkpoint(tmp_path / "other", "bert", layers=3)
    summary = run(study(tmp_path, folder, other), tmp_path / "store")
    assert any("is no fine-tuned copy of the backbone: it is bert" in text for text in summary.failed.values())


def test_another_tokenizer_is_refused(folder, tuned, tmp_path):
    content = json.loads((tuned / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary[6], vocabulary[7] = vocabulary[7], vocabulary[6]
    (tuned / "tokenizer.json").write_text(json.dumps(content))
    summary = run(study(tmp_path, folder, tuned), tmp_path / "store")
    assert any("its tokenizer numbers other pieces" in text for text in summary.failed.values())


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"recipe": {"updates": 3}}, "trained already; leave all but task and name out"),
        ({"from": "no/where/near"}, "backbone"),
    ],
)
def test_what_cannot_be_asked(folder, tuned, tmp_path, more, says):
    with pytest.raises(InputError, match=says):
        study(tmp_path, folder, tuned, **more)


def test_a_target_is_trained_here(folder, tuned, tmp_path):
    path = write_study(tmp_path, folder, recipe=RECIPE, target=[{"task": "towns", "from": str(tuned)}])
    with pytest.raises(InputError, match="`from` is for intermediate tasks"):
        Study.load(path)
