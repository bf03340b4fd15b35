"""Encode, train and evaluate through ``waystation.run``, on a tiny checkpoint and own data."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import pyarrow.parquet as pq  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from small import LABELS, write_study  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.scoring import metrics  # noqa: E402
from waystation.store import Store  # noqa: E402


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def finished(backbone, tmp_path_factory):
    """(study, plan, store) of a study that ran to its end."""
    folder = tmp_path_factory.mktemp("study")
    study = Study.load(write_study(folder, backbone))
    summary = run(study, folder / "store")
    assert summary.ok, summary
    made = plan(study)
    assert len(summary.done) == len(made.nodes) == 13
    return study, made, Store(folder / "store")


def key_of(made, label):
    (key,) = (node.id for node in made.nodes.values() if node.label == label)
    return key


def training(made, store, label):
    return json.loads((store.folder(key_of(made, label)) / "training.json").read_bytes())


def delta(made, store, label):
    return load_file(store.folder(key_of(made, label)) / "delta.safetensors")


def head(made, store, label):
    return load_file(store.folder(key_of(made, label)) / "head.safetensors")


def test_every_artifact_is_whole(finished):
    _, made, store = finished
    assert store.verify() == []
    assert set(store.identities()) == set(made.nodes)
    for leftover in ("building", "claims", "work", "failures"):
        assert not list((store.root / leftover).glob("*")), leftover
    for node in made.nodes.values():
        manifest = store.manifest(node.id)
        assert manifest["kind"] == node.step.kind
        if node.step.kind != "encode":
            assert manifest["numerics"]["torch"] == torch.__version__


def test_what_an_encoding_says(finished):
    _, made, store = finished
    manifest = store.manifest(key_of(made, "encode towns train en"))
    assert manifest["stats"]["examples"] == 40
    assert manifest["stats"]["windows"] > 40, "long sentences are several windows"


def test_what_a_training_says(finished, backbone):
    _, made, store = finished
    for label in ("train none+towns.s0", "train mood.s0"):
        manifest = store.manifest(key_of(made, label))
        assert manifest["examples"] == (40 if "towns" in label else 20)
        assert len(training(made, store, label)["losses"]) == 4
        assert manifest["loss"] == training(made, store, label)["losses"][-1]
        stored = delta(made, store, label)
        assert len(stored["embedding.rows"]) == manifest["active_rows"]
        assert stored["embedding.values"].shape == (manifest["active_rows"], 32)
        assert all(torch.isfinite(value).all() for value in stored.values())
    assert head(made, store, "train mood.s0")["out.weight"].shape == (len(LABELS["classification"]), 32)
    assert head(made, store, "train none+towns.s0")["out.weight"].shape == (5, 32)
    base = load_file(backbone / "model.safetensors")["embeddings.word_embeddings.weight"]
    stored = delta(made, store, "train none+towns.s0")
    assert not torch.equal(stored["embedding.values"], base[stored["embedding.rows"]])


def test_a_chain_stores_the_rows_of_both_its_phases(finished):
    _, made, store = finished
    first, both = (delta(made, store, f"train {name}.s0")["embedding.rows"] for name in ("mood", "mood+towns"))
    target = delta(made, store, "train none+towns.s0")["embedding.rows"]
    assert both.tolist() == sorted({*first.tolist(), *target.tolist()})


def test_a_chain_and_its_baseline_share_seeds(finished, backbone, tmp_path, monkeypatch):
    """In the target phase the order, the dropout and the new head are the same, whatever was trained before."""
    from waystation.steps import train as step

    begun = {}

    def spy(model, job, accelerator):
        drawn = torch.Generator().manual_seed(job.dropout_seed)
        begun[job.workspace.name] = (
            {name: value.clone() for name, value in model.head.state_dict().items()},
            model.encoder.embedding.detach().clone(),
            [*job.streams[0].draw(0).tolist(), *job.streams[0].draw(9).tolist(), torch.rand(1, generator=drawn).item()],
        )
        return original(model, job, accelerator)

    original = step.train
    monkeypatch.setattr(step, "train", spy)
    study, made, store = finished
    assert run(study, tmp_path / "store").ok
    base, *chains = (begun[key_of(made, f"train {name}+towns.s0")] for name in ("none", "names", "mood"))
    for chain in chains:
        assert chain[2] == base[2]
        assert all(torch.equal(value, base[0][name]) for name, value in chain[0].items())
        assert not torch.equal(chain[1], base[1]), "but the encoder comes from the intermediate phase"
    assert begun[key_of(made, "train names.s0")][2] != base[2]
    again = Store(tmp_path / "store")
    for node in made.nodes.values():
        assert store.manifest(node.id)["files"] == again.manifest(node.id)["files"]


def test_scores_can_be_had_from_the_predictions(finished):
    study, made, store = finished
    found = gains(study, store.root)
    assert {row.language for row in found.rows} == {"en", "de"}
    assert {row.intermediate for row in found.rows} == {"names", "mood"}

    def score(chain, language, metric):
        folder = store.folder(key_of(made, f"evaluate {chain}+towns.s0"))
        table = pq.read_table(folder / f"language={language}.parquet")
        assert table.column_names == ["id", "cluster", "gold", "pred", "counts"]
        assert table.num_rows == 12 and len(set(table["id"].to_pylist())) == 12
        golds, preds = (table[name].to_pylist() for name in ("gold", "pred"))
        counts = [metrics.counts(gold, pred) for gold, pred in zip(golds, preds, strict=True)]
        assert counts == table["counts"].to_pylist()
        return metrics.score([metric], golds, preds)[metric]

    for row in found.rows:
        with_it, without = (score(chain, row.language, row.metric) for chain in (row.intermediate, "none"))
        assert row.score == pytest.approx(with_it, abs=1e-9)
        assert row.gain == pytest.approx(with_it - without, abs=1e-9)


def test_a_language_is_predicted_alike_whatever_others_are_asked_for(finished, backbone):
    study, made, store = finished
    alone = study.model_copy(update={"languages": ("en",)})
    assert run(alone, store.root).ok
    for chain in ("none", "names", "mood"):
        label = f"evaluate {chain}+towns.s0"
        keys = key_of(made, label), key_of(plan(alone), label)
        assert keys[0] != keys[1]
        first, second = (store.manifest(key)["files"]["language=en.parquet"]["sha256"] for key in keys)
        assert first == second


def test_a_second_run_does_nothing_and_is_quick(finished):
    study, made, store = finished
    code = f"""
