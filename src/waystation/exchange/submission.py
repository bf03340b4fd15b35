"""An XTREME submission from what a study stored: for each target the predictions of one intermediate, in files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from waystation import backbones, chains, places
from waystation.errors import InputError, suggest
from waystation.exchange import answers
from waystation.exchange.choosing import Pick, best, held_out
from waystation.exchange.layouts import official
from waystation.plan import Chain, Plan, plan
from waystation.scoring.xtreme.layout import CHOICE, TASKS, Task
from waystation.steps.records import EncodeStep
from waystation.store import Store, write_bytes, write_json
from waystation.study import BASELINE, Study
from waystation.tasks import sources
from waystation.uses import Use


@dataclass(frozen=True, kw_only=True)
class Choice(Pick):
    """Whose predictions stand for a target: of which ``seed`` and ``artifact``, in which ``languages``.

    ``tests``: by language the fingerprint of the test data, whether they are a ``sample`` of the official ones, and
    the official split that they ``stands_for``, if another; ``notes``: what must be said beside the scores.
    """

    target: str
    seed: int
    artifact: str
    languages: tuple[str, ...]
    tests: dict[str, dict[str, Any]]
    notes: tuple[str, ...]


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
    that are not trained, the best on average over the others of these. ``intermediate`` (or "none", the baseline) is
    taken for all instead; ``seed``: else the study's first. ``references``: a new folder for the references of the same
    examples, in the same layout. Raises InputError where nothing was held out, something is missing, or a folder cannot
    be written.
    """
    made = made or plan(study, places.data_folder(data))
    study, opened, out = made.study, Store(places.store_folder(store)), _new(folder)
    gold = None if references is None else _new(references)
    targets = _targets(study)
    seed = study.seeds[0] if seed is None else seed
    if seed not in study.seeds:
        raise InputError(f"--seed {seed}: the study's seeds are {', '.join(map(str, study.seeds))}")
    if intermediate is None:
        uses = list(targets.values())
        held = held_out(made, opened, uses)
        picks = {name: best(study, use, uses, held) for name, use in targets.items()}
    else:
        known = [BASELINE, *(use.label for _, use in study.uses())]
        if intermediate not in known:
            near = suggest(intermediate, known)
            raise InputError(f"--intermediate {intermediate}: no arm of the study{near}: {', '.join(known)}")
        picks = dict.fromkeys(targets, Pick(intermediate, "as asked for"))
    choices: dict[str, Choice] = {}
    written: dict[Path, str] = {}
    for name, use in targets.items():
        pick = picks[name]
        chain = chains.find(made, f"{pick.intermediate}+{use.label}.s{seed}")
        if not opened.has(chain.evaluate):
            raise InputError(f"chain '{chain.name}' has no predictions in {opened.root}; run the study first")
        files = dict(_files(made, use, chain, opened, TASKS[name]))
        written |= {TASKS[name].file(out, code): text for code, text in files.items()}
        if gold is not None:
            right = _files(made, use, chain, opened, TASKS[name], references=True)
            written |= {TASKS[name].file(gold, code): text for code, text in right}
        tests = {code: step for code, step in chains.tested(made, use.label).items() if code in files}
        choices[name] = Choice(
            **vars(pick),
            target=use.label,
            seed=seed,
            artifact=chain.evaluate,
            languages=tuple(files),
            tests={code: _data(step) for code, step in tests.items()},
            notes=tuple(_notes(TASKS[name], pick, tests)),
        )
    backbone = {"id": study.backbone.id, **backbones.fingerprint(study.backbone)}
    tasks = {name: asdict(one) for name, one in choices.items()}
    try:
        for path, text in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, text.encode())
        write_json(out / CHOICE, {"study": study.study, "backbone": backbone, "tasks": tasks})
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
    return choices


def _data(step: EncodeStep) -> dict[str, Any]:
    return {"content": step.content, "sample": step.sample, "stands_for": step.stands_for}


def _notes(known: Task, pick: Pick, tests: Mapping[str, EncodeStep]) -> Iterator[str]:
    """What a reader must know of the choice and of the tests."""
    if pick.ties:
        yield f"as good, and named later in the study: {', '.join(pick.ties)}"
    for name, reason in pick.left_out.items():
        yield f"left out of the choice: {name}: {reason}"
    for split in sorted({step.stands_for for step in tests.values() if step.stands_for not in (None, "test")}):
        codes = [code for code, step in tests.items() if step.stands_for == split]
        yield f"not the official test set but of its {split} set: {' '.join(codes)}"
    pieces = [code for code, step in tests.items() if step.sample]
    if pieces:
        yield f"a piece of the official set: {' '.join(pieces)}"
    if known.kind == "pairs":
        yield "pairs above the threshold that is best on these very pairs, which XTREME takes from the development set"


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
        if known is None or (known.name in found and use.name):
            continue  # a variant of a task, under a name of its own
        if known.name in found and not found[known.name].name:
            raise InputError(f"targets '{found[known.name].label}' and '{use.label}' are both XTREME's {known.name}")
        found[known.name] = use
    if not found:
        raise InputError(f"study '{study.study}' has no target that is one of XTREME's tasks: {', '.join(TASKS)}")
    return {name: found[name] for name in TASKS if name in found}


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
