"""FILTER in whole studies: texts beside translations, a teacher and its pupil, tests beside their translations."""

import json
import random
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from every import write_jsonl  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402
from small import LABELS, sentences, write_tagged  # noqa: E402
from small import write_study as write_small  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation import Study, formats, gains, plan, run  # noqa: E402
from waystation.backbones import Backbone  # noqa: E402
from waystation.costs import costs  # noqa: E402
from waystation.errors import InputError, Stopped  # noqa: E402
from waystation.evaluation.predict import logits_of  # noqa: E402
from waystation.exchange.checkpoint import export  # noqa: E402
from waystation.exchange.predict import predict  # noqa: E402
from waystation.steps import logits, models  # noqa: E402
from waystation.steps.context import Context  # noqa: E402
from waystation.steps.records import EvaluateStep, LogitsStep, TrainStep  # noqa: E402
from waystation.store import Store  # noqa: E402

IDENTITY = {"languages": ["de"], "by": "identity"}
ARMS = {
    "plain": {"translate": IDENTITY, "translate_test": {"by": "identity"}, "recipe": {"fusion": {"fused": 2}}},
    "taught": {
        "translate": IDENTITY,
        "translate_test": {"by": "identity"},
        "recipe": {"fusion": {"fused": 2, "alpha": 0.5, "temperature": 2}},
    },
    "rows": {
        "languages": ["en", "de"],
        "recipe": {"fusion": {"fused": 1, "alpha": 1.0}},
    },  # rows of the same ids in both
}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("backbone"), layers=3, spread=0.1)


def write_study(folder, backbone, **changes):
    """Targets ``mood``, whose rows have the same ids and labels in both languages, and ``towns``, which is tagged."""
    for at, (part, number) in enumerate((("train", 40), ("test", 12))):
        found = [LABELS["classification"][random.Random(n).randrange(3)] for n in range(number)]
        for more, code in enumerate(("en", "de")):
            texts = sentences(number, 10 * at + more, 10)
            rows = [
                {"id": f"{part}-{n}", "text": " ".join(words), "label": label}
                for n, (words, label) in enumerate(zip(texts, found, strict=True))
            ]
            write_jsonl(folder / "mood" / f"{part}.{code}.jsonl", rows)
            write_tagged(folder / "towns" / f"{part}.{code}.tsv", number, 10 * at + more, 30)
    files = {
        ending: {part: {code: f"{part}.{code}.{ending}" for code in ("en", "de")} for part in ("train", "test")}
        for ending in ("jsonl", "tsv")
    }
    content = {
        "study": "filter",
        "backbone": {"id": str(backbone)},
        "intermediate": {
            "filter": [
                {"name": name, "target": changed, **({"targets": ["mood"]} if name == "rows" else {})}
                for name, changed in ARMS.items()
            ]
        },
        "target": "mood",
        "languages": ["de"],
        "seeds": 1,
        "recipe": {"batch": 8, "max_length": 24, "stride": 6, "updates": 5, "dropout": 0.0, "head_rate": 3e-3},
        "tasks": {
            "mood": {
                "format": "classification",
                "labels": list(LABELS["classification"]),
                "reader": {"kind": "jsonl", "id": "id", "text": "text", "label": "label"},
                "path": "mood",
                **files["jsonl"],
            },
            "towns": {
                "format": "tagging",
                "labels": ["PER", "LOC"],
                "reader": {"kind": "conll", "separator": "\t"},
                "path": "towns",
                **files["tsv"],
            },
        },
        **changes,
    }
    path = folder / "study.json"  # JSON is YAML
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = Study.load(write_study(folder, backbone, target=["mood", "towns"]))
    summary = run(study, folder / "store")
    assert summary.ok, summary
    return study, plan(study), Store(folder / "store")


def steps(made, kind):
    return {node.label: (node.id, node.step) for node in made.nodes.values() if isinstance(node.step, kind)}


def test_a_pupil_has_the_plain_training_as_its_teacher(finished):
    _, made, store = finished
    trained, taught = steps(made, TrainStep), steps(made, LogitsStep)
    assert len(taught) == 3, "one for each pupil"
    for target in ("mood", "towns"):
        _, pupil = trained[f"train taught+{target}.s0"]
        key, teacher = taught[f"teach taught+{target}.s0"]
        assert pupil.teacher == key and pupil.recipe.fusion.temperature == 2
        plain, step = next(one for label, one in trained.items() if label == f"train plain+{target}.s0")
        assert teacher.model == plain and step.teacher is None, "both arms share it"
        assert teacher.encodings == (pupil.encoding, *pupil.also) == (step.encoding, *step.also)
        assert store.manifest(plain)["pairs"] == 80 and store.manifest(plain)["examples"] == 40
    languages = {label: step.recipe.fusion.languages for label, (_, step) in trained.items() if step.recipe.fusion}
    assert {value for label, value in languages.items() if "towns" in label} == {"one"}
    assert {value for label, value in languages.items() if "mood" in label} == {"every"}


