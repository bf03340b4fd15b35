"""Single checks of what a study names: labels, metrics, languages. ``Study.problems`` puts them together."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any

from pydantic import ValidationError

from waystation import backbones, languages
from waystation.backbones import Backbone
from waystation.errors import InputError, suggest
from waystation.records import EXECUTION, IDENTITY, Record
from waystation.steps.records import Reading, Retrieval, Sweep
from waystation.study_file import Place, sentence
from waystation.tasks.task import Split, Task

Problem = tuple[Place, str]
"""A place in the study file and one line on what is wrong there."""

VARIANTS: Mapping[str, Mapping[str, tuple[str, Mapping[int, int]]]] = {
    "jiant": {"search": ("mean", {24: 14}), "mining": ("mean", {24: 14})},
    "xtreme": {"search": ("mean", {24: 14, 12: 8}), "mining": ("first", {24: 20, 12: 8})},
}
"""Published ways to read sentences: pooling, and blocks of the encoder → the block whose output is read.

``jiant``: the retrieval targets of Phang et al. (2020), XLM-R large. ``xtreme``: the scripts of Hu et al. (2020), XLM-R
large and multilingual BERT. An encoder of another depth is read in proportion to 24 blocks.
"""


def plain(task: Task) -> bool:
    """Whether every word has a tag of its own (parts of speech), so that nothing is outside."""
    reader = task.main_reader()
    return task.format == "tagging" and reader is not None and reader.scheme == "plain"


def mined(task: Task) -> bool:
    """Whether the pairs have to be found among sentences most of which have no translation."""
    reader = task.main_reader()
    return reader is not None and reader.kind == "mining"


def _fitting(task: Task) -> tuple[str, ...]:
    """Metrics that fit a task."""
    from waystation.scoring import metrics

    if task.format == "tagging":
        return ("token_accuracy", *metrics.POS_VERSIONS) if plain(task) else metrics.OF_ENTITIES
    if task.format == "retrieval":
        return ("mining_f1", "mining_f1_halves") if mined(task) else ("retrieval_accuracy",)
    if task.format == "span":
        return metrics.OF_ANSWERS
    if task.format == "multilabel":
        return metrics.OF_SETS
    return ("accuracy",) if task.format == "choice" else ("accuracy", "macro_f1", "macro_f1_all", "f1:LABEL")


def metric_problems(names: Sequence[str], task: Task, labels: Sequence[str]) -> list[Problem]:
    """Metrics that are unknown, do not fit the format, or ask for a label that the use does not end up with."""
    from waystation.scoring import metrics  # brings numpy: not before a study is really read

    found: list[Problem] = []
    for name in names:
        try:
            metrics.check(name, labels)
            fitting = _fitting(task)
            if metrics.split(name)[0] not in (metrics.split(known)[0] for known in fitting):
                raise InputError(f"metric '{name}' does not fit '{task.id}' ({task.format}); use {', '.join(fitting)}")
        except InputError as error:
            found.append((("metrics",), str(error)))
    return found


class RetrievalKeys(Reading):
    """``retrieval`` of a target as it is written.

    ``variant``, one of ``VARIANTS``, stands for other fields; with ``sweep`` layer and pooling are chosen by scores.
    """

    variant: Annotated[str | None, EXECUTION] = None
    sweep: Annotated[Sweep | None, IDENTITY] = None


def retrieval(task: Task, backbone: Backbone, changes: Mapping[str, Any]) -> Retrieval:
    """How a retrieval target is read: as the backbone's record or a variant says, with ``changes`` to single fields.

    English asks. It is a ``Reading``, except where a sweep is to choose layer and pooling. Raises pydantic's
    ValidationError.
    """
    own = {key: value for key, value in changes.items() if key not in ("variant", "sweep")}
    name = changes.get("variant")
    read = backbones.reading(backbone) if name is None else _variant(name, task, backbone)
    found = {"direction": "mining" if mined(task) else "from-english", **read, **own}
    if sweep(changes) is None:
        return Reading.model_validate(found)
    return Retrieval.model_validate({key: value for key, value in found.items() if key not in ("layer", "pooling")})


def sweep(changes: Mapping[str, Any]) -> Sweep | None:
    """What a retrieval target tries before it is read; None: nothing. Raises pydantic's ValidationError."""
    asked = changes.get("sweep")
    return None if asked is None else Sweep.model_validate(asked)


