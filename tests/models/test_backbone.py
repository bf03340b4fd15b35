import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from safetensors.torch import load_file, save_file  # noqa: E402
from small import padded  # noqa: E402
from tiny import TEXTS, tiny_checkpoint  # noqa: E402

from waystation.backbones import Backbone  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.models.backbone import WORD_EMBEDDING, Checkpoint, checkpoint_folder, load_tokenizer  # noqa: E402
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup  # noqa: E402

KINDS = ["xlm-roberta", "bert", "deberta-v2", "modernbert"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return {kind: tiny_checkpoint(tmp_path_factory.mktemp("made") / kind, kind, spread=0.1) for kind in KINDS}


@pytest.fixture
def copy(made, tmp_path):
    """A checkpoint of a test's own, to be changed."""
    return lambda kind="xlm-roberta": Path(shutil.copytree(made[kind], tmp_path / kind))


def texts(folder):
    windows = load_tokenizer(folder)(list(TEXTS))["input_ids"]
    assert len(set(map(len, windows))) > 3
    return windows


def states(folder, windows, dense=False, layers=None):
    """What our encoder makes of texts that lie one after the other, over the active or all rows."""
    checkpoint = Checkpoint(folder)
    flat = np.concatenate(windows).astype(np.int32)
    rows = np.arange(checkpoint.vocabulary) if dense else active_rows(flat, checkpoint.vocabulary)
    encoder = checkpoint.encoder(rows, EmbeddingDelta.none(32), layers, 0.1, 0.1).eval()
    assert encoder.embedding.shape == (len(rows), 32)
    assert checkpoint.word_embedding not in encoder.weights()
    assert all(value.dtype == torch.float32 for value in encoder.parameters())
    places = lookup(rows, checkpoint.vocabulary).astype(np.int64)
    with torch.no_grad():
        return encoder(torch.from_numpy(places[flat]), [len(window) for window in windows])


def reference(folder, windows, layers=None):
    """What transformers makes of them in one padded batch, by its own defaults."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    if layers is not None and hasattr(model, "layers"):
        model.layers = model.layers[:layers]
    elif layers is not None:
        model.encoder.layer = model.encoder.layer[:layers]
    tokens, mask = padded(windows, model.config.pad_token_id)
    with torch.no_grad():
        return model(input_ids=tokens, attention_mask=mask).last_hidden_state[mask.bool()]


def assert_same(folder, other=None, **cut):
    windows = texts(folder)
    expected = reference(other or folder, windows, **cut)
    for dense in (True, False):
        torch.testing.assert_close(states(folder, windows, dense, **cut), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(expected[: len(windows[0])], expected[-len(windows[0]) :], atol=0.1), "all look the same"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [None, 1, 2])
def test_states_are_those_of_transformers(made, kind, layers):
    assert Checkpoint(made[kind]).packable == (kind in ("xlm-roberta", "bert"))
    assert_same(made[kind], layers=layers)


@pytest.mark.parametrize("name", ["roberta", "camembert"])
def test_models_of_the_same_build(copy, name):
    folder = copy("xlm-roberta")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": name, "architectures": None}))
    assert Checkpoint(folder).packable
    assert_same(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_window(made, kind):
    checkpoint, drawn = Checkpoint(made[kind]), np.random.default_rng(0)
    assert checkpoint.longest == 512
    special = {checkpoint.config.pad_token_id}
    ids = [at for at in range(checkpoint.vocabulary) if at not in special]
    windows = [drawn.choice(ids, length).tolist() for length in (512, 3)]
    torch.testing.assert_close(states(made[kind], windows), reference(made[kind], windows), rtol=0, atol=1e-5)
    if checkpoint.packable:
        with pytest.raises(IndexError):
            states(made[kind], [[*windows[0], 5]])


@pytest.mark.parametrize("kind", KINDS)
def test_depth_is_cut_and_never_added(made, kind):
    def blocks(layers, frozen=None):
        checkpoint = Checkpoint(made[kind])
        return len(checkpoint.encoder(np.arange(9), EmbeddingDelta.none(32), layers, 0.0, 0.0, frozen=frozen).blocks)

    depth = 4 if kind == "modernbert" else 2
    assert [blocks(None), blocks(1), blocks(2)] == [depth, 1, 2]
    with pytest.raises(InputError, match=rf"layers: {depth + 1} asked for, .* has {depth}"):
        blocks(depth + 1)
    assert blocks(1, frozen=1) == 1
    with pytest.raises(InputError, match="frozen: 2 blocks, the encoder has 1; lower it"):
        blocks(1, frozen=2)


@pytest.mark.parametrize("kind", KINDS)
def test_trained_weights_replace_all_but_the_embedding(made, kind):
    checkpoint = Checkpoint(made[kind])
    first = checkpoint.encoder(np.arange(9), EmbeddingDelta.none(32), 1, 0.0, 0.0)
    trained = {name: value.detach() + 1 for name, value in first.weights().items()}
    delta = EmbeddingDelta(np.array([5]), torch.ones(1, 32))
    again = checkpoint.encoder(np.array([0, 5, 7]), delta, 1, 0.0, 0.0, trained)
    assert all(torch.equal(value, trained[name]) for name, value in again.weights().items())
    assert torch.equal(again.embedding[1], torch.ones(32))
    assert torch.equal(again.embedding[2], first.embedding[7])
    frozen = trained.popitem()[0]  # was not trained, so is not stored
    partly = checkpoint.encoder(np.array([0]), delta, 1, 0.0, 0.0, trained).weights()
    for name, value in first.weights().items():
        assert torch.equal(partly[name], value if name == frozen else trained[name])


# Other ways in which the same weights are stored


def rewrite(folder, change):
    """Write the weights anew: ``change`` maps the tensors to other tensors."""
    tensors = change(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_loaded_as_fp32(copy, dtype):
    folder = copy()
    rewrite(folder, lambda tensors: {name: value.to(dtype) for name, value in tensors.items()})
    assert_same(folder)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("kind", KINDS)
def test_legacy_weights(copy, made, kind, zipped):
    folder = copy(kind)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    assert_same(folder, made[kind])


@pytest.mark.parametrize("legacy", [False, True])
def test_sharded_weights(copy, made, legacy):
    folder = copy()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem, ending, save = ("pytorch_model", "bin", torch.save) if legacy else ("model", "safetensors", save_file)
    where = {name: f"{stem}-0000{1 + number % 3}-of-00003.{ending}" for number, name in enumerate(tensors)}
    for file in set(where.values()):
        save({name: value for name, value in tensors.items() if where[name] == file}, folder / file)
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"weight_map": where}))
    assert_same(folder, made["xlm-roberta"])
    (folder / where[WORD_EMBEDDING]).unlink()
    with pytest.raises(InputError, match=where[WORD_EMBEDDING]):
        Checkpoint(folder)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("xlm-roberta", "roberta."), ("bert", "bert."), ("deberta-v2", "deberta."), ("modernbert", "model.")],
)
def test_a_language_model_with_its_head(copy, made, kind, prefix):
    folder = copy(kind)
    head = {"lm_head.dense.weight": torch.ones(32, 32), "cls.predictions.bias": torch.ones(3)}
    rewrite(folder, lambda tensors: {prefix + name: value for name, value in tensors.items()} | head)
    assert_same(folder, made[kind])


def test_old_names_of_layer_norm(copy, made):
    folder = copy("bert")

    def old(name):
        if "LayerNorm" not in name:
            return name
        return name.replace(".weight", ".gamma").replace(".bias", ".beta")

    rewrite(folder, lambda tensors: {old(name): value for name, value in tensors.items()})
    assert any(name.endswith("LayerNorm.gamma") for name in load_file(folder / "model.safetensors"))
    assert_same(folder, made["bert"])


# What is wrong is said in one line


def one_line(call, *expected):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message, message


def encoder_of(folder):
    return Checkpoint(folder).encoder(np.arange(9), EmbeddingDelta.none(32), None, 0.0, 0.0)


def test_a_missing_tensor_is_named(copy):
    folder, name = copy(), "encoder.layer.1.output.dense.weight"
    rewrite(folder, lambda tensors: {key: value for key, value in tensors.items() if key != name})
    one_line(lambda: encoder_of(folder), "lack 1 tensor", name)


def test_a_tensor_of_another_size_is_named(copy):
    folder, name = copy(), "encoder.layer.1.output.dense.weight"
    rewrite(folder, lambda tensors: {key: value[:-1] if key == name else value for key, value in tensors.items()})
    one_line(lambda: encoder_of(folder), name, str(folder))


def test_no_word_embedding(copy):
    folder = copy()
    rewrite(folder, lambda tensors: {"x": torch.ones(1)})
    one_line(lambda: Checkpoint(folder), WORD_EMBEDDING)


def test_unsupported_models(copy):
    folder = copy()
    config = json.loads((folder / "config.json").read_text())
    for kind in ("gpt2", "no-such-model"):
        (folder / "config.json").write_text(json.dumps({**config, "model_type": kind}))
        one_line(lambda: Checkpoint(folder), kind)
    (folder / "config.json").write_text("{")
    one_line(lambda: Checkpoint(folder), "config.json")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02}q\x00."])
def test_broken_weights(copy, name, content):
    folder = copy()
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    one_line(lambda: Checkpoint(folder), name)


def test_a_broken_index(copy):
    folder = copy()
    for content in ("{", "{}"):
        (folder / "model.safetensors.index.json").write_text(content)
        one_line(lambda: Checkpoint(folder), "model.safetensors.index.json")


def test_no_weights(copy):
    folder = copy()
    (folder / "model.safetensors").unlink()
    one_line(lambda: Checkpoint(folder), "neither model.safetensors nor pytorch_model.bin")


def test_no_tokenizer(copy):
    folder = copy()
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    one_line(lambda: load_tokenizer(folder), "tokenizer", str(folder))


def test_a_broken_tokenizer(copy):
    folder = copy()
    (folder / "tokenizer.json").write_text("{")
    one_line(lambda: load_tokenizer(folder), "tokenizer", str(folder))


def test_folders(made, tmp_path, monkeypatch):
    assert checkpoint_folder(Backbone(id=str(made["bert"])), tmp_path) == made["bert"]
    one_line(lambda: checkpoint_folder(Backbone(id=str(tmp_path)), tmp_path), "no config.json")
    one_line(lambda: checkpoint_folder(Backbone(id=str(tmp_path / "x")), tmp_path), "does not exist")
    monkeypatch.setenv("WAYSTATION_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    one_line(lambda: checkpoint_folder(Backbone(id="some/model"), tmp_path), "offline")
    pinned = Backbone(id="some/model", revision="0" * 40)
    one_line(lambda: checkpoint_folder(pinned, tmp_path), "some/model", "could not be fetched")