def test_what_the_teacher_says_is_kept_for_every_window(finished):
    study, made, store = finished
    for key, step in steps(made, LogitsStep).values():
        context = Context(store, store.root, Backbone(id=study.backbone.id))
        said = logits.stored(context, key)
        for at, encoding in enumerate(step.encodings):
            encoded = context.encoded(encoding)
            found = load_file(store.folder(key) / f"part={at}.safetensors")
            scored = (encoded.word >= 0).sum() if step.format == "tagging" else len(encoded.example)
            assert found["logits"].shape == (scored, 3 if step.format == "classification" else 5)
            assert len(found["offsets"]) == len(encoded.example) + 1 and np.isfinite(found["logits"]).all()
        windows = [len(context.encoded(encoding).example) for encoding in step.encodings]
        last = np.array([windows[0] + 1, 0, sum(windows) - 1])
        one, two = said.parts
        expected = [one[0][slice(*one[1][:2])], two[0][slice(*two[1][1:3])], two[0][slice(*two[1][-2:])]]
        np.testing.assert_array_equal(said(last), np.concatenate([expected[1], expected[0], expected[2]]))


def test_the_teacher_reads_what_its_pupil_reads(finished):
    """Each text beside its original."""
    study, made, store = finished
    context = Context(store, store.root, Backbone(id=study.backbone.id))
    key, step = steps(made, LogitsStep)["teach rows+mood.s0"]
    original, other = (context.encoded(encoding) for encoding in step.encodings)
    rows, form = np.arange(context.checkpoint.vocabulary), formats.get(step.format)
    places, model = rows.astype(np.int32), models.build(context, step, models.read(context, step.model), rows, None)

    def said(partners):
        found = logits_of(model, other, places, form, fusion=step.fusion, partners=partners)
        return np.concatenate([values for _, values in sorted(found, key=lambda one: one[0])])

    (stored, _) = logits.stored(context, key).parts[1]
    np.testing.assert_allclose(stored, said(original), atol=1e-5)
    assert not np.allclose(stored, said(None), atol=1e-4)


def test_what_was_said_before_an_interruption_is_kept(finished, tmp_path):
    study, made, store = finished
    key, step = steps(made, LogitsStep)["teach taught+towns.s0"]
    context = Context(store, store.root, Backbone(id=study.backbone.id))
    asked = iter(range(99))
    context.should_stop = lambda: next(asked) > 0
    step = step.model_copy(update={"tokens_per_micro_batch": 10_000})  # one micro-batch an encoding
    with pytest.raises(Stopped):
        logits.perform(step, tmp_path, context)
    assert [path.name for path in tmp_path.glob("*")] == ["part=0.safetensors"]
    before = (store.workspace(key) / "part=0.safetensors").stat().st_ino
    context.should_stop = lambda: False
    logits.perform(step, tmp_path, context)
    assert (tmp_path / "part=0.safetensors").stat().st_ino == before, "not made again"
    for at in range(2):
        one, two = (load_file(place / f"part={at}.safetensors") for place in (tmp_path, store.folder(key)))
        np.testing.assert_allclose(one["logits"], two["logits"], atol=1e-5)
        np.testing.assert_array_equal(one["offsets"], two["offsets"])
    shutil.rmtree(store.workspace(key))


def test_a_test_is_read_beside_its_translation(finished):
    _, made, store = finished
    for label, (key, step) in steps(made, EvaluateStep).items():
        alone = {code: row.get("alone") for code, row in store.manifest(key)["languages"].items()}
        if "plain" in label or "taught" in label:
            assert step.fusion is not None and set(step.partners) == {"de"}
            assert alone == {"en": 12, "de": 0}
        elif "rows" in label:
            assert step.fusion is not None and step.partners == {} and alone == {"en": 12, "de": 12}
        else:
            assert step.fusion is None and alone == {"en": None, "de": None}