import sys, time
from waystation import Study, gains, run
study = Study.load({study.path!r})
began = time.monotonic()
summary = run(study, {str(store.root)!r})
assert summary.ok and not summary.done and summary.reused == {len(made.nodes)}, summary
assert gains(study, {str(store.root)!r}).rows
assert time.monotonic() - began < 2, time.monotonic() - began
heavy = {{"torch", "transformers", "tokenizers", "accelerate", "safetensors"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_validation_is_carved_and_kept(backbone, tmp_path):
    recipe = {"batch": 4, "max_length": 24, "stride": 6, "updates": 4}
    recipe["validation"] = {"fraction": 0.2, "every": 2, "select": "best"}
    study = Study.load(write_study(tmp_path, backbone, recipe=recipe, intermediate={"other": ["mood"]}))
    summary = run(study, tmp_path / "store")
    assert summary.ok, summary
    made, store = plan(study), Store(tmp_path / "store")
    for label in ("train mood.s0", "train none+towns.s0"):
        log = training(made, store, label)
        assert [update for update, _ in log["validation"]] == [2, 4]
        assert all(0 <= score <= 100 for _, score in log["validation"])
        assert log["selected_update"] in (2, 4)
        assert store.manifest(next(k for k, n in made.nodes.items() if n.label == label))["selected_on"] == "en"


def test_bert_with_fewer_layers(tmp_path):
    tiny_checkpoint(tmp_path / "bert", "bert")
    backbone = {"id": "bert", "layers": 1}  # a folder beside the study file
    study = Study.load(write_study(tmp_path, backbone, intermediate={"other": ["mood"]}))
    summary = run(study, tmp_path / "store")
    assert summary.ok, summary
    stored = delta(plan(study), Store(tmp_path / "store"), "train mood+towns.s0")
    assert any("layer.0." in name for name in stored) and not any("layer.1." in name for name in stored)


@pytest.mark.parametrize("kind", ["deberta-v2", "modernbert"])
def test_encoders_that_pad_for_themselves(tmp_path, kind):
    """They train and predict as packed ones do; recomputing blocks is no part of what a step is."""
    folder, scores = tiny_checkpoint(tmp_path / kind, kind), []
    recipe = {"batch": 4, "max_length": 24, "stride": 6, "updates": 4, "head_rate": 0.01, "rate": 1e-3}
    recipe["validation"] = {"fraction": 0.2, "every": 2}
    for number, more in enumerate([{}, {"gradient_checkpointing": True}]):
        path = write_study(tmp_path, folder, recipe=recipe | more, intermediate={"other": ["mood"]})
        study = Study.load(path)
        summary = run(study, tmp_path / f"store{number}")
        assert summary.ok, summary
        made, store = plan(study), Store(tmp_path / f"store{number}")
        assert set(store.identities()) == set(made.nodes)
        log = training(made, store, "train mood+towns.s0")
        assert len(log["losses"]) == 4 and log["losses"][-1] < log["losses"][0]
        assert [update for update, _ in log["validation"]] == [2, 4]
        base = load_file(folder / "model.safetensors")
        stored = delta(made, store, "train mood+towns.s0")
        assert stored.keys() - {"embedding.rows", "embedding.values"} == {
            f"encoder.{name}" for name in base if not name.endswith(("word_embeddings.weight", "tok_embeddings.weight"))
        }
        found = gains(study, store.root)
        assert {(row.intermediate, row.language) for row in found.rows} == {("mood", "en"), ("mood", "de")}
        scores.append((sorted(made.nodes), log["losses"], [row.score for row in found.rows]))
    assert scores[0] == scores[1]


@pytest.mark.parametrize("kind", ["deberta-v2", "modernbert"])
def test_frozen_blocks_of_encoders_that_pad_for_themselves(tmp_path, kind):
    recipe = {"batch": 4, "max_length": 24, "stride": 6, "updates": 4, "frozen": 1}
    folder = tiny_checkpoint(tmp_path / kind, kind)
    study = Study.load(write_study(tmp_path, folder, recipe=recipe, intermediate={"other": ["mood"]}))
    summary = run(study, tmp_path / "store")
    assert summary.ok, summary
    stored = delta(plan(study), Store(tmp_path / "store"), "train mood+towns.s0")
    assert not len(stored.pop("embedding.rows")) and not len(stored.pop("embedding.values"))
    names = {name.removeprefix("encoder.") for name in load_file(folder / "model.safetensors")}
    shared = ("rel_embeddings.", "LayerNorm.")  # what all of DeBERTa's blocks read
    frozen = {name for name in names if name.startswith(("embeddings.", "layer.0.", "layers.0.", *shared))}
    assert frozen and {name.replace("encoder.", "") for name in stored} == names - frozen
    assert {row.language for row in gains(study, tmp_path / "store").rows} == {"en", "de"}


# What goes wrong


def test_data_changed_between_plan_and_run(backbone, tmp_path):
    study = Study.load(write_study(tmp_path, backbone))
    made = plan(study)
    with (tmp_path / "names" / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("\nAnna\tB-PER\n")
    summary = run(study, tmp_path / "store", made=made)
    assert summary.failed == {
        "encode names train en": "the data of 'names' (train, en) changed since the plan was made; run again"
    }
    assert summary.skipped == ["train names.s0", "train names+towns.s0", "evaluate names+towns.s0"]
    assert "evaluate mood+towns.s0" in summary.done
    again = run(study, tmp_path / "store")
    assert again.ok, "run again, as it says"
    assert again.reused == 9


def test_a_malformed_row_stops_only_what_needs_it(backbone, tmp_path):
    path = write_study(tmp_path, backbone)
    with (tmp_path / "towns" / "test.de.tsv").open("a", encoding="utf-8") as file:
        file.write("\nAnna\tB-PERSON\n")
    summary = run(Study.load(path), tmp_path / "store")
    (message,) = summary.failed.values()
    assert list(summary.failed) == ["encode towns test de"]
    assert "test.de.tsv:" in message and "PERSON" in message and "\n" not in message
    assert len([label for label in summary.done if label.startswith("train")]) == 5
    assert len(summary.skipped) == 3 and all(label.startswith("evaluate") for label in summary.skipped)


def test_a_match_that_one_intermediate_cannot_give(backbone, tmp_path):
    path = write_study(tmp_path, backbone, match={"by": "examples", "amount": 30})
    store = tmp_path / "store"
    summary = run(Study.load(path), store)
    assert summary.failed == {"train mood.s0": "match asks for 30 examples, the data holds 20; lower match.amount"}
    assert summary.skipped == ["train mood+towns.s0", "evaluate mood+towns.s0"]
    assert "evaluate names+towns.s0" in summary.done
    study = Study.load(path)
    rows = gains(study, store).rows
    assert {row.intermediate for row in rows} == {"names"}
    made = plan(study)
    assert Store(store).manifest(key_of(made, "train names.s0"))["examples"] == 30
    assert Store(store).manifest(key_of(made, "train none+towns.s0"))["examples"] == 40, "the target is never matched"


def test_a_training_that_runs_away_is_remembered(backbone, tmp_path):
    wild = {"task": "mood", "recipe": {"rate": 1e30, "head_rate": 1e30, "warmup": 0}}
    study = Study.load(write_study(tmp_path, backbone, intermediate={"entities": ["names"], "other": [wild]}))
    first = run(study, tmp_path / "store")
    assert list(first.failed) == ["train mood.s0"] and "the loss is" in first.failed["train mood.s0"]
    assert first.skipped == ["train mood+towns.s0", "evaluate mood+towns.s0"]
    assert "evaluate names+towns.s0" in first.done
    for retry in (False, True):
        begun = []
        again = run(
            study,
            tmp_path / "store",
            retry_failed=retry,
            on_event=lambda event, begun=begun: event.kind == "start" and begun.append(event.node.label),
        )
        assert begun == (["train mood.s0"] if retry else [])
        assert ("--retry-failed" in again.failed["train mood.s0"]) is not retry


def test_a_match_too_small_for_the_updates(backbone, tmp_path):
    match = {"by": "examples", "amount": 3}
    study = Study.load(write_study(tmp_path, backbone, match=match, intermediate={"other": ["mood"]}))
    summary = run(study, tmp_path / "store")
    assert "match leaves 3 examples for 4 updates" in summary.failed["train mood.s0"]


def test_a_tokenizer_of_another_vocabulary(tmp_path):
    from tiny import TEXTS, tiny_tokenizer

    checkpoint = tiny_checkpoint(tmp_path / "backbone", texts=TEXTS[:2])
    tiny_tokenizer(texts=TEXTS).save_pretrained(checkpoint)
    study = Study.load(write_study(tmp_path, checkpoint, intermediate={"other": ["mood"]}))
    summary = run(study, tmp_path / "store")
    assert "tokenizer and weights do not match" in summary.failed["train mood.s0"]


def test_more_tokens_than_the_backbone_can_read(backbone, tmp_path):
    recipe = {"batch": 2, "max_length": 600, "stride": 6, "updates": 1}
    path = write_study(tmp_path, backbone, recipe=recipe, intermediate={"other": ["mood"]})
    with (tmp_path / "mood" / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("Geneva " * 700 + "\tgood\n")
    summary = run(Study.load(path), tmp_path / "store")
    assert "more than the 512 tokens the backbone can read" in summary.failed["encode mood train en"]
    assert "evaluate none+towns.s0" in summary.done


def test_seeds_change_what_is_drawn(backbone, tmp_path):
    path = write_study(
        tmp_path, backbone, seeds=[3, 4], match={"by": "words", "amount": 60}, intermediate={"other": ["mood"]}
    )
    study = Study.load(path)
    began = time.monotonic()
    summary = run(study, tmp_path / "store")
    assert summary.ok, summary
    assert summary.seconds <= time.monotonic() - began
    made, store = plan(study), Store(tmp_path / "store")
    heads = [head(made, store, f"train mood.s{seed}")["out.weight"] for seed in (3, 4)]
    assert not torch.equal(*heads)
    assert all(store.manifest(key_of(made, f"train mood.s{seed}"))["words"] >= 60 for seed in (3, 4))
    assert np.isfinite([row.gain for row in gains(study, store.root).rows]).all()


def test_a_new_language_is_tested_alone(finished, backbone, tmp_path, monkeypatch):
    from waystation.steps import evaluate

    asked = []
    original = evaluate.predict

    def spy(model, encoded, *rest, **more):
        asked.append(len(encoded))
        return original(model, encoded, *rest, **more)

    monkeypatch.setattr(evaluate, "predict", spy)
    path = write_study(tmp_path, backbone, languages=["en"])
    assert run(Study.load(path), tmp_path / "store").ok
    assert len(asked) == 3, "three models, one language"
    whole = Study.load(path, overrides=["languages=all"])
    assert run(whole, tmp_path / "store").ok
    assert len(asked) == 6, "English is not tested again"
    _, made, store = finished
    again, grown = plan(whole), Store(tmp_path / "store")
    assert made.nodes.keys() == again.nodes.keys()
    for node in made.nodes.values():
        assert store.manifest(node.id)["files"] == grown.manifest(node.id)["files"]
