"""What a step is: torch-free records whose hash is the identity of the artifact that they make."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from waystation.errors import InputError
from waystation.records import EXECUTION, IDENTITY, Record, digest, identity
from waystation.tasks.task import FormatName, Split, Task

Phase = Literal["intermediate", "target"]
Precision = Literal["fp32", "bf16"]
Keep = Literal["heads", "deltas", "all"]
"""What stays of a trained model once no step needs it: its head; encoder and embedding rows too; the full state too."""


class Validation(Record):
    """Validation on data carved out of the training set, by cluster where the data has clusters."""

    fraction: Annotated[float, IDENTITY] = Field(default=0.1, gt=0, lt=1)
    every: Annotated[int, IDENTITY] = Field(default=50, ge=1)
    select: Annotated[Literal["last", "best"], IDENTITY] = "last"


class Recipe(Record):
    """How one training phase is done. Lengths in tokens, rates per update, ``warmup`` as a share of the updates.

    ``frozen``: the embedding and that many lowest blocks are not trained (0: the embedding alone; None: nothing); what
    they make of each token is kept on disk up to ``trunk_gigabytes`` for each encoding.

    Defaults that differ from the papers: attention dropout 0 (papers: 0.1), a fixed number of updates, last checkpoint.
    """

    updates: Annotated[int, IDENTITY] = Field(default=100, ge=1)
    batch: Annotated[int, IDENTITY] = Field(default=16, ge=1)
    rate: Annotated[float, IDENTITY] = Field(default=1e-4, gt=0)
    head_rate: Annotated[float, IDENTITY] = Field(default=1e-3, gt=0)
    warmup: Annotated[float, IDENTITY] = Field(default=0.1, ge=0, lt=1)
    weight_decay: Annotated[float, IDENTITY] = Field(default=0.01, ge=0)
    decay_embeddings: Annotated[bool, IDENTITY] = False
    beta2: Annotated[float, IDENTITY] = Field(default=0.999, gt=0, lt=1)
    epsilon: Annotated[float, IDENTITY] = Field(default=1e-8, gt=0)
    clip: Annotated[float, IDENTITY] = Field(default=1.0, gt=0)
    dropout: Annotated[float, IDENTITY] = Field(default=0.1, ge=0, lt=1)
    attention_dropout: Annotated[float, IDENTITY] = Field(default=0.0, ge=0, lt=1)
    max_length: Annotated[int, IDENTITY] = Field(default=128, ge=8)
    stride: Annotated[int, IDENTITY] = Field(default=32, ge=0)
    frozen: Annotated[int | None, IDENTITY] = Field(default=None, ge=0)
    validation: Annotated[Validation | None, IDENTITY] = None
    tokens_per_micro_batch: Annotated[int, EXECUTION] = Field(default=1024, ge=1)
    gradient_checkpointing: Annotated[bool, EXECUTION] = False
    trunk_gigabytes: Annotated[float, EXECUTION] = Field(default=4.0, ge=0)
    checkpoint_seconds: Annotated[float, EXECUTION] = Field(default=60.0, ge=0)

    @model_validator(mode="after")
    def _stride_fits(self) -> Recipe:
        if self.stride > self.max_length // 2:
            raise ValueError(f"stride {self.stride} must be at most half of max_length {self.max_length}")
        return self


class Subset(Record):
    """Matched training data: a random subset, drawn anew per seed, of whole examples until ``amount`` is reached.

    The phase makes exactly ``passes`` passes over it in its ``updates``, so that arms are equal in both: the recipe's
    ``batch`` gives way.
    """

    by: Annotated[Literal["words", "examples"], IDENTITY]
    amount: Annotated[int, IDENTITY] = Field(ge=1)
    passes: Annotated[int, IDENTITY] = Field(default=1, ge=1)


class Retrieval(Record):
    """How sentences are embedded and looked up.

    ``layer``: k the output of block k, -1 that of the last. ``pooling``: the mean over all tokens, special ones
    included, or the first token. ``direction``: which side asks; ``mining`` looks in both directions for the pairs
    among sentences most of which have no translation. ``index``: a string for faiss's index_factory ("IVF4096,Flat"),
    for pools of millions; None searches exactly.
    """

    layer: Annotated[int, IDENTITY]
    pooling: Annotated[Literal["mean", "first"], IDENTITY]
    prefix: Annotated[str, IDENTITY]
    direction: Annotated[Literal["from-english", "to-english", "mining"], IDENTITY]
    index: Annotated[str | None, IDENTITY] = None

    @model_validator(mode="after")
    def _index_fits(self) -> Retrieval:
        if self.index is not None and self.direction == "mining":
            raise ValueError("index is for looking up translations; mining searches exactly")
        return self

    def blocks(self, depth: int) -> int:
        """How many of ``depth`` blocks the layer needs. Raises InputError where there is no such layer."""
        if not 1 <= abs(self.layer) <= depth:
            raise InputError(f"layer {self.layer}: the encoder has 1 to {depth}, or from the end -1 to {-depth}")
        return self.layer if self.layer > 0 else depth + 1 + self.layer


class EncodeStep(Record):
    """Examples of one task, split and language as ragged token arrays."""

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


class TrainStep(Record):
    """One training phase: backbone or parent model → model (a delta on the backbone)."""

    kind: Annotated[Literal["train"], IDENTITY] = "train"
    version: Annotated[int, IDENTITY] = 3
    phase: Annotated[Phase, IDENTITY]
    task: Annotated[str, EXECUTION]
    format: Annotated[FormatName, IDENTITY]
    labels: Annotated[tuple[str, ...], IDENTITY]
    scheme: Annotated[str, IDENTITY]
    backbone: Annotated[dict[str, Any], IDENTITY]
    parent: Annotated[str | None, IDENTITY]
    encoding: Annotated[str, IDENTITY]
    recipe: Annotated[Recipe, IDENTITY]
    subset: Annotated[Subset | None, IDENTITY] = None
    seed: Annotated[int, IDENTITY]
    precision: Annotated[Precision, IDENTITY] = "fp32"
    trunk: Annotated[str | None, EXECUTION] = None


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


class EvaluateStep(Record):
    """Predictions of one model on one target in all languages of the study, no training.

    ``model`` None is the ``backbone`` itself, which nothing but retrieval can use.
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
    retrieval: Annotated[Retrieval | None, IDENTITY] = None
    precision: Annotated[Precision, IDENTITY] = "fp32"
    frozen: Annotated[int | None, EXECUTION] = None
    trunks: Annotated[dict[str, str], EXECUTION] = Field(default_factory=dict)
    tokens_per_micro_batch: Annotated[int, EXECUTION] = 1024

    def all_but_languages(self) -> str:
        """Digest of what evaluations of one model on one target have in common, whatever their languages."""
        return digest({name: value for name, value in identity(self).items() if name != "encodings"})


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


Step = EncodeStep | TrunkStep | AdoptStep | TrainStep | EvaluateStep


def needs(step: Step) -> tuple[str, ...]:
    """Identities of the artifacts that a step reads."""
    found: list[str | None] = []
    if isinstance(step, TrainStep):
        found = [step.parent, step.encoding, step.trunk]
    elif isinstance(step, TrunkStep):
        found = [step.source, step.encoding]
    elif isinstance(step, EvaluateStep):
        found = [step.model, *step.encodings.values(), *step.trunks.values()]
    return tuple(key for key in found if key is not None)


def step_id(step: Step) -> str:
    """The identity of a step: SHA-256 of everything that can change its result."""
    return digest(step)