def test_all_arms_have_their_scores_and_teaching_changes_them(finished):
    study, made, store = finished
    rows = gains(study, store.root).rows
    assert {row.intermediate for row in rows} == set(ARMS)
    ends = [
        load_file(store.folder(key) / "delta.safetensors")
        for label, (key, _) in steps(made, TrainStep).items()
        if label in ("train plain+mood.s0", "train taught+mood.s0")
    ]
    assert any(not np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_costs_know_the_texts_beside(finished, backbone):
    _, made, store = finished
    found = costs(made, store)
    by_label = {node.label: found[node.id] for node in made.nodes.values()}
    plain, fused = (by_label[f"train {name}+mood.s0"].tokens for name in ("none", "plain"))
    assert fused == pytest.approx(2 * plain, rel=0.01), "the translation is the text itself"
    trained = store.manifest(steps(made, TrainStep)["train plain+mood.s0"][0])["tokens"]
    assert fused == pytest.approx(trained, rel=0.2)
    assert by_label["teach taught+mood.s0"].flops > 0


def test_a_study_that_goes_on_in_another_store_gets_the_same_bits(finished, tmp_path):
    study, made, store = finished
    assert run(study, tmp_path / "store").ok
    again = Store(tmp_path / "store")
    for node in made.nodes.values():
        assert store.manifest(node.id)["files"] == again.manifest(node.id)["files"], node.label


def test_new_text_stands_beside_itself_and_no_plain_checkpoint_holds_the_model(finished, tmp_path):
    study, _, store = finished
    said = list(predict(study, "plain+mood.s0", ["Anna in Genf", "lunes"], store.root))
    assert [set(one["probabilities"]) for one in said] == [set(LABELS["classification"])] * 2
    apart = list(predict(study, "none+mood.s0", ["Anna in Genf"], store.root))
    assert apart[0]["probabilities"] != said[0]["probabilities"]
    with pytest.raises(InputError, match=r"plain\+mood\.s0.*beside another"):
        export(study, "plain+mood.s0", tmp_path / "out", store.root)


def test_validation_is_on_originals_alone(backbone, tmp_path):
    recipe = {"batch": 8, "max_length": 24, "stride": 6, "updates": 4, "validation": {"fraction": 0.25, "every": 2}}
    arms = {"filter": [{"name": "plain", "target": ARMS["plain"]}]}
    study = Study.load(write_study(tmp_path, backbone, target="towns", intermediate=arms, recipe=recipe))
    assert run(study, tmp_path / "store").ok
    store, trained = Store(tmp_path / "store"), steps(plan(study), TrainStep)
    for label, pairs in (("train plain+towns.s0", 60), ("train none+towns.s0", None)):
        manifest = store.manifest(trained[label][0])
        assert manifest["examples"] == 30 and manifest["pairs"] == pairs and len(manifest["validation"]) == 2


def test_fusion_wants_translations(backbone, tmp_path):
    arms = {"filter": [{"name": "bare", "target": {"recipe": {"fusion": {}}}}]}
    with pytest.raises(InputError, match="'mood': fusion reads training texts beside their translations"):
        plan(Study.load(write_study(tmp_path, backbone, intermediate=arms)))


def test_rows_are_paired_by_their_ids(backbone, tmp_path):
    """Those of ``towns`` are counted by file."""
    arms = {"filter": [{"name": "rows", "target": ARMS["rows"]}]}
    summary = run(Study.load(write_study(tmp_path, backbone, target="towns", intermediate=arms)), tmp_path / "store")
    (told,) = set(summary.failed.values())
    assert "no text of 'towns' train de has the id of one to stand beside" in told and "\n" not in told


def test_a_backbone_with_an_attention_of_its_own_says_so(tmp_path):
    folder = tiny_checkpoint(tmp_path / "deberta", "deberta-v2")
    arms = {"filter": [{"name": "rows", "target": ARMS["rows"]}]}
    study = Study.load(write_study(tmp_path, folder, intermediate=arms))
    summary = run(study, tmp_path / "store")
    (told,) = summary.failed.values()
    assert "a deberta-v2 encoder cannot read a text beside its translation" in told and "\n" not in told


def test_an_intermediate_phase_may_fuse_and_the_target_not(backbone, tmp_path):
    arms = {"filter": [{"task": "mood", "translate": IDENTITY, "recipe": {"fusion": {"fused": 1, "alpha": 1.0}}}]}
    study = Study.load(write_study(tmp_path, backbone, target="towns", intermediate=arms))
    assert run(study, tmp_path / "store").ok
    made = plan(study)
    assert [step.fusion for _, step in steps(made, EvaluateStep).values()] == [None, None]
    assert len(steps(made, LogitsStep)) == 1


def test_small_studies_without_it_are_as_they_were(backbone, tmp_path):
    made = plan(Study.load(write_small(tmp_path, backbone)))
    assert not steps(made, LogitsStep)
