"""The shipped studies (test_study.py loads them): toy profiles are small and meet every format, sums are right."""

from __future__ import annotations

import re
from math import ceil
from pathlib import Path
from typing import get_args

import pytest
import yaml

from waystation import Study
from waystation.plan_steps import fits
from waystation.tasks.task import FormatName

STUDIES = {path.stem: path for path in sorted((Path(__file__).resolve().parents[1] / "studies").glob("*.yaml"))}


@pytest.mark.parametrize("name", STUDIES)
def test_a_toy_is_small_and_of_the_built_in_corpus(name: str) -> None:
    toy = Study.load(STUDIES[name], profile="toy")
    assert toy.demonstration and toy.backbone.id == "bundled" and len(toy.seeds) == 1
    assert all(task.source == "mini" for task in toy.used())
    if name != "demo":
        whole = yaml.safe_load(STUDIES[name].read_text("utf-8"))
        assert set(toy.intermediate) == set(whole["intermediate"])
        assert len(toy.target) <= 3
        arms = [None, *(use for _, use in toy.uses())]
        assert sum(fits(arm, target) for target in toy.target for arm in arms) <= 3 * (1 + 3)


def test_the_toys_meet_every_format() -> None:
    toys = [Study.load(path, profile="toy") for path in STUDIES.values()]
    assert {task.format for toy in toys for task in toy.used()} == set(get_args(FormatName))


def test_updates_are_the_epochs_of_the_paper() -> None:
    text = STUDIES["phang2020"].read_text("utf-8")
    study = yaml.safe_load(text)
    trained = [use for use in (*study["intermediate"]["english"], *study["target"]) if "updates" in use["recipe"]]
    sums = re.findall(r"updates: (\d+).*fraction: ([\d.]+).*# (\d+) · ⌈(\d+) / (\d+)⌉", text)
    assert len(study["intermediate"]["english"]) == len(study["target"]) == 9 and len(trained) == len(sums) == 16
    for use, (updates, fraction, *numbers) in zip(trained, sums, strict=True):
        epochs, examples, batch = map(int, numbers)
        assert int(updates) == use["recipe"]["updates"] == epochs * ceil(examples / batch)
        assert batch == use["recipe"].get("batch", study["recipe"]["batch"])
        assert 490 <= float(fraction) * examples <= 515  # validation on 500 examples


def test_the_targets_of_the_paper_are_tested_in_its_languages() -> None:
    study = Study.load(STUDIES["phang2020"])
    counts = {use.task: len(study.languages_of(use)) for use in study.target}
    assert counts == {
        "xnli": 15, "pawsx": 7, "udpos": 33, "panx": 40, "xquad": 11, "mlqa": 7, "tydiqa_goldp": 9,
        "bucc2018": 4, "tatoeba": 36,
    }  # fmt: skip
