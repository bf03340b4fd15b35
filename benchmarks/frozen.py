"""Half of the blocks and the embedding frozen: the engine keeps what they make, the Trainer makes it in every epoch.

One call of a variant is a whole training: three epochs over a fixed set; for the engine that includes writing the
states of the trunk to disk.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.harness import Case, Gate, Result, Settings, child, measure
from benchmarks.peers import Way, our_job, our_model, our_places, trainer
from benchmarks.workloads import Workload, join, tagging
from waystation.steps.recipes import Recipe
from waystation.training import trunk
from waystation.training.loop import train

EPOCHS, BLOCKS = 3, 6


def small(batch: int) -> Workload:
    """A fixed set of two batches."""
    whole = tagging(batch)
    windows = 2 * batch
    encoded, end = whole.encoded, int(whole.encoded.offsets[windows])
    assert encoded.word is not None
    part = replace(
        encoded,
        tokens=encoded.tokens[:end],
        offsets=encoded.offsets[: windows + 1],
        targets=encoded.targets[:end],
        word=encoded.word[:end],
    )
    return replace(whole, encoded=join([part]))


def ours(gate: Gate, work: Workload, way: Way) -> None:
    """Trunk once, then the engine's loop on what it made."""
    from accelerate import Accelerator

    accelerator, model, places = Accelerator(cpu=True), our_model(work, way), our_places(work)
    budget = Recipe.model_fields["tokens_per_micro_batch"].default
    tokens, updates = float(work.lengths.sum() * EPOCHS), EPOCHS * len(work.encoded) // work.batch
    gate.wait()
    while True:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "states.safetensors"
            trunk.write(path, model.encoder, work.encoded, places, budget, accelerator.device)
            job = our_job(work, way, Path(folder) / "work", trunk=trunk.load(path))
            train(model, replace(job, recipe=job.recipe.model_copy(update={"updates": updates})), accelerator)
        gate(tokens)


def frozen(batch: int, settings: Settings) -> Result:
    """Three epochs; the Trainer's frozen blocks are in evaluation mode."""
    work, way = small(batch), Way(frozen=BLOCKS)
    theirs = child(trainer, work, way, EPOCHS * 2)
    with child(ours, work, way) as our_run, theirs as their_run:
        note = f"{work.note}; {EPOCHS} epochs, {BLOCKS} blocks and the embedding frozen"
        return measure(
            Case(f"frozen-{batch}", 3.0, our_run, {"Trainer, same parts frozen": their_run}, note=note), settings
        )


ROWS = {f"frozen-{batch}": partial(frozen, batch) for batch in (8, 32)}
