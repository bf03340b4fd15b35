"""What must stand beside a number: what a reader must know before believing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from waystation import chains, study_checks
from waystation.plan import Chain, Plan
from waystation.steps.records import Swept
from waystation.steps.translation import ORACLE
from waystation.store import Store
from waystation.study import Study
from waystation.tasks.task import Split
from waystation.uses import Use

FIXED = "fixed system"
"""Mark of imported predictions: they have no seeds, and are held against the mean of the baseline's."""

UPPER = "upper bound: tests in the original"
"""Mark of an arm whose tests are translated by their own originals."""

JOINT = "joint training"
"""Mark of an arm that trains the target on other languages than the source too: no zero-shot transfer."""


FLOOR = "at the floor"
"""Mark of a score that is no better than one constant answer, or chance."""

OWN = "own threshold"
"""Mark of mined pairs from elsewhere beside a baseline whose pairs were cut where it was best on these very pairs."""

CHOSEN = "chosen on this language"
"""Mark of a language whose scores chose what all are read with: shown, and in no average."""


def choosing(study: Study, target: str) -> tuple[str, ...]:
    """Languages that chose the layer and the pooling of a retrieval target; none for other targets."""
    use = next(use for use in study.target if use.label == target)
    return study_checks.choosing(study.find(use.task), use.retrieval)


def choice(made: Plan, chain: Chain, store: Store) -> list[str]:
    """The mark of a chain whose sentences are read as a sweep chose, which says how that is."""
    asked = chains.evaluation(made, chain).retrieval
    if not isinstance(asked, Swept) or not store.has(asked.sweep):
        return []
    chosen = store.manifest(asked.sweep)["chosen"]
    return [f"layer {chosen['layer']}, {chosen['pooling']} pooling, chosen on {', '.join(chosen['scores'])}"]


def marks_of(
    study: Study,
    arm: Use,
    target: Use,
    samples: Mapping[tuple[str, Split], Split | None],
    mixed: bool,
    seeds: int,
) -> tuple[str, ...]:
    """What must stand beside a number: seen by the backbone, same source, samples, other numerics, few seeds."""
    marks = []
    if any(use.from_ for use in arm.members()):
        marks.append("trained elsewhere")
    if arm.target is not None and arm.target.languages is not None:
        marks.append(JOINT)
    asked = study.under(target, arm)
    for by in dict.fromkeys(use.translate.by.by for use in (*arm.members(), asked) if use.translate):
        marks.append(f"trained on translations ({by})")
    if asked.translate_test is not None:
        by = asked.translate_test.by.by
        marks.append(UPPER if by == ORACLE else f"reads translated tests ({by})")
    if any(use.mlm and use.mlm.split == "test" and target.task in use.mlm.text for use in arm.members()):
        marks.append("read the test texts")
    seen = study.backbone.has_seen()
    trained = target.trained_on
    taught, tested = study.find(trained), study.find(target.task)
    before = [study.find(task) for task in arm.tasks()]
    if any(seen.get(task) in {"labels", "parallel"} for task in {*arm.tasks(), target.task, trained}) or (
        # a backbone that learned from translations has learned to find any
        tested.format == "retrieval" and "parallel" in seen.values()
    ):
        marks.append("seen by this backbone")
    ours = {name for task in before for name in (task.id, *task.parts)}
    theirs = {taught.id, tested.id, *taught.parts}
    if ours & theirs:
        marks.append("same data")
    elif _sources(study, ours) & theirs or ours & _sources(study, theirs):
        marks.append("same source")
    read = [*((task.id, "train") for task in before), (taught.id, "train"), (tested.id, "test")]
    if any(one in samples for one in read):
        marks.append("sample")
    borrowed = {samples.get((task.id, "train")) for task in (*before, taught)} - {None}
    marks += [f"trained on a piece of the official {split} set" for split in sorted(map(str, borrowed))]
    if mixed:
        marks.append("other numerics class")
    if seeds < len(study.seeds):
        marks.append(f"{seeds} of {len(study.seeds)} seeds")
    return tuple(marks)


def _sources(study: Study, tasks: Iterable[str]) -> set[str]:
    """Tasks that are declared to come from where one of these comes from."""
    return {other for task in tasks for other in study.find(task).same_source}
