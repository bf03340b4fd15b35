"""From a study to a graph of steps. Equal steps are one step; costs are estimated before any work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waystation import backbones
from waystation.errors import InputError, ManyProblems
from waystation.steps.records import EncodeStep, EvaluateStep, Recipe, Step, TrainStep, needs, step_id
from waystation.study import BASELINE, Study, TrainOn, Use
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
    """Backbone → (intermediate →) target → scores, for one seed."""

    name: str
    group: str
    intermediate: str
    target: str
    seed: int
    train: str
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


def plan(study: Study, data: str | Path | None = None) -> Plan:
    """Expand a study: for every target and seed the baseline and one chain per intermediate.

    Reads data files for their fingerprints; raises InputError where data is missing.
    """
    made = Plan(study, Path(data) if data is not None else None)
    builder = _Builder(made)
    for target in study.target:
        for seed in study.seeds:
            for group, use in [(BASELINE, None), *study.uses()]:
                builder.chain(group, use, target, seed)
    return made


class _Builder:
    def __init__(self, made: Plan) -> None:
        self.made, self.study, self.data = made, made.study, made.data
        self.backbone = backbones.fingerprint(self.study.backbone)
        self.tokenizer = {key: value for key, value in self.backbone.items() if key != "layers"}
        self._content: dict[tuple[str, str, str], str] = {}

    def chain(self, group: str, use: Use | None, target: Use, seed: int) -> None:
        parent = None if use is None else self.train("intermediate", use, seed, None)
        name = BASELINE if use is None else use.label
        trained = self.train("target", target, seed, parent)
        evaluated = self.evaluate(target, trained, f"{name}+{target.label}.s{seed}")
        self.made.chains.append(
            Chain(f"{name}+{target.label}.s{seed}", group, name, target.label, seed, trained, evaluated)
        )

    def train(self, phase: str, use: Use, seed: int, parent: str | None) -> str:
        study, recipe = self.study, self.study.recipe_of(use, phase)
        source = use.train or TrainOn(task=use.task, labels=use.labels)
        labels = study.labels_of(use)
        encoding = self.encode(source.task, "train", study.source, labels, source.labels, recipe)
        task = study.find(source.task)
        before = (
            "" if parent is None else self.made.nodes[parent].label.removeprefix("train ").rpartition(".s")[0] + "+"
        )
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
        )
        shown = before + use.label if phase == "intermediate" or before else f"{BASELINE}+{use.label}"
        return self.made.add(step, f"train {shown}.s{seed}")

    def evaluate(self, use: Use, model: str, chain: str) -> str:
        recipe, task = self.study.recipe_of(use, "target"), self.study.find(use.task)
        labels = self.study.labels_of(use)
        codes = self.study.languages_of(use)
        step = EvaluateStep(
            task=use.label,
            format=task.format,
            labels=labels,
            scheme=_scheme(task),
            model=model,
            encodings={code: self.encode(use.task, "test", code, labels, use.labels, recipe) for code in codes},
            precision=self.study.precision,
            tokens_per_micro_batch=recipe.tokens_per_micro_batch,
        )
        return self.made.add(step, f"evaluate {chain}")

    def encode(
        self,
        task_id: str,
        split: Split,
        language: str,
        labels: tuple[str, ...],
        rename: dict[str, str | None],
        recipe: Recipe,
    ) -> str:
        task = self.study.find(task_id)
        where = (task_id, split, language)
        if where not in self._content:
            self._content[where] = sources.fingerprint(task, split, language, self.data)
        step = EncodeStep(
            task=task,
            content=self._content[where],
            split=split,
            language=language,
            format=task.format,
            rename=rename,
            labels=labels,
            scheme=_scheme(task),
            tokenizer=self.tokenizer,
            max_length=recipe.max_length,
            stride=recipe.stride,
        )
        return self.made.add(step, f"encode {task_id} {split} {language}")


def _scheme(task: Any) -> str:
    """How a task's labels become classes: ``plain`` (a label is a class) or ``iob2``."""
    plain = task.format != "tagging" or (task.reader is not None and task.reader.scheme == "plain")
    return "plain" if plain else "iob2"


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


@dataclass(frozen=True)
class Cost:
    """What a step is expected to take: real tokens, FLOPs, bytes on disk, seconds (None where the rate is unknown)."""

    tokens: float
    flops: float
    bytes: float
    seconds: float | None


