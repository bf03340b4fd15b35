"""The encodings that the steps of a plan read: of each use its examples, their translations, and plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waystation import languages, study_checks
from waystation.records import canonical
from waystation.steps.recipes import Mlm, Recipe
from waystation.steps.records import EncodeStep
from waystation.steps.translation import Translation
from waystation.study import Study
from waystation.study_arms import MAPPED
from waystation.tasks import sources
from waystation.tasks.task import WINDOWED, FormatName, Split, Task
from waystation.tasks.translation import providers
from waystation.uses import Use

if TYPE_CHECKING:
    from waystation.plan import Plan


def texts_of(study: Study, use: Use) -> list[tuple[str, str]]:
    """(task, language) of the text that a use learns masked language modelling from."""
    assert use.mlm is not None
    found = []
    for name in use.mlm.text:
        have = study.find(name).languages(use.mlm.split)
        asked = use.mlm.languages or ("all",)
        found += [(name, code) for code in (have if "all" in asked else study_checks.among(asked, have))]
    return found


class Encodings:
    """Adds encodings to a plan. What many chains share is made once: a plan of ten thousand steps takes a second."""

    def __init__(self, made: Plan, tokenizer: dict[str, Any]) -> None:
        self.made, self.study, self.data, self.tokenizer = made, made.study, made.data, tokenizer
        self._content: dict[tuple[str, str, str], tuple[str, bool, Split | None]] = {}
        self._encoded: dict[tuple[Any, ...], str] = {}
        self._translation: dict[tuple[Any, ...], tuple[str, str]] = {}
        self._recipes: dict[tuple[Any, ...], Recipe] = {}

    def lessons(self, use: Use, recipe: Recipe) -> list[str]:
        """Encodings of the examples that a use is trained on: by language, then translated."""
        codes, labels = self.study.training_languages(use), self.study.labels_of(use)
        found = [self.one(use.trained_on, "train", code, labels, _renamed(use), recipe) for code in codes]
        if use.translate is not None and not use.translate.original and recipe.fusion is None:
            found = []
        return found + self._translations(use, recipe)

    def _translations(self, use: Use, recipe: Recipe) -> list[str]:
        """Encodings of the training examples in other languages; fusion teaches tags by itself and needs none there."""
        if use.translate is None:
            return []
        task, source = self.study.find(use.trained_on), self.study.source
        bare = recipe.fusion is not None and task.format == "tagging"
        return [
            self._translated(task, "train", source, code, use.translate.by, use, recipe, bare)
            for code in (languages.resolve(name).code for name in use.translate.languages)
        ]

    def partners(self, use: Use, recipe: Recipe, codes: tuple[str, ...]) -> dict[str, str]:
        """Encodings of the test examples of these languages in the source language, for fusion; no labels needed."""
        asked = use.translate_test
        if asked is None:
            return {}
        task = self.study.find(use.task)
        chosen = [code for code in codes if asked.languages is None or code in languages.expand(asked.languages)]
        return {
            code: self._translated(task, "test", code, self.study.source, asked.by, use, recipe, task.format in MAPPED)
            for code in chosen
            if code != self.study.source
        }

    def tests(self, use: Use, recipe: Recipe, codes: tuple[str, ...], prefix: str) -> dict[str, str]:
        """Encodings of a target's tests by language: as they are or, where all of it is asked for, translated."""
        labels = self.study.labels_of(use)
        if use.translate_test is not None and recipe.fusion is None:
            own = [code for code in codes if code == self.study.source]
            same = {code: self.one(use.task, "test", code, labels, use.labels, recipe) for code in own}
            return same | self.partners(use, recipe, codes)
        return {code: self.one(use.task, "test", code, labels, use.labels, recipe, prefix) for code in codes}

    def texts(self, use: Use, recipe: Recipe) -> dict[str, str]:
        """Encodings of text for masked language modelling, by task and language."""
        if use.mlm is None:
            return {}
        found = {}
        for name, code in texts_of(self.study, use):
            found[f"{name} {code}"] = self.one(name, use.mlm.split, code, (), {}, recipe, format="mlm")
        return found

    def _translated(
        self,
        task: Task,
        split: Split,
        source: str,
        language: str,
        by: Translation,
        use: Use,
        recipe: Recipe,
        unlabelled: bool,
    ) -> str:
        """The encoding of one split and language read through its translation into another."""
        where = (task.id, split, source, language, by.model_dump_json())
        if where not in self._translation:
            corpus = self.study.find(by.task) if by.by == "parallel" and by.task else None
            step = providers.translate_step(by, task, split, source, language, self.data, corpus=corpus)
            key = self.made.add(step, f"translate {task.id} {split} {source}-{language} by {by.by}")
            self._translation[where] = key, step.content
        key, content = self._translation[where]
        through = (key, content, unlabelled)
        renamed = _renamed(use) if split == "train" else use.labels
        return self.one(task.id, split, language, self.study.labels_of(use), renamed, recipe, through=through)

    def one(
        self,
        task_id: str,
        split: Split,
        language: str,
        labels: tuple[str, ...],
        rename: dict[str, str | None],
        recipe: Recipe,
        prefix: str = "",
        format: FormatName | None = None,
        through: tuple[str, str, bool] | None = None,
    ) -> str:
        """An encoding; ``through``: a translation, the content of what it reads, and whether labels are left away."""
        stride = 0 if format == "mlm" else recipe.stride  # of no effect on plain text
        where = (task_id, split, language)
        wanted = (*where, labels, *rename.items(), recipe.max_length, stride, prefix, format, through)
        if wanted in self._encoded:
            return self._encoded[wanted]
        task = self.study.find(task_id)
        if through is None and where not in self._content:
            at = (task, split, language, self.data)
            self._content[where] = sources.fingerprint(*at), sources.sample(*at), sources.stands_for(*at)
        content, sample, stands_for = self._content[where] if through is None else (through[1], False, None)
        step = EncodeStep(
            task=task,
            content=content,
            sample=sample,
            stands_for=stands_for,
            split=split,
            language=language,
            format=format or task.format,
            rename=rename,
            labels=labels,
            scheme="plain" if format == "mlm" else scheme_of(task),
            tokenizer=self.tokenizer,
            max_length=recipe.max_length,
            stride=stride,
            prefix=prefix,
            translation=through[0] if through else None,
            unlabelled=through[2] if through else False,
        )
        shown = f"encode {task_id} {split} {language}"
        self._encoded[wanted] = self.made.add(step, f"{shown}, translated" if through else shown)
        return self._encoded[wanted]

    def recipe(self, use: Use, phase: str) -> Recipe:
        """The recipe of a use without what has no effect there, which is of no identity."""
        key = (phase, use.task, use.label, canonical(use.recipe), bool(use.with_), use.mlm is None)
        if key not in self._recipes:
            recipe = self.study.recipe_of(use, phase)
            changes: dict[str, Any] = {} if use.with_ else {"mixing": None}
            if use.mlm is None:
                changes["mlm"] = None
            elif recipe.mlm is None:
                changes["mlm"] = Mlm()
            format = self.study.find(use.task).format if use.task else "mlm"
            if use.task and format not in WINDOWED:
                changes["stride"] = 0
            if recipe.fusion is not None:
                changes["fusion"] = None if format in ("mlm", "retrieval") else recipe.fusion.settled(format)
            self._recipes[key] = recipe.model_copy(update=changes)
        return self._recipes[key]


def _renamed(use: Use) -> dict[str, str | None]:
    """How the labels of the training data are mapped: as its own task's, or as `train` says of another's."""
    return use.train.labels if use.train and use.train.task else use.labels


def scheme_of(task: Any) -> str:
    """How a task's labels become classes: ``plain`` (a label is a class) or ``iob2``."""
    return "plain" if task.format != "tagging" or study_checks.plain(task) else "iob2"
