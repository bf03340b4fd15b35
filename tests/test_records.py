from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

import waystation
from waystation.records import EXECUTION, IDENTITY, Record, canonical, derive, digest, identity, mark_of
from waystation.steps.recipes import Fusion, Lora, Mixing, Mlm, Recipe, Subset, Unfreezing, Validation
from waystation.steps.records import (
    EncodeStep,
    EvaluateStep,
    LogitsStep,
    Part,
    Reading,
    Retrieval,
    Sweep,
    SweepStep,
    Swept,
    TrainStep,
    TranslateStep,
    TrunkStep,
    step_id,
)
from waystation.steps.translation import Translation
from waystation.tasks.known import find
from waystation.tasks.task import Task

WITHOUT_TORCH = ("engines", "evaluation", "formats", "models", "training", "report", "cli", "doctor")
"""Parts of the package that are not searched for records: they need torch, or only show things."""
HEAVY_STEPS = {
    f"waystation.steps.{name}"
    for name in (
        *("carry", "context", "encode", "evaluate", "lessons", "logits", "models", "retrieve", "sweep", "train"),
        *("translate", "trunk"),
    )
}


def subclasses(record: type[Record]) -> list[type[Record]]:
    found = []
    for kind in record.__subclasses__():
        found += [kind, *subclasses(kind)]
    return found


def unmarked(record: type[Record]) -> list[str]:
    return [f"{record.__name__}.{name}" for name in record.model_fields if mark_of(record, name) is None]


def records_of_the_package() -> list[type[Record]]:
    for module in pkgutil.walk_packages(waystation.__path__, "waystation."):
        if module.name.split(".")[1] not in WITHOUT_TORCH and module.name not in HEAVY_STEPS:
            importlib.import_module(module.name)
    return [kind for kind in subclasses(Record) if kind.__module__.startswith("waystation.")]


def test_every_field_of_every_record_says_whether_it_can_change_a_result() -> None:
    records = records_of_the_package()
    names = {kind.__name__ for kind in records}
    assert {"Study", "Use", "Backbone", "Task", "Reader", "Files", "Recipe", "TrainStep", "EncodeStep"} <= names
    missing = [field for kind in records for field in unmarked(kind)]
    assert not missing, f"mark with Annotated[..., IDENTITY] or EXECUTION: {missing}"


def test_no_record_hides_in_a_module_that_is_not_searched() -> None:
    searched = {kind.__name__ for kind in records_of_the_package()}
    folder = next(iter(waystation.__path__))
    written = {
        name
        for path in Path(folder).rglob("*.py")
        for name in re.findall(r"^class (\w+)\(Record\)", path.read_text(), re.M)
    }
    assert written and written <= searched


def test_an_unmarked_field_is_found() -> None:
    class Sloppy(Record):
        good: Annotated[int, IDENTITY] = 0
        forgotten: int = 0
        documented: Annotated[int, "no mark"] = 0

    assert unmarked(Sloppy) == ["Sloppy.forgotten", "Sloppy.documented"]


def test_a_field_without_a_mark_counts_as_identity_until_it_has_one() -> None:
    class Careless(Record):
        rate: float = 0.0

    assert digest(Careless(rate=1)) != digest(Careless(rate=2))


RECIPE = Recipe()
ENCODE = EncodeStep(
    task=find("e3c"), content="c" * 64, split="train", language="en", format="tagging", labels=("A",), scheme="iob2",
    tokenizer={"bundled": "x"}, max_length=64, stride=16,
)  # fmt: skip
TRANSLATE = TranslateStep(
    task=find("e3c"), content="c" * 64, split="train", source="en", language="es",
    by=Translation(by="apertium"), provider={"mode": "eng-spa"},
)  # fmt: skip
TRAIN = TrainStep(
    phase="target", task="e3c", format="tagging", labels=("A",), scheme="iob2",
    backbone={"bundled": "x", "layers": None}, parent=None, encoding="e" * 64, recipe=RECIPE, seed=0,
)  # fmt: skip
PART = Part(task="gum", format="tagging", labels=("A",), scheme="iob2", encodings=("g" * 64,), batch=8)
TRUNK = TrunkStep(backbone={"bundled": "x"}, source=None, blocks=6, encoding="e" * 64, max_bytes=1e9)
EVALUATE = EvaluateStep(
    task="e3c", format="tagging", labels=("A",), scheme="iob2", model="m" * 64, encodings={"en": "e" * 64}
)

