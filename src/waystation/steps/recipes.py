"""How one training phase is done: the recipe, and the records of the methods that it may name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from waystation.errors import InputError
from waystation.records import EXECUTION, IDENTITY, Record


class Validation(Record):
    """Validation on data carved out of the training set, by cluster where the data has clusters.

    ``patience``: validations without a new best after which the phase ends (None: it never ends early).
    """

    fraction: Annotated[float, IDENTITY] = Field(default=0.1, gt=0, lt=1)
    every: Annotated[int, IDENTITY] = Field(default=50, ge=1)
    select: Annotated[Literal["last", "best"], IDENTITY] = "last"
    patience: Annotated[int | None, IDENTITY] = Field(default=None, ge=1)


class Unfreezing(Record):
    """Gradual unfreezing: cycle by cycle more of the encoder is trained, from the top (Shaheen et al. 2021's code).

    The groups are the embedding and each block; the head is no group and is always trained. ``groups``: how many of
    them, counted from the top, each cycle trains. Each cycle is a run of the schedule of its own; ``rates``: its peak
    rate in place of the recipe's, the head's changes by the same factor. ``length``: of each cycle but the last, in
    ``unit`` (None: the updates are shared equally).
    """

    groups: Annotated[tuple[int, ...], IDENTITY] = Field(min_length=1)
    length: Annotated[int | None, IDENTITY] = Field(default=None, ge=1)
    unit: Annotated[Literal["updates", "epochs"], IDENTITY] = "updates"
    rates: Annotated[tuple[float, ...], IDENTITY] = ()

    @model_validator(mode="after")
    def _growing(self) -> Unfreezing:
        if self.groups[0] < 1 or list(self.groups) != sorted(self.groups):
            raise ValueError("groups must be counts of at least 1 that never fall, for example [2, 4, 6]")
        if self.rates and (len(self.rates) != len(self.groups) or min(self.rates) <= 0):
            raise ValueError(f"rates must be {len(self.groups)} positive rates, one for each cycle")
        return self


LoraLayer = Literal["query", "key", "value", "output", "feed-forward"]
"""Linear layers of a block: the three that attention reads, the one after it, and the two of the feed-forward part."""

_BERT: dict[str, tuple[str, ...]] = {
    **{name: (f"attention.self.{name}",) for name in ("query", "key", "value")},
    "output": ("attention.output.dense",),
    "feed-forward": ("intermediate.dense", "output.dense"),
}
_LORA_PLACES: dict[str, dict[str, tuple[str, ...]]] = {
    **{kind: _BERT for kind in ("bert", "roberta", "xlm-roberta", "camembert")},
    "deberta-v2": _BERT | {name: (f"attention.self.{name}_proj",) for name in ("query", "key", "value")},
    "modernbert": {"output": ("attn.Wo",), "feed-forward": ("mlp.Wi", "mlp.Wo")},
}
"""``model_type`` → where a block has its layers."""


class Lora(Record):
    """Low-rank adaptation (Hu et al. 2021): the encoder stays, products of two thin matrices are added to its layers.

    ``alpha`` / ``rank`` scales them. ``layers``: which linear layers of a block. ``after``: ``merge`` adds the product
    to the weights when the phase ends; ``keep`` goes on training the same matrices in the next phase that has LoRA of
    this shape; ``stack`` leaves them as they are, and the next phase puts its own on top.
    """

    rank: Annotated[int, IDENTITY] = Field(default=8, ge=1)
    alpha: Annotated[float, IDENTITY] = Field(default=16.0, gt=0)
    dropout: Annotated[float, IDENTITY] = Field(default=0.0, ge=0, lt=1)
    layers: Annotated[tuple[LoraLayer, ...], IDENTITY] = Field(default=("query", "value"), min_length=1)
    after: Annotated[Literal["merge", "keep", "stack"], IDENTITY] = "merge"

    @field_validator("layers")
    @classmethod
    def _in_one_order(cls, value: tuple[LoraLayer, ...]) -> tuple[LoraLayer, ...]:
        return tuple(name for name in get_args(LoraLayer) if name in value)

    def places(self, kind: str) -> list[str]:
        """Names of the layers inside a block of a ``model_type``. Raises InputError where it does not have them."""
        has = _LORA_PLACES[kind]
        lacking = [name for name in self.layers if name not in has]
        if lacking:
            told = f"lora: {kind} has no layer {', '.join(lacking)} of its own"
            raise InputError(f"{told}; it has layers: [{', '.join(has)}]")
        return [place for name in self.layers for place in has[name]]

    def continues(self, before: Lora) -> bool:
        """Whether the matrices of an earlier phase are to be trained on. Raises InputError where they do not fit."""
        ours, theirs = ((one.rank, one.alpha, one.layers) for one in (self, before))
        if before.after == "keep" and ours != theirs:
            raise InputError(
                f"lora: `after: keep` goes on with the same matrices; the earlier phase has rank {before.rank}, alpha "
                f"{before.alpha:g}, layers {', '.join(before.layers)}: make both equal, or say `after: stack` there"
            )
        return before.after == "keep"


class Mixing(Record):
    """Which of several tasks an update is of.

    Chances follow n (``proportional``), min(n, ``cap``) (``capped``), n^(1/``temperature``) (``temperature``), are
    equal (``uniform``), or n^a with a falling from 1 by ``annealing`` over the phase (``annealed``; Stickland and
    Murray 2019); n: a task's training examples.
    """

    sampler: Annotated[Literal["uniform", "proportional", "capped", "temperature", "annealed"], IDENTITY] = (
        "proportional"
    )
    cap: Annotated[int | None, IDENTITY] = Field(default=None, ge=1)
    temperature: Annotated[float | None, IDENTITY] = Field(default=None, ge=1)
    annealing: Annotated[float, IDENTITY] = Field(default=0.8, ge=0, le=1)

    @model_validator(mode="after")
    def _complete(self) -> Mixing:
        for sampler, name in (("capped", "cap"), ("temperature", "temperature")):
            if (self.sampler == sampler) != (getattr(self, name) is not None):
                raise ValueError(f"`{name}` belongs to the sampler '{sampler}', which needs it")
        return self


class Fusion(Record):
    """FILTER (Fang et al. 2020): ``local`` blocks apart, ``fused`` over a text and its translation, the rest apart.

    ``alpha``, ``temperature``: weight of self-teaching by a model trained without it, and the softness of what it
    teaches; 0: no teacher. ``languages`` that an epoch shows an example in: ``every`` one, or ``one`` drawn at random;
    None: as published, one in tagging and else every.
    """

    local: Annotated[int, IDENTITY] = Field(default=1, ge=0)
    fused: Annotated[int, IDENTITY] = Field(default=1, ge=0)
    alpha: Annotated[float, IDENTITY] = Field(default=0.0, ge=0, le=1)
    temperature: Annotated[float, IDENTITY] = Field(default=1.0, gt=0)
    languages: Annotated[Literal["every", "one"] | None, IDENTITY] = None

    def settled(self, format: str) -> Fusion:
        """The same with everything decided, and without what has no effect, for a task of this format."""
        languages = self.languages or ("one" if format == "tagging" else "every")
        return self.model_copy(update={"languages": languages, **({} if self.alpha else {"temperature": 1.0})})

    def teacher(self) -> Fusion:
        """How the model is trained that teaches."""
        return self.model_copy(update={"alpha": 0.0, "temperature": 1.0})


class Mlm(Record):
    """Masked language modelling (Devlin et al. 2019): 15 % of the tokens, of these 80 % masked, 10 % random, 10 % kept.

    ``share``: of the updates that are MLM beside a task, drawn at random. Languages are drawn with chances p^``smooth``
    of their shares p of the text (Conneau et al. 2020: 0.3). ``softmax``: over the ``full`` vocabulary, or over the
    tokens of the phase's texts and ``sampled`` others.
    """

    share: Annotated[float, IDENTITY] = Field(default=0.2, gt=0, lt=1)
    probability: Annotated[float, IDENTITY] = Field(default=0.15, gt=0, lt=1)
    whole_word: Annotated[bool, IDENTITY] = False
    smooth: Annotated[float, IDENTITY] = Field(default=0.3, ge=0, le=1)
    softmax: Annotated[Literal["full", "sampled"], IDENTITY] = "full"
    sampled: Annotated[int, IDENTITY] = Field(default=10_000, ge=0)


class Recipe(Record):
    """How one training phase is done. Lengths in tokens, rates per update, ``warmup`` as a share of the updates.

    ``frozen``: the embedding and that many lowest blocks are not trained (0: the embedding alone; None: nothing); what
    they make of each token is kept on disk up to ``trunk_gigabytes`` for each encoding. ``schedule``: warm-up and
    linear decay, or one cycle up and down by cosines (Smith and Topin 2019). ``layer_decay``: the highest block has the
    ``rate``, each group of parameters below (block, at last the embedding) that share of the one above it (Howard and
    Ruder 2018). ``biases_only``: BitFit (Ben Zaken et al. 2022), the encoder's biases and the head alone.
    ``class_weights`` of the loss, by label: ``balanced`` is inverse to the frequency among the labels of the training
    examples, with mean 1 over these.

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
    schedule: Annotated[Literal["linear", "one-cycle"], IDENTITY] = "linear"
    unfreezing: Annotated[Unfreezing | None, IDENTITY] = None
    layer_decay: Annotated[float, IDENTITY] = Field(default=1.0, gt=0, le=1)
    biases_only: Annotated[bool, IDENTITY] = False
    label_smoothing: Annotated[float, IDENTITY] = Field(default=0.0, ge=0, lt=1)
    class_weights: Annotated[Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None, IDENTITY] = None
    lora: Annotated[Lora | None, IDENTITY] = None
    mixing: Annotated[Mixing | None, IDENTITY] = None
    mlm: Annotated[Mlm | None, IDENTITY] = None
    fusion: Annotated[Fusion | None, IDENTITY] = None
    tokens_per_micro_batch: Annotated[int, EXECUTION] = Field(default=1024, ge=1)
    gradient_checkpointing: Annotated[bool, EXECUTION] = False
    trunk_gigabytes: Annotated[float, EXECUTION] = Field(default=4.0, ge=0)
    checkpoint_seconds: Annotated[float, EXECUTION] = Field(default=60.0, ge=0)

    @field_validator("class_weights", mode="wrap")
    @classmethod
    def _balanced_or_by_label(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError:  # one line for both ways to write it
            raise ValueError("must be 'balanced' or a positive weight by label, for example {LOC: 2.0}") from None

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
