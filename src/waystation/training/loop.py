"""The one training loop, on Accelerate.

An update is one effective batch: micro-batches are summed, and the sum is divided by the scored units of the whole
effective batch, so how it was cut (or spread over processes) does not change what is learned.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from waystation.errors import InputError, Stopped, WaystationError
from waystation.models.encoder import TaskModel
from waystation.steps.recipes import Recipe
from waystation.training import checkpoint, freezing, rates
from waystation.training.allocator import keep_memory
from waystation.training.losses import out_of_patience
from waystation.training.mixing import Mixture
from waystation.training.streams import Stream

Validate = Callable[[TaskModel], dict[str, float]]
"""Score of each stream by name on examples that were held out of it."""


@dataclass
class Log:
    """What happened: mean loss per update, validation scores, tokens processed, embedding shrink factor, seconds.

    ``validation``: the mean over the streams that are validated, ``by_stream`` each of them. ``budget``:
    the tokens of a micro-batch where memory did not allow what the recipe says, else 0.
    """

    losses: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    by_stream: list[dict[str, float]] = field(default_factory=list)
    tokens: int = 0
    factor: float = 1.0
    seconds: float = 0.0
    selected: int = 0
    budget: int = 0
    numerics: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """All that a training phase needs besides the model.

    ``mixture`` says which stream an update is of, None where there is one; ``keep_state`` leaves a checkpoint of the
    last update in the workspace; ``numerics``: the numerics class, so that the log tells of every one that a training
    went through; ``trunk``: whether the states of a frozen trunk are stored and the model has no embedding; ``epoch``:
    updates in one pass over the examples, for unfreezing by epochs.
    """

    streams: Sequence[Stream]
    recipe: Recipe
    dropout_seed: int
    workspace: Path
    mixture: Mixture | None = None
    keep_state: bool = False
    trunk: bool = False
    epoch: float | None = None
    numerics: dict[str, Any] = field(default_factory=dict)
    validate: Validate | None = None
    on_update: Callable[[int, float], None] = lambda update, loss: None
    should_stop: Callable[[], bool] = lambda: False


def train(model: TaskModel, job: Job, accelerator: Accelerator) -> Log:
    """Train ``model`` in place; continues from the newest checkpoint in the workspace.

    Raises Stopped after saving when ``should_stop`` says so, WaystationError where the loss is not finite, InputError
    where not one window fits into memory, or the recipe does not fit the encoder.
    """
    recipe = job.recipe
    keep_memory()
    model.to(accelerator.device)
    groups, cycles = freezing.parameter_groups(model, recipe), rates.cycles(recipe, job.epoch)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, recipe.beta2), eps=recipe.epsilon, fused=True)
    log, best = Log(), _Best()
    torch.manual_seed(job.dropout_seed + accelerator.process_index)
    saved = checkpoint.load(job.workspace)
    if saved is not None and saved.progress["made_by"] != _made_by(job):
        saved = None
    done = _restore(model, optimizer, best, log, saved)
    if job.numerics not in log.numerics:
        log.numerics.append(job.numerics)
    if recipe.gradient_checkpointing:
        model.encoder.recompute_activations()
    saved_at = time.monotonic()
    for update in range(done, recipe.updates):
        if out_of_patience(log.validation, recipe.validation):
            break
        if job.should_stop():
            _save(job, model, optimizer, best, log, update, accelerator)
            raise Stopped(f"stopped after update {update} of {recipe.updates}; saved, run again to go on")
        started = time.monotonic()
        model.train()
        cycle = rates.cycle_at(cycles, update)
        freezing.prepare(optimizer, cycle.groups, rates.rate_factor(update, recipe, cycle))
        loss, tokens = _fitting(model, job, update, accelerator, log)
        if not np.isfinite(loss):
            raise WaystationError(f"the loss is {loss} at update {update + 1}; lower the rate or raise the warm-up")
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        log.factor *= freezing.shrinkage(optimizer, model.encoder.embedding)
        log.losses.append(loss)
        log.tokens += tokens
        log.seconds += time.monotonic() - started
        log.selected = update + 1
        if job.validate and recipe.validation and _due(update + 1, recipe):
            scores = job.validate(model)
            score = fmean(scores.values())
            log.validation.append((update + 1, score))
            log.by_stream.append(scores)
            if recipe.validation.select == "best":
                best.offer(model, score, update + 1, log.factor)
        job.on_update(update + 1, loss)
        last = update + 1 == recipe.updates or out_of_patience(log.validation, recipe.validation)
        if job.keep_state if last else time.monotonic() - saved_at >= recipe.checkpoint_seconds:
            _save(job, model, optimizer, best, log, update + 1, accelerator)
            saved_at = time.monotonic()
    if best.weights:
        model.load_state_dict(best.weights)
        log.selected, log.factor = best.update, best.factor
    return log


def _fitting(model: TaskModel, job: Job, update: int, accelerator: Accelerator, log: Log) -> tuple[float, int]:
    """``_update``; where memory runs out, the token budget is halved for the rest of the step and the update redone."""
    at, turn = (0, update) if job.mixture is None else job.mixture(update)
    stream = job.streams[at]
    while True:
        budget = log.budget or job.recipe.tokens_per_micro_batch
        try:
            return _update(model, stream, turn, accelerator, budget)
        except torch.OutOfMemoryError:
            if accelerator.num_processes > 1:
                raise  # the other processes wait in this update's sum
            if budget <= 1:  # not one fits
                raise InputError(
                    "memory ran out with a single window; lower max_length, or set gradient_checkpointing: true"
                ) from None
        model.zero_grad(set_to_none=True)
        if accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        log.budget = budget // 2


def _update(model: TaskModel, stream: Stream, turn: int, accelerator: Accelerator, budget: int) -> tuple[float, int]:
    """Accumulate the gradient of one effective batch; returns (mean loss per unit, real tokens)."""
    drawn = stream.draw(turn)
    cuts = stream.cuts(drawn, budget, not model.encoder.packed)
    units = stream.units(drawn, turn)
    total = torch.zeros((), device=accelerator.device)
    for cut in cuts[accelerator.process_index :: accelerator.num_processes]:
        with accelerator.autocast():
            loss = stream.loss(model, cut, turn, accelerator.device) / units
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    if accelerator.num_processes > 1:
        # Cuts need not be spread evenly, so gradients are summed by hand rather than averaged by a wrapper.
        for parameter in model.parameters():
            if parameter.requires_grad:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = accelerator.reduce(gradient, "sum")
        total = accelerator.reduce(total, "sum")
    return float(total), stream.tokens(drawn)


def _due(update: int, recipe: Recipe) -> bool:
    assert recipe.validation is not None
    return update % recipe.validation.every == 0 or update == recipe.updates


@dataclass
class _Best:
    """The best validated weights so far."""

    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    score: float = float("-inf")
    update: int = 0
    factor: float = 1.0

    def offer(self, model: TaskModel, score: float, update: int, factor: float) -> None:
        if score > self.score:
            self.weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
            self.score, self.update, self.factor = score, update, factor


def _save(
    job: Job,
    model: TaskModel,
    optimizer: torch.optim.Optimizer,
    best: _Best,
    log: Log,
    update: int,
    accelerator: Accelerator,
) -> None:
    if not accelerator.is_main_process:
        return
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for at, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{at}.{name}": value for name, value in state.items()}
    tensors |= {f"best.{name}": value for name, value in best.weights.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if accelerator.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    progress = {
        "losses": log.losses,
        "validation": log.validation,
        "by_stream": log.by_stream,
        "tokens": log.tokens,
        "factor": log.factor,
        "seconds": log.seconds,
        "made_by": _made_by(job),
        "numerics": log.numerics,
        "selected": log.selected,
        "budget": log.budget,
        "best": None if not best.weights else {"score": best.score, "update": best.update, "factor": best.factor},
    }
    checkpoint.save(job.workspace, update, tensors, progress)


def _made_by(job: Job) -> list[Any]:
    """Settings that a checkpoint must share with whoever goes on from it.

    Dropout draws follow the cut: going on with another one would be neither run. A model on a stored trunk has no
    embedding.
    """
    return [job.recipe.tokens_per_micro_batch, job.trunk]


def _restore(
    model: TaskModel, optimizer: torch.optim.Optimizer, best: _Best, log: Log, saved: checkpoint.Saved | None
) -> int:
    """Put everything back as it was; returns the number of updates already done."""
    if saved is None:
        return 0

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in saved.tensors.items() if name.startswith(prefix)}

    model.load_state_dict(part("model."))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in part("optimizer.").items():
        at, _, field_name = name.partition(".")
        state.setdefault(int(at), {})[field_name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(saved.tensors["random.cpu"])
    if "random.cuda" in saved.tensors:
        torch.cuda.set_rng_state(saved.tensors["random.cuda"])
    progress = saved.progress
    log.losses = list(progress["losses"])
    log.validation = [(int(update), float(score)) for update, score in progress["validation"]]
    log.by_stream = list(progress["by_stream"])
    log.tokens, log.factor = int(progress["tokens"]), float(progress["factor"])
    log.seconds, log.selected = float(progress["seconds"]), int(progress["selected"])
    log.budget, log.numerics = int(progress["budget"]), list(progress["numerics"])
    if progress["best"] is not None:
        best.weights = part("best.")
        best.score, best.update = float(progress["best"]["score"]), int(progress["best"]["update"])
        best.factor = float(progress["best"]["factor"])
    return int(progress["update"])
