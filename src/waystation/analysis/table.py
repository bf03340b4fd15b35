"""The long table of scores and the gains drawn from it. Reads only the store; needs no torch.

Scores are computed here from the stored predictions, so a metric can be added without training anything.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from waystation import chains, places
from waystation.analysis import fixed as systems
from waystation.analysis import stored
from waystation.analysis.marks import CHOSEN, FIXED, FLOOR, JOINT, OWN, choice, choosing, marks_of
from waystation.chains import Imported
from waystation.plan import Chain, Plan, plan
from waystation.steps.records import EncodeStep
from waystation.store import Store
from waystation.study import BASELINE, Study


@dataclass(frozen=True)
class Score:
    """One number of the long table: a chain's score (points, 0-100) in one language; no seed: it was imported."""

    chain: str
    group: str
    intermediate: str
    target: str
    language: str
    seed: int | None
    metric: str
    score: float
    n: int


@dataclass(frozen=True)
class Row:
    """One row of ``gains``: a mean over seeds, paired with the baseline of the same seeds.

    ``score``, ``baseline`` and ``gain`` are points (0-100). ``low``, ``high`` and ``estimand`` are there for fixed
    systems alone (``fixed.interval``), ``verdict`` stays None. ``n`` test examples, ``seeds`` paired seeds, ``marks``
    what a reader must know. ``share``: the score in percent of that of joint training on the target's languages, where
    the study has such an arm; in that arm's own rows the baseline's.
    """

    intermediate: str
    target: str
    language: str
    metric: str
    score: float
    baseline: float
    gain: float
    low: float | None
    high: float | None
    n: int
    seeds: int
    estimand: str | None
    verdict: str | None
    marks: tuple[str, ...]
    share: float | None = None


@dataclass(frozen=True)
class Average:
    """A mean gain over named languages; ``members`` lists them, ``by_seed`` holds each seed's mean."""

    intermediate: str
    group: str
    target: str
    metric: str
    over: str
    members: tuple[str, ...]
    score: float
    baseline: float
    gain: float
    by_seed: dict[int, float]