LOGITS = LogitsStep(
    task="e3c", format="tagging", labels=("A",), scheme="iob2", model="m" * 64, fusion=Fusion(), encodings=("e" * 64,)
)

RETRIEVAL = Reading(layer=-1, pooling="mean", prefix="", direction="mining")
SWEEP = SweepStep(
    task="pairs", model=None, backbone={"bundled": "x"}, encodings={"de": "e" * 64},
    retrieval=Retrieval(prefix="", direction="mining"), sweep=Sweep(on=("de",)),
)  # fmt: skip

RECIPE_CHANGES: dict[str, Any] = {
    "updates": 101, "batch": 17, "rate": 2e-4, "head_rate": 2e-3, "warmup": 0.2, "weight_decay": 0.02,
    "decay_embeddings": True, "beta2": 0.98, "epsilon": 1e-6, "clip": 2.0, "dropout": 0.2, "attention_dropout": 0.1,
    "max_length": 256, "stride": 8, "validation": Validation(), "tokens_per_micro_batch": 2048,
    "checkpoint_seconds": 1.0, "frozen": 0, "gradient_checkpointing": True, "trunk_gigabytes": 1.0,
    "schedule": "one-cycle", "unfreezing": Unfreezing(groups=(2, 4)), "layer_decay": 0.9, "biases_only": True,
    "label_smoothing": 0.1, "class_weights": "balanced", "lora": Lora(), "mixing": Mixing(), "mlm": Mlm(),
    "fusion": Fusion(),
}  # fmt: skip
ENCODE_CHANGES: dict[str, Any] = {
    "version": 9, "task": find("gum"), "content": "d" * 64, "sample": True,
    "stands_for": "test", "split": "test", "language": "eu",
    "format": "classification", "rename": {"A": None}, "labels": ("A", "B"), "scheme": "plain",
    "tokenizer": {"bundled": "y"}, "max_length": 65,
    "stride": 17, "prefix": "query: ", "translation": "t" * 64, "unlabelled": True,
}  # fmt: skip
TRANSLATE_CHANGES: dict[str, Any] = {
    "version": 9, "task": find("gum"), "content": "d" * 64, "split": "test", "source": "es", "language": "eu",
    "by": Translation(by="identity"), "provider": {"mode": "eng-cat"}, "corpus": find("tico19"),
}  # fmt: skip
TRAIN_CHANGES: dict[str, Any] = {
    "version": 9, "phase": "intermediate", "task": "other", "format": "classification", "labels": ("B",),
    "scheme": "plain", "backbone": {"bundled": "x", "layers": 2}, "parent": "p" * 64,
    "encoding": "f" * 64, "also": ("f" * 64,), "parts": (PART,), "texts": {"x eu": "f" * 64}, "teacher": "p" * 64,
    "recipe": Recipe(updates=3),
    "subset": Subset(by="words", amount=3), "seed": 1, "precision": "bf16", "trunk": "t" * 64,
}  # fmt: skip
TRUNK_CHANGES: dict[str, Any] = {
    "version": 9, "backbone": {"bundled": "y"}, "source": "p" * 64, "blocks": 0, "encoding": "f" * 64,
    "precision": "bf16", "max_bytes": 2e9, "tokens_per_micro_batch": 4096, "visits": 3, "passes": 2,
}  # fmt: skip
EVALUATE_CHANGES: dict[str, Any] = {
    "version": 9, "task": "other", "format": "classification", "labels": ("B",), "scheme": "plain", "model": "n" * 64,
    "encodings": {"en": "e" * 64, "eu": "f" * 64}, "precision": "bf16", "tokens_per_micro_batch": 4096,
    "backbone": {"bundled": "x"}, "retrieval": RETRIEVAL, "frozen": 6, "trunks": {"en": "t" * 64},
    "fusion": Fusion(), "partners": {"eu": "g" * 64},
}  # fmt: skip
LOGITS_CHANGES: dict[str, Any] = {
    "version": 9, "task": "other", "format": "classification", "labels": ("B",), "scheme": "plain", "model": "n" * 64,
    "fusion": Fusion(fused=2), "encodings": ("e" * 64, "f" * 64), "precision": "bf16", "tokens_per_micro_batch": 4096,
}  # fmt: skip
SWEEP_CHANGES: dict[str, Any] = {
    "version": 9, "task": "other", "model": "m" * 64, "backbone": {"bundled": "y"}, "encodings": {"de": "f" * 64},
    "retrieval": Retrieval(prefix="x", direction="mining"), "sweep": Sweep(layers=(3,), on=("de",)),
    "precision": "bf16", "tokens_per_micro_batch": 4096,
}  # fmt: skip
CHANGES = [
    pytest.param(record, field, value, id=f"{type(record).__name__}-{field}")
    for record, changes in (
        (RECIPE, RECIPE_CHANGES), (ENCODE, ENCODE_CHANGES), (TRAIN, TRAIN_CHANGES), (TRANSLATE, TRANSLATE_CHANGES),
        (TRUNK, TRUNK_CHANGES), (EVALUATE, EVALUATE_CHANGES), (LOGITS, LOGITS_CHANGES),
        (Validation(), {"fraction": 0.2, "every": 7, "select": "best", "patience": 3}),
        (PART, {"task": "x", "format": "choice", "labels": (), "scheme": "plain"}),
        (PART, {"encodings": (), "shares": 0, "batch": 9}),
        (Unfreezing(groups=(2, 4)), {"groups": (2, 3), "rates": (1e-3, 1e-4), "length": 7, "unit": "epochs"}),
        (Mixing(), {"sampler": "uniform", "annealing": 0.5}),
        (Mixing(sampler="capped", cap=9), {"cap": 10}),
        (Mixing(sampler="temperature", temperature=2), {"temperature": 3.0}),
        (Fusion(), {"local": 2, "fused": 3, "alpha": 0.5, "temperature": 2.0, "languages": "one"}),
        (Translation(by="seq2seq", model="a"), {"model": "b", "beams": 1, "longest": 9, "before": "x"}),
        (Translation(by="seq2seq", model="a"), {"spelling": {"es": "spa"}, "tokens_per_batch": 9, "revision": "r"}),
        (Translation(by="precomputed", files="a", layout="pairs"), {"files": "b", "layout": "squad"}),
        (Subset(by="words", amount=1), {"by": "examples", "amount": 2}),
        (SWEEP, SWEEP_CHANGES),
        (Sweep(on=("de",)), {"layers": (1,), "poolings": ("mean",), "on": ("sw",)}),
        (Swept(prefix="", direction="to-english", sweep="s" * 64), {"sweep": "t" * 64, "prefix": "x", "index": "Flat"}),
        (Reading(layer=-1, pooling="mean", prefix="", direction="to-english"), {"index": "Flat"}),
        (RETRIEVAL, {"layer": 7, "pooling": "first", "prefix": "query: ", "direction": "to-english"}),
    )
    for field, value in changes.items()
]  # fmt: skip