def choosing(task: Task, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """Languages whose scores choose the layer and the pooling of a retrieval target: none without a sweep."""
    asked, have = sweep(changes), task.languages("test")
    if asked is None:
        return ()
    return tuple(have if "all" in asked.on else among(asked.on, have))


def _variant(name: str, task: Task, backbone: Backbone) -> dict[str, Any]:
    """What a variant stands for; no ``layer`` where the depth is not known before the backbone is fetched.

    Blocks are counted in the whole backbone, unless it is cut below the one that is read there.
    """
    pooling, blocks = VARIANTS[name]["mining" if mined(task) else "search"]
    found: dict[str, Any] = {"pooling": pooling, "prefix": ""}
    for depth in (backbone.layers, backbones.depth(backbone)):
        if depth is not None:
            layer = blocks.get(depth, max(1, blocks[24] * depth // 24))
            if backbone.layers is None or layer <= backbone.layers:
                found["layer"] = layer
    return found


def adopted_problems(name: str, backbone: Backbone, phase: str, changed: bool) -> list[Problem]:
    """A checkpoint that cannot stand for an intermediate phase; ``changed``: the use says how to train."""
    if phase == "target":
        return [(("from",), "`from` is for intermediate tasks: a target is trained here")]
    if changed:
        return [(("from",), "`from` names a checkpoint that is trained already; leave all but task and name out")]
    wrong = backbones.problem(Backbone(id=name, layers=backbone.layers))
    return [] if wrong is None else [(("from",), wrong)]


def retrieval_problems(task: Task, backbone: Backbone, changes: Mapping[str, Any]) -> list[Problem]:
    """Unknown fields and values, a layer that the backbone does not have, a direction that does not fit the task."""
    if backbones.problem(backbone):
        return []  # told already, and without its depth nothing can be said here
    name = changes.get("variant")
    if name is not None and (not isinstance(name, str) or name not in VARIANTS):
        text = f"unknown variant '{name}'{suggest(str(name), VARIANTS)}; use {' or '.join(VARIANTS)}"
        return [(("retrieval", "variant"), text)]
    if changes.get("sweep") is not None and (told := _sweep_problems(task, backbone, changes)):
        return told
    try:
        asked, sizes = retrieval(task, backbone, changes), backbones.shape(backbone)
        if sizes is not None and isinstance(asked, Reading):
            asked.blocks(sizes.layers)
    except ValidationError as error:
        return _told(error, RetrievalKeys, "retrieval")
    except InputError as error:
        return [(("retrieval", "layer"), str(error))]
    if (asked.direction == "mining") != mined(task):
        fitting = "mining" if mined(task) else "from-english or to-english"
        text = f"direction '{asked.direction}' does not fit '{task.id}'; use {fitting}"
        return [(("retrieval", "direction"), text)]
    return []


def _sweep_problems(task: Task, backbone: Backbone, changes: Mapping[str, Any]) -> list[Problem]:
    fixed = [key for key in ("layer", "pooling", "variant") if changes.get(key) is not None]
    if fixed:
        return [(("retrieval", fixed[0]), f"the sweep chooses layer and pooling; leave `{fixed[0]}` out, or the sweep")]
    try:
        asked, sizes = sweep(changes), backbones.shape(backbone)
        assert asked is not None
        if sizes is not None:
            asked.blocks(sizes.layers)
    except ValidationError as error:
        return _told(error, Sweep, "retrieval", "sweep")
    except InputError as error:
        return [(("retrieval", "sweep", "layers"), str(error))]
    return [(("retrieval", "sweep", "on", at), text) for at, text in training_problems(asked.on, task, "test")]


def _told(error: ValidationError, record: type[Record], *above: str) -> list[Problem]:
    """Pydantic's problems with a record that stands below a place."""
    found, refused = [], {item["loc"][:-1] for item in error.errors()}
    for item in error.errors():
        place = (*above, *item["loc"])
        if item["type"] != "too_short" or item["loc"] not in refused:  # else only because what is in it was refused
            found.append((place, sentence(item, record, place)))
    return found


def code_problems(task: Task) -> list[tuple[str, str]]:
    """Languages of own tasks must be written by their canonical code: that is how they are looked up."""
    found: list[tuple[str, str]] = []
    for split in task.all_splits():
        for code in task.languages(split):
            try:
                canonical = languages.resolve(code).code
            except InputError as error:
                found.append((split, str(error)))
                continue
            if canonical != code:
                found.append((split, f"language '{code}' is written '{canonical}' here"))
    return found


def label_problems(labels: Mapping[str, Any], task: Task, place: Place) -> list[Problem]:
    """Labels of a map that the task does not have, or that cannot be left out."""
    if plain(task):
        left_out = [old for old, new in labels.items() if new is None]
        if left_out:
            text = f"label '{left_out[0]}' cannot be left out: every word of '{task.id}' has a tag; map it to another"
            return [((*place, left_out[0]), text)]
    has = ", ".join(task.labels) or "none"
    return [
        ((*place, old), f"task '{task.id}' has no label '{old}'{suggest(old, task.labels)}; it has: {has}")
        for old in labels
        if old not in task.labels
    ]


def language_problems(names: Sequence[str], have: Container[str] | None = None) -> list[tuple[int, str]]:
    """Names that are neither a language nor a group, or languages that are not to be had, with their place in the list.

    A group means those of its members that are to be had; a language that is named must be there. (Where nothing of
    the list is to be had, the target says so.)
    """
    unknown, absent, present = [], [], False
    for at, name in enumerate(names):
        try:
            codes = () if name == "all" else languages.expand([name])
        except InputError as error:
            unknown.append((at, str(error)))
            continue
        if have is None or name == "all" or any(code in have for code in codes):
            present = True
        elif not languages.is_group(name):
            absent.append((at, f"no target has test data in '{name}'; leave it out or name a target that has"))
    return sorted(unknown + (absent if present else []))


def training_problems(names: Sequence[str], task: Task, split: Split) -> list[tuple[int, str]]:
    """Languages of a list in which a task has no examples of a split to learn from, with their place in it."""
    have, found = task.languages(split), []
    for at, name in enumerate(names):
        try:
            codes = have if name == "all" else languages.expand([name])
        except InputError as error:
            found.append((at, str(error)))
            continue
        if not any(code in have for code in codes):
            text = f"task '{task.id}' has no {split} data in '{name}' (it has: {', '.join(have) or 'none'})"
            found.append((at, text))
    return found


def among(asked: Sequence[str], have: Sequence[str]) -> list[str]:
    """Languages asked for (codes, names, groups) that are to be had, in the order asked."""
    return [code for code in languages.expand(asked) if code in have]
