"""The train step: one phase of training, from the backbone or a parent model to a stored delta."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from waystation import backbones, formats
from waystation.errors import InputError, WaystationError
from waystation.evaluation.predict import tuned
from waystation.formats import encoding
from waystation.formats.encoding import Encoded, Format, Gold
from waystation.models.encoder import TaskModel
from waystation.models.vocabulary import active_rows, lookup
from waystation.records import derive
from waystation.scoring import metrics
from waystation.steps import models, trunk
from waystation.steps.context import Context
from waystation.steps.recipes import Mixing
from waystation.steps.records import Part, TrainStep, step_id
from waystation.tasks.task import usual_metrics
from waystation.training import checkpoint as checkpoint_files
from waystation.training.batches import Indices, Sampler, carve, draw_subset, windows_of
from waystation.training.loop import Job, train
from waystation.training.losses import criterion
from waystation.training.mixing import Mixture
from waystation.training.streams import MAIN, TaskStream


@dataclass(frozen=True)
class Lesson:
    """One task of a phase: its examples, those that teach and those held out, and the head that learns."""

    name: str
    part: Part
    head: str
    encoded: Encoded
    learned: Indices
    held: Indices

    @property
    def format(self) -> Format:
        """The task's format."""
        return formats.get(self.part.format)

    @property
    def outputs(self) -> list[str]:
        """The classes of its head."""
        return self.format.outputs(self.part.labels, self.part.scheme)


def lessons(step: TrainStep, context: Context) -> list[Lesson]:
    """The tasks of a phase, the main one first. Validation is carved out first: arms are matched in what they learn."""
    first = Part(
        task=step.task,
        format=step.format,
        labels=step.labels,
        scheme=step.scheme,
        encodings=(step.encoding, *step.also),
        batch=step.recipe.batch,
    )
    found = []
    for at, part in enumerate([first, *step.parts]):
        encoded = encoding.joined([context.encoded(key) for key in part.encodings])
        learned, held = np.arange(len(encoded), dtype=np.int64), np.arange(0, dtype=np.int64)
        if step.recipe.validation is not None:
            learned, held = carve(encoded, learned, step.recipe.validation.fraction, step.seed)
        if not at:
            learned = draw_subset(encoded, step.subset, step.seed, learned)
        own = at if part.shares is None else part.shares
        found.append(Lesson(part.task, part, str(own) if own else MAIN, encoded, learned, held))
    return found


