"""What a study says of its tasks: which one in which role, what an arm does differently, recipes by phase."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator

from waystation.records import EXECUTION, IDENTITY, Record
from waystation.steps.recipes import Recipe
from waystation.steps.translation import Translation
from waystation.tasks.task import Files, Split, Task

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class TrainOn(Record):
    """Where a target's training data comes from: another task than its own, or other languages than the source.

    ``labels`` maps by name. ``languages``: joint training on all of these ("all": those that the task trains in), the
    point that zero-shot transfer is measured against.
    """

    task: Annotated[str | None, IDENTITY] = None
    labels: Annotated[dict[str, str | None], IDENTITY] = Field(default_factory=dict)
    languages: Annotated[tuple[str, ...] | None, IDENTITY] = Field(default=None, min_length=1)


class Text(Record):
    """Plain text for masked language modelling: the texts of these tasks, in ``languages`` (None: all they have)."""

    text: Annotated[tuple[str, ...], IDENTITY] = Field(min_length=1)
    languages: Annotated[tuple[str, ...] | None, IDENTITY] = Field(default=None, min_length=1)
    split: Annotated[Split, IDENTITY] = "train"

    @field_validator("text", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_task(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Translated(Record):
    """Training examples in other languages, by a translator; ``original``: besides the examples themselves."""

    languages: Annotated[tuple[str, ...], IDENTITY] = Field(min_length=1)
    by: Annotated[Translation, IDENTITY]
    original: Annotated[bool, IDENTITY] = True

    @field_validator("by", mode="before", json_schema_input_type=str | Translation)
    @classmethod
    def _by_its_name(cls, value: Any) -> Any:
        return {"by": value} if isinstance(value, str) else value


class TranslatedTest(Record):
    """Test examples of these languages (None: all) in the source language, by a translator; no others are tested."""

    by: Annotated[Translation, IDENTITY]
    languages: Annotated[tuple[str, ...] | None, IDENTITY] = Field(default=None, min_length=1)

    @field_validator("by", mode="before", json_schema_input_type=str | Translation)
    @classmethod
    def _by_its_name(cls, value: Any) -> Any:
        return {"by": value} if isinstance(value, str) else value


class Changes(Record):
    """What an arm does differently with a target: recipe fields, the languages that it is trained in, translations."""

    recipe: Annotated[dict[str, Any], IDENTITY] = Field(default_factory=dict)
    languages: Annotated[tuple[str, ...] | None, IDENTITY] = Field(default=None, min_length=1)
    translate: Annotated[Translated | None, IDENTITY] = None
    translate_test: Annotated[TranslatedTest | None, IDENTITY] = None


class Use(Record):
    """One task in one role. ``labels`` maps label names to those used here (null: outside, or the row is dropped).

    Of an intermediate: ``from``: a checkpoint (hub id or folder) that was fine-tuned on it stands for training on it;
    ``after``: stops before this one, in order; ``with``: tasks trained at once with it; ``mlm``: text for masked
    language modelling, beside the task or, without one, alone; ``target``: what this arm does differently with the
    targets. An arm may be that alone, without a task. ``targets``: the only ones that it is for.

    ``translate``: train on translations too; ``translate_test``, of a target: read its tests in translation.
    """

    model_config = ConfigDict(populate_by_name=True)  # `from` and `with` in files, `from_` and `with_` in Python

    task: Annotated[str, IDENTITY] = ""
    name: Annotated[str | None, EXECUTION] = Field(default=None, pattern=NAME)
    labels: Annotated[dict[str, str | None], IDENTITY] = Field(default_factory=dict)
    train: Annotated[TrainOn | None, IDENTITY] = None
    from_: Annotated[str | None, IDENTITY] = Field(default=None, alias="from")
    after: Annotated[tuple[Use, ...], IDENTITY] = ()
    with_: Annotated[tuple[Use, ...], IDENTITY] = Field(default=(), alias="with")
    mlm: Annotated[Text | None, IDENTITY] = None
    translate: Annotated[Translated | None, IDENTITY] = None
    translate_test: Annotated[TranslatedTest | None, IDENTITY] = None
    target: Annotated[Changes | None, IDENTITY] = None
    targets: Annotated[tuple[str, ...] | None, EXECUTION] = Field(default=None, min_length=1)
    languages: Annotated[tuple[str, ...] | None, IDENTITY] = None
    metrics: Annotated[tuple[str, ...] | None, EXECUTION] = Field(default=None, min_length=1)
    recipe: Annotated[dict[str, Any], IDENTITY] = Field(default_factory=dict)
    retrieval: Annotated[dict[str, Any], IDENTITY] = Field(default_factory=dict)

    @field_validator("after", "with_", mode="before", json_schema_input_type=str | list[Any])
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return by_name(value)

    @property
    def label(self) -> str:
        """The name in chains and tables: what is trained at once is joined by ``-``, what comes before by ``+``."""
        if self.name:
            return self.name
        own = [name for name in (self.task, *(use.label for use in self.with_)) if name]
        if self.mlm is not None:
            own.append("-".join(("mlm", *(self.mlm.languages or ()))))
        return "+".join([*(use.label for use in self.after), "-".join(own)])

    @property
    def stops(self) -> bool:
        """Whether an arm trains anything before its targets."""
        return bool(self.task or self.mlm or self.after)

    @property
    def trained_on(self) -> str:
        """The task whose training data a target learns from."""
        return self.train.task if self.train and self.train.task else self.task

    def members(self) -> list[Use]:
        """This use and those that come before it or with it."""
        return [*(one for use in self.after for one in use.members()), self, *self.with_]

    def tasks(self) -> list[str]:
        """Names of all tasks that are read."""
        found = []
        for use in self.members():
            found += [use.task, use.trained_on, *(use.mlm.text if use.mlm else ())]
        return [name for name in dict.fromkeys(found) if name]


class Recipes(Record):
    """The recipe of each phase; fields written directly under ``recipe`` hold for both."""

    intermediate: Annotated[Recipe, IDENTITY] = Field(default_factory=Recipe)
    target: Annotated[Recipe, IDENTITY] = Field(default_factory=Recipe)


class RecipeKeys(Recipe):
    """``recipe`` as it is written: fields for both phases, and what is different in one of them."""

    intermediate: Annotated[Recipe | None, IDENTITY] = None
    target: Annotated[Recipe | None, IDENTITY] = None


class OwnTask(Task):
    """A table under ``tasks`` as it is written: the id is its key, files stand under the split by language."""

    id: Annotated[str, IDENTITY] = ""
    title: Annotated[str, EXECUTION] = ""
    metrics: Annotated[tuple[str, ...], EXECUTION] = ()
    splits: Annotated[dict[Split, Files], IDENTITY] = Field(default_factory=dict)
    train: Annotated[dict[str, str | list[str]], IDENTITY] = Field(default_factory=dict)
    validation: Annotated[dict[str, str | list[str]], IDENTITY] = Field(default_factory=dict)
    test: Annotated[dict[str, str | list[str]], IDENTITY] = Field(default_factory=dict)


def by_name(members: Any) -> Any:
    """Tasks that are written by their name alone as uses."""
    if isinstance(members, str):
        members = [members]
    if not isinstance(members, (list, tuple)):
        return members
    return [{"task": member} if isinstance(member, str) else member for member in members]
