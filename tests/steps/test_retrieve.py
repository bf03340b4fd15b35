"""Retrieval targets through ``waystation.run``, against sentences embedded one by one with the library's own model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import pyarrow.parquet as pq  # noqa: E402
from retrieved import PAIRS, pairs, write  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from small import write_study  # noqa: E402
from tiny import tiny_checkpoint, tiny_tokenizer  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.errors import Stopped  # noqa: E402
from waystation.exchange.imported import add  # noqa: E402
from waystation.formats.retrieval import LEFT, RIGHT  # noqa: E402
from waystation.plan import Plan  # noqa: E402
from waystation.report import page, provenance  # noqa: E402
from waystation.scoring.metrics import mining_f1  # noqa: E402
from waystation.scoring.retrieval import keep_by_halves  # noqa: E402
from waystation.steps import retrieve  # noqa: E402
from waystation.steps.records import Reading  # noqa: E402
from waystation.store import Store  # noqa: E402

Finished = tuple[Study, Plan, Store]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("backbone"), layers=3, spread=0.15)


def study_of(folder: Path, backbone: Path) -> Study:
    targets = [
        "pairs",
        {"task": "pairs", "name": "back", "languages": ["de"],
         "retrieval": {"layer": 3, "pooling": "first", "prefix": "Anna ", "direction": "to-english"}},
        "mined",
    ]  # fmt: skip
    asked = {
        "seeds": 2,
        "intermediate": {"g": [{"task": "mood", "recipe": {"rate": 1e-2}}]},
        "target": targets,
    }
    path = write_study(folder, backbone, **asked)
    content = yaml.safe_load(path.read_text("utf-8"))
    content["tasks"] |= write(folder / "sentences")
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return Study.load(path)


@pytest.fixture(scope="module")
def finished(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("study")
    study = study_of(folder, backbone)
    summary = run(study, folder / "store")
    assert summary.ok, summary
    return study, plan(study), Store(folder / "store")


def evaluation(finished: Finished, chain: str) -> Path:
    _, made, store = finished
    (key,) = (one.evaluate for one in made.chains if one.name == chain)
    return store.folder(key)


def rows(finished: Finished, chain: str, language: str) -> dict[str, list[Any]]:
    found = pq.read_table(evaluation(finished, chain) / f"language={language}.parquet").to_pydict()
    return dict(found)


def embedded(finished: Finished, chain: str, texts: list[str], layer: int, pooling: str) -> np.ndarray:
    """With transformers alone: the backbone, with the stored weights of the chain's training where it has one."""
    from transformers import AutoModel

    study, made, store = finished
    model = AutoModel.from_pretrained(study.backbone.id, add_pooling_layer=False).eval()
    (train,) = (one.train for one in made.chains if one.name == chain)
    if train is not None:
        stored = load_file(store.folder(train) / "delta.safetensors")
        weights = {name.removeprefix("encoder."): value for name, value in stored.items() if "encoder." in name[:8]}
        model.load_state_dict(weights, strict=False)
        with torch.no_grad():
            model.get_input_embeddings().weight[stored["embedding.rows"]] = stored["embedding.values"]
    tokenizer, found = tiny_tokenizer(), []
    for text in texts:
        with torch.no_grad():
            given = tokenizer(text, return_tensors="pt", truncation=True, max_length=24)
            states = model(**given, output_hidden_states=True).hidden_states[layer][0].double()
        vector = (states.mean(0) if pooling == "mean" else states[0]).numpy()
        found.append(vector / np.linalg.norm(vector))
    return np.stack(found)


@pytest.mark.parametrize("chain", ["none+pairs.s0", "mood+pairs.s1"])
@pytest.mark.parametrize("language", ["de", "sw"])
def test_english_looks_up_the_language(finished: Finished, chain: str, language: str) -> None:
    """A folder without a record: layer ⌊7/12·3⌋ = 1, mean, no prefix."""
    found = rows(finished, chain, language)
    assert list(found) == ["id", "cluster", "gold", "pred", "counts"]
    assert found["id"] == [f"test/{language}/{n}/en" for n in range(1, PAIRS + 1)]
    assert found["gold"] == [f"test/{language}/{n}" for n in range(1, PAIRS + 1)]
    ours, english = zip(*pairs(["de", "sw"].index(language)), strict=True)
    there, asking = (embedded(finished, chain, list(texts), 1, "mean") for texts in (ours, english))
    best = (asking @ there.T).argmax(1)
    assert found["pred"] == [f"test/{language}/{at + 1}" for at in best]
    assert found["counts"] == [[int(at == n)] for n, at in enumerate(best)]
    assert 0 < sum(count for (count,) in found["counts"]) < PAIRS, "neither trivial nor hopeless"


