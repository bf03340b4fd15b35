"""Training against transformers' Trainer: as its example scripts ship, and at the best of a grid; and against the peak.

One call of a variant is one optimizer step on a whole effective batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness import Case, Cost, Figure, Result, Settings, child, measure
from benchmarks.peers import Way, begin, ours, sampler, trainer
from benchmarks.workloads import Workload, pairs, questions, tagging, xlmr_base
from waystation import formats
from waystation.backbones import Backbone, shape
from waystation.models import linear
from waystation.steps.recipes import Recipe
from waystation.training.batches import micro_batches

SHIPPED, PEAK = "Trainer as shipped", "own matmuls (MFU)"
DROPOUT = "-dropout"
"""Ends the names of rows with attention dropout 0.1 on both sides; without it is 0, hidden dropout 0.1 in both."""


def shipped(
    name: str,
    work: Callable[[Settings], Workload],
    attention_dropout: float,
    targets: Mapping[str, float],
    settings: Settings,
) -> Result:
    """The Trainer run as the example script of this kind ships; where it has a target, the step's own matmuls too."""
    chosen, way = work(settings), Way(attention_dropout)
    with ExitStack() as stack:
        our_step = stack.enter_context(child(ours, chosen, way))
        theirs = {SHIPPED: stack.enter_context(child(trainer, chosen, way))}
        if PEAK in targets:
            theirs[PEAK] = stack.enter_context(child(matmuls, chosen))
        return measure(Case(name, targets, our_step, theirs, _same_tokens, chosen.note), settings)


def _same_tokens(found: Mapping[str, Cost]) -> None:
    assert found["ours"].work == found[SHIPPED].work, "the two sides do not take the same batches"


def matmuls(gate: Callable[[float], None], work: Workload) -> None:
    """The products of the very steps that the engine takes, forward and both backward ones, and nothing else.

    The last block's are those of the rows that the head reads, but for query, key and value. Attention's products count
    as work done at the same speed, so ratios to this are model FLOPs utilisation: real tokens only, nothing for the
    embedding and the head.
    """
    sizes = shape(Backbone(id=str(work.folder)))
    assert sizes is not None
    budget = Recipe.model_fields["tokens_per_micro_batch"].default
    order, lengths, hidden, inner = sampler(work), work.lengths, sizes.hidden, sizes.inner
    whole, partly = [(hidden, hidden)] * 3, [(hidden, hidden), (hidden, inner), (inner, hidden)]
    most = max(budget, int(lengths.max()))
    wide = torch.randn(2, most, inner)
    weights = torch.randn(hidden * inner)
    update = 0
    begin(gate)
    while True:
        done = 0.0
        batch = order(update)
        for cut in micro_batches(work.encoded, batch, budget):
            tokens, read = int(lengths[cut].sum()), rows_read(work, cut)
            below = [(m, n, tokens) for m, n in (whole + partly) * (sizes.layers - 1)]
            last = [*((m, n, tokens) for m, n in whole), *((m, n, read) for m, n in partly)]
            for m, n, rows in below + last:
                _products(wide, weights[: m * n].view(n, m), rows)
                done += 6.0 * m * n * rows
        real = lengths[batch].tolist()
        attention = sum(
            sizes.flops(length, length, training=True) - sizes.flops(length, 0, training=True) for length in real
        )
        gate(sum(real) * done / (done + attention))
        update += 1


def rows_read(work: Workload, cut: npt.NDArray[np.int64]) -> int:
    """How many hidden states of these windows the head reads."""
    encoded = work.encoded
    spans = [slice(*encoded.offsets[window : window + 2]) for window in cut.tolist()]
    match formats.get(work.format).reads:
        case "first":
            return len(spans)
        case "scored":
            assert encoded.word is not None
            return sum(int((encoded.word[span] >= 0).sum()) for span in spans)
        case _:
            return sum(span.stop - span.start for span in spans)


