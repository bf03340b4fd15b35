"""The train step: one phase of training, from the backbone or a parent model to a stored delta."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from waystation import backbones, formats
from waystation.errors import InputError, WaystationError
from waystation.evaluation.predict import tuned
from waystation.formats import encoding
from waystation.formats.encoding import Gold
from waystation.models.encoder import TaskModel
from waystation.models.vocabulary import active_rows, lookup
from waystation.records import derive
from waystation.scoring import metrics
from waystation.steps import models, trunk
from waystation.steps.context import Context
from waystation.steps.records import TrainStep, step_id
from waystation.tasks.task import usual_metrics
from waystation.training import checkpoint as checkpoint_files
from waystation.training.batches import carve, draw_subset, windows_of
from waystation.training.loop import Job, train


def perform(step: TrainStep, folder: Path, context: Context) -> dict[str, Any]:
    """Train and write the artifact into ``folder``; returns details for the manifest."""
    recipe, form = step.recipe, formats.get(step.format)
    encoded = encoding.load(context.store.folder(step.encoding), context.store.manifest(step.encoding)["stats"])
    # Validation is carved out first: arms are matched in what they learn from.
    learned = held = np.arange(len(encoded), dtype=np.int64)
    if recipe.validation is not None:
        learned, held = carve(encoded, learned, recipe.validation.fraction, step.seed)
    learned = draw_subset(encoded, step.subset, step.seed, learned)
    if step.subset is not None and len(learned) * step.subset.passes < recipe.updates:
        raise InputError(
            f"match leaves {len(learned)} examples for {recipe.updates} updates; "
            "raise match.amount or match.passes, or lower updates"
        )
    checkpoint = context.checkpoint
    windows = windows_of(encoded, learned if recipe.validation is None else np.union1d(learned, held))
    touched = [encoded.tokens[a:b] for a, b in zip(encoded.offsets[windows], encoded.offsets[windows + 1], strict=True)]
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

    def on_held(model: TaskModel) -> tuple[float | None, list[Gold]]:
        with context.accelerator.autocast():
            return tuned(
                model,
                encoded,
                places,
                form,
                form.outputs(step.labels, step.scheme),
                examples=held,
                tokens_per_micro_batch=recipe.tokens_per_micro_batch,
                trunk=states,
            )

    metric = usual_metrics(step.format, step.scheme == "plain")[0]

    def validate(model: TaskModel) -> float:
        golds = [encoded.gold[i] for i in held.tolist()]
        return metrics.score([metric], golds, on_held(model)[1])[metric]

    log = train(
        model,
        Job(
            encoded=encoded,
            examples=learned,
            places=places,
            format=form,
            recipe=recipe,
            order_seed=derive(step.seed, "order", step.phase),
            dropout_seed=derive(step.seed, "dropout", step.phase),
            workspace=context.store.workspace(step_id(step)),
            passes=None if step.subset is None else step.subset.passes,
            keep_state=context.keep == "all",
            trunk=states,
            numerics=context.numerics(),
            validate=None if recipe.validation is None else validate,
            on_update=lambda update, loss: context.on_progress(update / recipe.updates, f"loss {loss:.3f}"),
            should_stop=context.should_stop,
        ),
        context.accelerator,
    )
    cutoff = None
    if recipe.validation is not None and isinstance(form, encoding.WithCutoff):
        cutoff = on_held(model)[0]
    embedding = parent.embedding
    if recipe.frozen is None:
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
    mean = sum(map(len, touched)) / max(1, len(windows))
    return {
        "seconds": round(log.seconds, 3),
        "tokens": log.tokens,
        "flops": shape.flops(log.tokens, mean, training=True) if shape else None,
        "examples": len(learned),
        "words": int(encoded.words[learned].sum()),
        "active_rows": len(rows) if recipe.frozen is None else 0,
        "loss": log.losses[-1] if log.losses else None,
        "validation": log.validation,
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