@pytest.mark.parametrize("chain", ["none+back.s1", "mood+back.s0"])
def test_the_language_looks_up_english_with_everything_changed(finished: Finished, chain: str) -> None:
    found = rows(finished, chain, "de")
    assert found["id"][0] == "test/de/1" and found["gold"][0] == "test/de/1/en"
    texts = [[f"Anna {text}" for text in side] for side in zip(*pairs(0), strict=True)]
    asking, there = (embedded(finished, chain, side, 3, "first") for side in texts)
    assert found["pred"] == [f"test/de/{at + 1}/en" for at in (asking @ there.T).argmax(1)]


def test_an_intermediate_changes_what_is_found_and_seeds_change_it_again(finished: Finished) -> None:
    found = {chain: rows(finished, f"{chain[:4]}+pairs.{chain[4:]}", "sw")["pred"] for chain in ("nones0", "moods0")}
    assert found["nones0"] != found["moods0"]
    assert evaluation(finished, "none+pairs.s0") == evaluation(finished, "none+pairs.s1")
    assert evaluation(finished, "mood+pairs.s0") != evaluation(finished, "mood+pairs.s1")


@pytest.mark.parametrize("chain", ["none+mined.s0", "mood+mined.s0"])
def test_mined_pairs_and_their_best_threshold(finished: Finished, chain: str) -> None:
    found = rows(finished, chain, "de")
    assert list(found) == ["id", "cluster", "gold", "pred", "counts", "score"]
    assert found["id"] == [f"l{n}" for n in range(PAIRS)]
    assert found["gold"] == [f"r{n}" for n in range(15)] + [""] * (PAIRS - 15)
    pairs_found = [one for one in found["pred"] if one]
    assert len(set(pairs_found)) == len(pairs_found) > 0, "each sentence is used once"
    scores = np.array(found["score"])
    assert [bool(one) for one in found["pred"]] == np.isfinite(scores).tolist()
    right = np.array([one == gold != "" for one, gold in zip(found["pred"], found["gold"], strict=True)])

    def f1(kept: np.ndarray) -> float:
        return 200 * int((right & kept).sum()) / (int(kept.sum()) + 15)

    best = max(f1(scores >= threshold) for threshold in scores[np.isfinite(scores)])
    counts = np.array(found["counts"])
    assert (counts[:, 2] == [1] * 15 + [0] * (PAIRS - 15)).all()
    predicted = counts[:, 1].astype(bool)
    assert (counts[:, 0] == (right & predicted)).all() and f1(predicted) == pytest.approx(best)
    assert scores[predicted].min() > scores[np.isfinite(scores) & ~predicted].max(initial=-np.inf)
    study, _, store = finished
    shown = [score for score in gains(study, store.root).scores if score.chain == chain]
    assert [(score.metric, score.n) for score in shown] == [("mining_f1", PAIRS)]
    assert shown[0].score == pytest.approx(best)


def with_halves(study: Study) -> Study:
    *others, mined = study.target
    both = mined.model_copy(update={"metrics": ("mining_f1_halves", "mining_f1")})
    return study.model_copy(update={"target": (*others, both)})


def test_the_threshold_of_the_other_half(finished: Finished) -> None:
    """From the stored margins of the same run: a metric can be added afterwards."""
    study, store = with_halves(finished[0]), finished[2]
    found = gains(study, store.root)
    assert not found.missing
    cells = {(one.metric, one.chain): one.score for one in found.scores if one.target == "mined"}
    for chain in ("none+mined.s0", "mood+mined.s1"):
        table = rows(finished, chain, "de")
        kept = keep_by_halves(table["gold"], table["pred"], table["score"])
        assert cells["mining_f1_halves", chain] == pytest.approx(mining_f1(table["gold"], kept))
        assert cells["mining_f1_halves", chain] <= cells["mining_f1", chain] + 1e-9
    assert {row.metric for row in found.rows if row.target == "mined"} == {"mining_f1_halves", "mining_f1"}


