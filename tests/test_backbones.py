from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from waystation import backbones
from waystation.backbones import Backbone, fingerprint, known, problem, shape
from waystation.errors import InputError

SIZES = {"num_hidden_layers": 4, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Offline, with an empty hub cache, and no socket to be had."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setenv("WAYSTATION_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What looks like a checkpoint from outside."""
    path = tmp_path / "encoder"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "bert", **SIZES}))
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "tokenizer.json").write_text("{}")
    return path


def in_cache(tmp_path: Path, name: str = "owner/name", revision: str = "main") -> Path:
    """A hub cache that holds one commit."""
    home = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / revision).write_text(COMMIT + "\n")
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "bert", **SIZES}))
    return snapshot


# --- what is known


def test_every_known_backbone_says_what_it_has_seen_by_known_tasks() -> None:
    assert {"bundled", "FacebookAI/xlm-roberta-base", "FacebookAI/xlm-roberta-large"} <= set(known())
    for name, entry in known().items():
        assert entry.id == name and entry.title and entry.licence != "unknown"
        tasks = [seen.task for seen in entry.seen]
        assert len(set(tasks)) == len(tasks)


def test_the_bundled_encoder_has_seen_labels_of_inference_and_pairs_of_translations() -> None:
    seen = Backbone(id="bundled").has_seen()
    assert (seen["xnli"], seen["tatoeba"], seen["panx"]) == ("labels", "parallel", "text")


def test_a_study_may_add_what_a_backbone_has_seen() -> None:
    added = Backbone.model_validate({"id": "bundled", "seen": [{"task": "e3c", "how": "text"}]})
    assert added.has_seen() == {**Backbone(id="bundled").has_seen(), "e3c": "text"}
    assert Backbone.model_validate({"id": "a/b", "seen": [{"task": "x", "how": "labels"}]}).has_seen() == {
        "x": "labels"
    }


# --- fingerprints


def test_what_we_say_about_a_backbone_is_no_part_of_its_fingerprint() -> None:
    plain = fingerprint(Backbone(id="bundled"))
    assert fingerprint(Backbone.model_validate({"id": "bundled", "seen": [{"task": "x", "how": "text"}]})) == plain
    assert plain["layers"] is None and len(plain["bundled"]) == 64


def test_layers_are_part_of_the_fingerprint() -> None:
    assert fingerprint(Backbone(id="bundled", layers=2)) == {**fingerprint(Backbone(id="bundled")), "layers": 2}


def test_a_folder_is_its_content_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(Backbone(id=str(folder)))
    assert set(before["files"]) == {"config.json", "model.safetensors", "tokenizer.json"}
    other = tmp_path / "somewhere else"
    shutil.copytree(folder, other)
    assert fingerprint(Backbone(id=str(other))) == before
    (other / "README.md").write_text("words")
    assert fingerprint(Backbone(id=str(other))) == before


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_other_weights_another_tokenizer_or_another_config_is_another_backbone(folder: Path, file: str) -> None:
    before = fingerprint(Backbone(id=str(folder)))
    with (folder / file).open("a") as opened:
        opened.write(" ")
    assert fingerprint(Backbone(id=str(folder))) != before


def test_a_hub_id_is_its_commit_not_its_branch(tmp_path: Path) -> None:
    in_cache(tmp_path)
    pinned = {"hub": "owner/name", "revision": COMMIT, "layers": None}
    assert fingerprint(Backbone(id="owner/name")) == pinned
    assert fingerprint(Backbone(id="owner/name", revision=COMMIT)) == pinned


def test_a_full_commit_needs_neither_cache_nor_network() -> None:
    assert fingerprint(Backbone(id="owner/name", revision=COMMIT))["revision"] == COMMIT


@pytest.mark.parametrize("variable", ["WAYSTATION_OFFLINE", "HF_HUB_OFFLINE"])
def test_a_hub_id_that_is_not_cached_is_refused_offline(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("WAYSTATION_OFFLINE")
    monkeypatch.setenv(variable, "1")
    with pytest.raises(InputError, match=r"'owner/name' is not in the hub cache and offline mode is on; fetch it once"):
        fingerprint(Backbone(id="owner/name"))


# --- problems


@pytest.mark.parametrize("name", ["bundled", "owner/name", "FacebookAI/xlm-roberta-base"])
def test_a_good_name_is_no_problem(name: str) -> None:
    assert problem(Backbone(id=name)) is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("xlm-roberta-large", "did you mean 'FacebookAI/xlm-roberta-large'?"),
        ("bundeld", "did you mean 'bundled'?"),
        ("a/b/c", "nor a hub id of the form owner/name"),
        ("two words", "nor a hub id of the form owner/name"),
        ("./nowhere", "backbone folder './nowhere' does not exist; give"),
        ("/no/where", "does not exist"),
        ("~/no/where", "does not exist"),
    ],
)
def test_a_name_that_cannot_be_is_told_without_network(name: str, says: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    found = Backbone(id=name)
    assert says in (problem(found) or "")
    with pytest.raises(InputError):
        fingerprint(found)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "has no config.json; save"), ("{", "cannot be read"), ("\x00", "cannot be read")],
)
def test_a_folder_without_a_readable_config_is_told(folder: Path, content: str | None, says: str) -> None:
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    found = problem(Backbone(id=str(folder))) or ""
    assert says in found and str(folder) in found and "\n" not in found


def test_more_layers_than_there_are_is_told(folder: Path) -> None:
    assert problem(Backbone(id="bundled", layers=12)) is None
    assert "layers: 13 asked for, backbone 'bundled' has 12" in (problem(Backbone(id="bundled", layers=13)) or "")
    assert problem(Backbone(id=str(folder), layers=4)) is None
    assert "has 4; ask for 4 or fewer" in (problem(Backbone(id=str(folder), layers=5)) or "")


# --- shapes


def test_shapes_come_from_the_config_and_the_layers_asked_for(folder: Path, tmp_path: Path) -> None:
    full = shape(Backbone(id="bundled"))
    assert full is not None and (full.layers, full.hidden, full.inner, full.heads) == (12, 384, 1536, 12)
    local = shape(Backbone(id=str(folder), layers=3))
    assert local is not None and (local.layers, local.hidden) == (3, 32)
    assert shape(Backbone(id="owner/name")) is None
    in_cache(tmp_path)
    cached = shape(Backbone(id="owner/name"))
    assert cached is not None and cached.layers == 4


@pytest.mark.parametrize("config", ["[]", "{}", '{"n_layers": 3, "dim": 8}', '{"num_hidden_layers": "4"}'])
def test_a_config_of_another_kind_has_no_shape(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    assert shape(Backbone(id=str(folder))) is None


def test_training_costs_three_times_the_forward_pass() -> None:
    sizes = shape(Backbone(id="bundled"))
    assert sizes is not None
    assert sizes.block_parameters == 12 * (4 * 384**2 + 2 * 384 * 1536)
    assert sizes.flops(1000, 20, training=True) == 3 * sizes.flops(1000, 20, training=False) > 0
    assert sizes.flops(1000, 200, training=False) > sizes.flops(1000, 20, training=False)


def test_a_checksum_is_taken_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    first = backbones.sha256_file(path)
    path.write_bytes(b"other")
    assert backbones.sha256_file(path) != first
