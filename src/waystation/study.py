"""A study: the question as one YAML file. Loading reports every problem at once, each with file and line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from waystation import backbones, study_arms, study_checks, study_methods, yamlfile
from waystation.backbones import Backbone
from waystation.errors import InputError, ManyProblems, suggest
from waystation.records import EXECUTION, IDENTITY, Record
from waystation.steps.recipes import Recipe, Subset
from waystation.steps.records import Keep, Precision, Retrieval
from waystation.study_checks import Problem
from waystation.study_file import PHASES, Where, merge, near_study, near_uses, override_field, own_task, sentence
from waystation.tasks import known
from waystation.tasks.task import Task
from waystation.uses import NAME, OwnTask, RecipeKeys, Recipes, TrainOn, Use, by_name

BASELINE = "none"


class Study(Record):
    """Backbone, intermediates in named groups, targets, languages, seeds, one primary contrast, δ."""

    study: Annotated[str, EXECUTION] = Field(pattern=NAME)
    question: Annotated[str, EXECUTION] = ""
    demonstration: Annotated[bool, EXECUTION] = False
    backbone: Annotated[Backbone, IDENTITY]
    precision: Annotated[Precision, IDENTITY] = "fp32"
    source: Annotated[str, IDENTITY] = "en"
    intermediate: Annotated[dict[str, tuple[Use, ...]], IDENTITY]
    target: Annotated[tuple[Use, ...], IDENTITY] = Field(min_length=1)
    languages: Annotated[tuple[str, ...], IDENTITY] = ("all",)
    seeds: Annotated[tuple[int, ...], IDENTITY] = Field(default=(0, 1, 2), min_length=1)
    keep: Annotated[Keep, EXECUTION] = "deltas"
    match: Annotated[Subset | None, IDENTITY] = None
    primary: Annotated[str | None, EXECUTION] = None
    delta: Annotated[float, EXECUTION] = Field(default=1.0, gt=0)
    alpha: Annotated[float, EXECUTION] = Field(default=0.05, gt=0, lt=1)
    recipe: Annotated[Recipes, IDENTITY] = Field(default_factory=Recipes)
    tasks: Annotated[dict[str, Task], IDENTITY] = Field(default_factory=dict)
    profiles: Annotated[dict[str, dict[str, Any]], EXECUTION] = Field(default_factory=dict)
    path: Annotated[str | None, EXECUTION] = None

    # Each validator below says with `json_schema_input_type` what may be written: `waystation schema` shows that.
    @field_validator("backbone", mode="before", json_schema_input_type=str | Backbone)
    @classmethod
    def _backbone_by_name(cls, value: Any) -> Any:
        return {"id": value} if isinstance(value, str) else value

    @field_validator("intermediate", mode="before", json_schema_input_type=dict[str, str | list[str | Use]])
    @classmethod
    def _uses_by_name(cls, value: Any) -> Any:
        return {group: by_name(members) for group, members in value.items()} if isinstance(value, dict) else value

    @field_validator("target", mode="before", json_schema_input_type=str | list[str | Use])
    @classmethod
    def _targets_by_name(cls, value: Any) -> Any:
        return by_name(value)

    @field_validator("languages", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_language(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("seeds", mode="before", json_schema_input_type=int | list[int])
    @classmethod
    def _count_of_seeds(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= 1000:
                raise ValueError("seeds must be a count of at least 1 or a list of integers")
            return tuple(range(value))
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("seeds must differ from one another")
        return value

    @field_validator("recipe", mode="before", json_schema_input_type=RecipeKeys)
    @classmethod
    def _shared_recipe_fields(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        shared = {key: item for key, item in value.items() if key not in PHASES}
        phases = {name: value.get(name) or {} for name in PHASES}
        if any(isinstance(phase, Recipe) for phase in phases.values()):
            return value
        return {name: merge(shared, phase) for name, phase in phases.items()}

    @field_validator("tasks", mode="before", json_schema_input_type=dict[str, OwnTask])
    @classmethod
    def _tasks_as_written(cls, value: Any) -> Any:
        return value  # `load` has completed the tables: that needs the study's folder

    @classmethod
    def load(
        cls, path: str | Path, profile: str | None = None, overrides: Sequence[str] = (), seeds: int | None = None
    ) -> Study:
        """Read a study file, apply a profile and ``a.b=c`` overrides, check all of it.

        Raises ManyProblems (an InputError) with one line per problem.
        """
        path = Path(path)
        data, lines = yamlfile.load(path)
        where = Where(path, lines, cls)
        if not isinstance(data, dict):
            raise InputError(f"{path}:1: a study is a mapping with the keys study, backbone, intermediate, target, ...")
        if isinstance(data.get("backbone"), str):
            data["backbone"] = {"id": data["backbone"]}  # so that a profile or --set can change its layers
        if profile is not None:
            data = _with_profile(data, profile, where)
        for override in overrides:
            data = override_field(data, override, where)
        if seeds is not None:
            data = {**data, "seeds": seeds}
        data = {**data, "path": str(path)}
        own = data.get("tasks")
        if isinstance(own, dict):
            data["tasks"] = {name: own_task(name, table, path) for name, table in own.items()}
        if isinstance(data.get("backbone"), (str, dict)):
            data["backbone"] = near_study(data["backbone"], path)
        if isinstance(data.get("intermediate"), dict):
            data["intermediate"] = near_uses(data["intermediate"], path)
        try:
            study = cls.model_validate(data)
        except ValidationError as error:
            raise ManyProblems(where.problems(error.errors())) from None
        problems = [f"{where(*place)}: {text}" for place, text in study.problems()]
        if problems:
            raise ManyProblems(problems)
        return study

    def find(self, task_id: str) -> Task:
        """The task record of an own or a known task."""
        return known.find(task_id, self.tasks)

    def used(self) -> list[Task]:
        """The records of all tasks that are trained on or tested on, without repeats."""
        uses = [*(use for _, use in self.uses()), *self.target]
        return [self.find(name) for name in dict.fromkeys(name for use in uses for name in use.tasks())]

    def uses(self) -> list[tuple[str, Use]]:
        """(group, intermediate) in the order of the file."""
        return [(group, use) for group, members in self.intermediate.items() for use in members]

    def recipe_of(self, use: Use, phase: str) -> Recipe:
        """The phase's recipe with what this use changes."""
        base: Recipe = getattr(self.recipe, phase)
        return Recipe.model_validate(merge(base.model_dump(), use.recipe)) if use.recipe else base

    def retrieval_of(self, use: Use) -> Retrieval | None:
        """How the sentences of a retrieval target are read; None for other targets."""
        task = self.find(use.task)
        return study_checks.retrieval(task, self.backbone, use.retrieval) if task.format == "retrieval" else None

    def labels_of(self, use: Use) -> tuple[str, ...]:
        """Label names of a use after its mapping, in the task's order, without repeats."""
        if not use.task:
            return ()
        mapped = (use.labels.get(label, label) for label in self.find(use.task).labels)
        return tuple(dict.fromkeys(label for label in mapped if label is not None))

    def under(self, target: Use, arm: Use | None) -> Use:
        """A target as this arm trains it: the baseline (None) and most arms as the study says."""
        changes = None if arm is None else arm.target
        if changes is None:
            return target
        train = target.train
        if changes.languages is not None:
            train = (train or TrainOn()).model_copy(update={"languages": changes.languages})
        changed = {"recipe": merge(target.recipe, changes.recipe), "train": train}
        changed |= {"translate": changes.translate or target.translate}
        changed |= {"translate_test": changes.translate_test or target.translate_test}
        return target.model_copy(update=changed)

    def training_languages(self, use: Use) -> tuple[str, ...]:
        """The languages that a use is trained in: the source language, or those of joint training."""
        asked = use.train.languages if use.train else None
        if asked is None:
            return (self.source,)
        have = self.find(use.trained_on).languages("train")
        chosen = have if "all" in asked else study_checks.among(asked, have)
        return tuple(sorted(chosen, key=lambda code: code != self.source))

    def languages_of(self, use: Use) -> tuple[str, ...]:
        """Test languages of a target: the source language first where the target has it, then those asked for."""
        have = self.find(use.task).languages("test")
        asked = use.languages or self.languages
        chosen = have if "all" in asked else study_checks.among(asked, have)
        source = [self.source] if self.source in have else []
        return tuple(dict.fromkeys([*source, *chosen]))

    def problems(self) -> list[Problem]:
        """Everything that types alone cannot say: (place in the file, one line)."""
        found: list[Problem] = []
        wrong = backbones.problem(self.backbone)
        if wrong:
            found.append((("backbone", "layers" if wrong.startswith("layers") else "id"), wrong))
        if not self.uses():
            found.append(
                (("intermediate",), "no intermediate task is named; a study compares at least one with the baseline")
            )
        names: set[str] = {BASELINE}
        if BASELINE in self.intermediate:
            found.append(
                (("intermediate", BASELINE), f"the group '{BASELINE}' is the baseline's; give it another name")
            )
        for group, members in self.intermediate.items():
            for at, use in enumerate(members):
                place = ("intermediate", group, at)
                found += [((*place, *inner), text) for inner, text in self.use_problems(use, "intermediate")]
                if use.label in names:
                    found.append((place, f"the name '{use.label}' is taken; give this use another `name:`"))
                names.add(use.label)
                found += [((*place, *inner), text) for inner, text in study_arms.problems(self, use)]
        targets: set[str] = set()
        for at, use in enumerate(self.target):
            found += [(("target", at, *inner), text) for inner, text in self.use_problems(use, "target")]
            if use.label in targets:
                found.append((("target", at), f"the name '{use.label}' is taken; give this use another `name:`"))
            targets.add(use.label)
        known_targets = [use for use in self.target if use.task in {**known.catalog(), **self.tasks}]
        have = {code for use in known_targets for code in self.find(use.task).languages("test")}
        found += [(("languages", at), text) for at, text in study_checks.language_problems(self.languages, have)]
        for name, task in self.tasks.items():
            found += [(("tasks", name, split), text) for split, text in study_checks.code_problems(task)]
        if self.primary is not None:
            found += [(("primary",), text) for text in self._primary_problems(self.primary)]
        return found

    def use_problems(self, use: Use, phase: str) -> list[Problem]:
        """What is wrong with one task in its role, or with its recipe: (place below it, one line)."""
        if not use.task:
            arm = phase == "intermediate" and (use.mlm or use.target or use.after)
            return self._recipe_problems(use, phase) if arm else [((), f"field '{phase}.task' is missing: add it")]
        try:
            task = self.find(use.task)
        except InputError as error:
            return [(("task",), str(error))]
        found = study_checks.label_problems(use.labels, task, ("labels",))
        if not found and task.labels and not self.labels_of(use):
            found.append((("labels",), f"every label of '{task.id}' is left out; keep at least one"))
        found += study_checks.metric_problems(use.metrics or task.metrics, task, self.labels_of(use))
        found += self._recipe_problems(use, phase)
        if use.from_ is not None:
            trained_here = bool(use.labels or use.recipe or use.train or use.languages or use.metrics or use.retrieval)
            return [*found, *study_checks.adopted_problems(use.from_, self.backbone, phase, trained_here)]
        if phase == "intermediate" and (use.train or use.languages or use.metrics):
            found.append(((), "`train`, `languages` and `metrics` belong to a target, not to an intermediate task"))
        if task.format == "mlm":
            text = f"task '{task.id}' is plain text: write `mlm: {{text: {task.id}}}` to learn from it"
            return [*found, (("task",), text)]
        found += study_arms.translation_problems(self, use, task, phase)
        check = self._retrieval_problems if task.format == "retrieval" else self._training_problems
        found += check(use, task, phase)
        if phase == "target":
            asked = use.languages or self.languages
            have = task.languages("test")
            own = study_checks.language_problems(use.languages or (), have)
            found += [(("languages", at), text) for at, text in own]
            if not study_checks.language_problems(asked) and not (
                have if "all" in asked else study_checks.among(asked, have)
            ):
                text = f"target '{task.id}' has none of the languages asked for; it has: {', '.join(have) or 'none'}"
                found.append((("languages",) if use.languages else (), text))
        return found

    def _recipe_problems(self, use: Use, phase: str) -> list[Problem]:
        try:
            recipe = self.recipe_of(use, phase)
        except ValidationError as error:
            places = [(("recipe", *item["loc"]), item) for item in error.errors()]
            return [(place, sentence(item, Recipe, place)) for place, item in places]
        task = known.catalog().get(use.trained_on) or self.tasks.get(use.trained_on)
        if task is None or task.format == "retrieval":
            return []
        sizes = None if backbones.problem(self.backbone) else backbones.shape(self.backbone)
        layers, matched = sizes.layers if sizes else None, phase == "intermediate" and self.match is not None
        told = study_methods.recipe_problems(recipe, task.format, self.labels_of(use), layers, matched)
        return [(("recipe", *place), text) for place, text in told]

    def _retrieval_problems(self, use: Use, task: Task, phase: str) -> list[Problem]:
        if phase == "intermediate":
            return [(("task",), f"task '{task.id}' is retrieval: it teaches nothing and can only be a target")]
        found = study_checks.retrieval_problems(task, self.backbone, use.retrieval)
        if use.train is not None:
            found.append((("train",), f"target '{task.id}' is retrieval and is not trained; leave `train` out"))
        return found

    def _training_problems(self, use: Use, task: Task, phase: str) -> list[Problem]:
        found: list[Problem] = []
        if use.retrieval:
            found.append((("retrieval",), f"task '{task.id}' is {task.format}; `retrieval` has no meaning there"))
        trained = task
        if use.train is not None:
            try:
                trained = self.find(use.trained_on)
            except InputError as error:
                return [*found, (("train", "task"), str(error))]
            found += self._train_on_problems(use, use.train, trained)
        if use.train is not None and use.train.languages is not None:
            told = study_checks.training_problems(use.train.languages, trained, "train")
            return [*found, *((("train", "languages", at), text) for at, text in told)]
        if self.source not in trained.languages("train"):
            has = ", ".join(trained.languages("train")) or "no training data declared"
            text = f"task '{trained.id}' has no training data in '{self.source}' (it has: {has})"
            found.append(((), text + ("; name a task to train on with `train:`" if phase == "target" else "")))
        return found

    def _train_on_problems(self, use: Use, train: TrainOn, trained: Task) -> list[Problem]:
        if train.task is None:
            return []
        labels = self.labels_of(use)
        found = study_checks.label_problems(train.labels, trained, ("train", "labels"))
        for label in trained.labels:
            new = train.labels.get(label, label)
            if new is not None and new not in labels:
                text = f"label '{label}' of '{trained.id}' has no counterpart among {', '.join(labels)}"
                found.append((("train", "labels", label), f"{text}; map it under `train: labels:`"))
        kinds = [
            f"{task.format}{' (plain tags)' if study_checks.plain(task) else ''}"
            for task in (trained, self.find(use.task))
        ]
        if kinds[0] != kinds[1]:
            text = f"task '{trained.id}' is {kinds[0]}, the target is {kinds[1]}"
            found.append((("train", "task"), f"{text}; train on a task of the target's format"))
        return found

    def _primary_problems(self, primary: str) -> list[str]:
        sides = [side.strip() for side in primary.split(" - ")]
        if len(sides) != 2 or not all(sides) or sides[0] == sides[1]:
            return [
                f"primary '{primary}' must be two different groups joined by ' - ', for example 'medical - general'"
            ]
        groups = [*(group for group, members in self.intermediate.items() if members), BASELINE]
        return [
            f"primary names the group '{side}'{suggest(side, groups)}; groups are: {', '.join(groups)}"
            for side in sides
            if side not in groups
        ]


def _with_profile(data: dict[str, Any], profile: str, where: Where) -> dict[str, Any]:
    profiles = data.get("profiles") or {}
    if not isinstance(profiles, dict) or profile not in profiles:
        names = list(profiles) if isinstance(profiles, dict) else []
        raise InputError(
            f"{where('profiles')}: no profile '{profile}'{suggest(profile, names)}; there are: "
            f"{', '.join(names) or 'none'}"
        )
    if not isinstance(profiles[profile], dict):
        raise InputError(f"{where('profiles', profile)}: profile '{profile}' must be a mapping of study fields")
    where.profile(profile, profiles[profile])
    merged: dict[str, Any] = merge(data, profiles[profile])
    return merged


def shipped(name: str) -> Path:
    """The file of a study that comes with the package."""
    here = Path(__file__).parent
    for folder in (here / "studies", here.parents[1] / "studies"):
        names = sorted(path.stem for path in folder.glob("*.yaml"))
        if name in names:
            return folder / f"{name}.yaml"
        if names:
            raise InputError(f"no study file '{name}'{suggest(name, names)}; shipped studies: {', '.join(names)}")
    raise InputError(f"no study file '{name}'; give the path of a YAML file")
