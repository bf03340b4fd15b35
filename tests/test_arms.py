"""Arms of a study: several stops, several tasks at once, and what an arm changes of its targets' training."""

import json
import signal
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import yaml  # noqa: E402
from small import write_study, write_tagged  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, gains, plan, run  # noqa: E402
from waystation.errors import ManyProblems  # noqa: E402
from waystation.retention import LOG, WEIGHTS  # noqa: E402
from waystation.steps.records import TrainStep  # noqa: E402
from waystation.store import Store  # noqa: E402

ARMS = {
    "methods": [
        {"task": "names", "after": ["mood"]},
        {
            "task": "names",
            "with": ["mood", {"task": "towns", "recipe": {"batch": 2}}],
            "name": "all-three",
            "recipe": {"validation": {"fraction": 0.2, "every": 2, "select": "best"}, "mixing": {"sampler": "uniform"}},
        },
        {"name": "joint", "target": {"languages": ["en", "de"]}},
        {"name": "slow", "target": {"recipe": {"rate": 1e-6}}, "targets": ["towns"]},
        {"name": "lm", "mlm": {"text": ["towns", "names"]}, "recipe": {"mlm": {"softmax": "sampled", "sampled": 5}}},
        {"task": "names", "after": [{"mlm": {"text": "towns", "languages": ["de"]}}], "name": "lm-names"},
        {"task": "names", "mlm": {"text": "towns"}, "recipe": {"mlm": {"share": 0.5}}},
        {"task": "mood", "translate": {"languages": ["de", "sw"], "by": "identity"}, "name": "mood-thrice"},
        {"name": "only", "target": {"translate": {"languages": ["de"], "by": "identity", "original": False}}},
        {
            "name": "filter",
            "target": {
                "translate": {"languages": ["de"], "by": "identity"},
                "translate_test": {"by": "identity"},
                "recipe": {"fusion": {"local": 0, "fused": 1, "alpha": 0.5}},
            },
        },
    ]
}

ARM_NAMES = {"mood+names", "all-three", "joint", "slow", "lm", "lm-names", "names-mlm", "mood-thrice", "only", "filter"}


def written(folder, backbone, **changes):
    path = write_study(folder, backbone, intermediate=ARMS, **changes)
    write_tagged(folder / "towns" / "train.de.tsv", 10, 9)
    text = path.read_text("utf-8").replace("en: train.en.tsv", "en: train.en.tsv\n      de: train.de.tsv")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    study = Study.load(written(folder, tiny_checkpoint(folder / "b", "xlm-roberta", spread=0.1)))
    summary = run(study, folder / "store")
    assert summary.ok, summary
    return study, plan(study), Store(folder / "store")


def training(made, name):
    node = next(node for node in made.nodes.values() if node.label == f"train {name}.s0")
    assert isinstance(node.step, TrainStep)
    return node


def weights(store, key):
    from safetensors.torch import load_file

    return load_file(store.folder(key) / WEIGHTS)


def test_every_arm_has_a_gain(done):
    study, _, store = done
    rows = gains(study, store.root).rows
    assert {row.intermediate for row in rows} == ARM_NAMES
    joint = {(row.language, row.metric): row for row in rows if "joint training" in row.marks}
    assert {row.intermediate for row in joint.values()} == {"joint"} and {code for code, _ in joint} == {"en", "de"}
    for row in rows:
        most = joint[row.language, row.metric]
        other = row.baseline if row is most else row.score
        assert row.share == (pytest.approx(100 * other / most.score) if most.score else None)


def test_stops_follow_one_another(done):
    _, made, store = done
    first, second, target = (training(made, name) for name in ("mood", "mood+names", "mood+names+towns"))
    assert first.step.parent is None
    assert (second.step.parent, target.step.parent) == (first.id, second.id)
    before, after = (weights(store, node.id)["embedding.rows"].tolist() for node in (first, second))
    assert set(before) < set(after), "the second stop goes on from the first one's embedding"


def test_tasks_that_agree_in_their_labels_share_a_head(done):
    """``towns`` has the labels of ``names``; ``mood`` has a head of its own."""
    _, made, _ = done
    step = training(made, "all-three").step
    assert [(part.task, part.shares, part.batch) for part in step.parts] == [("mood", None, 4), ("towns", 0, 2)]