def perform(step: TrainStep, folder: Path, context: Context) -> dict[str, Any]:
    """Train and write the artifact into ``folder``; returns details for the manifest."""
    recipe, taught = step.recipe, lessons(step, context)
    main = taught[0]
    if step.subset is not None and len(main.learned) * step.subset.passes < recipe.updates:
        raise InputError(
            f"match leaves {len(main.learned)} examples for {recipe.updates} updates; "
            "raise match.amount or match.passes, or lower updates"
        )
    checkpoint = context.checkpoint
    touched = [window for lesson in taught for window in _touched(lesson)]
    try:
        rows = active_rows(np.concatenate(touched), checkpoint.vocabulary)
    except ValueError as error:
        raise WaystationError(str(error)) from None
    states = trunk.stored(context, step.trunk)
    if states is not None:
        rows = rows[:1]  # the embedding is never asked
    places = lookup(rows, checkpoint.vocabulary)
    parent = models.read(context, step.parent)
    # Seeds name the phase, never the chain: a chain and its baseline draw the same numbers at every step.
    model = models.build(
        context,
        step,
        parent,
        rows,
        context.backbone.layers,
        recipe.dropout,
        recipe.attention_dropout,
        derive(step.seed, "head", step.phase),
        recipe.frozen,
    )
    for lesson in taught[1:]:
        if lesson.head not in (MAIN, *model.heads):
            torch.manual_seed(derive(step.seed, "head", step.phase, lesson.head))
            new = lesson.format.head(model.encoder.hidden, len(lesson.outputs), recipe.dropout)
            model.heads[lesson.head] = new

    def on_held(model: TaskModel, lesson: Lesson) -> tuple[float | None, list[Gold]]:
        with context.accelerator.autocast():
            return tuned(
                model,
                lesson.encoded,
                places,
                lesson.format,
                lesson.outputs,
                examples=lesson.held,
                tokens_per_micro_batch=recipe.tokens_per_micro_batch,
                trunk=states,
                head=lesson.head,
            )

    def validate(model: TaskModel) -> dict[str, float]:
        found = {}
        for lesson in taught:
            metric = usual_metrics(lesson.part.format, lesson.part.scheme == "plain")[0]
            golds = [lesson.encoded.gold[i] for i in lesson.held.tolist()]
            found[lesson.name] = metrics.score([metric], golds, on_held(model, lesson)[1])[metric]
        return found

    streams = []
    for at, lesson in enumerate(taught):
        seed = derive(step.seed, "order", step.phase, *([at] if at else []))
        spread = None if step.subset is None else (recipe.updates, step.subset.passes)
        sampler = Sampler(lesson.learned, lesson.part.batch, seed, spread)
        loss = criterion(recipe, lesson.format, lesson.outputs, lesson.encoded, lesson.learned)
        streams.append(
            TaskStream(lesson.encoded, places, lesson.format, sampler, lesson.name, lesson.head, states, loss)
        )
    mixture = None
    if len(streams) > 1:
        mixing, seed = recipe.mixing or Mixing(), derive(step.seed, "mixture", step.phase)
        mixture = Mixture([stream.size for stream in streams], mixing, recipe.updates, seed)
    log = train(
        model,
        Job(
            streams=streams,
            mixture=mixture,
            recipe=recipe,
            dropout_seed=derive(step.seed, "dropout", step.phase),
            workspace=context.store.workspace(step_id(step)),
            keep_state=context.keep == "all",
            trunk=states is not None,
            epoch=_epoch(step, taught),
            numerics=context.numerics(),
            validate=None if recipe.validation is None else validate,
            on_update=lambda update, loss: context.on_progress(update / recipe.updates, f"loss {loss:.3f}"),
            should_stop=context.should_stop,
        ),
        context.accelerator,
    )
    cutoff = None
    if recipe.validation is not None and isinstance(main.format, encoding.WithCutoff):
        cutoff = on_held(model, main)[0]
    embedding = parent.embedding
    learns_words = model.encoder.embedding.requires_grad
    if learns_words:
        embedding = embedding.updated(rows, model.encoder.embedding.detach().cpu(), log.factor)
    models.write(
        folder,
        model,
        parent,
        embedding,
        {"losses": log.losses, "validation": log.validation, "selected_update": log.selected},
    )
    if context.keep == "all":
        checkpoint_files.copy(context.store.workspace(step_id(step)), folder)
    source = context.store.manifest(step.encoding)["identity"]["language"]
    selected = recipe.validation is not None and recipe.validation.select == "best"
    shape = backbones.shape(context.backbone)
    if shape is not None and recipe.frozen is not None:
        shape = shape.model_copy(update={"layers": shape.layers - recipe.frozen})
    mean = sum(map(len, touched)) / max(1, len(touched))
    return {
        "seconds": round(log.seconds, 3),
        "tokens": log.tokens,
        "flops": shape.flops(log.tokens, mean, training=True) if shape else None,
        "examples": sum(len(lesson.learned) for lesson in taught),
        "words": sum(int(lesson.encoded.words[lesson.learned].sum()) for lesson in taught),
        "active_rows": len(rows) if learns_words else 0,
        "loss": log.losses[-1] if log.losses else None,
        "validation": log.validation,
        # the update after which patience ended the phase; None: it made all
        "ended": len(log.losses) if len(log.losses) < recipe.updates else None,
        # by task, where there are several
        "by_task": log.by_stream if len(taught) > 1 else [],
        # the language on which the checkpoint was chosen; None: the last one, chosen on nothing
        "selected_on": source if selected else None,
        # likewise the cutoff of predictions; None: the format's own, where it has one
        "cutoff": cutoff,
        "cutoff_on": None if cutoff is None else source,
        "numerics": context.numerics()
        | {"tokens_per_micro_batch": log.budget or recipe.tokens_per_micro_batch}
        | _changed(log.numerics),
    }


def _epoch(step: TrainStep, taught: list[Lesson]) -> float:
    """Updates that one pass over the examples of all tasks takes."""
    if step.subset is not None:
        return step.recipe.updates / step.subset.passes
    of_tasks = sum(-(-len(lesson.learned) // lesson.part.batch) for lesson in taught)
    mlm = step.recipe.mlm.share if step.recipe.mlm is not None and step.texts else 0.0
    return of_tasks / (1 - mlm)


def _touched(lesson: Lesson) -> list[npt.NDArray[np.int32]]:
    """The tokens of every window that is trained or validated on."""
    encoded = lesson.encoded
    windows = windows_of(encoded, np.union1d(lesson.learned, lesson.held))
    return [encoded.tokens[a:b] for a, b in zip(encoded.offsets[windows], encoded.offsets[windows + 1], strict=True)]


def _changed(classes: list[dict[str, Any]]) -> dict[str, str]:
    """What differed in the numerics classes that a training went through before its last."""
    *before, last = classes
    told = [", ".join(f"{name} {value}" for name, value in one.items() if last.get(name) != value) for one in before]
    return {"before": "; ".join(told)} if told else {}
