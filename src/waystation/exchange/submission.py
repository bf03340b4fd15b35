"""An XTREME submission from what a study stored: for each target the predictions of one intermediate, in files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from waystation import chains, places
from waystation.errors import InputError, suggest
from waystation.exchange import answers
from waystation.exchange.layouts import official
from waystation.plan import Chain, Plan, plan
from waystation.plan_steps import fits
from waystation.scoring.xtreme.layout import CHOICE, TASKS, Task
from waystation.store import Store, write_bytes, write_json
from waystation.study import BASELINE, Study
from waystation.tasks import sources
from waystation.uses import Use


@dataclass(frozen=True)
class Choice:
    """Whose predictions stand for a target: ``why``, and the ``scores`` (mean over seeds, points) that decided."""

    target: str
    intermediate: str
    seed: int
    why: str
    scores: dict[str, float]
    artifact: str
    languages: tuple[str, ...]


def export(
    study: Study,
    folder: str | Path,
    store: str | Path | None = None,
    data: str | Path | None = None,
    *,
    intermediate: str | None = None,
    seed: int | None = None,
    references: str | Path | None = None,
    made: Plan | None = None,
) -> dict[str, Choice]:
    """Write ``TASK/test-LANG.tsv`` or ``.json`` for every target that is one of XTREME's tasks; the choice of each.

    Chosen is the intermediate that is best on examples held out of the target's English training data; for targets
    that are not trained, the best on average over the others. ``intermediate`` (or "none", the baseline) is taken for
    all instead; ``seed``: else the study's first. ``references``: a new folder for the references of the same examples,
    in the same layout. Raises InputError where nothing was held out, or is missing.
    """
    made = made or plan(study, places.data_folder(data))
    study, opened, out = made.study, Store(places.store_folder(store)), _new(folder)
    gold = None if references is None else _new(references)
    targets = _targets(study)
    seed = study.seeds[0] if seed is None else seed
    if seed not in study.seeds:
        raise InputError(f"--seed {seed}: the study's seeds are {', '.join(map(str, study.seeds))}")
    if intermediate is None:
        held = _held_out(made, opened)
        picks = {name: _best(study, use, held) for name, use in targets.items()}
    else:
        known = [BASELINE, *(use.label for _, use in study.uses())]
        if intermediate not in known:
            near = suggest(intermediate, known)
            raise InputError(f"--intermediate {intermediate}: no arm of the study{near}: {', '.join(known)}")
        picks = dict.fromkeys(targets, (intermediate, "as asked for", {}))
    choices: dict[str, Choice] = {}
    written: dict[Path, str] = {}
    for name, use in targets.items():
        arm, why, scores = picks[name]
        chain = chains.find(made, f"{arm}+{use.label}.s{seed}")
        if not opened.has(chain.evaluate):
            raise InputError(f"chain '{chain.name}' has no predictions in {opened.root}; run the study first")
        files = dict(_files(made, use, chain, opened, TASKS[name]))
        written |= {TASKS[name].file(out, code): text for code, text in files.items()}
        if gold is not None:
            right = _files(made, use, chain, opened, TASKS[name], references=True)
            written |= {TASKS[name].file(gold, code): text for code, text in right}
        choices[name] = Choice(use.label, arm, seed, why, scores, chain.evaluate, tuple(files))
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.encode())
    write_json(out / CHOICE, {"study": study.study, "tasks": {name: asdict(one) for name, one in choices.items()}})
    return choices


def _new(folder: str | Path) -> Path:
    path = Path(folder).absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{folder} is not empty: name a new folder")
    return path


def _targets(study: Study) -> dict[str, Use]:
    """XTREME's tasks among the targets of a study, in XTREME's order."""
    found: dict[str, Use] = {}
    for use in study.target:
        known = official(use)
        if known is not None and known.name in found:
            raise InputError(f"targets '{found[known.name].label}' and '{use.label}' are both XTREME's {known.name}")
        if known is not None:
            found[known.name] = use
    if not found:
        raise InputError(f"study '{study.study}' has no target that is one of XTREME's tasks: {', '.join(TASKS)}")
    return {name: found[name] for name in TASKS if name in found}


Held = dict[str, dict[str, float]]
"""Target → intermediate → its mean score, over seeds, on examples held out of the training data."""


def _held_out(made: Plan, store: Store) -> Held:
    found: dict[str, dict[str, list[float]]] = {}
    for chain in made.chains:
        trained = made.study.find(_use(made.study, chain.target).task).format != "retrieval"
        if chain.intermediate != BASELINE and trained and chain.train is not None and store.known(chain.train):
            manifest = store.manifest(chain.train)
            scores = [float(score) for _, score in manifest["validation"]]
            if scores:
                kept = max(scores) if manifest["selected_on"] is not None else scores[-1]
                found.setdefault(chain.target, {}).setdefault(chain.intermediate, []).append(kept)
    return {target: {arm: fmean(each) for arm, each in arms.items()} for target, arms in found.items()}


def _best(study: Study, target: Use, held: Held) -> tuple[str, str, dict[str, float]]:
    """The best intermediate for a target, why it is, and the scores that say so."""
    retrieved = study.find(target.task).format == "retrieval"
    arms = [arm.label for _, arm in study.uses() if fits(arm, target) and (arm.stops or not retrieved)]
    if retrieved:
        others = [name for name, scores in held.items() if all(arm in scores for arm in arms)]
        scores = {arm: fmean(held[name][arm] for name in others) for arm in arms} if others else {}
        why = f"best mean over {', '.join(others)}, on examples held out of their training data in {study.source}"
    else:
        scores = held.get(target.label, {})
        why = f"best on examples held out of the training data in {study.source}"
    if any(arm not in scores for arm in arms):
        raise InputError(
            f"target '{target.label}': no examples were held out of the training data to choose an intermediate by; "
            "test scores must not choose, so set validation in the recipe and run, or name one with --intermediate"
        )
    return max(arms, key=lambda arm: scores[arm]), why, scores


def _use(study: Study, label: str) -> Use:
    return next(use for use in study.target if use.label == label)


def _files(
    made: Plan, target: Use, chain: Chain, store: Store, known: Task, references: bool = False
) -> Iterator[tuple[str, str]]:
    """Language and content of each file of a target, of the languages that XTREME tests: predictions or references."""
    import pyarrow.parquet as pq

    retrieval = made.study.retrieval_of(target)
    if known.kind == "numbers" and (retrieval is None or retrieval.direction != "from-english"):
        raise InputError(f"target '{target.label}': XTREME asks in English; set its direction to from-english")
    for code, step in chains.tested(made, target.label).items():
        if code not in known.languages:
            continue
        path = store.folder(chain.evaluate) / f"language={code}.parquet"
        columns = pq.ParquetFile(path).read(use_threads=False).to_pydict()
        ids, preds = columns["id"], columns["gold" if references else "pred"]
        match known.kind:
            case "answers" if references:
                yield code, json.dumps({"data": [_article(ids, preds)]}, ensure_ascii=False, indent=1) + "\n"
            case "answers":
                yield code, json.dumps(dict(zip(ids, preds, strict=True)), ensure_ascii=False, indent=1) + "\n"
            case "pairs" if references:
                yield code, _lines(f"{own}\t{other}" for own, other in zip(ids, preds, strict=True) if other)
            case "pairs":  # those above the threshold, as they were counted
                rows = zip(ids, preds, columns["counts"], strict=True)
                yield code, _lines(f"{own}\t{pred}" for own, pred, (_, kept, _) in rows if kept)
            case "numbers":
                examples = sources.read(step.task, step.split, code, made.data)
                number = {own: at for at, own in enumerate(answers.asked(examples, retrieval).pool)}
                yield code, _lines(str(number.get(pred, 0)) for pred in preds)
            case "labels":
                names = _spelling(target, set(preds), step.task.rename, known)
                yield code, _lines(names[label] for label in preds)
            case _:
                names = _spelling(target, {tag for tags in preds for tag in tags}, step.task.rename, known)
                yield code, "\n".join(_lines(names[tag] for tag in tags) for tags in preds)


def _article(ids: list[str], golds: list[list[str]]) -> dict[str, Any]:
    """Questions with their answers as SQuAD's JSON has them, as far as a scorer reads it: without the passages."""
    asked = [
        {"id": own, "answers": [{"text": answer} for answer in answers]}
        for own, answers in zip(ids, golds, strict=True)
    ]
    return {"paragraphs": [{"qas": asked}]}


def _lines(values: Iterable[str]) -> str:
    return "".join(f"{value}\n" for value in values)


def _spelling(target: Use, ours: set[str], rename: Mapping[str, str | None], known: Task) -> dict[str, str]:
    """Our labels or tags as XTREME writes them: the same, or what the task's record renamed to them."""
    found = {}
    for name in ours:
        names = [name, *(old for old, new in rename.items() if new == name)]
        fits = [one for one in names if one in known.labels]
        if not fits:
            raise InputError(f"target '{target.label}': '{name}' is none of {known.name}'s: {', '.join(known.labels)}")
        found[name] = fits[0]
    return found
