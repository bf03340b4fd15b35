"""From a study to a graph of steps. Equal steps are one step; costs are estimated before any work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from waystation import backbones, study_checks
from waystation.backbones import Backbone
from waystation.errors import InputError, ManyProblems
from waystation.steps.recipes import Recipe
from waystation.steps.records import (
    AdoptStep,
    EncodeStep,
    EvaluateStep,
    Step,
    TrainStep,
    TrunkStep,
    needs,
    step_id,
)
from waystation.study import BASELINE, Study, TrainOn, Use
from waystation.tasks import sources
from waystation.tasks.task import WINDOWED, Split


@dataclass(frozen=True)
class Node:
    """One step of the graph with its identity, a name for people and what it reads."""

    id: str
    step: Step
    label: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """Backbone → (intermediate →) (target →) scores, for one seed. ``train``: the last training, None without any."""

    name: str
    group: str
    intermediate: str
    target: str
    seed: int
    train: str | None
    evaluate: str


@dataclass
class Plan:
    """All steps of a study in an order in which they can be done, and the chains that they form."""

    study: Study
    data: Path | None = None
    nodes: dict[str, Node] = field(default_factory=dict)
    chains: list[Chain] = field(default_factory=list)

    def add(self, step: Step, label: str) -> str:
        """Add a step unless an equal one is there; returns its identity."""
        key = step_id(step)
        self.nodes.setdefault(key, Node(key, step, label, needs(step)))
        return key

    def trainings(self, chain: Chain) -> list[tuple[str, TrainStep]]:
        """Identity and step of the trainings that lead to a chain's scores, the first one first."""
        found: list[tuple[str, TrainStep]] = []
        key = chain.train
        while key is not None:
            step = self.nodes[key].step
            if not isinstance(step, TrainStep):  # a checkpoint that was trained elsewhere
                break
            found.insert(0, (key, step))
            key = step.parent
        return found

    def pending(self, done: Any) -> list[Node]:
        """Steps that still have to be done, in order: those that a missing score leads to, given ``done(id)``."""
        wanted: set[str] = set()
        stack = [chain.evaluate for chain in self.chains]
        while stack:
            key = stack.pop()
            if key not in wanted and not done(key):
                wanted.add(key)
                stack += self.nodes[key].needs
        return [node for node in self.nodes.values() if node.id in wanted]

    def wants(self, node: Node, done: Any) -> bool:
        """Whether a missing score leads to this step."""
        return any(other.id == node.id for other in self.pending(done))


def plan(study: Study, data: str | Path | None = None) -> Plan:
    """Expand a study: for every target and seed the baseline and one chain per intermediate.

    Reads data files for their fingerprints; raises InputError where data is missing.
    """
    where = Path(data) if data is not None else None
    _all_at_hand(study, where)
    study = study.model_copy(update={"tasks": study.tasks | sources.opened(study.used(), where)})
    made = Plan(study, where)
    builder = _Builder(made)
    for target in study.target:
        for seed in study.seeds:
            for group, use in [(BASELINE, None), *study.uses()]:
                builder.chain(group, use, target, seed)
    _count_trunk_readers(made)
    return made


def _all_at_hand(study: Study, data: Path | None) -> None:
    """Tell all that is missing at once."""
    wanted: dict[tuple[str, Split, str], None] = {}
    for phase, use in [*(("intermediate", use) for _, use in study.uses()), *(("target", use) for use in study.target)]:
        retrieved = study.find(use.task).format == "retrieval"
        if use.from_ is None and not retrieved:
            wanted[use.train.task if use.train else use.task, "train", study.source] = None
        if phase == "target":
            wanted |= {(use.task, "test", code): None for code in tested_in(study, use, data)}
    problems: dict[str, None] = {}
    for name, split, code in wanted:
        try:
            sources.files(study.find(name), split, code, data)
        except InputError as problem:
            problems[str(problem)] = None
    if problems:
        raise ManyProblems(list(problems))


def tested_in(study: Study, target: Use, data: Path | None) -> tuple[str, ...]:
    """Test languages of a target: the source language also unasked, but then only where its examples are at hand."""
    codes, asked = study.languages_of(target), target.languages or study.languages
    extra = study.source not in asked and "all" not in asked
    if extra and codes[:1] == (study.source,) and not sources.at_hand(study.find(target.task), "test", codes[0], data):
        return codes[1:] or codes
    return codes


