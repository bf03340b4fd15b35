"""The sweep of a retrieval target as people read it: layer by pooling by language. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from waystation import chains, study_checks
from waystation.errors import InputError, suggest
from waystation.plan import Plan
from waystation.plan_steps import Builder
from waystation.steps.records import SweepStep
from waystation.store import Store
from waystation.study import BASELINE
from waystation.tasks.task import usual_metrics

Row = dict[str, Any]
"""``layer``, ``pooling``, ``scores`` by language and their ``mean``, in points (0-100)."""


@dataclass(frozen=True)
class Sweep:
    """The rows of one chain, the ``best`` of them, and the one that is ``read`` in the study: the baseline's best."""

    study: str
    target: str
    chain: str
    metric: str
    rows: list[Row]
    best: Row
    read: Row


def ending(made: Plan, target: str, chain: str | None = None) -> Plan:
    """A plan that ends in sweeps instead of scores: that of the target's baseline, then that of a chain by name."""
    uses = {use.label: use for use in made.study.target}
    if target not in uses:
        text = f"study '{made.study.study}' has no target '{target}'{suggest(target, uses)}; it has: {', '.join(uses)}"
        raise InputError(text)
    if study_checks.sweep(uses[target].retrieval) is None:
        raise InputError(f"target '{target}' asks for no sweep; give it `retrieval: {{sweep: {{on: [LANG, ...]}}}}`")
    asked = [next(one for one in made.chains if (one.intermediate, one.target) == (BASELINE, target))]
    if chain is not None:
        asked.append(chains.find(made, chain))
        if asked[-1].target != target:
            raise InputError(f"chain '{chain}' is of another target; name one that ends in '{target}'")
    found = Plan(made.study, made.data, dict(made.nodes))
    builder = Builder(found)
    for one in asked:
        key = builder.sweep(uses[target], one.train, one.name)
        found.chains.append(replace(one, evaluate=key))
    return found


def read(made: Plan, store: Store) -> Sweep:
    """The sweep of the last chain of ``ending``, from the store, which holds it."""
    base, own = made.chains[0], made.chains[-1]
    step = made.nodes[own.evaluate].step
    assert isinstance(step, SweepStep)
    (metric,) = usual_metrics("retrieval", mined=step.retrieval.direction == "mining")
    rows: list[Row] = json.loads((store.folder(own.evaluate) / chains.SWEEP).read_bytes())
    best, theirs = (store.manifest(one.evaluate)["chosen"] for one in (own, base))
    here = next(row for row in rows if all(row[name] == theirs[name] for name in ("layer", "pooling")))
    return Sweep(made.study.study, own.target, own.name, metric, rows, best, here)


def lines(found: Sweep) -> list[str]:
    """The table as plain text: a row for each layer and pooling, a column for each language."""
    codes = list(found.best["scores"])
    wide = [max(6, 2 + len(code)) for code in codes]
    notes = [(found.read, "read in the study"), (found.best, "best of this chain")]
    head = "".join(code.rjust(size) for code, size in zip(codes, wide, strict=True))
    told = [f"{found.chain}: {found.metric} in points, by layer and pooling", "", f"layer  pooling    mean{head}"]
    for row in found.rows:
        points = "".join(f"{row['scores'][code]:{size}.1f}" for code, size in zip(codes, wide, strict=True))
        said = ", ".join(text for one, text in notes if one == row)
        told.append(f"{row['layer']:5}  {row['pooling']:<7}  {row['mean']:6.1f}{points}  {said}".rstrip())
    return [*told, "", f"chosen with the baseline by the mean over {', '.join(codes)}: no evidence in these languages"]