def test_each_task_of_several_is_validated_and_the_mean_selects(done):
    _, made, store = done
    manifest = store.manifest(training(made, "all-three").id)
    assert [set(scores) for scores in manifest["by_task"]] == [{"names", "mood", "towns"}] * 2
    means = [sum(scores.values()) / 3 for scores in manifest["by_task"]]
    assert [score for _, score in manifest["validation"]] == pytest.approx(means)
    assert manifest["selected_on"] == "en"


def test_how_batches_are_cut_does_not_change_the_mixture(done, tmp_path):
    """Accumulated over one example at a time, every update is of the same task, on the same examples."""
    study, *_ = done
    fine = {**study.intermediate["methods"][1].recipe, "tokens_per_micro_batch": 1, "dropout": 0.0}
    coarse = {**fine, "tokens_per_micro_batch": 10_000}
    losses = []
    for name, recipe in (("fine", fine), ("coarse", coarse)):
        arm = study.intermediate["methods"][1].model_copy(update={"recipe": recipe})
        one = study.model_copy(update={"intermediate": {"methods": (arm,)}})
        assert run(one, tmp_path / name).ok
        node = training(plan(one), "all-three")
        losses.append(json.loads((Store(tmp_path / name).folder(node.id) / LOG).read_bytes())["losses"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_joint_training_reads_all_its_languages(done):
    _, made, store = done
    joint, base = training(made, "joint+towns"), training(made, "none+towns")
    assert len(joint.step.also) == 1 and not base.step.also
    assert store.manifest(joint.id)["examples"] == 50 and store.manifest(base.id)["examples"] == 40


def test_text_alone_beside_a_task_and_before_one(done):
    _, made, store = done
    alone, beside = training(made, "lm"), training(made, "names-mlm")
    before, after = training(made, "mlm-de"), training(made, "lm-names")
    assert (alone.step.format, list(alone.step.texts)) == ("mlm", ["towns en", "towns de", "names en"])
    assert (beside.step.format, list(beside.step.texts)) == ("tagging", ["towns en", "towns de"])
    assert (before.step.format, list(before.step.texts), after.step.parent) == ("mlm", ["towns de"], before.id)
    for node in (alone, beside, before):
        assert "new" in store.manifest(node.id)["mlm_head"]
    sampled, full = (len(weights(store, node.id)["embedding.rows"]) for node in (alone, beside))
    assert sampled < full, "a full softmax trains every row of the vocabulary"


def test_what_is_translated_is_trained_on(done):
    _, made, store = done
    thrice, only = training(made, "mood-thrice"), training(made, "only+towns")
    assert store.manifest(thrice.id)["examples"] == 3 * 20 and len(thrice.step.also) == 2
    encoded = store.manifest(only.step.encoding)
    assert encoded["synthetic"] and encoded["translated_by"] == "identity" and not only.step.also
    assert store.manifest(only.id)["examples"] == encoded["carried"]["kept"] > 30


def test_filter_learns_from_its_teacher_and_reads_tests_beside_their_translations(done):
    study, made, store = done
    step = training(made, "filter+towns").step
    teacher = made.nodes[step.teacher]
    assert made.nodes[teacher.step.model].step.recipe.fusion.alpha == 0
    chain = next(chain for chain in made.chains if chain.intermediate == "filter")
    assert set(made.nodes[chain.evaluate].step.partners) == {"de"}
    marks = {mark for row in gains(study, store.root).rows if row.intermediate == "filter" for mark in row.marks}
    assert {"trained on translations (identity)", "reads translated tests (identity)"} <= marks


def test_an_arm_changes_its_own_chains_alone(done):
    _, made, _ = done
    assert training(made, "slow+towns").step.recipe.rate == 1e-6
    assert training(made, "none+towns").step.recipe.rate == training(made, "mood+names+towns").step.recipe.rate == 1e-4


def test_the_same_bits_after_an_interruption(done, tmp_path):
    """Which task an update is of is drawn from the seed, so a mixture resumes anywhere."""
    study, made, store = done
    node, told = training(made, "all-three"), []

    def interrupt(event):
        if event.kind == "progress" and event.node.id == node.id:
            told.append(event)
            if len(told) == 2:
                signal.raise_signal(signal.SIGTERM)

    assert run(study, tmp_path / "store", on_event=interrupt).stopped
    assert run(study, tmp_path / "store").ok
    other = tmp_path / "store"
    whole, again = (weights(opened, node.id) for opened in (store, Store(other)))
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ({"name": "x"}, "field 'intermediate.task' is missing: add it"),
        ({"target": {"recipe": {"rate": 1e-6}}}, "this arm has no task to be called after: give it a `name:`"),
        ({"name": "x", "target": {"recipe": {"max_length": 12}}}, "max_length is the same for all arms"),
        ({"name": "x", "target": {"recipe": {"rat": 1}}}, "unknown field 'recipe.rat' (did you mean 'rate'?)"),
        (
            {"name": "x", "target": {"languages": ["sw"]}},
            "for target 'towns': task 'towns' has no train data in 'sw' (it has: en)",
        ),
        ({"task": "names", "with": [{"task": "mood", "recipe": {"rate": 1}}]}, "'rate' is of the whole phase"),
        ({"task": "names", "with": ["moot"]}, "unknown task 'moot' (did you mean 'mood'?)"),
        ({"name": "x", "target": {"translate_test": {"by": "identity"}}}, "for target 'towns': answers and tags of a"),
        ({"task": "names", "translate": {"languages": ["en"], "by": "identity"}}, "'en' is the source language"),
        ({"task": "names", "translate": {"languages": ["dee"], "by": "identity"}}, "'dee'"),
        ({"task": "names", "translate": {"languages": ["de"], "by": "apertum"}}, "apertium"),
        ({"task": "names", "targets": ["town"]}, "the study has no target 'town' (did you mean 'towns'?)"),
        ({"task": "names", "after": ["moot"]}, "unknown task 'moot' (did you mean 'mood'?)"),
        ({"task": "names", "after": [{"task": "mood", "after": ["towns"]}]}, "`after` and `target` belong to the arm"),
        ({"name": "x", "with": ["mood"], "target": {}}, "`with` needs a `task` that it stands beside"),
        ({"task": "names", "mlm": {"text": "town"}}, "unknown task 'town' (did you mean 'towns'?)"),
        ({"task": "names", "mlm": {"text": "towns", "languages": ["sw"]}}, "task 'towns' has no train data in 'sw'"),
        ({"task": "names", "recipe": {"mixing": {"sampler": "capped"}}}, "`cap` belongs to the sampler 'capped'"),
    ],
)
def test_arms_that_make_no_sense(tmp_path: Path, arm: dict[str, object], says: str) -> None:
    path = write_study(tmp_path, {"id": "bundled"}, intermediate={"some": [arm]})
    with pytest.raises(ManyProblems) as caught:
        Study.load(path)
    assert says in str(caught.value), json.dumps(str(caught.value))