def pieces(made: Plan) -> list[str]:
    """Lines on data that is less than the official sets, and on what it is trained on instead of their own splits."""
    samples: dict[str, None] = {}
    others: dict[str, None] = {}
    for node in made.nodes.values():
        step = node.step
        if isinstance(step, EncodeStep) and step.stands_for is not None:
            others[f"{step.task.id} {step.split} is a piece of the official {step.stands_for} split"] = None
        elif isinstance(step, EncodeStep) and step.sample:
            samples[f"{step.task.id} {step.split}"] = None
    for use in made.study.target:
        for code in set(made.study.languages_of(use)) - set(tested_in(made.study, use, made.data)):
            others[f"{use.label} is not tested in {code}, which nobody asked for and is not at hand"] = None
    told = [f"note: {text}" for text in others]
    return told + ([f"note: pieces of the official sets: {', '.join(samples)}"] if samples else [])


def _count_trunk_readers(made: Plan) -> None:
    """Tell each trunk how much will be read of it: what is hardly read is not worth its disk."""
    visits, passes = Counter[str](), Counter[str]()
    for node in made.nodes.values():
        if isinstance(node.step, TrainStep) and node.step.trunk is not None:
            visits[node.step.trunk] += node.step.recipe.updates * node.step.recipe.batch
        elif isinstance(node.step, EvaluateStep):
            passes.update(node.step.trunks.values())
    for key in {**visits, **passes}:
        node = made.nodes[key]
        step = node.step.model_copy(update={"visits": visits[key], "passes": passes[key]})
        made.nodes[key] = replace(node, step=step)