DEFAULT_FLOPS_PER_SECOND = 2.5e10
"""A careful laptop guess, used until the store holds measured steps."""


def costs(made: Plan, store: Any) -> dict[str, Cost]:
    """Estimated cost of every step. Encodings that are in the store give exact lengths; others are guessed from words.

    The rate is the median of what trainings in this store reached, else a careful default.
    """
    shape = backbones.shape(made.study.backbone)
    rate = measured_rate(store) or DEFAULT_FLOPS_PER_SECOND
    lengths = _Lengths(made, store)
    found = {}
    for node in made.nodes.values():
        step = node.step
        if isinstance(step, EncodeStep):
            size = lengths(node.id)
            found[node.id] = Cost(size.tokens, 0.0, size.tokens * 10.0, size.tokens / 2e5)
        elif shape is None:
            found[node.id] = Cost(0.0, 0.0, 0.0, None)
        elif isinstance(step, TrainStep):
            size = lengths(step.encoding)
            tokens = _training_tokens(step, size)
            flops = shape.flops(tokens, size.mean, training=True)
            rows = min(250_000.0, 30 * size.tokens**0.5)
            stored = 4.0 * (shape.block_parameters + shape.hidden * (rows + 600))
            found[node.id] = Cost(tokens, flops, stored, flops / rate + 1.0)
        else:
            sizes = [lengths(key) for key in step.encodings.values()]
            tokens = sum(size.tokens for size in sizes)
            flops = sum(shape.flops(size.tokens, size.mean, training=False) for size in sizes)
            found[node.id] = Cost(tokens, flops, 12.0 * sum(size.words for size in sizes), flops / rate + 1.0)
    return found


def _training_tokens(step: TrainStep, size: _Size) -> float:
    if step.subset is None:
        return step.recipe.updates * step.recipe.batch * size.mean
    pool = size.words if step.subset.by == "words" else size.examples
    return step.subset.passes * min(1.0, step.subset.amount / max(1, pool)) * size.tokens


@dataclass(frozen=True)
class _Size:
    examples: int
    words: int
    tokens: float

    @property
    def mean(self) -> float:
        return self.tokens / max(1, self.examples)


class _Lengths:
    """Sizes of encodings: from the store where they are made, else counted in the data."""

    def __init__(self, made: Plan, store: Any) -> None:
        self.made, self.store = made, store
        self._known: dict[str, _Size] = {}

    def __call__(self, key: str) -> _Size:
        if key not in self._known:
            self._known[key] = self._stored(key) or self._guessed(key)
        return self._known[key]

    def _stored(self, key: str) -> _Size | None:
        if self.store is None or not self.store.has(key):
            return None
        stats = self.store.manifest(key)["stats"]
        return _Size(stats["examples"], stats["words"], stats["tokens"])

    def _guessed(self, key: str) -> _Size:
        step = self.made.nodes[key].step
        assert isinstance(step, EncodeStep)
        examples = words = 0
        tokens = 0.0
        try:
            for example in sources.read(
                step.task, step.split, step.language, self.made.data, rename=step.rename, labels=step.labels
            ):
                count, guess = _guess(example)
                examples, words = examples + 1, words + count
                tokens += guess + 2 if step.format == "tagging" else min(float(step.max_length), guess + 2)
        except InputError:
            return _Size(1, 1, 1.0)  # the step itself will say what is wrong, with file and line
        return _Size(examples, words, tokens)


def _guess(example: Any) -> tuple[int, float]:
    """(words, expected sub-tokens): 1.45 per word or one per 3.6 characters, whichever is more."""
    if hasattr(example, "words"):
        letters, words = sum(map(len, example.words)), len(example.words)
    else:
        text = example.text + " " + (example.pair or "")
        letters, words = len(text), len(text.split())
    return words, max(1.45 * words, letters / 3.6)


def measured_rate(store: Any) -> float | None:
    """Median FLOPs per second of the trainings in a store, or None."""
    rates = []
    for key in store.identities() if store is not None else []:
        try:
            manifest = store.manifest(key)
        except InputError:
            continue  # `store verify` tells of it
        if manifest["kind"] == "train" and manifest.get("seconds") and manifest.get("flops"):
            rates.append(manifest["flops"] / manifest["seconds"])
    return sorted(rates)[len(rates) // 2] if rates else None