def _products(wide: torch.Tensor, weight: torch.Tensor, tokens: int) -> None:
    """y = x wᵀ, dx = dy w, dw = dyᵀ x for x [tokens, m], w [n, m], by the product that the engine uses."""
    n, m = weight.shape
    x, dy = (part.view(-1)[: tokens * width].view(tokens, width) for part, width in zip(wide, (m, n), strict=True))
    product = linear.product if linear.onednn() else torch.nn.functional.linear
    for left, right in ((x, weight), (dy, weight.T), (dy.T, x.T)):
        product(left, right, None)


def grid(name: str, work: Callable[[Settings], Workload], dropout: float, settings: Settings) -> Result:
    """The Trainer with dynamic padding at every point of the grid: one round each, then the best in full.

    With the best goes the second where it is less than a tenth behind. In a quick run one likely point, unscreened.
    """
    chosen = work(settings)
    devices = [size for size in (8, 16, 32) if size <= max(8, chosen.batch)]
    points = product((False, True), devices, ("sdpa", "eager"))
    ways = [
        Way(dropout, grouped=grouped, device_batch=min(size, chosen.batch), attention=attention, dynamic=True)
        for grouped, size, attention in points
    ]
    screened: dict[Way, Figure] = {}
    with child(ours, chosen, Way(attention_dropout=dropout)) as our_step:

        def against(some: list[Way], settings: Settings) -> Result:
            with ExitStack() as stack:
                theirs = {way.name: stack.enter_context(child(trainer, chosen, way)) for way in some}
                return measure(Case(name, 1.7, our_step, theirs), settings)

        if settings.quick:
            ways = [way for way in ways if way.grouped and way.attention == "sdpa"][:1]
        else:
            screened = {way: against([way], Settings(rounds=1)).figures[0] for way in ways}
            ways = sorted(ways, key=lambda way: screened[way].ratios["cpu"].median)
            limit = 1.1 * screened[ways[0]].ratios["cpu"].median
            ways = [way for way in ways[:2] if screened[way].ratios["cpu"].median <= limit]
        final = against(ways, settings).figures
    rest = [replace(figure, target=None) for way, figure in screened.items() if way not in ways]
    note = f"{chosen.note}; sampling/per-device batch/attention, {len(rest)} slower points with one round each"
    return Result(name, [*final, *rest], note)


def base_sized(settings: Settings) -> Result:
    """An update of XLM-R base's shape."""
    work, way = xlmr_base(), Way()
    with child(ours, work, way) as our_step, child(trainer, work, way) as their_step:
        return measure(Case("xlmr-base", 4.0, our_step, {SHIPPED: their_step}, _same_tokens, work.note), settings)


def pairs_for(settings: Settings) -> Workload:
    """Batches of 32, in a quick run of 8."""
    return pairs(8 if settings.quick else 32)


def questions_for(settings: Settings) -> Workload:
    """Batches of 16, in a quick run of 4."""
    return questions(4 if settings.quick else 16)


def _rows() -> dict[str, Callable[[Settings], Result]]:
    found: dict[str, Callable[[Settings], Result]] = {}
    kinds: list[tuple[str, Callable[[Settings], Workload], tuple[float, float], float]] = [
        ("pairs-32", pairs_for, (4.5, 3.5), 0.7),
        ("tagging-8", lambda settings: tagging(8), (3.5, 3.0), 0.7),
        ("tagging-32", lambda settings: tagging(32), (3.0, 2.5), 0.7),
        ("span-16", questions_for, (3.0, 2.2), 0.75),
    ]
    for name, work, (without, with_dropout), mfu in kinds:
        found[name] = partial(shipped, name, work, 0.0, {SHIPPED: without, PEAK: mfu})
        found[f"{name}{DROPOUT}"] = partial(shipped, f"{name}{DROPOUT}", work, 0.1, {SHIPPED: with_dropout})
    for name, work, *_ in (kinds[0], kinds[2], kinds[3]):
        found[f"grid-{name}"] = partial(grid, f"grid-{name}", work, 0.0)
        found[f"grid-{name}{DROPOUT}"] = partial(grid, f"grid-{name}{DROPOUT}", work, 0.1)
    return found | {"xlmr-base": base_sized}


ROWS = _rows()