class _Builder:
    def __init__(self, made: Plan) -> None:
        self.made, self.study, self.data = made, made.study, made.data
        self.backbone = backbones.fingerprint(self.study.backbone)
        self.tokenizer = {key: value for key, value in self.backbone.items() if key != "layers"}
        # What many chains share is made once: a plan of ten thousand steps is a matter of a second.
        self._content: dict[tuple[str, str, str], tuple[str, bool, Split | None]] = {}
        self._encoded: dict[tuple[Any, ...], str] = {}
        self._recipes: dict[tuple[str, str], Recipe] = {}
        self._before: dict[tuple[str, int], str] = {}

    def chain(self, group: str, use: Use | None, target: Use, seed: int) -> None:
        parent = None
        if use is not None:
            if (use.label, seed) not in self._before:
                before = self.train("intermediate", use, seed, None) if use.from_ is None else self.adopt(use)
                self._before[use.label, seed] = before
            parent = self._before[use.label, seed]
        intermediate = BASELINE if use is None else use.label
        name = f"{intermediate}+{target.label}.s{seed}"
        # a retrieval target is not trained: what came before it embeds the sentences
        untrained = self.study.find(target.task).format == "retrieval"
        trained = parent if untrained else self.train("target", target, seed, parent)
        evaluated = self.evaluate(target, trained, name)
        self.made.chains.append(Chain(name, group, intermediate, target.label, seed, trained, evaluated))

    def train(self, phase: str, use: Use, seed: int, parent: str | None) -> str:
        study, recipe = self.study, self.recipe(use, phase)
        source = use.train or TrainOn(task=use.task, labels=use.labels)
        labels = study.labels_of(use)
        encoding = self.encode(source.task, "train", study.source, labels, source.labels, recipe)
        task = study.find(source.task)
        before = "" if parent is None else f"{self._name(parent)}+"
        trunk = None
        if recipe.frozen is not None:
            trunk = self.trunk(encoding, self.trunk_source(parent, recipe.frozen), recipe)
        step = TrainStep(
            phase="intermediate" if phase == "intermediate" else "target",
            task=use.label,
            format=task.format,
            labels=labels,
            scheme=_scheme(task),
            backbone=self.backbone,
            parent=parent,
            encoding=encoding,
            recipe=recipe,
            subset=study.match if phase == "intermediate" else None,
            seed=seed,
            precision=study.precision,
            trunk=trunk,
        )
        shown = before + use.label if phase == "intermediate" or before else f"{BASELINE}+{use.label}"
        return self.made.add(step, f"train {shown}.s{seed}")

    def _name(self, model: str) -> str:
        """What a training or an adopted checkpoint is called in the names of chains."""
        kind, name = self.made.nodes[model].label.split(" ", 1)
        return name.rpartition(".s")[0] if kind == "train" else name

    def adopt(self, use: Use) -> str:
        assert use.from_ is not None
        step = AdoptStep(
            task=use.label,
            backbone=self.backbone,
            checkpoint=backbones.fingerprint(Backbone(id=use.from_)),
            source=use.from_,
        )
        return self.made.add(step, f"adopt {use.label}")

    def evaluate(self, use: Use, model: str | None, chain: str) -> str:
        recipe, task = self.recipe(use, "target"), self.study.find(use.task)
        labels = self.study.labels_of(use)
        codes = tested_in(self.study, use, self.data)
        retrieval = self.study.retrieval_of(use)
        prefix = retrieval.prefix if retrieval else ""
        step = EvaluateStep(
            task=use.label,
            format=task.format,
            labels=labels,
            scheme=_scheme(task),
            model=model,
            backbone=self.backbone if model is None else None,
            encodings={code: self.encode(use.task, "test", code, labels, use.labels, recipe, prefix) for code in codes},
            retrieval=retrieval,
            precision=self.study.precision,
            tokens_per_micro_batch=recipe.tokens_per_micro_batch,
        )
        if model is not None and retrieval is None and recipe.frozen is not None:
            step = self.through_trunk(step, model, recipe)
        return self.made.add(step, f"evaluate {chain}")

    def through_trunk(self, step: EvaluateStep, model: str, recipe: Recipe) -> EvaluateStep:
        """The same evaluation from stored states, where the trunk is the backbone's own and so serves many models."""
        assert recipe.frozen is not None
        if self.trunk_source(model, recipe.frozen) is not None:
            return step
        trunks = {code: self.trunk(encoding, None, recipe) for code, encoding in step.encodings.items()}
        return step.model_copy(update={"frozen": recipe.frozen, "trunks": trunks})

    def trunk(self, encoding: str, source: str | None, recipe: Recipe) -> str:
        assert recipe.frozen is not None
        step = TrunkStep(
            backbone=self.tokenizer,  # its depth does not matter to the lowest blocks
            source=source,
            blocks=recipe.frozen,
            encoding=encoding,
            precision=self.study.precision,
            max_bytes=recipe.trunk_gigabytes * 1e9,
            tokens_per_micro_batch=recipe.tokens_per_micro_batch,
        )
        of = "" if source is None else f" after {self.made.nodes[source].label.removeprefix('train ')}"
        shown = self.made.nodes[encoding].label.removeprefix("encode ")
        return self.made.add(step, f"trunk of {recipe.frozen} blocks{of}: {shown}")

    def trunk_source(self, model: str | None, blocks: int) -> str | None:
        """The training that last changed the embedding or one of the lowest ``blocks``; None: it is the backbone's."""
        while model is not None:
            step = self.made.nodes[model].step
            if not isinstance(step, TrainStep) or step.recipe.frozen is None or step.recipe.frozen < blocks:
                return model
            model = step.parent
        return None

    def encode(
        self,
        task_id: str,
        split: Split,
        language: str,
        labels: tuple[str, ...],
        rename: dict[str, str | None],
        recipe: Recipe,
        prefix: str = "",
    ) -> str:
        where = (task_id, split, language)
        wanted = (*where, labels, *rename.items(), recipe.max_length, recipe.stride, prefix)
        if wanted in self._encoded:
            return self._encoded[wanted]
        task = self.study.find(task_id)
        if where not in self._content:
            at = (task, split, language, self.data)
            self._content[where] = sources.fingerprint(*at), sources.sample(*at), sources.stands_for(*at)
        content, sample, stands_for = self._content[where]
        step = EncodeStep(
            task=task,
            content=content,
            sample=sample,
            stands_for=stands_for,
            split=split,
            language=language,
            format=task.format,
            rename=rename,
            labels=labels,
            scheme=_scheme(task),
            tokenizer=self.tokenizer,
            max_length=recipe.max_length,
            stride=recipe.stride,
            prefix=prefix,
        )
        self._encoded[wanted] = self.made.add(step, f"encode {task_id} {split} {language}")
        return self._encoded[wanted]

    def recipe(self, use: Use, phase: str) -> Recipe:
        if (phase, use.label) not in self._recipes:
            recipe = self.study.recipe_of(use, phase)
            if self.study.find(use.task).format not in WINDOWED:
                recipe = recipe.model_copy(update={"stride": 0})  # of no effect, so of no identity
            self._recipes[phase, use.label] = recipe
        return self._recipes[phase, use.label]


def _scheme(task: Any) -> str:
    """How a task's labels become classes: ``plain`` (a label is a class) or ``iob2``."""
    return "plain" if task.format != "tagging" or study_checks.plain(task) else "iob2"


def check_data(made: Plan) -> int:
    """Read every example that the plan's steps would; returns their number.

    Raises ManyProblems with one line per file that cannot be read.
    """
    examples, problems = 0, []
    for step in (node.step for node in made.nodes.values()):
        if isinstance(step, EncodeStep):
            try:
                rows = sources.read(
                    step.task, step.split, step.language, made.data, rename=step.rename, labels=step.labels
                )
                examples += sum(1 for _ in rows)
            except InputError as error:
                problems.append(str(error))
    if problems:
        raise ManyProblems(list(dict.fromkeys(problems)))
    return examples
