"""A finished study without training: a plan over small own tasks, and a store filled with made-up predictions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from waystation.analysis.table import Gains, gains
from waystation.plan import Plan, plan
from waystation.records import derive
from waystation.steps.records import EncodeStep, EvaluateStep, TrainStep
from waystation.store import Store
from waystation.study import Study

LABELS = ("yes", "no", "other")
NUMERICS = {"torch": "2.9.0", "device": "cpu", "threads": 2}
CODES = tuple(
    word
    for line in (
        "en af am ar bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko",
        "ml mr ms my nl pl pt qu ro ru sw ta te th tl tr uk ur vi wo yo zh ha",
    )
    for word in line.split()
)
"""Forty-seven languages, the source first."""

EFFECT = {"none": 0.0, "alpha": 0.03, "beta": 0.02, "gamma": 0.09, "delta-harm": -0.07}


@dataclass
class Finished:
    """What a report is made from."""

    study: Study
    found: Gains
    store: Store
    made: Plan

    @property
    def parts(self) -> tuple[Study, Gains, Store, Plan]:
        return self.study, self.found, self.store, self.made


Build = Callable[..., Finished]


def build_study(
    folder: Path,
    languages: Sequence[str] = ("en", "de", "sw", "eu"),
    targets: Sequence[str] = ("topics",),
    groups: dict[str, list[str]] | None = None,
    seeds: int = 2,
    missing: Sequence[str] = (),
    examples: int = 40,
    tasks: dict[str, Any] | None = None,
    **keys: Any,
) -> Finished:
    """Plan the study, store everything but the chains in ``missing``, compute the gains."""
    groups = groups or {"general": ["alpha", "beta"], "medical": ["gamma"]}
    names = [name for members in groups.values() for name in members]
    own = {name: _task(folder, name, ["en"], tasks) for name in names}
    own |= {name: _task(folder, name, languages, tasks) for name in targets}
    text = {
        "study": "example",
        "question": "Which intermediate lifts topics in other languages?",
        "backbone": {"id": "bundled", "layers": 6},
        "intermediate": groups,
        "target": list(targets),
        "seeds": seeds,
        "match": {"by": "words", "amount": 1200},
        "primary": "medical - general" if set(groups) >= {"medical", "general"} else None,
        "tasks": own,
        **keys,
    }
    path = folder / "example.yaml"
    path.write_text(yaml.safe_dump(text, allow_unicode=True, sort_keys=False), encoding="utf-8")
    study = Study.load(path)
    made, store = plan(study), Store(folder / "store")
    lost = {chain.evaluate for chain in made.chains if chain.name in missing}
    names_of = {chain.evaluate: chain for chain in made.chains}
    for node in made.nodes.values():
        if node.id in lost:
            continue
        with store.building(node.id) as place:
            if isinstance(node.step, EncodeStep):
                details: dict[str, Any] = {"stats": {"examples": examples, "words": 9 * examples, "tokens": 560}}
            elif isinstance(node.step, TrainStep):
                words = 1200 + derive(1, node.label) % 40
                details = {"words": words, "examples": words // 9, "tokens": 21_000 + words, "seconds": words / 100}
                details |= {"numerics": NUMERICS, "loss": 0.4}
            else:
                details = _predictions(node.step, names_of[node.id], place, examples)
            store.commit(node.id, node.step, place, details)
    return Finished(study, gains(study, store.root, made=made), store, made)


def _task(folder: Path, name: str, languages: Sequence[str], tasks: dict[str, Any] | None) -> dict[str, Any]:
    (folder / name).mkdir(exist_ok=True)
    rows = "".join(f"{name} text {at}\t{LABELS[at % 3]}\n" for at in range(6))
    for part in ("train.en", *(f"test.{code}" for code in languages)):
        (folder / name / f"{part}.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    table = {
        "title": f"The {name} set",
        "format": "classification",
        "labels": list(LABELS),
        "reader": {"kind": "table", "text": "text", "label": "label"},
        "path": name,
        "train": {"en": "train.en.tsv"},
        "test": {code: f"test.{code}.tsv" for code in languages},
        "licence": "CC BY 4.0",
        "citation": f"Somebody 2020, On {name}",
        "url": f"https://example.org/{name}",
        **((tasks or {}).get(name, {})),
    }
    return {key: value for key, value in table.items() if value is not None}


def _predictions(step: EvaluateStep, chain: Any, place: Path, examples: int) -> dict[str, Any]:
    details = {}
    for at, code in enumerate(step.encodings):
        draw = random.Random(derive(chain.seed, chain.intermediate, chain.target, code))
        right = 0.82 - 0.4 * (at / (at + 6)) + EFFECT.get(chain.intermediate, 0.0) * (1 + at / 30)
        gold = [draw.choice(LABELS) for _ in range(examples)]
        pred = [label if draw.random() < right else draw.choice(LABELS) for label in gold]
        table = {
            "id": [str(number) for number in range(examples)],
            "cluster": pa.nulls(examples, pa.string()),
            "gold": gold,
            "pred": pred,
            "counts": pa.array([[int(a == b)] for a, b in zip(gold, pred, strict=True)], pa.list_(pa.int32())),
        }
        pq.write_table(pa.table(table), place / f"language={code}.parquet")
        about = {"fertility": 1.2 + at / 20, "unknown": at / 4000, "truncated": at % 3}
        details[code] = {"n": examples, "clusters": None, **about}
    return {"languages": details, "numerics": NUMERICS, "seconds": 1.5}
