"""What the steps of a plan are expected to take, before any work: tokens, FLOPs, bytes, seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from waystation import backbones
from waystation.errors import InputError
from waystation.plan import Plan
from waystation.retention import worthwhile
from waystation.steps.records import (
    AdoptStep,
    EncodeStep,
    LogitsStep,
    Reading,
    SweepStep,
    Swept,
    TrainStep,
    TranslateStep,
    TrunkStep,
)
from waystation.tasks import sources
from waystation.tasks.sizes import expected_size, expected_text_size
from waystation.tasks.translation.fields import fields


@dataclass(frozen=True)
class Cost:
    """What a step is expected to take: real tokens, FLOPs, bytes on disk, seconds (None where the rate is unknown)."""

    tokens: float
    flops: float
    bytes: float
    seconds: float | None


TRANSLATED_WORDS_PER_SECOND = {"apertium": 1e3, "seq2seq": None}
"""None: it depends on the model. Translators that are not named here look up half a million words a second."""

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
    kept: dict[str, float] = {}  # bytes of the trunks whose states are stored
    for node in made.nodes.values():
        step = node.step
        if isinstance(step, EncodeStep):
            size = lengths(node.id)
            aligned = 0.0  # words with those of the sentence that was translated, by two thirds of the encoder
            if step.translation and step.format == "tagging" and not step.unlabelled and shape is not None:
                aligned = 4 / 3 * shape.flops(size.tokens, size.mean, training=False)
            found[node.id] = Cost(size.tokens, aligned, size.tokens * 10.0, size.tokens / 2e5 + aligned / rate)
        elif isinstance(step, TranslateStep):
            speed, words = TRANSLATED_WORDS_PER_SECOND.get(step.by.by, 5e5), lengths.translated(step)
            found[node.id] = Cost(0.0, 0.0, 12.0 * words, None if speed is None else words / speed + 1.0)
        elif isinstance(step, AdoptStep):
            stored = 0.0 if shape is None else 4.0 * (shape.block_parameters + shape.hidden * 250_000)
            found[node.id] = Cost(0.0, 0.0, stored, 10.0)
        elif shape is None:
            found[node.id] = Cost(0.0, 0.0, 0.0, None)
        elif isinstance(step, TrunkStep):
            size = lengths(step.encoding)
            stored, flops = 4.0 * shape.hidden * size.tokens, 0.0
            if worthwhile(step, size.examples, stored, sum(kept.values())):
                kept[node.id] = stored
                flops = shape.model_copy(update={"layers": step.blocks}).flops(size.tokens, size.mean, training=False)
            found[node.id] = Cost(size.tokens, flops, kept.get(node.id, 0.0), flops / rate + 1.0)
        elif isinstance(step, TrainStep):
            size = lengths(step.encoding)
            if step.recipe.fusion is not None:
                size = size.beside([lengths(key) for key in (step.encoding, *step.also)])
            tokens = _training_tokens(step, size)
            below = shape.model_copy(update={"layers": step.recipe.frozen or 0})
            learning = shape.model_copy(update={"layers": shape.layers - below.layers})
            flops = learning.flops(tokens, size.mean, training=True)
            if step.trunk not in kept:
                flops += below.flops(tokens, size.mean, training=False)
            rows = min(250_000.0, 30 * size.tokens**0.5)
            stored = 4.0 * (shape.block_parameters + shape.hidden * (rows + 600))
            found[node.id] = Cost(tokens, flops, stored, flops / rate + 1.0)
        elif isinstance(step, LogitsStep):
            first, *others = (lengths(key) for key in step.encodings)
            sizes = [size.beside([first]) for size in (first, *others)]
            flops = sum(shape.flops(size.tokens, size.mean, training=False) for size in sizes)
            tokens = sum(size.tokens for size in sizes)  # at most two numbers for each of half of them, for spans
            found[node.id] = Cost(tokens, flops, 4.0 * tokens, flops / rate + 1.0)
        elif isinstance(step, SweepStep):
            sizes = [lengths(key) for key in step.encodings.values()]
            used = shape.model_copy(update={"layers": step.sweep.blocks(shape.layers)[-1]})
            flops = sum(used.flops(size.tokens, size.mean, training=False) for size in sizes)
            found[node.id] = Cost(sum(size.tokens for size in sizes), flops, 1e4, flops / rate + 1.0)
        else:
            sizes = [lengths(key) for key in step.encodings.values()]
            if step.fusion is not None:
                beside = [lengths(step.partners.get(code, key)) for code, key in step.encodings.items()]
                sizes = [size.beside([other]) for size, other in zip(sizes, beside, strict=True)]
            tokens = sum(size.tokens for size in sizes)
            used = shape
            if step.trunks and all(key in kept for key in step.trunks.values()):
                used = shape.model_copy(update={"layers": shape.layers - (step.frozen or 0)})
            elif step.retrieval is not None:  # blocks above the layer that is read are not computed
                used = shape.model_copy(update={"layers": _deepest(step.retrieval, made, shape.layers)})
            flops = sum(used.flops(size.tokens, size.mean, training=False) for size in sizes)
            found[node.id] = Cost(tokens, flops, 12.0 * sum(size.words for size in sizes), flops / rate + 1.0)
    return found


def _deepest(asked: Reading | Swept, made: Plan, depth: int) -> int:
    """The highest block that is read at most: of a sweep that is to choose, the highest that it tries."""
    if isinstance(asked, Reading):
        return asked.blocks(depth)
    step = made.nodes[asked.sweep].step
    assert isinstance(step, SweepStep)
    return step.sweep.blocks(depth)[-1]


def _training_tokens(step: TrainStep, size: _Size) -> float:
    if step.subset is None:
        return step.recipe.updates * step.recipe.batch * size.mean
    pool = size.words if step.subset.by == "words" else size.examples
    every = step.recipe.fusion is not None and step.recipe.fusion.languages == "every"
    passes = step.subset.passes * (1 + len(step.also) if every else 1)
    return passes * min(1.0, step.subset.amount / max(1, pool)) * size.tokens


@dataclass(frozen=True)
class _Size:
    examples: int
    words: int
    tokens: float

    @property
    def mean(self) -> float:
        return self.tokens / max(1, self.examples)

    def beside(self, others: Sequence[_Size]) -> _Size:
        """The same examples, each with a text of one of the others, whichever."""
        return replace(self, tokens=self.tokens + self.examples * sum(one.mean for one in others) / len(others))


class _Lengths:
    """Sizes of encodings: from the store where they are made, else counted in the data."""

    def __init__(self, made: Plan, store: Any) -> None:
        self.made, self.store = made, store
        self._known: dict[str, _Size] = {}

    def __call__(self, key: str) -> _Size:
        if key not in self._known:
            self._known[key] = self._stored(key) or self._guessed(key)
        return self._known[key]

    def translated(self, step: TranslateStep) -> int:
        """Words of all texts that a step translates."""
        try:
            found = sources.read(step.task, step.split, step.source, self.made.data)
            return sum(len(text.split()) for example in found for text in fields(example).values())
        except InputError:
            return 1

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
        translated = self.made.nodes[step.translation].step if step.translation else None
        language = translated.source if isinstance(translated, TranslateStep) else step.language
        try:
            for example in sources.read(
                step.task, step.split, language, self.made.data, rename=step.rename, labels=step.labels
            ):
                if step.format == "mlm":
                    count, guess = expected_text_size(example, step.max_length)
                else:
                    count, guess = expected_size(example, step.max_length, step.stride)
                examples, words, tokens = examples + 1, words + count, tokens + guess
        except InputError:
            return _Size(1, 1, 1.0)  # the step itself will say what is wrong, with file and line
        return _Size(examples, words, tokens)


def measured_rate(store: Any, enough: int = 200) -> float | None:
    """Median FLOPs per second of trainings in a store, or None. The order of identities is random: so many do."""
    rates: list[float] = []
    for key in store.identities() if store is not None else []:
        if len(rates) == enough:
            break
        try:
            manifest = store.manifest(key)
        except InputError:
            continue  # `store verify` tells of it
        if manifest["kind"] == "train" and manifest.get("seconds") and manifest.get("flops"):
            rates.append(manifest["flops"] / manifest["seconds"])
    return sorted(rates)[len(rates) // 2] if rates else None