@dataclass
class Gains:
    """Everything that tables and the report show."""

    study: str
    demonstration: bool
    rows: list[Row] = field(default_factory=list)
    averages: list[Average] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    languages: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    numerics: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The stable shape of ``gains --json``."""
        return {
            "study": self.study,
            "demonstration": self.demonstration,
            "rows": [asdict(row) for row in self.rows],
            "contrasts": [],
            "averages": [asdict(average) for average in self.averages],
            "missing": self.missing,
        }


def gains(
    study: Study, store: str | Path | None = None, data: str | Path | None = None, *, made: Plan | None = None
) -> Gains:
    """Gains of every intermediate over the baseline, per target, language and metric, from what the store holds.

    Chains that are not there yet are listed under ``missing``; seeds count only where chain and baseline both exist.
    """
    made = made or plan(study, places.data_folder(data))
    study = made.study  # in which labels left open are known
    opened = Store(places.store_folder(store))
    samples = {
        (node.step.task.id, node.step.split): node.step.stands_for
        for node in made.nodes.values()
        if isinstance(node.step, EncodeStep) and node.step.sample
    }
    found = Gains(study.study, study.demonstration)
    done: dict[tuple[str, str, int], Chain] = {}
    scores: dict[tuple[str, str, int], Scored] = {}
    classes: dict[tuple[str, str, int], dict[str, Any]] = {}
    selected: dict[tuple[str, str, int], list[str]] = {}
    for chain in made.chains:
        if not opened.has(chain.evaluate):
            found.missing.append(chain.name)
            continue
        manifest = opened.manifest(chain.evaluate)
        key = (chain.intermediate, chain.target, chain.seed)
        scores[key] = {(item.metric, item.language): item for item in _scores(study, chain, manifest, opened)}
        classes[key] = {phase: opened.manifest(step)["numerics"] for phase, step in _made_by(chain, made, opened)}
        chosen = {"checkpoint selected": manifest.get("selected_on"), "cutoff chosen": manifest.get("cutoff_on")}
        selected[key] = [f"{what} on {code}" for what, code in chosen.items() if code is not None]
        selected[key] += choice(made, chain, opened)
        done[key] = chain
        found.scores += scores[key].values()
        found.languages.setdefault(chain.target, manifest["languages"])
    imported = chains.imported(made, opened)
    fixed = {one: list(_scores(study, one, opened.manifest(one.evaluate), opened)) for one in imported}
    found.scores += [item for items in fixed.values() for item in items]
    found.numerics = _distinct([numerics for phases in classes.values() for numerics in phases.values()])
    for target in study.target:
        for group, use in study.uses():
            seeds = [
                seed
                for seed in study.seeds
                if (use.label, target.label, seed) in scores and (BASELINE, target.label, seed) in scores
            ]
            if seeds:
                pairs = {
                    seed: (scores[use.label, target.label, seed], scores[BASELINE, target.label, seed])
                    for seed in seeds
                }
                mixed = any(
                    _differ(classes[use.label, target.label, seed], classes[BASELINE, target.label, seed])
                    for seed in seeds
                )
                marks = (
                    *marks_of(study, use, target, samples, mixed, len(seeds)),
                    *sorted({mark for seed in seeds for mark in selected[use.label, target.label, seed]}),
                )
                found.rows += _rows(study, use.label, target.label, pairs, marks)
                found.averages += _averages(study, group, use.label, target.label, pairs)
        for one, items in fixed.items():
            if one.target == target.label:
                ends = {seed: base for seed in study.seeds if (base := done.get((BASELINE, target.label, seed)))}
                _hold_against_baseline(found, study, opened, one, items, ends, scores, (target.task, "test") in samples)
    found.rows = _with_floors(_with_shares(found.rows), study, opened, done)
    return found


def _with_floors(rows: list[Row], study: Study, store: Store, done: Mapping[tuple[str, str, int], Chain]) -> list[Row]:
    """The rows with a mark at scores that show nothing; references are read once for each cell."""
    targets = {use.label: use for use in study.target}
    bases = {target: chain for (arm, target, _), chain in done.items() if arm == BASELINE}
    worst: dict[tuple[str, str, str], float] = {}
    for row in rows:
        cell = (row.target, row.language, row.metric)
        worst[cell] = min(row.score, worst.get(cell, row.score))
    floors = {
        (target, code, metric): stored.lowest(
            predictions(store, bases[target], code), metric, points, study.labels_of(targets[target])
        )
        for (target, code, metric), points in worst.items()
    }
    low = [row.score <= floors[row.target, row.language, row.metric] + 1e-9 for row in rows]
    return [replace(row, marks=(*row.marks, FLOOR)) if at else row for row, at in zip(rows, low, strict=True)]


def _with_shares(rows: list[Row]) -> list[Row]:
    joint = {(row.target, row.language, row.metric): row.score for row in rows if JOINT in row.marks}

    def shared(row: Row) -> Row:
        most = joint.get((row.target, row.language, row.metric))
        if not most:
            return row
        return replace(row, share=100 * (row.baseline if JOINT in row.marks else row.score) / most)

    return list(map(shared, rows))


Scored = dict[tuple[str, str], Score]
"""(metric, language) → score."""
Pairs = dict[int, tuple[Scored, Scored]]


def _hold_against_baseline(
    found: Gains,
    study: Study,
    store: Store,
    one: Imported,
    items: list[Score],
    ends: Mapping[int, Chain],
    scores: Mapping[tuple[str, str, int], Scored],
    sample: bool,
) -> None:
    """Rows of an imported system: the same scores beside those of each seed of the baseline, with intervals.

    Averages only where it has every language of the target, so that all averages have the same members.
    """
    ours = {(item.metric, item.language): item for item in items}
    pairs = {seed: (ours, scores[BASELINE, one.target, seed]) for seed in ends}
    if pairs:
        few = [f"{len(pairs)} of {len(study.seeds)} seeds"] if len(pairs) < len(study.seeds) else []
        marks = (FIXED, *(["sample"] if sample else []), *few)
        labels = study.labels_of(next(use for use in study.target if use.label == one.target))
        for row in _rows(study, one.intermediate, one.target, pairs, marks):
            file = predictions(store, one, row.language)
            bases = [predictions(store, chain, row.language) for chain in ends.values()]
            low, high = systems.interval(file, bases, row.metric, row.language, labels, row.gain)
            about = None if low is None else systems.ESTIMAND
            own = (OWN,) if row.metric == "mining_f1" else ()
            found.rows.append(replace(row, low=low, high=high, estimand=about, marks=(*row.marks, *own)))
        if all(base.keys() == ours.keys() for _, base in pairs.values()):
            found.averages += _averages(study, one.group, one.intermediate, one.target, pairs)


def _made_by(chain: Chain, made: Plan, store: Store) -> list[tuple[str, str]]:
    """(phase, step) of the computations behind a chain's scores that the store still holds."""
    steps = [("evaluate", chain.evaluate), *((step.phase, key) for key, step in made.trainings(chain))]
    return [(phase, step) for phase, step in steps if store.known(step)]


