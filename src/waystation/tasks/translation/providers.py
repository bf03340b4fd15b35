"""From the record of a translator to what identifies it, and to the translator itself. Torch-free but for seq2seq."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from waystation import backbones
from waystation.backbones import Backbone
from waystation.errors import InputError
from waystation.records import digest
from waystation.steps.records import TranslateStep
from waystation.steps.translation import Translation
from waystation.tasks import sources
from waystation.tasks.task import Split, Task
from waystation.tasks.translation import apertium, lookup


class ByText(Protocol):
    """A translator of texts, whatever example they stand in. ``block``: as many at once; ``notes``: what it counted."""

    block: int
    notes: Counter[str]

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        """Their translations in order, None of a text that has none."""


class Identity:
    """Every text is its own translation."""

    block = 100_000

    def __init__(self) -> None:
        self.notes = Counter[str]()

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        """The same texts."""
        return list(texts)


def translate_step(
    translation: Translation,
    task: Task,
    split: Split,
    source: str,
    target: str,
    data: Path | None,
    corpus: Task | None = None,
) -> TranslateStep:
    """The step that translates one split of a task. ``corpus``: the parallel corpus where rows of one are looked up.

    Raises InputError where the translator is not at hand, or cannot translate in this direction.
    """
    if source == target:
        raise InputError(f"translation of '{task.id}' from {source} into {target}: choose another language")
    if task.format == "retrieval":
        raise InputError(f"translation of '{task.id}': both sides of translation search are there already")
    step = TranslateStep(
        task=task,
        content=sources.fingerprint(task, split, source, data),
        split=split,
        source=source,
        language=target,
        by=translation,
        provider={},
        corpus=corpus,
    )
    return step.model_copy(update={"provider": fingerprint(step, data)})


def fingerprint(step: TranslateStep, data: Path | None) -> dict[str, Any]:
    """What identifies the translator of a step now: content of files, versions of programs and models."""
    by, source, target = step.by, step.source, step.language
    match by.by:
        case "precomputed":
            return {"file": backbones.sha256_file(lookup.path_of(by, source, target, data))}
        case "apertium":
            return apertium.fingerprint(_mode(step))
        case "seq2seq":
            return {**_model(by), "spelling": [by.spelt(source), by.spelt(target)]}
        case "parallel":
            assert step.corpus is not None
            code = lookup.code_of(source, target, step.corpus)
            return {"corpus": sources.fingerprint(step.corpus, by.split, code, data)}
        case "oracle-translation":
            if step.split != "test" or not step.task.parallel:
                what = f"'{step.task.id}' {step.split}"
                raise InputError(f"{by.by} is for test sets that are translations of one another: {what} is none")
            return {"test": sources.fingerprint(step.task, step.split, target, data)}
        case "identity":
            return {}


def _model(by: Translation) -> dict[str, Any]:
    """Content of a translation model's folder, or its commit on the hub."""
    folder = Path(by.model or "")
    if not folder.is_dir():
        found = backbones.fingerprint(Backbone(id=str(by.model), revision=by.revision))
        return {"hub": found["hub"], "revision": found["revision"]}
    if not (folder / "config.json").is_file():
        raise InputError(f"translation model {folder} has no config.json: save a transformers checkpoint there")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return {"files": digest({path.name: backbones.sha256_file(path) for path in files})}


def open_translator(step: TranslateStep, data: Path | None) -> ByText | lookup.ByRow:
    """What gives the translations of a step; ``seq2seq``, which needs torch, is opened elsewhere."""
    by, source, target = step.by, step.source, step.language
    match by.by:
        case "precomputed":
            assert by.layout is not None
            return lookup.LAYOUTS[by.layout](lookup.path_of(by, source, target, data))
        case "apertium":
            return apertium.Apertium(_mode(step))
        case "parallel":
            assert step.corpus is not None
            return lookup.parallel(step.corpus, by.split, source, target, data)
        case "oracle-translation":
            return lookup.oracle(step.task, step.split, source, target, data)
        case "identity":
            return Identity()
    raise AssertionError(by.by)


def _mode(step: TranslateStep) -> str:
    return apertium.mode_of(step.source, step.language, step.by.modes.get(f"{step.source}-{step.language}"))