def test_match_is_of_one_task(tmp_path: Path) -> None:
    arms = {"some": [{"task": "names", "with": ["mood"]}]}
    path = write_study(tmp_path, {"id": "bundled"}, intermediate=arms, match={"by": "examples", "amount": 10})
    with pytest.raises(ManyProblems, match="match makes arms equal in one task"):
        Study.load(path)


def test_a_translated_test_keeps_its_own_labels(tmp_path: Path) -> None:
    """Trained on a task with other labels, which are mapped: the map is of that task, not of the test."""
    train = {"task": "mood", "labels": {"so-so": None}}
    checkpoint = tiny_checkpoint(tmp_path / "b", "xlm-roberta", spread=0.1)
    path = write_study(tmp_path, checkpoint, intermediate={"some": ["names"]})
    content = yaml.safe_load(path.read_text("utf-8"))
    own = {**content["tasks"]["mood"], "labels": ["good", "bad"], "rename": {"so-so": None}}
    del own["train"]
    own["test"] = {"de": "train.tsv"}
    target = {"task": "verdict", "train": train, "languages": ["de"], "translate_test": {"by": "identity"}}
    content |= {"tasks": {**content["tasks"], "verdict": own}, "target": [target]}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert run(Study.load(path), tmp_path / "store").ok


def test_two_translators_are_two_translations(tmp_path: Path) -> None:
    """They differ in nothing but their files."""
    arms = []
    for name in ("one", "other"):
        (tmp_path / f"{name}.de.jsonl").write_text(json.dumps({"id": "1", "text": name}) + "\n")
        by = {"by": "precomputed", "layout": "jsonl", "files": str(tmp_path / f"{name}.{{lang}}.jsonl")}
        arms.append({"task": "mood", "name": name, "translate": {"languages": ["de"], "by": by}})
    path = write_study(tmp_path, tiny_checkpoint(tmp_path / "b", "xlm-roberta"), intermediate={"some": arms})
    kinds = [node.step.kind for node in plan(Study.load(path)).nodes.values()]
    assert kinds.count("translate") == 2 and kinds.count("train") == 1 + 2 * 2
