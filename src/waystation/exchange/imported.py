"""Predictions of a system from elsewhere become a chain of a study: the same examples, scores and statistics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waystation import chains, places, predictions, retention
from waystation.errors import InputError, suggest
from waystation.exchange import answers
from waystation.exchange.layouts import official
from waystation.plan import Plan, plan
from waystation.predictions import Columns
from waystation.records import digest
from waystation.scoring import metrics
from waystation.scoring.labels import Ranked
from waystation.steps.records import EncodeStep, ImportStep
from waystation.store import Store, write_json
from waystation.study import BASELINE, Study
from waystation.tasks import sources
from waystation.uses import NAME, Use

ENDINGS = (".jsonl", ".json", ".tsv")


@dataclass(frozen=True)
class Import:
    """What was imported.

    ``languages``: examples of each; ``missing``: languages of the target without a file; ``extra``: files of others.
    """

    name: str
    artifact: str
    languages: dict[str, int]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def add(
    study: Study,
    name: str,
    folder: str | Path,
    store: str | Path | None = None,
    data: str | Path | None = None,
    *,
    made: Plan | None = None,
) -> Import:
    """Store the predictions in ``folder`` as the chain SYSTEM+TARGET; those that had this name before are replaced.

    A file for each language, ``test-LANG.jsonl`` (an object {id, prediction} a line), ``.tsv`` or ``.json`` (XTREME's
    layouts), in ``folder`` or in its folder of the target's name. Raises InputError where a name is taken, and where
    ids, numbers of lines or labels are not those of the target.
    """
    made = made or plan(study, places.data_folder(data))
    system, target = _named(made.study, name)
    tested = chains.tested(made, target.label)
    found, extra = _files(Path(folder), target, tested)
    columns = {code: _columns(made, target, tested[code], path) for code, path in found.items()}
    step = ImportStep(
        system=system,
        task=target.label,
        content=digest({code: [one["id"], one["pred"], one.get("ranking")] for code, one in columns.items()}),
        encodings={code: digest(tested[code]) for code in found},
    )
    opened, key = Store(places.store_folder(store)), digest(step)
    before = [one.evaluate for one in chains.imported(made, opened) if one.name == name]
    if key not in before:
        _commit(opened, key, step, columns, Path(folder).absolute())
    for old in before:
        if old != key:
            retention.remove(opened, old)
    sizes = {code: len(one["id"]) for code, one in columns.items()}
    return Import(name, key, sizes, tuple(code for code in tested if code not in found), extra)


def _named(study: Study, name: str) -> tuple[str, Use]:
    """System and target of a chain's name."""
    system, _, label = name.rpartition("+")
    targets = {use.label: use for use in study.target}
    if label not in targets:
        near = suggest(label, targets)
        raise InputError(f"--chain {name}: write SYSTEM+TARGET{near}; the study's targets: {', '.join(targets)}")
    if not re.fullmatch(NAME, system):
        raise InputError(f"--chain {name}: '{system}' is no name: letters, digits, '.', '_' and '-'")
    if system in {BASELINE, *(use.label for _, use in study.uses())}:
        raise InputError(f"--chain {name}: '{system}' is an arm of the study; give the system another name")
    return system, targets[label]


def _files(folder: Path, target: Use, tested: Mapping[str, Any]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Language → file of its predictions; and the languages of files that nobody asked for."""
    known = official(target)
    names = [target.label, target.task, *([] if known is None else [known.name])]
    for place in (*(folder / name for name in names), folder):
        files = [path for path in sorted(place.glob("test-*")) if path.suffix in ENDINGS]
        if files:
            break
    else:
        raise InputError(f"{folder}: no test-LANG.jsonl, .tsv or .json in it, nor in its folder {' or '.join(names)}")
    found: dict[str, Path] = {}
    for path in files:
        code = path.stem.removeprefix("test-")
        if code in found:
            raise InputError(f"{path}: {found[code].name} is there too; keep one file for each language")
        found[code] = path
    chosen = {code: found[code] for code in tested if code in found}
    if not chosen:
        raise InputError(f"{place}: its languages are {', '.join(found)}, the target's {', '.join(tested)}")
    return chosen, tuple(code for code in found if code not in tested)


def _columns(made: Plan, target: Use, step: EncodeStep, path: Path) -> Columns:
    retrieval = made.study.retrieval_of(target)
    examples = sources.read(step.task, step.split, step.language, made.data, rename=step.rename, labels=step.labels)
    ask = answers.asked(examples, retrieval)
    pred = answers.read(path, step, ask, retrieval)
    if retrieval is not None and retrieval.direction == "mining":
        counts = [metrics.pair_counts(str(gold), str(one)) for gold, one in zip(ask.gold, pred, strict=True)]
    else:
        counts = metrics.counts_of(ask.gold, pred).tolist()
    ranking = [one.ranking for one in pred if isinstance(one, Ranked)]
    found: dict[str, Any] = {"id": ask.ids, "cluster": ask.clusters, "gold": ask.gold, "pred": pred, "counts": counts}
    return {**found, **({"ranking": ranking} if ranking else {})}


def _commit(store: Store, key: str, step: ImportStep, columns: Mapping[str, Columns], source: Path) -> None:
    languages = {}
    with store.building(key) as folder:
        for code, one in columns.items():
            predictions.write(folder / f"language={code}.parquet", one)
            languages[code] = {"n": len(one["id"]), "clusters": len({*one["cluster"]} - {None}) or None}
        write_json(folder / chains.IMPORTED, {"source": str(source), "system": step.system, "target": step.task})
        store.commit(key, step, folder, {"languages": languages})
