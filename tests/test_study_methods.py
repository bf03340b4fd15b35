"""What of a recipe does not go together is refused with the reason; what does is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from waystation.errors import ManyProblems
from waystation.steps.recipes import Lora, Recipe, Unfreezing, Validation
from waystation.study import Study
from waystation.study_methods import recipe_problems

LABELS = ("PER", "LOC")


def problems(format: str = "tagging", layers: int | None = 6, matched: bool = False, **recipe: Any) -> list[Any]:
    return recipe_problems(Recipe(**recipe), format, LABELS, layers, matched)


@pytest.mark.parametrize(
    ("place", "told", "asked"),
    [
        ("unfreezing", "nothing to unfreeze", {"unfreezing": {"groups": [1]}, "lora": {}}),
        ("unfreezing", "biases of all blocks", {"unfreezing": {"groups": [1]}, "biases_only": True}),
        ("unfreezing.groups", "8 groups asked for; there are 6 blocks and the embedding; 7", {"groups": [2, 8]}),
        ("unfreezing.groups", "frozen: 2 holds the lowest 3; 4 can", {"groups": [5], "frozen": 2}),
        ("unfreezing.groups", "frozen: 0 holds the lowest 1; 6 can", {"groups": [7], "frozen": 0}),
        ("unfreezing.groups", "3 cycles do not fit into 2 updates", {"groups": [1, 2, 3], "updates": 2}),
        ("unfreezing.length", "2 cycles of 50 updates leave nothing of 100", {"groups": [1, 2, 3], "length": 50}),
        ("biases_only", "LoRA leaves the encoder as it is", {"biases_only": True, "lora": {}}),
        ("fusion", "2 local and 5 fused blocks, the backbone has 6; lower", {"fusion": {"local": 2, "fused": 5}}),
        ("layer_decay", "LoRA leaves the encoder as it is", {"layer_decay": 0.9, "lora": {}}),
        ("label_smoothing", "span is not over labels", {"label_smoothing": 0.1, "format": "span"}),
        ("label_smoothing", "mlm is not over labels", {"label_smoothing": 0.1, "format": "mlm"}),
        ("class_weights", "choice has no classes", {"class_weights": "balanced", "format": "choice"}),
        ("class_weights", "span has no classes", {"class_weights": "balanced", "format": "span"}),
        ("class_weights.LOCA", "did you mean 'LOC'", {"class_weights": {"LOCA": 2.0}}),
        ("class_weights.O", "no label 'O'; labels: PER, LOC", {"class_weights": {"O": 2}, "format": "classification"}),
        ("validation.patience", "the same updates", {"validation": {"patience": 3}, "matched": True}),
    ],
)
def test_what_does_not_go_together(place: str, told: str, asked: dict[str, Any]) -> None:
    asked = dict(asked)
    if "groups" in asked:
        asked["unfreezing"] = {name: asked.pop(name) for name in ("groups", "length") if name in asked}
    ((found, text),) = problems(**asked)
    assert ".".join(map(str, found)) == place
    assert text.startswith(f"field 'recipe.{place}': ") and told in text and "\n" not in text


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"unfreezing": Unfreezing(groups=(2, 4, 7)), "layer_decay": 0.9, "schedule": "one-cycle"},
        {"unfreezing": Unfreezing(groups=(4,)), "frozen": 2},
        {"unfreezing": Unfreezing(groups=(9,)), "layers": None},
        {"unfreezing": Unfreezing(groups=(1, 2, 2), length=900, unit="epochs")},
        {"unfreezing": Unfreezing(groups=(1, 2, 3), length=49)},
        {"biases_only": True, "frozen": 2, "layer_decay": 0.9},
        {"lora": Lora()},
        {"fusion": {"local": 1, "fused": 5, "alpha": 0.5}, "lora": {}, "frozen": 2, "label_smoothing": 0.1},
        {"fusion": {"local": 9}, "layers": None},
        {"class_weights": {"PER": 2.0, "O": 0.5}},
        {"class_weights": "balanced", "label_smoothing": 0.1, "format": "multilabel"},
        {"label_smoothing": 0.1, "format": "choice"},
        {"validation": Validation(patience=3)},
        {"validation": Validation(), "matched": True},
        {"format": "span"},
        {"format": "mlm"},
    ],
)
def test_what_goes_together(asked: dict[str, Any]) -> None:
    assert problems(**asked) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"unfreezing": {"groups": [4, 2]}},
        {"unfreezing": {"groups": [0, 2]}},
        {"unfreezing": {"groups": []}},
        {"unfreezing": {"groups": [1, 2], "rates": [1e-4]}},
        {"unfreezing": {"groups": [1, 2], "rates": [1e-4, 0.0]}},
        {"class_weights": {"PER": 0.0}},
        {"class_weights": "even"},
        {"label_smoothing": 1.0},
        {"layer_decay": 0.0},
        {"validation": {"patience": 0}},
    ],
)
def test_values_that_mean_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(wrong)


def test_a_study_says_where_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "study: methods\n"
        "backbone: {id: bundled, layers: 6}\n"
        "intermediate: {medical: [{task: bc5cdr, recipe: {class_weights: {Chemica: 2}}}]}\n"
        "target: e3c\n"
        "recipe:\n"
        "  target:\n"
        "    unfreezing:\n"
        "      groups: [2, 8]\n"
    )
    with pytest.raises(ManyProblems) as caught:
        Study.load(path)
    first, second = caught.value.problems
    assert first.startswith(
        f"{path}:3: field 'recipe.class_weights.Chemica': no label 'Chemica' (did you mean 'Chemical'?)"
    )
    assert f"{path}:" in second and "field 'recipe.unfreezing.groups': 8 groups asked for" in second
