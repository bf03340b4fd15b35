"""What a step is: torch-free records whose hash is the identity of the artifact that they make."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from waystation.errors import InputError
from waystation.records import EXECUTION, IDENTITY, Record, digest, identity
from waystation.steps.recipes import Fusion, Recipe, Subset
from waystation.steps.translation import Translation
from waystation.tasks.task import FormatName, Split, Task

BY_LANGUAGE = ("encodings", "partners")
"""Fields of an evaluation that differ between its languages."""

Phase = Literal["intermediate", "target"]
Precision = Literal["fp32", "bf16"]
Pooling = Literal["mean", "first"]
Keep = Literal["heads", "deltas", "all"]
"""What stays of a trained model once no step needs it: its head; encoder and embedding rows too; the full state too."""


class Retrieval(Record):
    """How translations are looked up, whatever layer the sentences are read from.

    ``prefix`` stands before every sentence. ``direction``: which side asks; ``mining`` looks in both directions for the
    pairs among sentences most of which have no translation. ``index``: a string for faiss's index_factory
    ("IVF4096,Flat"), for pools of millions; None searches exactly.
    """

    prefix: Annotated[str, IDENTITY]
    direction: Annotated[Literal["from-english", "to-english", "mining"], IDENTITY]
    index: Annotated[str | None, IDENTITY] = None

    @model_validator(mode="after")
    def _index_fits(self) -> Retrieval:
        if self.index is not None and self.direction == "mining":
            raise ValueError("index is for looking up translations; mining searches exactly")
        return self


class Reading(Retrieval):
    """How sentences are embedded and looked up.

    ``layer``: k the output of block k, -1 that of the last. ``pooling``: the mean over all tokens, special ones
    included, or the first token.
    """

    layer: Annotated[int, IDENTITY]
    pooling: Annotated[Pooling, IDENTITY]

    def blocks(self, depth: int) -> int:
        """How many of ``depth`` blocks the layer needs. Raises InputError where there is no such layer."""
        return block(self.layer, depth)


class Swept(Retrieval):
    """The same at the layer and with the pooling that were the best in the sweep of this identity."""

    sweep: Annotated[str, IDENTITY]


class Sweep(Record):
    """Layers (None, in files ``all``: every block) and poolings to try in the languages ``on``, which choose."""

    layers: Annotated[tuple[int, ...] | None, IDENTITY] = Field(default=None, min_length=1)
    poolings: Annotated[tuple[Pooling, ...], IDENTITY] = Field(default=("mean", "first"), min_length=1)
    on: Annotated[tuple[str, ...], EXECUTION] = Field(min_length=1)

    @field_validator("layers", mode="before")
    @classmethod
    def _every_block(cls, value: Any) -> Any:
        return None if value == "all" else value

    def blocks(self, depth: int) -> list[int]:
        """The layers as blocks of ``depth``, lowest first. Raises InputError where there is no such layer."""
        return sorted({block(layer, depth) for layer in self.layers or range(1, depth + 1)})


def block(layer: int, depth: int) -> int:
    """The block of ``depth`` whose output a layer is, from 1. Raises InputError where there is none."""
    if not 1 <= abs(layer) <= depth:
        raise InputError(f"layer {layer}: the encoder has 1 to {depth}, or from the end -1 to {-depth}")
    return layer if layer > 0 else depth + 1 + layer


class TranslateStep(Record):
    """Translations of the texts of one task and split, from ``source`` into ``language``.

    ``provider``: what identifies the translator (content of files, versions); ``corpus``: where it looks up its rows.
    """

    kind: Annotated[Literal["translate"], IDENTITY] = "translate"
    version: Annotated[int, IDENTITY] = 1
    task: Annotated[Task, EXECUTION]
    content: Annotated[str, IDENTITY]
    split: Annotated[Split, IDENTITY]
    source: Annotated[str, IDENTITY]
    language: Annotated[str, IDENTITY]
    by: Annotated[Translation, IDENTITY]
    provider: Annotated[dict[str, Any], IDENTITY]
    corpus: Annotated[Task | None, EXECUTION] = None


class EncodeStep(Record):
    """Examples of one task, split and language as ragged token arrays.

    ``translation``: the artifact through which they are read, from its source language; ``content`` is then that of the
    source. ``unlabelled`` leaves tags and answers away, so that every translated example stays.
    """

    kind: Annotated[Literal["encode"], IDENTITY] = "encode"
    version: Annotated[int, IDENTITY] = 3
    task: Annotated[Task, EXECUTION]
    content: Annotated[str, IDENTITY]
    sample: Annotated[bool, EXECUTION] = False
    stands_for: Annotated[Split | None, EXECUTION] = None
    split: Annotated[Split, IDENTITY]
    language: Annotated[str, IDENTITY]
    format: Annotated[FormatName, IDENTITY]
    rename: Annotated[dict[str, str | None], IDENTITY] = Field(default_factory=dict)
    labels: Annotated[tuple[str, ...], IDENTITY]
    scheme: Annotated[str, IDENTITY]
    tokenizer: Annotated[dict[str, Any], IDENTITY]
    max_length: Annotated[int, IDENTITY]
    stride: Annotated[int, IDENTITY]
    prefix: Annotated[str, IDENTITY] = ""
    translation: Annotated[str | None, IDENTITY] = None
    unlabelled: Annotated[bool, IDENTITY] = False


class Part(Record):
    """One more task that a phase trains on. ``shares``: the place of the task whose head it uses, 0 the first one."""

    task: Annotated[str, EXECUTION]
    format: Annotated[FormatName, IDENTITY]
    labels: Annotated[tuple[str, ...], IDENTITY]
    scheme: Annotated[str, IDENTITY]
    encodings: Annotated[tuple[str, ...], IDENTITY]
    shares: Annotated[int | None, IDENTITY] = None
    batch: Annotated[int, IDENTITY]


class TrainStep(Record):
    """One training phase: backbone or parent model → model (a delta on the backbone).

    ``also``: further encodings of the same task, in other languages or translated; ``parts``: further tasks;
    ``texts``: encodings of plain text by language, for masked language modelling; ``teacher``: the logits that teach
    (FILTER's second phase), of the same encodings.
    """

    kind: Annotated[Literal["train"], IDENTITY] = "train"
    version: Annotated[int, IDENTITY] = 4
    phase: Annotated[Phase, IDENTITY]
    task: Annotated[str, EXECUTION]
    format: Annotated[FormatName, IDENTITY]
    labels: Annotated[tuple[str, ...], IDENTITY]
    scheme: Annotated[str, IDENTITY]
    backbone: Annotated[dict[str, Any], IDENTITY]
    parent: Annotated[str | None, IDENTITY]
    encoding: Annotated[str, IDENTITY]
    also: Annotated[tuple[str, ...], IDENTITY] = ()
    parts: Annotated[tuple[Part, ...], IDENTITY] = ()
    texts: Annotated[dict[str, str], IDENTITY] = Field(default_factory=dict)
    teacher: Annotated[str | None, IDENTITY] = None
    recipe: Annotated[Recipe, IDENTITY]
    subset: Annotated[Subset | None, IDENTITY] = None
    seed: Annotated[int, IDENTITY]
    precision: Annotated[Precision, IDENTITY] = "fp32"
    trunk: Annotated[str | None, EXECUTION] = None


class LogitsStep(Record):
    """What a model that was trained with ``fusion`` says of texts beside their originals, for another to learn from.

    ``encodings``: of the originals first, then of their translations.
    """

    kind: Annotated[Literal["logits"], IDENTITY] = "logits"
    version: Annotated[int, IDENTITY] = 1
    task: Annotated[str, EXECUTION]
    format: Annotated[FormatName, IDENTITY]
    labels: Annotated[tuple[str, ...], IDENTITY]
    scheme: Annotated[str, IDENTITY]
    model: Annotated[str, IDENTITY]
    fusion: Annotated[Fusion, IDENTITY]
    encodings: Annotated[tuple[str, ...], IDENTITY]
    precision: Annotated[Precision, IDENTITY] = "fp32"
    tokens_per_micro_batch: Annotated[int, EXECUTION] = 1024


class TrunkStep(Record):
    """What the embedding and the lowest ``blocks`` make of every token of an encoding.

    ``source``: the trained model whose weights these are, None where they are the backbone's own. ``visits``: examples
    that trainings of the plan read, ``passes``: evaluations, which read all; ``max_bytes``: what all trunks of the
    store may take together.
    """

    kind: Annotated[Literal["trunk"], IDENTITY] = "trunk"
    version: Annotated[int, IDENTITY] = 1
    backbone: Annotated[dict[str, Any], IDENTITY]
    source: Annotated[str | None, IDENTITY]
    blocks: Annotated[int, IDENTITY] = Field(ge=0)
    encoding: Annotated[str, IDENTITY]
    precision: Annotated[Precision, IDENTITY] = "fp32"
    max_bytes: Annotated[float, EXECUTION]
    visits: Annotated[int, EXECUTION] = 0
    passes: Annotated[int, EXECUTION] = 0
    tokens_per_micro_batch: Annotated[int, EXECUTION] = 1024


class AdoptStep(Record):
    """A checkpoint that was fine-tuned elsewhere, as a model of the store: a delta on the backbone.

    ``checkpoint``: its fingerprint; ``source``: its hub id or folder.
    """

    kind: Annotated[Literal["adopt"], IDENTITY] = "adopt"
    version: Annotated[int, IDENTITY] = 1
    task: Annotated[str, EXECUTION]
    backbone: Annotated[dict[str, Any], IDENTITY]
    checkpoint: Annotated[dict[str, Any], IDENTITY]
    source: Annotated[str, EXECUTION]


class SweepStep(Record):
    """Scores of one model on a retrieval target at several layers and poolings, in the languages that choose.

    ``model`` None is the ``backbone`` itself.
    """

    kind: Annotated[Literal["sweep"], IDENTITY] = "sweep"
    version: Annotated[int, IDENTITY] = 1
    task: Annotated[str, EXECUTION]
    model: Annotated[str | None, IDENTITY]
    backbone: Annotated[dict[str, Any] | None, IDENTITY] = None
    encodings: Annotated[dict[str, str], IDENTITY]
    retrieval: Annotated[Retrieval, IDENTITY]
    sweep: Annotated[Sweep, IDENTITY]
    precision: Annotated[Precision, IDENTITY] = "fp32"
    tokens_per_micro_batch: Annotated[int, EXECUTION] = 1024


class EvaluateStep(Record):
    """Predictions of one model on one target in all languages of the study, no training.

    ``model`` None is the ``backbone`` itself, which nothing but retrieval can use. With ``fusion`` texts are read
    beside their translations into the source language: ``partners``, encodings by language; where there is none, the
    text itself.
    """

    kind: Annotated[Literal["evaluate"], IDENTITY] = "evaluate"
    version: Annotated[int, IDENTITY] = 1
    task: Annotated[str, EXECUTION]
    format: Annotated[FormatName, IDENTITY]
    labels: Annotated[tuple[str, ...], IDENTITY]
    scheme: Annotated[str, IDENTITY]
    model: Annotated[str | None, IDENTITY]
    backbone: Annotated[dict[str, Any] | None, IDENTITY] = None
    encodings: Annotated[dict[str, str], IDENTITY]
    retrieval: Annotated[Reading | Swept | None, IDENTITY] = None
    fusion: Annotated[Fusion | None, IDENTITY] = None
    partners: Annotated[dict[str, str], IDENTITY] = Field(default_factory=dict)
    precision: Annotated[Precision, IDENTITY] = "fp32"
    frozen: Annotated[int | None, EXECUTION] = None
    trunks: Annotated[dict[str, str], EXECUTION] = Field(default_factory=dict)
    tokens_per_micro_batch: Annotated[int, EXECUTION] = 1024

    def all_but_languages(self) -> str:
        """Digest of what evaluations of one model on one target have in common, whatever their languages."""
        return digest({name: value for name, value in identity(self).items() if name not in BY_LANGUAGE})


class ImportStep(Record):
    """Predictions of a system from elsewhere for the examples of these encodings, by language; no step of a plan.

    ``content``: digest of the predictions as they are stored; ``task``: the target's name.
    """

    kind: Annotated[Literal["import"], IDENTITY] = "import"
    version: Annotated[int, IDENTITY] = 1
    system: Annotated[str, IDENTITY]
    task: Annotated[str, IDENTITY]
    content: Annotated[str, IDENTITY]
    encodings: Annotated[dict[str, str], IDENTITY]


Step = TranslateStep | EncodeStep | TrunkStep | AdoptStep | TrainStep | LogitsStep | SweepStep | EvaluateStep


def needs(step: Step) -> tuple[str, ...]:
    """Identities of the artifacts that a step reads."""
    found: list[str | None] = []
    if isinstance(step, EncodeStep):
        found = [step.translation]
    elif isinstance(step, TrainStep):
        found = [step.parent, step.encoding, *step.also, *step.texts.values(), step.teacher, step.trunk]
        found += [key for part in step.parts for key in part.encodings]
    elif isinstance(step, TrunkStep):
        found = [step.source, step.encoding]
    elif isinstance(step, LogitsStep):
        found = [step.model, *step.encodings]
    elif isinstance(step, SweepStep):
        found = [step.model, *step.encodings.values()]
    elif isinstance(step, EvaluateStep):
        found = [step.model, *step.encodings.values(), *step.partners.values(), *step.trunks.values()]
        if isinstance(step.retrieval, Swept):
            found.append(step.retrieval.sweep)
    return tuple(key for key in found if key is not None)


def step_id(step: Step) -> str:
    """The identity of a step: SHA-256 of everything that can change its result."""
    return digest(step)