def test_a_system_from_elsewhere_has_cut_its_pairs_itself(finished: Finished, tmp_path: Path) -> None:
    study, store = with_halves(finished[0]), Store(tmp_path / "store")
    shutil.copytree(finished[2].root, store.root)
    table = rows(finished, "none+mined.s0", "de")
    given = "".join(f"{own}\t{pred}\n" for own, pred in zip(table["id"], table["pred"], strict=True) if pred)
    (tmp_path / "test-de.tsv").write_text(given)
    add(study, "other+mined", tmp_path, store.root)
    cells = {one.metric: one.score for one in gains(study, store.root).scores if one.chain == "other+mined"}
    f1 = mining_f1(table["gold"], table["pred"])
    assert cells == {"mining_f1_halves": pytest.approx(f1), "mining_f1": pytest.approx(f1)} and f1 > 0


def test_gains_and_report(finished: Finished) -> None:
    study, made, store = finished
    found = gains(study, store.root)
    assert not found.missing
    cells = {(row.target, row.language): row for row in found.rows}
    assert set(cells) == {("pairs", "de"), ("pairs", "sw"), ("back", "de"), ("mined", "de")}, "and no English"
    for (target, language), row in cells.items():
        assert (
            row.seeds == 2
            and row.n == PAIRS
            and row.metric == ("mining_f1" if target == "mined" else "retrieval_accuracy")
        )
        if target != "mined":
            points = [
                100 * np.mean([count for (count,) in rows(finished, f"mood+{target}.s{seed}", language)["counts"]])
                for seed in (0, 1)
            ]
            assert row.score == pytest.approx(np.mean(points))
    (average,) = (item for item in found.averages if item.target == "pairs")
    assert average.over == "zero-shot languages" and average.members == ("de", "sw")
    text = page.render(study, found, store, made)
    assert "the backbone itself" in text and "retrieval_accuracy" in text
    (row,) = provenance.matching(study, store, made)["rows"]
    assert row["updates"]["mean"] == 4 and row["examples"]["mean"] == 20, "the intermediate's training is counted"


class Few:
    """Sentences of two languages: a de and its copy, two en that say the same, and one more of each."""

    ids, gold = ["de-1", "de-2", "de-3", "en-1", "en-2", "en-3"], ["en-1", "en-1", "en-3", "", "", ""]
    targets, clusters = np.array([LEFT] * 3 + [RIGHT] * 3), [None] * 6

    def __len__(self) -> int:
        return len(self.ids)


def test_sentences_that_are_there_twice_are_mined_twice() -> None:
    asked = Reading(layer=1, pooling="mean", prefix="", direction="mining")
    vectors = np.array([[1, 0.1], [1, 0.1], [0.1, 1], [1, 0], [1, 0], [0, 1]], np.float32)
    found = retrieve.look_up(Few(), vectors, asked)  # type: ignore[arg-type]
    assert found["id"] == ["de-1", "de-2", "de-3"] and found["pred"] == ["en-1", "en-1", "en-3"]
    assert found["counts"] == [[1, 1, 1]] * 3 and np.isfinite(found["score"]).all()


def test_what_stands_beside_a_score(finished: Finished) -> None:
    _, made, store = finished
    for chain in made.chains:
        manifest = store.manifest(chain.evaluate)
        assert manifest["selected_on"] is None
        for details in manifest["languages"].values():
            assert details["n"] == PAIRS and details["fertility"] > 1 and details["clusters"] is None
        assert json.dumps(manifest["step"]["retrieval"])


def test_finished_languages_survive_an_interruption(finished: Finished, tmp_path: Path, monkeypatch: Any) -> None:
    study, made, store = finished
    done: list[int] = []
    original = retrieve.look_up

    def once(*arguments: Any) -> Any:
        done.append(1)
        if len(done) == 2:
            raise Stopped("stopped during evaluation; run again to go on")
        return original(*arguments)

    monkeypatch.setattr(retrieve, "look_up", once)
    stopped = run(study, tmp_path / "store")
    assert stopped.stopped is not None
    assert run(study, tmp_path / "store").ok
    evaluated = {chain.evaluate: made.nodes[chain.evaluate].step for chain in made.chains}
    languages = sum(len(step.encodings) for step in evaluated.values())  # type: ignore[union-attr]
    assert len(done) == languages + 1, "the language that was done is not done again"
    again = Store(tmp_path / "store")
    assert all(store.manifest(key)["files"] == again.manifest(key)["files"] for key in evaluated)
