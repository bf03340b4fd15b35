"""From a study to a graph of steps. Equal steps are one step; costs are estimated before any work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from waystation import study_checks
from waystation.errors import InputError, ManyProblems
from waystation.plan_encodings import texts_of
from waystation.plan_steps import Builder, fits, tested_in
from waystation.steps.records import EncodeStep, EvaluateStep, Step, TrainStep, TranslateStep, needs, step_id
from waystation.study import BASELINE, Study
from waystation.tasks import sources
from waystation.tasks.task import Split


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

    def chain(self, *parts: Any) -> None:
        """Add a chain, its parts as ``Chain`` has them."""
        self.chains.append(Chain(*parts))

    def language_read(self, step: EncodeStep) -> str:
        """The language in which an encoding's examples are read: before they are translated."""
        through = self.nodes[step.translation].step if step.translation else None
        return through.source if isinstance(through, TranslateStep) else step.language

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
    builder = Builder(made)
    for target in study.target:
        for seed in study.seeds:
            for group, arm in [(BASELINE, None), *study.uses()]:
                builder.chain(group, arm, target, seed)
    _count_trunk_readers(made)
    return made


def _all_at_hand(study: Study, data: Path | None) -> None:
    """Tell all that is missing at once."""
    wanted: dict[tuple[str, Split, str], None] = {}
    arms = [arm for _, arm in study.uses()]
    trained = [use for arm in arms for use in arm.members() if use.from_ is None]
    trained += [study.under(target, arm) for target in study.target for arm in (None, *arms) if fits(arm, target)]
    for use in trained:
        if use.task and study.find(use.task).format != "retrieval":
            wanted |= {(use.trained_on, "train", code): None for code in study.training_languages(use)}
        if use.mlm is not None:
            wanted |= {(name, use.mlm.split, code): None for name, code in texts_of(study, use)}
    for use in study.target:
        choosing = study_checks.choosing(study.find(use.task), use.retrieval)
        wanted |= {(use.task, "test", code): None for code in (*tested_in(study, use, data), *choosing)}
    problems: dict[str, None] = {}
    for name, split, code in wanted:
        try:
            sources.files(study.find(name), split, code, data)
        except InputError as problem:
            problems[str(problem)] = None
    if problems:
        raise ManyProblems(list(problems))


def _reads_text(step: Step) -> bool:
    return isinstance(step, TrainStep) and bool(step.texts)


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
    if made.study.backbone.kind == "bundled" and any(_reads_text(node.step) for node in made.nodes.values()):
        others[
            "the bundled backbone has no trained MLM head: short masked language modelling mostly trains a new one"
        ] = None
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


def check_data(made: Plan) -> int:
    """Read every example that the plan's steps would; returns their number.

    Raises ManyProblems with one line per file that cannot be read.
    """
    examples, problems = 0, []
    for step in (node.step for node in made.nodes.values()):
        if isinstance(step, EncodeStep):
            try:
                rows = sources.read(
                    step.task, step.split, made.language_read(step), made.data, rename=step.rename, labels=step.labels
                )
                examples += sum(1 for _ in rows)
            except InputError as error:
                problems.append(str(error))
    if problems:
        raise ManyProblems(list(dict.fromkeys(problems)))
    return examples
