"""`store export`: a chain's model as a whole checkpoint that transformers loads without us."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import transformers  # noqa: E402
from every import TARGETS, write_study  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from waystation import Study, plan, predict, rounds, run  # noqa: E402
from waystation.chains import find  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.exchange.checkpoint import export  # noqa: E402
from waystation.formats import encoding  # noqa: E402
from waystation.store import Store  # noqa: E402
from waystation.tasks import sources  # noqa: E402


@pytest.mark.parametrize(
    "target", [target for target, format in TARGETS.items() if format in ("mood", "classification")]
)
def test_transformers_alone_predicts_what_the_study_stored(finished, tmp_path, target):
    study, made, store = finished
    facts = export(study, f"names+{target}.s0", tmp_path / "out", store.root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert facts == json.loads((tmp_path / "out" / "waystation.json").read_text())
    assert [source["task"] for source in facts["trained_on"]] == ["names", target]
    assert facts["backbone_licence"] == "unknown"
    assert len({path.stat().st_mode for path in (tmp_path / "out").iterdir()}) == 1
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    chain = find(made, f"names+{target}.s0")
    key = made.nodes[chain.evaluate].step.encodings["de"]
    encoded = encoding.load(store.folder(key), store.manifest(key)["stats"])
    stored = pq.read_table(store.folder(chain.evaluate) / "language=de.parquet").to_pydict()
    content = (Path(made.study.find(target).path) / "test.de.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in content.splitlines()]
    assert [row["id"] for row in rows] == stored["id"]
    for at, row in enumerate(rows):
        given = tokenizer(row["text"], truncation=True, max_length=facts["max_length"], return_tensors="pt")
        window = encoded.tokens[encoded.offsets[at] : encoded.offsets[at + 1]]
        np.testing.assert_array_equal(given["input_ids"][0].numpy(), window)
        with torch.inference_mode():
            best = int(model(**given).logits.argmax())
        assert model.config.id2label[best] == stored["pred"][at]


def test_the_embedding_is_whole_and_decayed(finished, tmp_path):
    """Rows that no training touched are the backbone's times the factor of all phases."""
    study, made, store = finished
    export(study, "names+towns.s0", tmp_path / "out", store.root, made=made)
    chain = find(made, "names+towns.s0")
    name = "roberta.embeddings.word_embeddings.weight"
    ours = load_file(tmp_path / "out" / "model.safetensors")[name]
    own = load_file(Path(study.backbone.id) / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert ours.shape == own.shape
    factor = json.loads((store.folder(chain.train) / "training.json").read_text())["embedding_factor"]
    assert factor < 1
    rows = load_file(store.folder(chain.train) / "delta.safetensors")["embedding.rows"]
    left = np.setdiff1d(np.arange(len(own)), rows.numpy())
    assert len(left)
    np.testing.assert_allclose(ours[left], own[left] * factor, rtol=1e-6)


@pytest.mark.parametrize(("target", "format"), TARGETS.items())
def test_every_format_loads_whole(finished, tmp_path, target, format):
    study, made, store = finished
    facts = export(study, f"none+{target}.s0", tmp_path / "out", store.root, made=made)
    loader = getattr(transformers, facts["auto_class"])
    model, told = loader.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert type(model).__name__ == facts["class"] and facts["format"] == format
    assert not any(told[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys")), told


def test_what_cannot_be_exported_is_said(finished, tmp_path):
    study, made, store = finished
    with pytest.raises(InputError, match=r"no chain 'name\+mood.s0' \(did you mean 'names\+mood.s0'\?\)"):
        export(study, "name+mood.s0", tmp_path / "out", store.root, made=made)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(InputError, match="is not empty: name a new folder"):
        export(study, "names+mood.s0", tmp_path / "mine", store.root, made=made)
    with pytest.raises(InputError, match="no folder that one may write to"):
        export(study, "names+mood.s0", tmp_path / "no" / "where", store.root, made=made)
    with pytest.raises(InputError, match="does not hold its model; add --train"):
        export(study, "names+mood.s0", tmp_path / "out", tmp_path / "empty", made=made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_a_pruned_model_is_trained_once_more_and_nothing_else(backbone, tmp_path):
    study = Study.load(write_study(tmp_path, backbone, ["mood"], keep="heads"))
    assert run(study, tmp_path / "store").ok
    made, store = plan(study), Store(tmp_path / "store")
    with pytest.raises(InputError, match="only the head was kept of its model; add --train"):
        export(study, "names+mood.s0", tmp_path / "out", store.root)
    summary = rounds.train(study, "names+mood.s0", store.root)
    assert summary.ok and sorted(summary.done) == ["train names+mood.s0", "train names.s0"]
    assert export(study, "names+mood.s0", tmp_path / "out", store.root, made=made)["artifact"]
    assert store.verify() == []
    assert rounds.train(study, "names+mood.s0", store.root).done == []


def test_frozen_blocks_and_a_checkpoint_from_elsewhere(backbone, tmp_path):
    """What no training touched comes from the backbone, in the export and in predictions alike."""
    recipe = {"batch": 8, "max_length": 32, "stride": 8, "updates": 20, "frozen": 1, "head_rate": 1e-2}
    uses = {"names": [{"task": "names", "from": str(backbone)}]}
    study = Study.load(write_study(tmp_path, backbone, ["mood"], intermediate=uses, recipe=recipe))
    assert run(study, tmp_path / "store").ok
    made, store = plan(study), Store(tmp_path / "store")
    facts = export(study, "names+mood.s0", tmp_path / "out", store.root, made=made)
    assert facts["trained_on"][0] == {"task": "names", "checkpoint": str(backbone)}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    stored = pq.read_table(store.folder(find(made, "names+mood.s0").evaluate) / "language=de.parquet").to_pydict()
    texts = [one.text for one in sources.read(made.study.find("mood"), "test", "de", None)]
    for found, text, pred in zip(
        predict(study, "names+mood.s0", texts, store.root), texts, stored["pred"], strict=True
    ):
        assert found["label"] == pred
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).logits[0]
        likely = torch.softmax(logits, -1).tolist()
        assert list(found["probabilities"].values()) == pytest.approx(likely, abs=1e-5)