def _differ(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether two chains were computed in different numerics classes; all training is held to the baseline's."""
    matching = {"intermediate": "target"}
    pairs = [(ours[phase], theirs.get(matching.get(phase, phase))) for phase in ours]
    return any(one != other for one, other in pairs if other is not None)


def predictions(store: Store, chain: Chain | Imported, language: str) -> Path:
    """Where a chain's predictions of one language lie."""
    return store.folder(chain.evaluate) / f"language={language}.parquet"


def metric_names(study: Study, target: Any) -> tuple[str, ...]:
    """Metrics of a target, the main one first."""
    return tuple(target.metrics or study.find(target.task).metrics)


def _scores(study: Study, chain: Chain | Imported, manifest: dict[str, Any], store: Store) -> Iterable[Score]:
    target = next(use for use in study.target if use.label == chain.target)
    names = metric_names(study, target)
    for language in manifest["languages"]:
        path = predictions(store, chain, language)
        values = stored.scores(path, names, language, study.labels_of(target))
        n = int(manifest["languages"][language]["n"])
        for name in names:
            yield Score(
                chain.name, chain.group, chain.intermediate, chain.target, language, chain.seed, name, values[name], n
            )


def _rows(study: Study, intermediate: str, target: str, pairs: Pairs, marks: tuple[str, ...]) -> Iterable[Row]:
    first, chose = next(iter(pairs.values()))[0], choosing(study, target)
    for metric, language in first:
        ours = [with_[metric, language].score for with_, _ in pairs.values()]
        theirs = [without[metric, language].score for _, without in pairs.values()]
        yield Row(
            intermediate=intermediate,
            target=target,
            language=language,
            metric=metric,
            score=statistics.fmean(ours),
            baseline=statistics.fmean(theirs),
            gain=statistics.fmean(a - b for a, b in zip(ours, theirs, strict=True)),
            low=None,
            high=None,
            n=first[metric, language].n,
            seeds=len(pairs),
            estimand=None,
            verdict=None,
            marks=(
                *(("source language",) if language == study.source else ()),
                *((CHOSEN,) if language in chose else ()),
                *marks,
            ),
        )


def _averages(study: Study, group: str, intermediate: str, target: str, pairs: Pairs) -> Iterable[Average]:
    first, chose = next(iter(pairs.values()))[0], choosing(study, target)
    by_metric: dict[str, list[str]] = defaultdict(list)
    for metric, language in first:
        if language not in chose:
            by_metric[metric].append(language)
    for metric, codes in by_metric.items():
        without_source = [code for code in codes if code != study.source]
        for over, members in (("zero-shot languages", without_source), ("all languages", codes)):
            if not members or (over == "all languages" and len(members) == len(without_source)):
                continue
            by_seed = {
                seed: statistics.fmean(a[metric, code].score - b[metric, code].score for code in members)
                for seed, (a, b) in pairs.items()
            }
            score = statistics.fmean(a[metric, code].score for a, _ in pairs.values() for code in members)
            base = statistics.fmean(b[metric, code].score for _, b in pairs.values() for code in members)
            yield Average(
                intermediate,
                group,
                target,
                metric,
                over,
                tuple(members),
                score,
                base,
                statistics.fmean(by_seed.values()),
                by_seed,
            )


def _distinct(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


COLUMNS = tuple(Row.__dataclass_fields__)
"""Columns of ``gains --csv``, in order."""


def as_csv(found: Gains) -> str:
    """The rows as CSV with a header; marks joined by '; ', empty where a value is not known yet."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in found.rows:
        values = asdict(row) | {"marks": "; ".join(row.marks)}
        writer.writerow(["" if values[name] is None else values[name] for name in COLUMNS])
    return text.getvalue()
