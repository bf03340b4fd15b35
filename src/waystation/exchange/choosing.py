"""Whose predictions stand for a target in a submission: the best on examples held out of the English training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from waystation.errors import InputError
from waystation.plan import Plan
from waystation.plan_steps import fits
from waystation.store import Store
from waystation.study import BASELINE, Study
from waystation.uses import Use


@dataclass(frozen=True)
class Pick:
    """The intermediate chosen for a target, and how: mean ``scores`` over ``seeds``, in points.

    ``over``: targets whose held-out examples decided; ``ties``: intermediates as good, of which the study's first is
    taken; ``left_out``: intermediates, and targets, that could not count, with the reason.
    """

    intermediate: str
    why: str
    scores: dict[str, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    over: tuple[str, ...] = ()
    ties: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)


Held = dict[str, dict[str, dict[int, float]]]
"""Target → intermediate → seed → its score on examples held out of the target's training data."""


def held_out(made: Plan, store: Store, targets: Sequence[Use]) -> Held:
    """What the store knows of these targets; retrieval targets are not trained, so nothing is held out for them."""
    found: Held = {}
    trained = {use.label for use in targets if not _retrieved(made.study, use)}
    for chain in made.chains:
        if chain.target in trained and chain.intermediate != BASELINE and chain.train and store.known(chain.train):
            manifest = store.manifest(chain.train)
            scores = [float(score) for _, score in manifest["validation"]]
            if scores:
                kept = max(scores) if manifest["selected_on"] is not None else scores[-1]
                found.setdefault(chain.target, {}).setdefault(chain.intermediate, {})[chain.seed] = kept
    return found


def best(study: Study, target: Use, targets: Sequence[Use], held: Held) -> Pick:
    """The best intermediate for a target, one of ``targets``; for a retrieval target the best on average over the rest.

    An intermediate that has read the training data of a target has read what was held out of it: it does not count
    there. Raises InputError where none is left, or no examples were held out.
    """
    retrieved = _retrieved(study, target)
    arms = [arm for _, arm in study.uses() if fits(arm, target) and (arm.stops or not retrieved)]
    if not retrieved:
        known = {arm.label: said for arm in arms if (said := has_read(study, arm, target))}
        return _decided(study, target, _new(target, arms, known), [target.label], known, held)
    others = [use for use in targets if use.label in held and all(arm.label in held[use.label] for arm in arms)]
    met = {use.label: [(arm, said) for arm in arms if (said := has_read(study, arm, use))] for use in others}
    clean = [name for name, who in met.items() if not who]
    if clean:
        skipped = {name: "; ".join(f"{arm.label} {said}" for arm, said in who) for name, who in met.items() if who}
        return _decided(study, target, [arm.label for arm in arms], clean, skipped, held)
    # no target is new to all: those intermediates count to which all targets are new
    known = {arm.label: said for who in met.values() for arm, said in who}
    return _decided(study, target, _new(target, arms, known), list(met), known, held)


def _new(target: Use, arms: Sequence[Use], known: Mapping[str, str]) -> list[str]:
    names = [arm.label for arm in arms if arm.label not in known]
    if known and not names:
        reasons = "; ".join(f"{name} {said}" for name, said in known.items())
        text = f"no intermediate is new to what was held out: {reasons}; name one with --intermediate"
        raise InputError(f"target '{target.label}': {text}")
    return names


def has_read(study: Study, arm: Use, target: Use) -> str:
    """Which of its tasks hold the training data of a target, or are declared to have the same texts; "" if none."""
    theirs = _whole(study, target.trained_on)
    met = [name for name in arm.tasks() if (ours := _whole(study, name)) & theirs or _same_texts(study, ours, theirs)]
    return f"has read the data of {target.trained_on} ({', '.join(met)})" if met else ""


def _whole(study: Study, name: str) -> set[str]:
    task = study.find(name)
    return {task.id, *task.parts}


def _same_texts(study: Study, ours: set[str], theirs: set[str]) -> bool:
    pairs = ((ours, theirs), (theirs, ours))
    return any(not others.isdisjoint(study.find(name).same_source) for names, others in pairs for name in names)


def _retrieved(study: Study, use: Use) -> bool:
    return study.find(use.task).format == "retrieval"


def _decided(
    study: Study, target: Use, names: Sequence[str], over: Sequence[str], left_out: dict[str, str], held: Held
) -> Pick:
    tables = [held.get(name, {}).get(arm, {}) for name in over for arm in names]
    if not tables or not all(tables):
        raise InputError(
            f"target '{target.label}': no examples were held out of the training data to choose an intermediate by; "
            "test scores must not choose, so set validation in the recipe and run, or name one with --intermediate"
        )
    seeds = tuple(seed for seed in study.seeds if all(seed in table for table in tables))
    if not seeds:
        text = "the intermediates were trained with different seeds: no seed has all of them"
        raise InputError(f"target '{target.label}': {text}; run the study to its end, or name one with --intermediate")
    scores = {arm: fmean(held[name][arm][seed] for name in over for seed in seeds) for arm in names}
    chosen = max(names, key=lambda arm: scores[arm])
    ties = tuple(arm for arm in names if arm != chosen and scores[arm] == scores[chosen])
    several = f"best mean over {', '.join(over)}" if _retrieved(study, target) else "best"
    why = f"{several} on examples held out of the training data in {study.source}"
    return Pick(chosen, why, scores, seeds, tuple(over), ties, left_out)
