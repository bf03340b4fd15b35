"""The train step: one phase of training, from the backbone or a parent model to a stored delta."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from waystation import backbones
from waystation.errors import InputError, WaystationError
from waystation.evaluation.predict import tuned
from waystation.formats import encoding
from waystation.formats.encoding import Gold
from waystation.models.encoder import TaskModel
from waystation.models.vocabulary import lookup
from waystation.records import derive
from waystation.scoring import metrics
from waystation.steps import lessons, models, trunk
from waystation.steps.context import Context
from waystation.steps.lessons import Lesson
from waystation.steps.records import TrainStep, step_id
from waystation.tasks.task import usual_metrics
from waystation.training import checkpoint as checkpoint_files
from waystation.training.loop import Job, train


def perform(step: TrainStep, folder: Path, context: Context) -> dict[str, Any]:
    """Train and write the artifact into ``folder``; returns details for the manifest."""
    recipe, taught = step.recipe, lessons.lessons(step, context)
    read = lessons.texts(step, context)
    if step.subset is not None and len(taught[0].learned) * step.subset.passes < recipe.updates:
        raise InputError(
            f"match leaves {len(taught[0].learned)} examples for {recipe.updates} updates; "
            "raise match.amount or match.passes, or lower updates"
        )
    checkpoint = context.checkpoint
    try:
        rows = lessons.rows(step, context, taught, read)
    except ValueError as error:
        raise WaystationError(str(error)) from None
    states = trunk.stored(context, step.trunk)
    if states is not None:
        rows = rows[:1]  # the embedding is never asked
    places = lookup(rows, checkpoint.vocabulary)
    parent = models.read(context, step.parent)
    streams, mixture = lessons.streams(step, context, taught, read, rows, places, states)
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
    note = lessons.add_heads(model, step, context, taught, parent, rows)

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
                fusion=lesson.fusion,
            )

    def validate(model: TaskModel) -> dict[str, float]:
        found = {}
        for lesson in taught:
            metric = usual_metrics(lesson.part.format, lesson.part.scheme == "plain")[0]
            golds = [lesson.encoded.gold[i] for i in lesson.held.tolist()]
            found[lesson.name] = metrics.score([metric], golds, on_held(model, lesson)[1])[metric]
        return found

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
            epoch=lessons.epoch(step, taught),
            numerics=context.numerics(),
            validate=validate if recipe.validation is not None and taught else None,
            on_update=lambda update, loss: context.on_progress(update / recipe.updates, f"loss {loss:.3f}"),
            should_stop=context.should_stop,
        ),
        context.accelerator,
    )
    cutoff = None
    if recipe.validation is not None and taught and isinstance(taught[0].format, encoding.WithCutoff):
        cutoff = on_held(model, taught[0])[0]
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
        recipe.lora,
    )
    if context.keep == "all":
        checkpoint_files.copy(context.store.workspace(step_id(step)), folder)
    source = context.store.manifest(step.encoding)["identity"]["language"]
    selected = recipe.validation is not None and recipe.validation.select == "best"
    shape = backbones.shape(context.backbone)
    if shape is not None and recipe.frozen is not None:
        shape = shape.model_copy(update={"layers": shape.layers - recipe.frozen})
    mean = lessons.mean_length(taught, read)
    return {
        "seconds": round(log.seconds, 3),
        "tokens": log.tokens,
        "flops": shape.flops(log.tokens, mean, training=True) if shape else None,
        "examples": sum(len(lesson.learned) for lesson in taught),
        "words": sum(int(lesson.encoded.words[lesson.learned].sum()) for lesson in taught),
        # with fusion: texts that teach beside their originals, these among them
        "pairs": sum(len(lesson.pairs.examples) for lesson in taught if lesson.pairs is not None) or None,
        "active_rows": len(rows) if learns_words else 0,
        "loss": log.losses[-1] if log.losses else None,
        "validation": log.validation,
        # the update after which patience ended the phase; None: it made all
        "ended": len(log.losses) if len(log.losses) < recipe.updates else None,
        # of the head of masked language modelling: where it comes from
        "mlm_head": note,
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


def _changed(classes: list[dict[str, Any]]) -> dict[str, str]:
    """What differed in the numerics classes that a training went through before its last."""
    *before, last = classes
    told = [", ".join(f"{name} {value}" for name, value in one.items() if last.get(name) != value) for one in before]
    return {"before": "; ".join(told)} if told else {}
