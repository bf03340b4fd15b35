"""`store export --adapters`: what LoRA trained, as a folder that the library peft loads on the backbone."""

import json
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import transformers  # noqa: E402
from every import write_study  # noqa: E402

from waystation import Study, plan, predict, run  # noqa: E402
from waystation.cli import main  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.exchange.checkpoint import export  # noqa: E402
from waystation.tasks import sources  # noqa: E402

CHAIN = "names+mood.s0"


@pytest.fixture(scope="module")
def stacked(backbone, tmp_path_factory):
    """(study, store folder) where the target's adapters lie on the intermediate task's."""
    folder = tmp_path_factory.mktemp("stacked")
    recipe = {"batch": 8, "max_length": 32, "stride": 8, "updates": 20, "rate": 3e-2, "head_rate": 1e-2}
    recipe["lora"] = {"rank": 4, "after": "stack"}
    study = Study.load(write_study(folder, backbone, ["mood"], recipe=recipe))
    summary = run(study, folder / "store")
    assert summary.ok, summary
    return study, folder / "store"


def texts(study):
    return [one.text for one in sources.read(plan(study).study.find("mood"), "test", "de", None)]


def test_peft_predicts_what_the_study_does(stacked, tmp_path):
    peft = pytest.importorskip("peft", reason="the library peft is not installed")
    study, store = stacked
    facts = export(study, CHAIN, tmp_path / "out", store, adapters=True)
    assert facts == json.loads((tmp_path / "out" / "waystation.json").read_text())
    assert not list(tmp_path.glob("out/model*")) and not list(tmp_path.glob("out/tokenizer*"))
    base = facts["base_model_name_or_path"]
    loader = getattr(transformers, facts["auto_class"])
    plain = loader.from_pretrained(base, config=transformers.AutoConfig.from_pretrained(tmp_path / "out"))
    model = peft.PeftModel.from_pretrained(plain, tmp_path / "out").eval()
    assert model.peft_config["default"].r == 8
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    given = texts(study)
    for found, text in zip(predict(study, CHAIN, given, store), given, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).logits[0]
        assert list(found["probabilities"].values()) == pytest.approx(torch.softmax(logits, -1).tolist(), abs=1e-5)
        assert found["label"] == model.config.id2label[int(logits.argmax())]


def test_the_whole_checkpoint_has_them_added(stacked, tmp_path):
    study, store = stacked
    export(study, CHAIN, tmp_path / "out", store)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    given = texts(study)
    for found, text in zip(predict(study, CHAIN, given, store), given, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).logits[0]
        assert list(found["probabilities"].values()) == pytest.approx(torch.softmax(logits, -1).tolist(), abs=1e-5)


def test_where_adapters_are_not_all_it_is_refused(finished, stacked, tmp_path):
    study, _, store = finished
    with pytest.raises(InputError, match=r"its model has no adapters; train it with lora and `after: keep` or `stack`"):
        export(study, CHAIN, tmp_path / "out", store.root, adapters=True)
    study, folder = stacked
    mixed = Study.load(study.path, overrides=["recipe.intermediate.lora=null", "recipe.intermediate.updates=1"])
    assert run(mixed, folder).ok
    with pytest.raises(InputError, match="a phase before the adapters changed the encoder itself"):
        export(mixed, CHAIN, tmp_path / "out", folder, adapters=True)
    assert export(mixed, "none+mood.s0", tmp_path / "out", folder, adapters=True)["class"]


def test_the_command(stacked, tmp_path, monkeypatch, capsys):
    study, store = stacked
    words = ["store", "export", CHAIN, tmp_path / "out", "--adapters", "--study", study.path, "--store", store]
    monkeypatch.setattr(sys, "argv", ["waystation", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    told = capsys.readouterr().out
    assert told.startswith(
        f"{tmp_path / 'out'}: adapters for XLMRobertaForSequenceClassification; peft.PeftModel loads"
    )
    assert (tmp_path / "out" / "adapter_model.safetensors").stat().st_size < 100_000
