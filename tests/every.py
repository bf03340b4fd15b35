"""A study with a target of every format that is trained, on own files, and rows of text as people have them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from questions import questions, squad_json
from small import LABELS, examples, write_tagged

from waystation.tasks.examples import SpanExample

TARGETS = {"towns": "tagging", "mood": "classification", "topics": "multilabel", "quiz": "choice", "places": "span"}
"""Target → format."""

NAMED = {"multilabel": "labels", "choice": "answer"}
"""Format → field of its labels."""


def rows_of(format: str, number: int, seed: int) -> list[dict[str, Any]]:
    """Random texts with their labels, as lines of JSONL."""
    named = NAMED.get(format, "label")
    made = []
    for one in examples(format, number, seed):
        row = {"id": f"{format}-{seed}-{one.id}", "text": one.text, named: getattr(one, named)}
        more = {"options": list(one.options), "question": one.question} if format == "choice" else {}
        made.append(row | more)
    return made


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(number: int, seed: int) -> list[SpanExample]:
    """Questions, every fourth without an answer: the place that would be it is gone from its text."""
    found = questions(number, seed, 40)
    for at, one in list(enumerate(found))[3::4]:
        (answer, start), *_ = one.answers
        found[at] = replace(one, context=f"{one.context[:start]}with{one.context[start + len(answer) :]}", answers=())
    return found


def write_files(folder: Path) -> dict[str, Any]:
    """The files of all targets, and their tables for a study."""
    tables: dict[str, Any] = {}
    parts = {"train.en": (40, 1), "test.en": (12, 2), "test.de": (9, 3)}
    for task, format in TARGETS.items():
        ending = {"tagging": "tsv", "span": "json"}.get(format, "jsonl")
        for name, (number, seed) in parts.items():
            path = folder / task / f"{name}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if format == "tagging":
                write_tagged(path, number, seed, longest=30)
            elif format == "span":
                path.write_text(json.dumps(squad_json(asked(number, seed)), ensure_ascii=False), "utf-8")
            else:
                write_jsonl(path, rows_of(format, number, seed))
        readers: dict[str, Any] = {
            "tagging": {"kind": "conll", "separator": "\t"},
            "span": {"kind": "squad", "id": "id", "unanswerable": True},
            "choice": {"question": "question", "options": "options"},
        }
        reader = {
            "kind": "jsonl",
            "text": "text",
            "label": NAMED.get(format, "label"),
            "id": "id",
            **readers.get(format, {}),
        }
        tables[task] = {
            "format": format,
            **({"labels": list(LABELS[format])} if LABELS.get(format) else {}),
            "reader": readers[format] if format in ("tagging", "span") else reader,
            "path": task,
            "train": {"en": f"train.en.{ending}"},
            "test": {"en": f"test.en.{ending}", "de": f"test.de.{ending}"},
        }
    return tables


def write_study(folder: Path, backbone: Path, targets: Iterable[str] = tuple(TARGETS), **changes: Any) -> Path:
    """The study file; ``names`` (tagging) is the intermediate."""
    tables = write_files(folder)
    write_tagged(folder / "names" / "train.tsv", 30, 5)
    tables["names"] = {**tables["towns"], "path": "names", "train": {"en": "train.tsv"}, "test": {}}
    content = {
        "study": "every",
        "backbone": {"id": str(backbone), "layers": 2},
        "intermediate": {"names": ["names"]},
        "target": list(targets),
        "seeds": 1,
        "recipe": {
            "batch": 8,
            "max_length": 32,
            "stride": 8,
            "rate": 3e-3,
            "head_rate": 1e-2,
            "weight_decay": 0.1,
            "decay_embeddings": True,
            "intermediate": {"updates": 3},
            "target": {"updates": 60, "dropout": 0.0, "validation": {"fraction": 0.2, "every": 60}},
        },
        "tasks": tables,
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