@pytest.mark.parametrize(("record", "field", "value"), CHANGES)
def test_a_field_changes_the_digest_exactly_when_it_is_identity(record: Record, field: str, value: Any) -> None:
    changed = type(record).model_validate({**dict(record), field: value})
    assert getattr(changed, field) != getattr(record, field)
    assert (digest(changed) != digest(record)) == (mark_of(type(record), field) is IDENTITY)


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (RECIPE, RECIPE_CHANGES),
        (ENCODE, ENCODE_CHANGES),
        (TRANSLATE, TRANSLATE_CHANGES),
        (TRAIN, TRAIN_CHANGES),
        (TRUNK, TRUNK_CHANGES),
        (EVALUATE, EVALUATE_CHANGES),
        (LOGITS, LOGITS_CHANGES),
        (SWEEP, SWEEP_CHANGES),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Record) else "",
)
def test_no_field_of_a_step_was_left_out_of_the_test_above(record: Record, changes: dict[str, Any]) -> None:
    assert set(changes) == set(type(record).model_fields) - {"kind"}


def test_only_these_fields_of_steps_and_recipes_are_execution_only() -> None:
    execution = {
        f"{kind.__name__}.{name}"
        for kind in (
            Recipe,
            Validation,
            Subset,
            TranslateStep,
            EncodeStep,
            TrainStep,
            TrunkStep,
            LogitsStep,
            EvaluateStep,
            SweepStep,
            Sweep,
        )
        for name in kind.model_fields
        if mark_of(kind, name) is EXECUTION
    }
    assert execution == {
        "Recipe.tokens_per_micro_batch", "Recipe.checkpoint_seconds", "Recipe.gradient_checkpointing",
        "Recipe.trunk_gigabytes", "TranslateStep.task", "TranslateStep.corpus", "EncodeStep.task", "EncodeStep.sample",
        "EncodeStep.stands_for", "TrainStep.task", "TrainStep.trunk",
        "TrunkStep.max_bytes", "TrunkStep.tokens_per_micro_batch", "TrunkStep.visits", "TrunkStep.passes",
        "LogitsStep.task", "LogitsStep.tokens_per_micro_batch", "EvaluateStep.task", "EvaluateStep.frozen",
        "EvaluateStep.trunks", "EvaluateStep.tokens_per_micro_batch",
        "SweepStep.task", "SweepStep.tokens_per_micro_batch", "Sweep.on",
    }  # fmt: skip


def test_execution_only_fields_inside_a_record_inside_a_step_do_not_count() -> None:
    changed = TRAIN.model_copy(update={"recipe": Recipe(checkpoint_seconds=1, tokens_per_micro_batch=7)})
    assert step_id(changed) == step_id(TRAIN)


def test_where_a_task_lies_and_what_it_is_called_is_no_part_of_it() -> None:
    facts = find("e3c").model_dump()
    moved = Task.model_validate({**facts, "path": "/elsewhere", "title": "Other", "licence": "MIT", "notes": "x"})
    assert digest(moved) == digest(find("e3c"))


def test_canonical_json_is_sorted_tight_utf8() -> None:
    assert canonical({"b": [1, 2.5, None, True], "a": "ñ", "c": {"y": (), "x": "\n"}}) == (
        '{"a":"ñ","b":[1,2.5,null,true],"c":{"x":"\\n","y":[]}}'.encode()
    )


def test_the_digest_of_a_known_value_never_changes() -> None:
    """Computed once; another value here means that every store is lost."""
    value = {"b": [1, 2.5, None, True], "a": "ñ", "c": {"y": (), "x": "\n"}}
    assert digest(value) == "a626ed19c70ff48e55f3fc7abe79cd6ea2869627abec65635bd7eff571ab8cb3"


def test_the_identity_of_known_steps_changes_on_purpose_only() -> None:
    """A new identity field changes these: every artifact in every store is then made anew. Renew them knowingly."""
    assert digest(RECIPE) == "9b414b2f3499c3ed79090c7e1fe60740d6809f38b38595ed750c35d47944aa58"
    assert step_id(TRAIN) == "fe203cf501147b6c01675cf1cd7df4d355c48d70ef8c002660ad88eb3cb0f8c0"
    assert step_id(ENCODE) == "715c60bf6092d96a7fbf9d692db74ed726dcfb27ff91158ec1bd1e93e998cbc2"
    assert step_id(TRUNK) == "4a23bde2927394bfa43595b78bcc2e774764ec31f1a8546f2696a671d58f5375"
    assert step_id(EVALUATE) == "07892fdc72de3eef8bb2d72ee8d304b51273fc95e17ed96f9c979b012e5c7dc9"


def test_order_of_keys_and_kind_of_sequence_do_not_matter_but_order_of_items_does() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_a_whole_number_given_for_a_rate_is_the_same_recipe() -> None:
    assert digest(Recipe.model_validate({"clip": 1})) == digest(Recipe.model_validate({"clip": 1.0}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_has_no_canonical_form(value: float) -> None:
    with pytest.raises(ValueError):
        canonical({"rate": value})


@pytest.mark.parametrize("value", ["inf", "nan", float("inf"), float("nan")])
@pytest.mark.parametrize("field", ["rate", "clip", "checkpoint_seconds"])
def test_no_record_takes_what_is_no_number(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({field: value})


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), 1j])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        identity({"x": value})


def test_records_never_change_and_take_no_unknown_field() -> None:
    with pytest.raises(ValidationError):
        RECIPE.updates = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Recipe.model_validate({"updats": 3})


def test_a_derived_seed_depends_on_seed_and_purpose_and_on_nothing_else() -> None:
    seeds = {(seed, purpose): derive(seed, purpose) for seed in range(20) for purpose in ("rows", "order", "head")}
    assert len(set(seeds.values())) == len(seeds)
    assert all(0 <= value < 2**63 for value in seeds.values())
    assert derive(0, "rows") == seeds[0, "rows"]
    assert derive(0, "rows", 1) != derive(0, "rows", 2) != derive(0, "rows")
    assert derive(0, "rows", "1") != derive(0, "rows", 1)


def test_a_derived_seed_of_a_known_purpose_never_changes() -> None:
    assert derive(0, "order", "x", 7) == 1953609670904660688
